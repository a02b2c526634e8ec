"""The mini study's benchmarks: ``arithmetic`` (integer answers, as AIME) and ``dialogue`` (two turns, as MT-Bench).

Questions come from the held-out part of the mini family's language, drawn with a seed.
"""

import random
import re

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import Score, mean, scorer, stderr
from benchmarks.answering import answer_turns, sampling, visible
from mini_family import language

THINK = "<think>\n"


@task
def arithmetic(questions=256, seed=1, **options):
    """One question with an integer answer: ``48+4*3=?``."""
    chains, _ = _draw("arithmetic", seed, questions, shortest=3, longest=6)
    samples = [
        Sample(id=number, input=chain.question, target=str(chain.answer))
        for number, chain in enumerate(chains, start=1)
    ]
    return _task(samples, seed, **options)


@task
def dialogue(questions=128, seed=1, **options):
    """Two turns; the second question (``now *3-2=?``) continues from the right answer to the first."""
    chains, rng = _draw("dialogue", seed, questions, shortest=2, longest=4)
    samples = []
    for number, chain in enumerate(chains, start=1):
        second = language.draw_follow_up(rng, chain.answer, 1, 3)
        metadata = {"follow_ups": [second.question]}
        target = [str(chain.answer), str(second.answer)]
        samples.append(Sample(id=number, input=chain.question, target=target, metadata=metadata))
    return _task(samples, seed, **options)


def _draw(benchmark, seed, questions, shortest, longest):
    """(different held-out chains, the random generator that drew them)."""
    rng, chains = random.Random(f"{benchmark}/{seed}"), {}
    while len(chains) < questions:
        chain = language.draw_chain(rng, shortest, longest, held_out=True)
        chains[chain.question] = chain
    return list(chains.values()), rng


def _task(samples, seed, *, force_think=True, temperature=0.6, top_p=1.0, max_tokens=256):
    opening = THINK if force_think else ""
    return Task(
        dataset=MemoryDataset(samples),
        solver=answer_turns(opening, seed),
        scorer=integer_answers(),
        config=sampling(opening, temperature=temperature, top_p=top_p, max_tokens=max_tokens),
    )


@scorer(metrics=[mean(), stderr()])
def integer_answers():
    """The share of a sample's turns whose final ``Answer: N`` is the turn's target (each: metadata ``turns``)."""

    async def score(state, target):
        answers = state.store.get("answers")
        turns = [is_right(answer["text"], wanted) for answer, wanted in zip(answers, target, strict=True)]
        return Score(value=sum(turns) / len(turns), metadata={"turns": turns})

    return score


def is_right(text, target):
    """Whether the visible part of an answer ends in the target integer."""
    found = re.findall(r"Answer: *(-?\d+)", visible(text))
    return bool(found) and int(found[-1]) == int(target)
