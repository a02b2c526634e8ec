"""What the document, the claims and the figures are told of a study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aoe.document.figures import Figure, Settings, figures_of, settings_of
from aoe.nodes.machine import UNKNOWN, commit
from aoe.serving.server import command_line
from aoe.studies.families import compares_roundings, families

if TYPE_CHECKING:
    from snakemake.io import Wildcards
    from launcher.run import Run


class Document:
    """The inputs and params of the rules that turn results into what people read."""

    def __init__(self, run: Run) -> None:
        self.run, self.study, self.results = run, run.study, run.results
        self.families = families(run.study) if run.study.asks else []
        self.compares_roundings = compares_roundings(self.families)

    def claimed_results(self, wildcards: Wildcards) -> dict[str, list[str]]:
        """Everything that claims are tested on, and the document shows."""
        asks, timed = self.study.asks, self.run.timed
        tables = ["scores.parquet", "summary.csv", "transitions.csv", "transition_curves.csv"] if asks else []
        audits = [f"audits/{audit}/{file}" for audit in self.study.audits for file in ("audit.json", "weights.parquet")]
        results = [self.results.path(file) for file in tables + audits + (["latency.csv"] if timed else [])]
        differences = [self.results.differences()] if asks and self.study.compared() else []
        return {"results": results + differences}

    def realized(self, wildcards: Wildcards | None = None) -> list[str]:
        """The table of realized λ, if any variant that is asked combines weights."""
        return [self.results.realized()] if self.study.asks and self.study.mixed else []

    def evidence(self, wildcards: Wildcards) -> dict[str, Any]:
        """What aoe.claims.evidence.Evidence has to know of the study."""
        content, figures = self.study.content, self.study.content.get("figures")
        return {
            "names": content.get("claims", {}),
            "sweeps": self.study.positions(),
            "scores": content.get("scores", {}),
            "differences": [figures[key] for key in ("base", "other", "space")] if figures else None,
            "audits": {name: [entry["model"], entry["parents"]] for name, entry in self.study.audits.items()},
            "timed": self.run.timed,
            "models": list(self.study.models),
            "repositories": {name: self.run.locked[name].repo for name in self.study.models},
        }

    def study_facts(self, wildcards: Wildcards) -> dict[str, Any]:
        """What the document says of the study itself."""
        serving = self.study.content.get("serving", {}).get("options")
        return {
            "study": self.study.name,
            "title": self.study.content["title"],
            "lock": self.study.content["lock"],
            "commit": commit(),
            "commands": self._commands(),
            "serving": " ".join(command_line(serving)) if serving else None,
            "models": [self._input(name) for name in self.study.models],
            "datasets": [self._input(name) for name in self.study.datasets],
            "judge": self._judge(),
        }

    def settings(self, wildcards: Wildcards) -> dict[str, Any]:
        """Which variants and norms the document's sentences are about."""
        figures, scores = self.study.content.get("figures", {}), self.study.content.get("scores", {})
        labels = {variant: self.study.label(variant) for variant in self.run.timed}
        chosen = {"reference": scores.get("reference"), "intelligence": scores.get("intelligence"), "timed": labels}
        return {**figures, **chosen}

    def labels(self, wildcards: Wildcards | None = None) -> dict[str, str]:
        """variant -> its label."""
        return {variant: self.study.label(variant) for variant in self.study.variants}

    def figure_settings(self, wildcards: Wildcards | None = None) -> dict[str, Settings]:
        """figure -> what its drawing and its finding have to know of the study, of the figures that the study has."""
        return {figure.name: settings_of(figure, self.study, self.run.claims) for figure in figures_of(self.study)}

    def figure_tables(self, wildcards: Wildcards) -> list[str]:
        """The tables that the study's figures are drawn from, each once."""
        return list({path: None for figure in figures_of(self.study) for path in self.drawn_from(figure)})

    def drawn_from(self, figure: Figure) -> list[str]:
        """The tables that a figure is drawn from in this study."""
        optional = [self.results.path(table) for table in figure.optional]
        return [*map(self.results.path, figure.needs), *(path for path in optional if path in self.explained())]

    def explained(self, wildcards: Wildcards | None = None) -> list[str]:
        """The test of what realized λ2 explain, if the study has several roundings."""
        return [self.results.path("explained.csv")] if self.compares_roundings else []

    def figure_params(self, figure: Figure) -> dict[str, Any]:
        """The params of a figure's rule: ``figure``, ``settings``, and ``caption``, for Snakemake's report."""
        settings = settings_of(figure, self.study, self.run.claims)
        # of a text, instead of a function, Snakemake would take braces for wildcards
        return {"figure": figure.name, "settings": settings, "caption": lambda wildcards: figure.described(settings)}

    def _input(self, name: str) -> dict[str, str]:
        """Of a model or dataset, as it was locked: label, revision, size in words."""
        entry = self.run.locked[name]
        label = self.study.label(name) if name in self.study.models else name
        return {"label": label, "revision": entry.revision, "size": size_in_words(entry.size(entry.needed))}

    def _judge(self) -> str | None:
        """Who grades the answers that no rule can grade; None if there are none."""
        judge = self.study.content.get("judge")
        if not judge or not self.run.judged:
            return None
        elsewhere = "endpoint" in judge
        return f"{judge['model']}, revision {judge['revision']}" if elsewhere else self.study.label(judge["model"])

    def _commands(self) -> str:
        """The commands that make all of it once more: on one machine, or on a cluster."""
        here = commit()
        checkout = [f"git checkout {here.removesuffix('-dirty')}"] if not here.startswith(UNKNOWN) else []
        gpus = self.study.content.get("serving", {}).get("gpus")
        with_gpus = f' SDM="--software-deployment-method conda" RESOURCES=gpu={gpus}' if gpus else ""
        alone = f"make run STUDY={self.study.name}{with_gpus}"
        cluster = f"# or: snakemake --profile slurm --config study={self.study.name}"
        return "\n".join([*checkout, alone, cluster])


def size_in_words(size: int) -> str:
    """A size in bytes as people read it: ``689 GB``, ``12.3 MB``."""
    return f"{size / 1e9:,.0f} GB" if size >= 1e10 else f"{size / 1e6:,.1f} MB"
