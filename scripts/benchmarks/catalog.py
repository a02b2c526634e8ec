"""The benchmarks by their names in a study: where the questions come from, how they are asked, and how graded."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from aoe import AoeError
from aoe.serving.sampling import KEYS, defaults_of
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


def _mark_of(turn, marks):
    return marks.get((turn.question, turn.sample, turn.number))


def _given(turns, marks):
    return [_mark_of(turn, marks) for turn in turns]


@dataclass(frozen=True)
class Benchmark:
    """How a benchmark is asked and graded.

    ``questions(settings, dataset)`` gives Samples, dataset being (folder, file names) or None.  ``grade(turns, marks)``
    gives each Turn's share of right, 0 to 1, or None where nobody can tell; marks are those that a judge or the sandbox
    gave, {(question, sample, turn): mark}.  ``readable(turn, marks)`` tells whether an answer gives a result at all.
    ``check(*dataset)`` raises AoeError if grading lacks something in the dataset.
    """

    questions: Callable
    grade: Callable
    readable: Callable
    check: Callable = lambda *dataset: None


def _compared(module, questions):
    """A benchmark whose answers are compared with the right ones.

    module: its ``final_answer(shown)`` gives an answer's result, or None.  Its ``is_right(shown, target)``, if it has
    one, compares a result that is no text.
    """

    def equals(shown, target):
        return module.final_answer(shown) == target

    is_right = getattr(module, "is_right", equals)
    return Benchmark(
        questions,
        lambda turns, _: [is_right(turn.shown, turn.target) for turn in turns],
        lambda turn, _: module.final_answer(turn.shown) is not None,
    )


BENCHMARKS = {
    "arithmetic": _compared(mini, lambda s, _: mini.arithmetic(s["questions"], s["seed"])),
    "dialogue": _compared(mini, lambda s, _: mini.dialogue(s["questions"], s["seed"])),
    "aime2024": _compared(aime, lambda _, dataset: aime.samples(*dataset)),
    "aime2025": _compared(aime, lambda _, dataset: aime.samples(*dataset)),
    "gpqa_diamond": _compared(gpqa, lambda s, dataset: gpqa.samples(*dataset, s["seed"])),
    "bigcodebench": Benchmark(
        lambda s, dataset: bigcodebench.samples(*dataset, s.get("mode", "instruct")),
        _given,
        lambda turn, _: bigcodebench.has_program(turn.shown, turn.metadata),
    ),
    "mt_bench": Benchmark(
        lambda _, dataset: mt_bench.samples(*dataset),
        _given,
        lambda turn, marks: _mark_of(turn, marks) is not None,
        check=mt_bench.check_judging,
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
    nobody can tell), unreadable (whether the grader found no result in it), tokens, closing_tags, finish (Inspect's
    stop reason: ``max_tokens`` for an answer that was cut off), seconds, seconds_to_first (token), tokens_per_second.

    end_think: the token id of ``</think>``; marks: of a judge or the sandbox, for the benchmarks that need them.
    """
    found, marks, benchmark = list(turns_of(log)), marks or {}, BENCHMARKS[log.eval.task]
    shares = benchmark.grade([turn for turn, _ in found], marks)
    for (turn, answer), right in zip(found, shares, strict=True):
        yield {
            "benchmark": log.eval.task,
            "category": turn.metadata.get("category", ""),
            "question": turn.question,
            "sample": turn.sample,
            "turn": turn.number,
            "right": None if right is None else float(right),
            "unreadable": not benchmark.readable(turn, marks),
            "tokens": len(answer["token_ids"]),
            "closing_tags": answer["token_ids"].count(end_think),
            "finish": answer["finish"],
            "seconds": answer["seconds"],
            "seconds_to_first": answer["seconds_to_first"],
            "tokens_per_second": len(answer["token_ids"]) / answer["seconds"] if answer["seconds"] else None,
        }
