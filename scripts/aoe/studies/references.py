"""Whether the parts of a study fit together: everything that it names is there, and figures will have data."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from aoe import AoeError
from aoe.benchmarks import JUDGE, graded_by, title_of
from aoe.merging.selection import read_check
from aoe.serving.pins import unpinned
from aoe.serving.servable import check_settings
from aoe.serving.server import OWN_OPTIONS, OWN_VARIABLES
from aoe.studies.content import in_file

if TYPE_CHECKING:
    from aoe.studies.study import Study

Reference = tuple[str, str, Collection[str]]  # (key, value, what it may be)

ASKING = ("benchmarks", "scores", "figures", "serving")  # what it takes to ask the variants anything


def check_references(study: Study, path: Path) -> None:
    """Raise AoeError if a part of the study is missing, or names something that the study does not have."""
    references: list[Reference] = [*_audit_references(study)]
    named = [*study.variants, *study.sweeps, *study.audits]
    references += [(f"claims.{role}", name, named) for role, name in study.content.get("claims", {}).items()]
    missing = [key for key in ASKING if key not in study.content]
    if missing and not ((study.audits or study.sweeps) and len(missing) == len(ASKING)):
        raise AoeError(
            f"{path}: {missing[0]} is missing; only a study that does nothing but audits or predictions can do without."
        )
    if study.asks:
        references += _asking_references(study, path)
    for key, value, known in references:
        if value not in known:
            raise AoeError(f"{path}: {key} names {value!r}, which the study does not have ({', '.join(known)}).")
    if study.asks:
        _check_options(study, path)
        _check_figures(study, path)
    for name, entry in study.audits.items():
        for check, settings in entry.get("checks", {}).items():
            in_file(path, read_check, f"audits.{name}.checks.{check}", settings)
        if entry["model"] in entry["parents"]:
            raise AoeError(f"{path}: audits.{name} has {entry['model']} as a parent of itself.")
        claimed = study.variants[entry["claim"]].parents if "claim" in entry else []
        sources = {check["from"]: f"the check {what!r}" for what, check in entry.get("checks", {}).items()}
        for parent, whose in (dict.fromkeys(claimed, "the claimed recipe") | sources).items():
            if parent not in entry["parents"]:
                raise AoeError(f"{path}: audits.{name} lacks the parent {parent}, which {whose} names.")


def _audit_references(study: Study) -> Iterator[Reference]:
    """The names in audits."""
    exported = [variant for variant in study.variants if study.is_exported(variant)]
    for name, entry in study.audits.items():
        yield f"audits.{name}.model", entry["model"], [*study.models, *exported]
        for parent in entry["parents"]:
            yield f"audits.{name}.parents", parent, study.models
        if "claim" in entry:
            yield f"audits.{name}.claim", entry["claim"], study.variants


def _asking_references(study: Study, path: Path) -> list[Reference]:
    """The names in benchmarks, scores and figures."""
    scores, figures = study.content["scores"], study.content["figures"]
    judge = study.content.get("judge")
    judged = graded_by(study.content["benchmarks"], JUDGE)
    if judged and not judge:
        raise AoeError(f"{path}: {title_of(judged[0])} needs a judge; say which in `judge`.")
    return [
        ("scores.reference", scores["reference"], study.models),
        ("figures.base", figures["base"], study.models),
        ("figures.other", figures["other"], study.models),
        *(("figures.assembled", name, study.variants) for name in [figures.get("assembled")] if name),
        *(("figures.threshold", name, study.sweeps) for name in [figures.get("threshold")] if name),
        *(
            (f"benchmarks.{name}.dataset", entry["dataset"], study.datasets)
            for name, entry in study.content["benchmarks"].items()
            if "dataset" in entry
        ),
        *(("scores.intelligence", benchmark, study.content["benchmarks"]) for benchmark in scores["intelligence"]),
        *((f"latency.{key}", name, known) for key, names, known in _latency_references(study) for name in names),
        *(("judge.model", judge["model"], study.variants) for judge in [judge] if judge and "endpoint" not in judge),
    ]


def _latency_references(study: Study) -> Iterator[tuple[str, list[str], Collection[str]]]:
    """(key, the names there, what they may be) of the section ``latency``."""
    latency = study.content.get("latency")
    if latency:
        yield "variants", latency["variants"], study.variants
        yield "benchmark", [latency["benchmark"]], study.content["benchmarks"]


def _check_options(study: Study, path: Path) -> None:
    """Raise AoeError if a study sets what the workflow sets itself, or leaves out what vLLM would choose."""
    for section in ("serving", "latency"):
        for option in study.content.get(section, {}).get("options", {}):
            if option in OWN_OPTIONS:
                raise AoeError(f"{path}: {section}.options: {option} is what the workflow itself sets; leave it out.")
    for variable in OWN_VARIABLES:
        if variable in study.content["serving"].get("environment", {}):
            raise AoeError(f"{path}: serving.environment: {variable} is what the workflow itself sets; leave it out.")
    try:
        check_settings(study)
    except AoeError as error:
        raise AoeError(f"{path}: {error}") from error
    if missing := unpinned(study.content["serving"]):
        raise AoeError(
            f"{path}: {missing} is missing; vLLM would choose by GPU and release, so say it here "
            "(config/README.md, serving, has what to say)."
        )


def _check_figures(study: Study, path: Path) -> None:
    """Raise AoeError if GPUs cannot be spread, or a figure would have no data."""
    serving, figures = study.content["serving"], study.content["figures"]
    nodes = serving.get("nodes", 1)
    if serving["gpus"] % nodes:
        raise AoeError(f"{path}: serving.gpus: {serving['gpus']} GPUs cannot be spread evenly over {nodes} nodes.")
    if "threshold" in figures and "delta" not in study.content["sweeps"][figures["threshold"]]:
        raise AoeError(f"{path}: figures.threshold names {figures['threshold']!r}, which is a sweep without delta.")
    if (figures["base"], figures["other"]) not in study.compared():
        raise AoeError(f"{path}: no variant combines figures.base and figures.other, so figures 2 and 3 have no data.")
