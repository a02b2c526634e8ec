"""What a study costs, before anybody submits it: bytes to fetch, disk at its peak, GPU hours."""

from dataclasses import dataclass

from aoe.benchmarks import JUDGE, benchmark, graded_by

GB = 1e9
LOG_BYTES = 6  # that an Inspect log takes, compressed, for a token: its text and its id


@dataclass(frozen=True)
class Cost:
    """``fetched``: name of a model or dataset -> bytes; ``published``: variant -> bytes of its checkpoint; ``answers``:
    benchmark -> answers of one variant; ``tokens`` that are written in all, ``most_tokens`` that may be; ``servers``
    that are started, one a variant; what one takes: ``start_minutes``, ``tokens_per_second``, ``gpus``.

    What a study does not say is None.
    """

    fetched: dict
    published: dict
    answers: dict
    variants: int
    tokens: float | None
    most_tokens: float | None
    servers: int
    start_minutes: float | None
    tokens_per_second: float | None
    gpus: int

    @property
    def disk(self):
        """Bytes at the end, which is the peak: nothing is deleted on the way."""
        logs = (self.tokens or 0) * LOG_BYTES
        return sum(self.fetched.values()) + sum(self.published.values()) + logs

    def gpu_hours(self, tokens):
        """What all servers take to start and to write so many tokens; None if that is not known."""
        if None in (tokens, self.start_minutes, self.tokens_per_second):
            return None
        seconds = self.servers * self.start_minutes * 60 + tokens / self.tokens_per_second
        return self.gpus * seconds / 3600

    def rows(self):
        """(what, amount or None, unit) of the table that people read."""
        return [
            *((f"download of {name}", size / GB, "GB") for name, size in self.fetched.items()),
            ("download, all", sum(self.fetched.values()) / GB, "GB"),
            *((f"checkpoint of {variant}", size / GB, "GB") for variant, size in self.published.items()),
            ("disk, at the peak", self.disk / GB, "GB"),
            ("variants", self.variants, ""),
            *((f"answers to {name}", number and number * self.variants, "") for name, number in self.answers.items()),
            ("tokens", self.tokens and self.tokens / 1e6, "million"),
            ("GPU hours", self.gpu_hours(self.tokens), "h"),
            ("GPU hours, at the very most", self.gpu_hours(self.most_tokens), "h"),
        ]


def estimate(study, locked):
    """The Cost of a Study whose models and datasets are ``locked`` (name -> Locked), or expected.

    What an answer takes is the study's ``cost`` section; what it may take, its benchmarks' ``max_tokens``.
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
        published={
            variant: locked[recipe.base].size(locked[recipe.base].shards)
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
    """What all variants, and a judge of the study's own, write if answers have these lengths; None if one is unknown.

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
