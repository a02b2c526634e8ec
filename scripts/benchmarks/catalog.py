"""The benchmarks by their names in a study: where the questions come from, how they are asked, and how graded."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from aoe import AoeError
from aoe.sampling import KEYS, defaults_of
from benchmarks import aime, bigcodebench, gpqa, mini, mt_bench
from benchmarks.answering import answers_of, make_task, visible

ASKING = ("seed", "force_think", "answers", *KEYS)  # settings that say how a benchmark is asked


@dataclass(frozen=True)
class Turn:
    """One answer to be graded: the ``question``'s id, which of its ``sample``s and turns (``number``) it is, what was
    ``shown`` of it, the right ``target``, its sample's ``metadata``, and what was ``asked`` and ``answered`` up to it.
    """

    question: str
    sample: int
    number: int
    shown: str
    target: str
    metadata: dict
    asked: list
    answered: list


def _compared(is_right, turns, _marks):
    return [is_right(turn.shown, turn.target) for turn in turns]


def _given(turns, marks):
    return [marks.get((turn.question, turn.sample, turn.number)) for turn in turns]


@dataclass(frozen=True)
class Benchmark:
    """``questions(settings, dataset)`` gives Samples, dataset being (folder, file names) or None; ``grade(turns,
    marks)`` gives each Turn's share of right, 0 to 1, or None where nobody can tell; marks are those that a judge or
    the sandbox gave, {(question, sample, turn): mark}; ``check(*dataset)`` raises AoeError if what grading reads of the
    dataset is not there."""

    questions: Callable
    grade: Callable
    check: Callable = lambda *dataset: None


BENCHMARKS = {
    "arithmetic": Benchmark(lambda s, _: mini.arithmetic(s["questions"], s["seed"]), partial(_compared, mini.is_right)),
    "dialogue": Benchmark(lambda s, _: mini.dialogue(s["questions"], s["seed"]), partial(_compared, mini.is_right)),
    "aime2024": Benchmark(lambda _, dataset: aime.samples(*dataset), partial(_compared, aime.is_right)),
    "aime2025": Benchmark(lambda _, dataset: aime.samples(*dataset), partial(_compared, aime.is_right)),
    "gpqa_diamond": Benchmark(lambda s, dataset: gpqa.samples(*dataset, s["seed"]), partial(_compared, gpqa.is_right)),
    "bigcodebench": Benchmark(lambda s, dataset: bigcodebench.samples(*dataset, s.get("mode", "instruct")), _given),
    "mt_bench": Benchmark(
        lambda _, dataset: mt_bench.samples(*dataset),
        _given,
        mt_bench.check_judging,
    ),
}


def task_of(name, settings, dataset=None):
    """The Inspect task of a benchmark, as the study's settings say.

    dataset: (folder, file names) of the locked dataset.  With ``questions``, only that many, the first ones.  Raises
    AoeError if the files are not the benchmark's.
    """
    benchmark = BENCHMARKS[name]
    settings = defaults_of(name) | settings
    samples = benchmark.questions(settings, dataset)[: settings.get("questions")]
    twice = [id_ for id_, times in Counter(sample.id for sample in samples).items() if times > 1]
    if twice:
        raise AoeError(f"{name} has the question {twice[0]} twice in its dataset; choose one of its `files`.")
    return make_task(name, samples, **{key: settings[key] for key in ASKING if key in settings})


def check_dataset(name, settings, dataset):
    """How many questions a benchmark has.  Raises AoeError if it, or who grades its answers, cannot read the dataset.

    settings: the study's; dataset: (folder, file names).
    """
    try:
        questions = len(task_of(name, settings, dataset).dataset)
        BENCHMARKS[name].check(*dataset)
        return questions
    except AoeError as error:
        reason = str(error)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:  # what readers meet in odd records
        reason = f"{dataset[0]}: {type(error).__name__}: {error}"
    raise AoeError(f"{name} cannot be asked with the dataset {settings['dataset']}: {reason}")


def turns_of(log):
    """(Turn, the raw answer) of every answer in an Inspect log."""
    for sample in log.samples:
        raw = answers_of(sample)
        targets = [sample.target] if isinstance(sample.target, str) else sample.target
        asked = [sample.input, *sample.metadata.get("follow_ups", [])]
        answered = [visible(answer["text"], answer["opening"]) for answer in raw]
        for number, (answer, target) in enumerate(zip(raw, targets, strict=True), start=1):
            yield (
                Turn(
                    question=str(sample.id),
                    sample=sample.epoch,
                    number=number,
                    shown=answered[number - 1],
                    target=target,
                    metadata=sample.metadata,
                    asked=asked[:number],
                    answered=answered[:number],
                ),
                answer,
            )


def scored_rows(log, end_think, marks=None):
    """One dict an answer of an Inspect log: benchmark, category, question, sample, turn, right (0 to 1, or None where
    nobody can tell), tokens, closing_tags, finish (Inspect's stop reason: ``max_tokens`` for an answer that was cut
    off), seconds, seconds_to_first (token), tokens_per_second.

    end_think: the token id of ``</think>``; marks: of a judge or the sandbox, for the benchmarks that need them.
    """
    found = list(turns_of(log))
    shares = BENCHMARKS[log.eval.task].grade([turn for turn, _ in found], marks or {})
    for (turn, answer), right in zip(found, shares, strict=True):
        yield {
            "benchmark": log.eval.task,
            "category": turn.metadata.get("category", ""),
            "question": turn.question,
            "sample": turn.sample,
            "turn": turn.number,
            "right": None if right is None else float(right),
            "tokens": len(answer["token_ids"]),
            "closing_tags": answer["token_ids"].count(end_think),
            "finish": answer["finish"],
            "seconds": answer["seconds"],
            "seconds_to_first": answer["seconds_to_first"],
            "tokens_per_second": len(answer["token_ids"]) / answer["seconds"] if answer["seconds"] else None,
        }
