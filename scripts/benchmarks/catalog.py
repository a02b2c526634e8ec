"""A study's benchmarks as Inspect tasks, and their logs as rows of scores."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from inspect_ai import Task
from inspect_ai.dataset import Sample
from inspect_ai.log import EvalLog
from aoe import AoeError
from aoe.serving.sampling import KEYS
from benchmarks.registry import Dataset, Grades, Turn, benchmark
from benchmarks.solver import answers_of, make_task, visible

ASKING = ("seed", "force_think", "answers", *KEYS)  # settings that say how a benchmark is asked


def task_of(name: str, settings: Mapping[str, Any], dataset: Dataset | None = None) -> Task:
    """Return the Inspect task of a benchmark, as the study's settings say.

    dataset: (folder, file names) of the locked dataset.  With ``questions``, only that many, the first ones.  Raises
    AoeError if the files are not the benchmark's.
    """
    settings = {**benchmark(name).sampling, **settings}
    questions = benchmark(name).questions(settings, dataset)[: settings.get("questions")]
    twice = [id_ for id_, times in Counter(question.id for question in questions).items() if times > 1]
    if twice:
        raise AoeError(f"{name} has the question {twice[0]} twice in its dataset; choose one of its `files`.")
    samples = [Sample(id=q.id, input=q.input, target=q.target, metadata=q.metadata or None) for q in questions]
    return make_task(name, samples, **{key: settings[key] for key in ASKING if key in settings})


def check_dataset(name: str, settings: Mapping[str, Any], dataset: Dataset) -> int:
    """Return how many questions a benchmark has.

    Raises AoeError if it, or who grades its answers, cannot read the dataset.

    settings: the study's; dataset: (folder, file names).
    """
    try:
        number = len(task_of(name, settings, dataset).dataset)
        benchmark(name).grading.check(benchmark(name).questions(settings, dataset), dataset)
        return number
    except AoeError as error:
        reason = str(error)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:  # what readers meet in odd records
        reason = f"{dataset[0]}: {type(error).__name__}: {error}"
    raise AoeError(f"{name} cannot be asked with the dataset {settings['dataset']}: {reason}")


def turns_of(log: EvalLog) -> Iterator[tuple[Turn, dict[str, Any]]]:
    """Yield (Turn, the raw answer) of every answer in an Inspect log."""
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


def scored_rows(log: EvalLog, end_think: int, marks: Grades | None = None) -> Iterator[dict[str, Any]]:
    """Yield one dict an answer of an Inspect log.

    It has benchmark, category, question, sample, turn, right (0 to 1, or None where nobody can tell), unreadable
    (whether the grader found no result in it), tokens, closing_tags, finish (Inspect's stop reason: ``max_tokens`` for
    an answer that was cut off), seconds, seconds_to_first (token), tokens_per_second.

    end_think: the token id of ``</think>``; marks: of a judge or the sandbox, for the benchmarks that need them.
    """
    found, marks, grading = list(turns_of(log)), marks or {}, benchmark(log.eval.task).grading
    shares = grading.shares([turn for turn, _ in found], marks)
    for (turn, answer), right in zip(found, shares, strict=True):
        yield {
            "benchmark": log.eval.task,
            "category": turn.metadata.get("category", ""),
            "question": turn.question,
            "sample": turn.sample,
            "turn": turn.number,
            "right": None if right is None else float(right),
            "unreadable": not grading.readable(turn, marks),
            "tokens": len(answer["token_ids"]),
            "closing_tags": answer["token_ids"].count(end_think),
            "finish": answer["finish"],
            "seconds": answer["seconds"],
            "seconds_to_first": answer["seconds_to_first"],
            "tokens_per_second": len(answer["token_ids"]) / answer["seconds"] if answer["seconds"] else None,
        }
