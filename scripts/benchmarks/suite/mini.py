"""The mini study's benchmarks: ``arithmetic`` (integer answers, as AIME) and ``dialogue`` (two turns, as MT-Bench).

Questions come from the held-out part of the mini family's language, drawn with a seed.
"""

import random
import re

from aoe.serving.sampling import SMALL
from benchmarks.registry import Benchmark, Compared, Question
from mini_family import language


def arithmetic(questions: int, seed: int) -> list[Question]:
    """Return so many questions with an integer answer: ``48+4*3=?``."""
    chains, _ = _draw("arithmetic", seed, questions, shortest=3, longest=6)
    return [
        Question(id=number, input=chain.question, target=str(chain.answer))
        for number, chain in enumerate(chains, start=1)
    ]


def dialogue(questions: int, seed: int) -> list[Question]:
    """Return so many questions of two turns.

    The second (``now *3-2=?``) continues from the right answer to the first.
    """
    chains, rng = _draw("dialogue", seed, questions, shortest=2, longest=4)
    samples = []
    for number, chain in enumerate(chains, start=1):
        second = language.draw_follow_up(rng, chain.answer, 1, 3)
        metadata = {"follow_ups": [second.question]}
        target = [str(chain.answer), str(second.answer)]
        samples.append(Question(id=number, input=chain.question, target=target, metadata=metadata))
    return samples


def _draw(benchmark, seed, questions, shortest, longest):
    """(different held-out chains, the random generator that drew them)."""
    rng, chains = random.Random(f"{benchmark}/{seed}"), {}
    while len(chains) < questions:
        chain = language.draw_chain(rng, shortest, longest, held_out=True)
        chains[chain.question] = chain
    return list(chains.values()), rng


def is_right(shown: str, target: str) -> bool:
    """Return whether the visible part of an answer ends in the target integer."""
    return final_answer(shown) == int(target)


def final_answer(shown: str) -> int | None:
    """Return the integer that an answer ends in, or None."""
    found = re.findall(r"Answer: *(-?\d+)", shown)
    return int(found[-1]) if found else None


ARITHMETIC = Benchmark(
    name="arithmetic",
    title="arithmetic",
    summary="one question, integer answer; for the mini family",
    questions=lambda settings, _: arithmetic(settings["questions"], settings["seed"]),
    grading=Compared(final_answer, is_right),
    reads_dataset=False,
    sampling=SMALL,
)
DIALOGUE = Benchmark(
    name="dialogue",
    title="dialogue",
    summary="two turns, the second continues from the first answer; for the mini family",
    questions=lambda settings, _: dialogue(settings["questions"], settings["seed"]),
    grading=Compared(final_answer, is_right),
    reads_dataset=False,
    turns=2,
    sampling=SMALL,
)
