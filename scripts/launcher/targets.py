"""Which files a finished study has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aoe.document.figures import figures_of
from aoe.studies.families import compares_roundings, families

if TYPE_CHECKING:
    from snakemake.io import Wildcards
    from launcher.audits import Audits
    from launcher.inputs import Inputs
    from launcher.run import Run

DOCUMENTS = ["claims.csv", "norms.csv", "paper.json", "paper.pdf", "paper.html", "index.html"]
SCORES = ["scores.parquet", "summary.csv", "transitions.csv", "transition_curves.csv"]
SCORES += ["comparisons.csv", "categories.csv", "unreadable.csv"]


class Targets:
    """Lists of files, by what a study has: ``figures`` (their names) and ``tables``."""

    def __init__(self, run: Run, inputs: Inputs, audits: Audits) -> None:
        self.run, self.study, self.results, self.inputs, self.audits = run, run.study, run.results, inputs, audits
        self.asked = list(run.study.variants) if run.benchmarks else []
        self.figures, self.tables = [figure.name for figure in figures_of(run.study)], self._tables()

    def _tables(self) -> list[str]:
        tables = [*SCORES] if self.study.asks else []
        if found := families(self.study) if self.study.asks else []:
            tables += ["simulated.csv", *(["explained.csv"] if compares_roundings(found) else [])]
        if self.run.judged:
            tables += ["judgements.parquet", "judge.csv"]
        if self.run.sandboxed:
            tables += ["programs/solvable.json", *(f"programs/{variant}.parquet" for variant in self.study.variants)]
        if self.run.timed:
            tables += ["latency.csv", *(f"latency/{variant}.csv" for variant in self.run.timed)]
        return tables

    def finished(self, wildcards: Wildcards | None = None) -> list[Any]:
        """Every file of a study that is kept.

        All are targets: a product that an interrupted job took away would otherwise not be missed while what was once
        made from it is still there.
        """
        inputs, results = self.inputs, self.results
        return [
            *inputs.all_records(),
            *inputs.all_verified(),
            *inputs.difference_tables(),
            *([results.differences()] if self.study.compared() else []),
            *inputs.expected_lambda(),
            *inputs.realized_sums(),
            *inputs.realized(),
            *(file for variant in inputs.exported for file in inputs.merged_files(variant)),
            *(file for variant in self.asked for file in results.answer_files(variant, self.run.benchmarks)),
            *self.audits.files(),
            *(results.plan(variant) for variant in inputs.planned),
            *(results.path("scores", f"{variant}.parquet") for variant in self.asked),
            *map(results.path, self.tables),
            *(file for figure in self.figures for file in results.figure_files(figure)),
            *map(results.path, DOCUMENTS),
        ]
