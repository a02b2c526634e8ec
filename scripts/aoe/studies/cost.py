"""The cost of a study, before anybody submits it: bytes to fetch, disk at its peak, GPU hours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aoe.acquiring.lock import Locked
    from aoe.studies.study import Study

from aoe.benchmarks import JUDGE, benchmark, graded_by

GB = 1e9
LOG_BYTES = 6  # that an Inspect log takes, compressed, for a token: its text and its id


@dataclass(frozen=True)
class Cost:
    """The cost of a study; what the study does not say is None.

    ``fetched``: name of a model or dataset -> bytes; ``exported``: variant -> bytes of its checkpoint; ``answers``:
    benchmark -> answers of one variant; ``tokens``: expected of all answers, ``most_tokens``: at the very most;
    ``servers``: that are started, one a variant; ``start_minutes``, ``tokens_per_second``, ``gpus``: of one server.
    """

    fetched: dict[str, int]
    exported: dict[str, int]
    answers: dict[str, int | None]
    variants: int
    tokens: float | None
    most_tokens: float | None
    servers: int
    start_minutes: float | None
    tokens_per_second: float | None
    gpus: int

    @property
    def disk(self) -> float:
        """Bytes at the end, which is the peak: nothing is deleted on the way."""
        logs = (self.tokens or 0) * LOG_BYTES
        return sum(self.fetched.values()) + sum(self.exported.values()) + logs

    def gpu_hours(self, tokens: float | None) -> float | None:
        """Return the GPU hours of all servers to start and to write so many tokens; None if that is not known."""
        if tokens is None or self.start_minutes is None or self.tokens_per_second is None:
            return None
        seconds = self.servers * self.start_minutes * 60 + tokens / self.tokens_per_second
        return self.gpus * seconds / 3600

    def rows(self) -> list[tuple[str, float | None, str]]:
        """Return (what, amount or None, unit) of the table that people read."""
        return [
            *((f"download of {name}", size / GB, "GB") for name, size in self.fetched.items()),
            ("download, all", sum(self.fetched.values()) / GB, "GB"),
            *((f"checkpoint of {variant}", size / GB, "GB") for variant, size in self.exported.items()),
            ("disk, at the peak", self.disk / GB, "GB"),
            ("variants", self.variants, ""),
            *((f"answers to {name}", number and number * self.variants, "") for name, number in self.answers.items()),
            ("tokens", self.tokens and self.tokens / 1e6, "million"),
            ("GPU hours", self.gpu_hours(self.tokens), "h"),
            ("GPU hours, at the very most", self.gpu_hours(self.most_tokens), "h"),
        ]


def estimate(study: Study, locked: Mapping[str, Locked]) -> Cost:
    """Estimate the Cost of a study; locked: of its models and datasets, or what the study expects of them.

    The study's ``cost`` section says how long an answer is, its benchmarks' ``max_tokens`` how long one may be.
    """
    content = study.content
    nothing = {} if study.asks else {"tokens": {}, "start_minutes": 0, "tokens_per_second": 1}
    assumed, benchmarks = content.get("cost", nothing), content.get("benchmarks", {})
    answers = {}
    for name, entry in benchmarks.items():
        known = [number for number in (entry.get("questions"), assumed.get("questions", {}).get(name)) if number]
        answers[name] = min(known) * entry.get("answers", 1) * benchmark(name).turns if known else None
    longest = {name: entry.get("max_tokens") for name, entry in benchmarks.items()}
    judge = {"max_tokens": 2048, "retries": 2, **content.get("judge", {})}
    longest["judge"] = judge["max_tokens"] * (1 + judge["retries"])
    return Cost(
        fetched={name: locked[name].size(locked[name].needed) for name in study.sources},
        exported={
            variant: locked[recipe.base].size(locked[recipe.base].shards) * recipe.largest_growth
            for variant, recipe in study.variants.items()
            if recipe.publish
        },
        answers=answers,
        variants=len(study.variants) if study.asks else 0,
        tokens=_tokens(study, answers, assumed.get("tokens", {})),
        most_tokens=_tokens(study, answers, longest),
        servers=len(study.variants) + _judged_here(study) if study.asks else 0,
        start_minutes=assumed.get("start_minutes"),
        tokens_per_second=assumed.get("tokens_per_second"),
        gpus=content["serving"]["gpus"] if study.asks else 0,
    )


def _tokens(study, answers, lengths):
    """Tokens of all variants, and of a judge of the study's own, by the lengths of answers; None if one is unknown.

    lengths: benchmark, or ``judge``, -> tokens.
    """
    if _judged_here(study):
        judged = [answers[name] for name in graded_by(answers, JUDGE)]
        answers = answers | {"judge": None if None in judged else sum(judged)}
    if any(number is None or lengths.get(name) is None for name, number in answers.items()):
        return None
    return len(study.variants) * sum(number * lengths[name] for name, number in answers.items())


def _judged_here(study):
    return bool(graded_by(study.content.get("benchmarks", {}), JUDGE)) and "endpoint" not in study.content["judge"]
