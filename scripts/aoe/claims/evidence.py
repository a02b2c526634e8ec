"""What a study found, for whoever tests a claim on it."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd
from aoe.audit.table import to_rows
from aoe.files.tables import read_table
from aoe.scores.summary import Answers


class NotRunError(Exception):
    """Why a study cannot test a claim, in words that follow a colon."""


@dataclass
class Evidence:
    """What a study found, read when it is asked for.

    folder: results/{study}; names: how the study calls what claims name otherwise; sweeps: name -> list of {lambda2,
    delta, variant}; scores: the study's section of that name; differences: (base, other, space) whose norms are looked
    at, or None; audits: name -> (the audited model, its parents); timed: the variants whose speed was measured; models:
    their names; repositories: model -> what it was locked from; architecture: a config.json as a dict; measured: the
    rows of docs/benchmarks.json.
    """

    folder: Path
    names: dict = field(default_factory=dict)
    sweeps: dict = field(default_factory=dict)
    scores: dict = field(default_factory=dict)
    differences: tuple | None = None
    audits: dict = field(default_factory=dict)
    timed: tuple = ()
    models: tuple = ()
    repositories: dict = field(default_factory=dict)
    architecture: dict = field(default_factory=dict)
    measured: list = field(default_factory=list)

    def name(self, role):
        return self.names.get(role, role)

    @cached_property
    def summary(self):
        """The table of all variants; none if the study asks nothing."""
        if not self.scores:
            raise NotRunError("the study asks no questions")
        return read_table(self.folder / "summary.csv").set_index("variant")

    @cached_property
    def transitions(self):
        return self._fitted("transitions").set_index(["sweep", "measure"])

    @cached_property
    def curves(self):
        return self._fitted("transition_curves").set_index(["sweep", "measure"])

    def _fitted(self, table):
        if not self.scores:
            raise NotRunError("the study asks no questions")
        return read_table(self.folder / f"{table}.csv")

    @cached_property
    def answers(self):
        """(the scored answers as a table, the same as Answers)."""
        if not self.scores:
            raise NotRunError("the study asks no questions")
        table = read_table(self.folder / "scores.parquet")
        return table, Answers(table)

    @cached_property
    def norms(self):
        """One row a weight: the norms of the difference between the study's two models."""
        if not self.differences:
            raise NotRunError("the study measures no differences")
        base, other, _ = self.differences
        rows = read_table(self.folder / "differences.parquet")
        return rows[(rows.base == base) & (rows.other == other)]

    @cached_property
    def latencies(self):
        """The table of speed and energy, for the queue in which fewest questions are asked at once."""
        if not self.timed:
            raise NotRunError("the study measures no speed")
        table = read_table(self.folder / "latency.csv")
        return table[table.at_once == table.at_once.min()].set_index("variant")

    def speed(self, role):
        """The row of a variant in the table of speed and energy."""
        if self.name(role) not in self.latencies.index:
            raise NotRunError(f"the study does not measure the speed of {self.name(role)}")
        return self.latencies.loc[self.name(role)]

    def variant(self, role):
        """The row of a variant in the summary."""
        if self.name(role) not in self.summary.index:
            raise NotRunError(f"the study has no variant {self.name(role)}")
        return self.summary.loc[self.name(role)]

    def sweep(self, role):
        """A sweep's points, as a table with the summary's columns beside ``lambda2``, ``delta`` and ``variant``."""
        if self.name(role) not in self.sweeps:
            raise NotRunError(f"the study has no sweep {self.name(role)}")
        points = pd.DataFrame(self.sweeps[self.name(role)])
        return points.join(self.summary.drop(columns="delta"), on="variant").sort_values(["lambda2", "delta"])

    def of_sweep(self, table, role, measure):
        """The rows of a fitted sweep and measure."""
        if (self.name(role), measure) not in table.index:
            raise NotRunError(f"the study has no sweep {self.name(role)} to which {measure} could be fitted")
        return table.loc[(self.name(role), measure)]

    def audited(self, role):
        """(one row a weight of a model, as its audit found it; the names of the parents it was compared with)."""
        audits = [name for name, (model, _) in self.audits.items() if model == self.name(role)]
        if not audits:
            raise NotRunError(f"the study has no audit of {self.name(role)}")
        table = read_table(self.folder / "audits" / audits[0] / "weights.parquet")
        return to_rows(table), self.audits[audits[0]][1]
