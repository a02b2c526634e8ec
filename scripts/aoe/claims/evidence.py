"""The results of a study that claims are tested on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from aoe.audit import Row
from aoe.audit.table import to_rows
from aoe.files.tables import read_table
from aoe.scores.summary import Answers


class NotRunError(Exception):
    """A study cannot test a claim; the message is the reason, in words that follow a colon."""


@dataclass
class Evidence:
    """The results of a study, each read when it is first needed.

    folder: results/{study}; names: role in claims -> name in the study; sweeps: name -> list of {lambda2, delta,
    variant}; scores: the study's section of that name; differences: (base, other, space) whose norms are looked at, or
    None; audits: name -> (the audited model, its parents); timed: the variants whose speed was measured; models: their
    names; repositories: model -> what it was locked from; architecture: a config.json as a dict; measured: the rows of
    docs/benchmarks.json.
    """

    folder: Path
    names: dict[str, str] = field(default_factory=dict)
    sweeps: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    differences: Sequence[str] | None = None
    audits: dict[str, Sequence[Any]] = field(default_factory=dict)
    timed: Sequence[str] = ()
    models: Sequence[str] = ()
    repositories: dict[str, str | None] = field(default_factory=dict)
    architecture: dict[str, Any] = field(default_factory=dict)
    measured: list[dict[str, Any]] = field(default_factory=list)

    def name(self, role: str) -> str:
        """Return how the study calls what claims call ``role``."""
        return self.names.get(role, role)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """The table of all variants.  Raises NotRunError if the study asks nothing, as the next three do."""
        if not self.scores:
            raise NotRunError("the study asks no questions")
        return read_table(self.folder / "summary.csv").set_index("variant")

    @cached_property
    def transitions(self) -> pd.DataFrame:
        """The fitted steps, by sweep and measure."""
        return self._fitted("transitions").set_index(["sweep", "measure"])

    @cached_property
    def curves(self) -> pd.DataFrame:
        """The drawn curves of the fitted steps, by sweep and measure."""
        return self._fitted("transition_curves").set_index(["sweep", "measure"])

    def _fitted(self, table):
        if not self.scores:
            raise NotRunError("the study asks no questions")
        return read_table(self.folder / f"{table}.csv")

    @cached_property
    def answers(self) -> tuple[pd.DataFrame, Answers]:
        """(the scored answers as a table, the same as Answers)."""
        if not self.scores:
            raise NotRunError("the study asks no questions")
        table = read_table(self.folder / "scores.parquet")
        return table, Answers(table)

    @cached_property
    def norms(self) -> pd.DataFrame:
        """One row a weight: the norms of the difference between the study's two models."""
        if not self.differences:
            raise NotRunError("the study measures no differences")
        base, other, _ = self.differences
        rows = read_table(self.folder / "differences.parquet")
        return rows[(rows.base == base) & (rows.other == other)]

    @property
    def space(self) -> str:
        """The norm in which the study looks at differences."""
        if not self.differences:
            raise NotRunError("the study measures no differences")
        return self.differences[2]

    @cached_property
    def latencies(self) -> pd.DataFrame:
        """The table of speed and energy at the lowest concurrency."""
        if not self.timed:
            raise NotRunError("the study measures no speed")
        table = read_table(self.folder / "latency.csv")
        return table[table.at_once == table.at_once.min()].set_index("variant")

    def speed(self, role: str) -> pd.Series:
        """Return the row of a variant in the table of speed and energy."""
        if self.name(role) not in self.latencies.index:
            raise NotRunError(f"the study does not measure the speed of {self.name(role)}")
        return self.latencies.loc[self.name(role)]

    def variant(self, role: str) -> pd.Series:
        """Return the row of a variant in the summary."""
        if self.name(role) not in self.summary.index:
            raise NotRunError(f"the study has no variant {self.name(role)}")
        return self.summary.loc[self.name(role)]

    def sweep(self, role: str) -> pd.DataFrame:
        """Return a sweep's points: ``lambda2``, ``delta``, ``variant``, and the columns of the summary."""
        if self.name(role) not in self.sweeps:
            raise NotRunError(f"the study has no sweep {self.name(role)}")
        points = pd.DataFrame(self.sweeps[self.name(role)])
        return points.join(self.summary.drop(columns="delta"), on="variant").sort_values(["lambda2", "delta"])

    def of_sweep(self, table: pd.DataFrame, role: str, measure: str) -> pd.Series:
        """Return the rows of a fitted sweep and measure."""
        if (self.name(role), measure) not in table.index:
            raise NotRunError(f"the study has no sweep {self.name(role)} to which {measure} could be fitted")
        return table.loc[(self.name(role), measure)]

    def audited(self, role: str) -> tuple[list[Row], Sequence[str]]:
        """Return (one row a weight of an audited model; the names of the parents it was compared with)."""
        audits = [name for name, (model, _) in self.audits.items() if model == self.name(role)]
        if not audits:
            raise NotRunError(f"the study has no audit of {self.name(role)}")
        table = read_table(self.folder / "audits" / audits[0] / "weights.parquet")
        return to_rows(table), self.audits[audits[0]][1]
