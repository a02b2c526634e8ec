"""The one list of benchmarks: what a benchmark is, and where they are found.

A benchmark is a ``Benchmark`` at the top level of a module of ``benchmarks.suite``.  Studies, their schema, the rules,
the tables, the figures and the document ask this list; nothing else names a benchmark.
"""

import importlib
import math
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any, ClassVar

from aoe import AoeError, benchmarks
from aoe.benchmarks import COMPARED, JUDGE, SANDBOX
from aoe.serving.sampling import DEEPSEEK

SUITE = "benchmarks.suite"
Dataset = tuple[str, list[str]]  # folder and names of the files
Messages = list[dict[str, str]]  # of a chat: ``role`` and ``content``
Grades = Mapping[tuple[str, int, int], float | None]  # (question, sample, turn) -> grade, of a judge or the sandbox


@dataclass(frozen=True)
class Question:
    """A question to a model, and what its answer is graded by.

    id: the same in every run; input: the first turn; target: the right answer, or a list of one a turn; metadata: what
    else graders need, among it ``follow_ups`` (the further turns), ``category`` (the question's row in categories.csv)
    and ``temperature``, where ``sampling`` leaves it to the question.
    """

    id: str | int
    input: str
    target: str | list[str] = ""
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Turn:
    """One answer to be graded.

    question: its id; sample: which of the answers to it, from 1; number: which turn, from 1; shown: the visible part;
    target: the right answer; metadata: the question's; asked, answered: the turns up to this one.
    """

    question: str
    sample: int
    number: int
    shown: str
    target: str
    metadata: dict[str, Any]
    asked: list[str]
    answered: list[str]

    @property
    def place(self) -> tuple[str, int, int]:
        """Where a judge or the sandbox files the grade."""
        return self.question, self.sample, self.number


@dataclass(frozen=True)
class Compared:
    """Answers are compared with right ones.

    final_answer(shown): the result in the visible part of an answer, or None; is_right(shown, target): whether that is
    the right one, if that takes more than to compare two texts.
    """

    final_answer: Callable[[str], Any]
    is_right: Callable[[str, str], bool] | None = None
    by: ClassVar[str] = COMPARED

    def shares(self, turns: list[Turn], grades: Grades) -> list[float | None]:
        """Return each answer's share of right, 0 to 1."""
        is_right = self.is_right or (lambda shown, target: self.final_answer(shown) == target)
        return [is_right(turn.shown, turn.target) for turn in turns]

    def readable(self, turn: Turn, grades: Grades) -> bool:
        """Return whether an answer gives a result at all."""
        return self.final_answer(turn.shown) is not None

    def check(self, questions: list[Question], dataset: Dataset | None) -> None:
        """All that grading needs is in the questions."""


@dataclass(frozen=True)
class Ruled:
    """Answers have to obey rules that come with their question; there is no right answer to compare with.

    is_right(turn): whether an answer obeys all of them; check_question(question): raises AoeError if they cannot be
    applied.
    """

    is_right: Callable[[Turn], bool]
    check_question: Callable[[Question], None]
    by: ClassVar[str] = COMPARED

    def shares(self, turns: list[Turn], grades: Grades) -> list[float | None]:
        """Return each answer's share of right: 1 or 0."""
        return [self.is_right(turn) for turn in turns]

    def readable(self, turn: Turn, grades: Grades) -> bool:
        """Return whether an answer has a visible part."""
        return bool(turn.shown.strip())

    def check(self, questions: list[Question], dataset: Dataset | None) -> None:
        """Raise AoeError if the rules of some question cannot be applied."""
        for question in questions:
            self.check_question(question)


def fastchat_rating(text: str, finish: str) -> float | None:
    """Return the rating of a judge that was asked as FastChat asks: ``Rating: [[8]]``; a Scale says which are ones."""
    from benchmarks.judging import rating_of

    return rating_of(text, finish, -math.inf, math.inf)


@dataclass(frozen=True)
class Scale:
    """The ratings of a judge, from ``lowest`` to ``highest``; an answer's share of right is a rating over the highest.

    rating_of(text, finish): the rating in what a judge said, or None; finish: OpenAI's reason for its end, ``length``
    for a judge that was cut off.
    """

    lowest: float = 1
    highest: float = 10
    rating_of: Callable[[str, str], float | None] = fastchat_rating

    def rating(self, text: str, finish: str) -> float | None:
        """Return the rating in what a judge said; None without one, and for one beyond the scale."""
        rating = self.rating_of(text, finish)
        return rating if rating is not None and self.lowest <= rating <= self.highest else None


@dataclass(frozen=True)
class Judged:
    """A judge rates every answer: the model, or the endpoint, of a study's section ``judge``.

    prompts(dataset): a function that gives the messages by which a judge is asked about a Turn.  Both raise AoeError if
    something is missing in the dataset.
    """

    prompts: Callable[[Any], Callable[[Turn], Messages]]  # of the Dataset, or None
    scale: Scale = Scale()
    by: ClassVar[str] = JUDGE

    def shares(self, turns: list[Turn], grades: Grades) -> list[float | None]:
        """Return the judge's grade of each answer, 0 to 1; None without a verdict."""
        return [grades.get(turn.place) for turn in turns]

    def readable(self, turn: Turn, grades: Grades) -> bool:
        """Return whether there is a verdict on an answer."""
        return grades.get(turn.place) is not None

    def check(self, questions: list[Question], dataset: Dataset | None) -> None:
        """Raise AoeError if a judge could not be asked about some turn of some question."""
        messages = self.prompts(dataset)
        for question in questions:
            asked = [question.input, *question.metadata.get("follow_ups", [])]
            for number in range(1, len(asked) + 1):
                answered = [""] * number
                messages(Turn(str(question.id), 1, number, "", "", question.metadata, asked[:number], answered))


