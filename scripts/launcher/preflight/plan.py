"""What a preflight tries, for a study and the way in which Snakemake was called."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aoe import AoeError
from aoe.studies.cost import estimate
from launcher.preflight.stages import checks_of, requested_by, scripts_of

if TYPE_CHECKING:
    from snakemake.workflow import Workflow
    from launcher.run import Run

MERGED = ("v3-0324", "r1")  # the two models of the mini family that stand for the study's own


class Trials:
    """The params of the preflight's own rules."""

    def __init__(self, run: Run) -> None:
        self.run, self.study = run, run.study

    def file(self, name: str) -> str:
        """A file in the preflight's folder."""
        return self.run.results.path("preflight", name)

    def folders(self) -> dict[str, str]:
        """purpose -> folder that jobs write to."""
        return {"inputs": os.path.expanduser(self.run.config["inputs"]), "results": self.run.results.path()}

    def parents(self) -> dict[str, str]:
        """name -> folder of the models that are merged and served instead of the study's own."""
        return {name: str(self.run.folder / "resources/mini" / name) for name in MERGED}

    def judge_elsewhere(self) -> dict[str, Any] | None:
        """The judge's settings if it is an endpoint, which has to be reached."""
        judge = self.study.content.get("judge", {})
        return judge if self.run.judged and "endpoint" in judge else None

    def inputs(self, wildcards: Any = None) -> dict[str, dict[str, Any]]:
        """name -> arguments of aoe.acquiring.access.check_access, of all that is fetched."""
        return {name: self._input(name, self.study.inputs[name]) for name in self.study.sources}

    def _input(self, name: str, entry: dict[str, Any]) -> dict[str, Any]:
        locked, _ = checked(self.run)
        commit = locked[name].commit if self.run.is_locked and locked else None
        written = entry.get("source") or entry["sources"]
        return {"kind": self.study.kind(name), "written": written, "patterns": entry.get("files"), "commit": commit}


def checked(run: Run) -> tuple[dict[str, Any], list[str]]:
    """(locked, what keeps the study from being run): a preflight goes on, and says so on its page."""
    try:
        return run.checked[0], []
    except AoeError as error:
        return {}, [str(error)]


def plan_of(workflow: Workflow, run: Run) -> dict[str, Any]:
    """What launcher.preflight.flight has to know; see there."""
    last = 1 + (workflow.execution_settings.retries or 0)
    return {
        "study": run.study.name,
        "title": run.study.content["title"],
        "folder": run.results.path("preflight", ""),
        "command": sys.orig_argv,
        "conda": bool(workflow.deployment_settings.deployment_method),
        "stages": _stages(workflow, run),
        "asked": requested_by(workflow, attempt=1),
        "asked_last": requested_by(workflow, attempt=last),
        "unready": checked(run)[1],
        "jobs": _jobs(workflow, run),
        "needed": _needed(run),
    }


def _stages(workflow: Workflow, run: Run) -> dict[str, list[str] | None]:
    """stage -> the checks that it depends on, or None if the study does not have it."""
    study = run.study
    planned = [variant for variant in study.variants if variant not in study.models]
    used = {"fetch": study.sources, "diff": study.compared(), "merge": planned, "audit": study.audits}
    stages = checks_of(workflow, slurm=not workflow.local_exec)
    return {stage: checks if used.get(stage, True) else None for stage, checks in stages.items()}


def _jobs(workflow: Workflow, run: Run) -> dict[str, list[str]]:
    """job -> environments that it cannot do without."""
    jobs = {name: [name] for name in scripts_of(workflow)} | {"node": ["tensors"], "network": ["download"]}
    if run.study.asks:
        jobs["server"] = [f"serving_{run.study.content['serving']['flavour']}"]
    if run.sandboxed:
        jobs["sandbox"] = ["benchmarks"]
    if Trials(run).judge_elsewhere():
        jobs["judge"] = ["download"]
    return jobs


def _needed(run: Run) -> dict[str, int | None]:
    """folder -> bytes that are still to come; None as long as nobody knows."""
    inputs, results = os.path.expanduser(run.config["inputs"]), run.results.path()
    locked, _ = checked(run)
    if not locked:
        return {inputs: None, results: None}
    cost, directories = estimate(run.study, locked), run.checked[1]
    missing = sum(
        locked[name].files[file]["size"]
        for name in run.study.sources
        for file in locked[name].needed
        if not Path(directories[name], file).exists()
    )
    return {inputs: missing, results: int(cost.disk - sum(cost.fetched.values()))}
