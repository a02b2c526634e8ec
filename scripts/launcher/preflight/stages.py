"""The stages of a study and what each depends on, as its rules say: environments, jobs of some kind, the cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from aoe.document.figures import FIGURES
from launcher.resources import members

if TYPE_CHECKING:
    from snakemake.rules import Rule
    from snakemake.workflow import Workflow

STAGES = ["lock", "fetch", "verify", "diff", "merge", "audit", "answer", "latency"]
STAGES += ["judge", "programs", "score", "figures", "paper"]
PREFLIGHT = "preflight"
NAMED_OTHERWISE = {
    "realized": "merge",
    "prediction": "diff",
    "serve": "answer",
    "crate": "paper",
}  # files of rules -> stages
# resources of a job that the cluster has to be able to give
REQUESTED_RESOURCES = (
    "runtime",
    "mem_mb",
    "gpu",
    "gpu_model",
    "gres",
    "nodes",
    "tasks",
    "slurm_partition",
    "slurm_account",
)
SANDBOX_RULES = ("solvable", "programs")


def stage_of(rule: Rule) -> str:
    """Return the stage that one of Snakemake's rules belongs to, by the file that it stands in."""
    file = Path(rule.snakefile).stem
    if file == "download":
        return "lock" if rule.name == "lock" else "fetch"
    return NAMED_OTHERWISE.get(file, file)


def rules_of(workflow: Workflow) -> dict[str, list[Rule]]:
    """Return stage -> the rules with a script, of the stages that the study has; lock and fetch only if it fetches."""
    found = {stage: [rule for rule in workflow.rules if stage_of(rule) == stage and rule.script] for stage in STAGES}
    return {stage: rules for stage, rules in found.items() if rules}


def environment_of(rule: Rule) -> str:
    """Return the name of a rule's environment: the file's, without its ending."""
    return Path(str(rule.conda_env)).stem


def scripts_of(workflow: Workflow) -> dict[str, list[str]]:
    """Return environment -> [paths of the scripts that run in it], of all stages."""
    found: dict[str, dict[str, None]] = {}
    for rules in rules_of(workflow).values():
        for rule in rules:
            paths = [(Path(rule.snakefile).parent / str(rule.script)).resolve()]
            # one script draws every figure, with what the figure's own module imports
            paths += [FIGURES[rule.name].module] if rule.name in FIGURES else []
            found.setdefault(environment_of(rule), {}).update(dict.fromkeys(map(str, paths)))
    return {environment: list(scripts) for environment, scripts in found.items()}


def checks_of(workflow: Workflow, slurm: bool) -> dict[str, list[str] | None]:
    """Return stage -> names of the checks that it depends on, or None for one that the study does not have.

    slurm: whether jobs are submitted; ``cluster:STAGE`` then is what the cluster has to give.
    """
    rules = rules_of(workflow)
    return {stage: _checks(stage, rules[stage], workflow, slurm) if stage in rules else None for stage in STAGES}


def _checks(stage, rules, workflow, slurm):
    names = dict.fromkeys(environment_of(rule) for rule in rules)
    served = any("flavour" in rule.resources for rule in rules)
    if stage in ("lock", "fetch"):
        names["network"] = None
    if stage == "judge" and not served:
        names["judge"] = None
    if served:
        names["server"] = None
    if any(rule.name in SANDBOX_RULES for rule in rules):
        names["sandbox"] = None
    # without a cluster Snakemake calls every rule local
    submitted = [rule for rule in rules if workflow.local_exec or not workflow.is_local(rule)]
    if any("flavour" not in rule.resources for rule in submitted):
        names["node"] = None
    if slurm and submitted:
        names[f"cluster:{stage}"] = None
    if stage in ("fetch", "merge", "answer"):
        names["disk"] = None
    return [*names, "study"]


def requested_by(workflow: Workflow, attempt: int) -> dict[str, dict[str, Any]]:
    """Return {rule: {"stage", "cpus", resource: amount}} of every rule that is submitted, at one of its attempts.

    The preflight's own jobs, which are not tried again, are of the stage PREFLIGHT.
    """
    own = [rule for rule in workflow.rules if stage_of(rule) == PREFLIGHT and rule.script]
    stages = rules_of(workflow) | {PREFLIGHT: own}
    return {
        rule.name: {"stage": stage, **_resources(rule, workflow, 1 if stage == PREFLIGHT else attempt)}
        for stage, rules in stages.items()
        for rule in rules
        if not workflow.is_local(rule)
    }


def _resources(rule, workflow, attempt):
    amounts = {name: _amount(rule, name, attempt) for name in REQUESTED_RESOURCES if name in rule.resources}
    cores = _amount(rule, "_cores", attempt) or 1
    if "runtime" in amounts:
        amounts["runtime"] *= members(workflow, rule.name)
    amounts["cpus"] = min(cores, workflow.resource_settings.cores or cores)  # which caps threads on a cluster
    return {name: amount for name, amount in amounts.items() if isinstance(amount, int | str) and amount != ""}


def _amount(rule, name, attempt):
    """What a job is given of a resource, or None if that depends on its files."""
    known = {"attempt": attempt, "threads": 1, "input": (), "output": (), "rulename": rule.name, "async_run": None}
    try:
        return rule.resources[name].evaluate(None, **known).value
    except (AttributeError, KeyError, TypeError):
        return None
