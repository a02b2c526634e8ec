"""The paths of a study's results: every one of them is spelt here once, and as a pattern in the rule that makes it."""

from collections.abc import Iterable
from dataclasses import dataclass

FIGURE_ENDINGS = ("svg", "pdf", "png", "csv")
AUDIT_FILES = ("audit.json", "recovered.yaml", "weights.parquet", "lambdas.csv", "deviations.csv", "audit.html")


@dataclass(frozen=True)
class Results:
    """Paths of what a study makes, as texts relative to the workflow's folder; study: its name."""

    study: str

    def path(self, *parts: str) -> str:
        """A path below the folder of the study's results."""
        return "/".join(["results", self.study, *parts])

    def record(self, name: str, file: str) -> str:
        """The record of a file's download; name: of a model or dataset."""
        return self.path("downloaded", name, f"{file}.json")

    def verified(self, name: str) -> str:
        """The file which says that all files of a model or dataset are as locked."""
        return self.path("verified", f"{name}.json")

    def verified_for(self, variant: str, name: str) -> str:
        """The file which says so of the files that one variant reads of a parent."""
        return self.path("verified_for", variant, f"{name}.json")

    def receipts(self, name: str) -> str:
        """The folder that remembers which files of a model or dataset were read, and when."""
        return self.path("receipts", name)

    def differences(self, base: str | None = None, other: str | None = None, shard: str | None = None) -> str:
        """The table of all differences, or that of one shard of a pair of models."""
        if shard is None:
            return self.path("differences.parquet")
        return self.path("differences", f"{base}", f"{other}", f"{shard}.parquet")

    def realized(self, base: str | None = None, shard: str | None = None) -> str:
        """The table of realized λ, or the sums of the variants of one base, of one of its shards."""
        if shard is None:
            return self.path("realized.parquet")
        return self.path("realized", f"{base}", f"{shard}.parquet")

    def plan(self, variant: str) -> str:
        """A variant's plan."""
        return self.path("plans", f"{variant}.json")

    def merged(self, variant: str, file: str | None = None) -> str:
        """The folder of a variant's checkpoint, or a file in it."""
        return self.path("merged", variant, *([file] if file else []))

    def answers(self, variant: str, file: str) -> str:
        """A file of a variant's answers."""
        return self.path("answers", variant, file)

    def answer_files(self, variant: str, benchmarks: Iterable[str]) -> list[str]:
        """All files of a variant's answers."""
        return [self.answers(variant, file) for file in ["machine.json", *(f"{name}.eval" for name in benchmarks)]]

    def audit_files(self, audit: str) -> list[str]:
        """All files that an audit leaves."""
        files = [*AUDIT_FILES, *(f"map.{ending}" for ending in FIGURE_ENDINGS)]
        return [self.path("audits", audit, file) for file in files]

    def figure_files(self, figure: str) -> list[str]:
        """The files of a figure: the picture in three formats, and its data."""
        return [self.path("figures", f"{figure}.{ending}") for ending in FIGURE_ENDINGS]