@dataclass(frozen=True)
class Sandboxed:
    """Answers are programs, which run in a sandbox.

    In all three, a task is a question's metadata.  solvable(tasks, sandbox, limits, threads): of each task, whether its
    own solution passes here; grade(shown, tasks, sandbox, limits, threads): of each answer, whether it passes; see
    benchmarks.sandbox.  has_program(shown, task): whether an answer has a program at all.
    """

    solvable: Callable[..., list[bool]]
    grade: Callable[..., list[bool]]
    has_program: Callable[[str, dict[str, Any]], bool]
    by: ClassVar[str] = SANDBOX

    def shares(self, turns: list[Turn], grades: Grades) -> list[float | None]:
        """Return 1 for each program that passed, 0 for the others; None where the task's own solution fails, too."""
        return [grades.get(turn.place) for turn in turns]

    def readable(self, turn: Turn, grades: Grades) -> bool:
        """Return whether an answer has a program."""
        return self.has_program(turn.shown, turn.metadata)

    def check(self, questions: list[Question], dataset: Dataset | None) -> None:
        """All that grading needs is in the questions."""


@dataclass(frozen=True)
class Benchmark:
    """A benchmark: where its questions come from, how they are asked, and how answers are graded.

    name: in studies and in columns of tables.  title: in print.  summary: its row in config/README.md.
    questions(settings, dataset): its Questions; settings: the study's; raises AoeError if the dataset is another one's.
    grading: Compared, Ruled, Judged or Sandboxed.  reads_dataset: whether questions come from a dataset, rather than
    being drawn with the seed.  turns: answers to a question, for estimates.  sampling: where a study states nothing.
    short_title: for the narrow bars of figure 8, with line breaks.
    """

    name: str
    title: str
    summary: str
    questions: Callable[[Mapping[str, Any], Any], list[Question]]  # of the Dataset, or None if it reads none
    grading: Compared | Ruled | Judged | Sandboxed
    reads_dataset: bool = True
    turns: int = 1
    sampling: Mapping[str, Any] = field(default_factory=lambda: DEEPSEEK)
    short_title: str = ""

    @property
    def graded_by(self) -> str:
        """COMPARED, JUDGE or SANDBOX."""
        return self.grading.by


@cache
def table() -> dict[str, Benchmark]:
    """Return name -> Benchmark of the whole suite, in the order of files.

    Raises AoeError for a file that cannot be imported, one without a benchmark, and for two of one name.
    """
    return collect(importlib.import_module(SUITE))


def collect(package: ModuleType) -> dict[str, Benchmark]:
    """Return name -> Benchmark of the modules of a package; raises AoeError as ``table`` does."""
    found: dict[str, Benchmark] = {}
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
        for benchmark in _benchmarks_in(f"{package.__name__}.{module.name}"):
            if found.setdefault(benchmark.name, benchmark) is not benchmark:
                raise AoeError(f"{package.__name__}.{module.name}: another file has a benchmark {benchmark.name!r}.")
    return found


def _benchmarks_in(name: str) -> list[Benchmark]:
    try:
        module = importlib.import_module(name)
    except Exception as error:  # of any kind: the file is anybody's
        raise AoeError(f"The benchmark in {name} cannot be used: {type(error).__name__}: {error}.") from error
    found = [value for value in vars(module).values() if isinstance(value, Benchmark)]
    if not found:
        raise AoeError(f"{name} has no benchmark; write `BENCHMARK = Benchmark(…)`, or move the file elsewhere.")
    for benchmark in found:
        if not isinstance(benchmark.grading, Compared | Ruled | Judged | Sandboxed) or not callable(
            benchmark.questions
        ):
            raise AoeError(
                f"The benchmark {benchmark.name} in {name} cannot be used: `questions` has to be a function, and "
                "`grading` one of Compared, Ruled, Judged and Sandboxed."
            )
    return found


def benchmark(name: str) -> Benchmark:
    """Return the benchmark of a name.  Raises AoeError if there is none."""
    benchmarks.benchmark(name)
    return table()[name]


def names() -> list[str]:
    """Return the names of all benchmarks."""
    return list(table())


def judged(name: str) -> Judged:
    """Return how a benchmark is graded by a judge.  Raises AoeError for one that is not."""
    grading = benchmark(name).grading
    if not isinstance(grading, Judged):
        raise AoeError(f"Answers to {name} are not rated by a judge.")
    return grading


def sandboxed(name: str) -> Sandboxed:
    """Return how a benchmark is graded in the sandbox.  Raises AoeError for one that is not."""
    grading = benchmark(name).grading
    if not isinstance(grading, Sandboxed):
        raise AoeError(f"Answers to {name} are no programs for the sandbox.")
    return grading


def names_and_judge() -> list[str]:
    """Return what writes tokens: the benchmarks, and ``judge``."""
    return [*table(), "judge"]


def names_with_datasets() -> list[str]:
    """Return the names of the benchmarks that read a dataset."""
    return [name for name, benchmark in table().items() if benchmark.reads_dataset]


def settings_schemas() -> dict[str, dict[str, str]]:
    """Return name -> the JSON schema of a benchmark's settings in a study."""
    kinds = {True: "read", False: "drawn"}
    return {name: {"$ref": f"#/$defs/{kinds[benchmark.reads_dataset]}"} for name, benchmark in table().items()}


benchmarks.register(table)
