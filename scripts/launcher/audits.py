"""What the rules of audits read and are told, and what all audits of a study found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aoe import AoeError
from aoe.acquiring.lock import digest
from aoe.audit import VERIFIED

if TYPE_CHECKING:
    from snakemake.io import Wildcards
    from aoe.studies.study import Study
    from launcher.inputs import Inputs
    from launcher.run import Run


class Audits:
    """The inputs and params of the rules of audits."""

    def __init__(self, run: Run, inputs: Inputs) -> None:
        self.run, self.study, self.results, self.inputs = run, run.study, run.results, inputs

    def settings(self, wildcards: Wildcards) -> dict[str, Any]:
        """An audit as the study writes it."""
        return self.study.audits[wildcards.audit]

    def _models(self, wildcards: Wildcards) -> list[str]:
        """The audited model and the parents; without a variant that the study exports itself, which is not locked."""
        settings = self.settings(wildcards)
        return [name for name in [settings["model"], *settings["parents"]] if name in self.study.models]

    def needed(self, wildcards: Wildcards) -> dict[str, Any]:
        """The parents, the audited model, and the plan of the claimed recipe."""
        settings = self.settings(wildcards)
        needed: dict[str, Any] = {"verified": self.inputs.verified(self._models(wildcards))}
        if settings["model"] not in self.study.models:
            needed["merged"] = self.results.merged(settings["model"], "recipe.json")
        if "claim" in settings:
            needed["plan"] = self.results.plan(settings["claim"])
        return needed

    def claim(self, wildcards: Wildcards) -> dict[str, Any] | None:
        """The claimed recipe as the study writes it."""
        claim = self.settings(wildcards).get("claim")
        return self.study.entries[claim] if claim else None

    def checkpoints(self, wildcards: Wildcards) -> dict[str, str]:
        """name -> folder of the audited model and its parents."""
        settings = self.settings(wildcards)
        folders = {parent: self.run.directories[parent] for parent in settings["parents"]}
        return folders | self.inputs.checkpoints_of(settings["model"])

    def revisions(self, wildcards: Wildcards) -> dict[str, str]:
        return self.inputs.revisions(self._models(wildcards))

    def digests(self, wildcards: Wildcards) -> dict[str, dict[str, str]]:
        """name -> the digest of every locked file of a model."""
        locked = self.run.locked
        models = self._models(wildcards)
        return {name: {file: digest(entry) for file, entry in locked[name].files.items()} for name in models}

    def labels(self, wildcards: Wildcards) -> dict[str, str]:
        settings = self.settings(wildcards)
        return {name: self.study.label(name) for name in [settings["model"], *settings["parents"]]}

    def shard_tables(self, wildcards: Wildcards) -> list[str]:
        """The tables of all shards of an audited model; an exported variant has its base's shards."""
        shards = self.inputs.shards(self.study.variants[self.settings(wildcards)["model"]].base)
        return [self.results.path("audits", wildcards.audit, "shards", f"{shard}.parquet") for shard in shards]

    def files(self) -> list[str]:
        """Everything that the audits of the study leave."""
        return [file for audit in self.study.audits for file in self.results.audit_files(audit)]


def show_verdicts(study: Study, path: str | Path) -> None:
    """Print every audit's verdict and write them to ``path``.  Raises AoeError unless all are verified."""
    if not study.audits:
        raise AoeError(f"The study {study.name} has no audits; config/README.md says how one is written.")
    lines, failed = [], []
    for name in study.audits:
        folder = Path(f"results/{study.name}/audits/{name}")
        found = json.loads((folder / "audit.json").read_text(encoding="utf-8"))
        lines += [f"{name}: {found['verdict']}. {' '.join(found['summary'])}", f"  {folder}/audit.html"]
        if found["verdict"] != VERIFIED:
            failed.append(f"{name}: {found['verdict']}")
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    if failed:
        raise AoeError(f"Not everything is verified: {'; '.join(failed)}.")
