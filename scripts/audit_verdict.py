"""Join an audit's shards, look for the recipe behind them, and say what all of it means."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import yaml
from aoe.audit.attribution import Audit
from aoe.audit.recovery import recover
from aoe.audit.report import deviations, report
from aoe.audit.table import to_frame, to_rows
from aoe.audit.verdict import judge, lambda_table, map_table
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.files.tables import read_table, write_table
from aoe.merging.plan import Plan
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

DEVIATIONS = ["tensor", "group", "layer", "status", "what"]
LAMBDAS = ["group", "layer", "parent", "weights", "median", "lowest", "highest", "widest_interval"]


with logged(snakemake.log[0]):
    settings, checkpoints, claim = snakemake.params.settings, snakemake.params.checkpoints, snakemake.params.claim
    names, output = settings["parents"], snakemake.output
    parents: Mapping[str, Checkpoint] = {parent: Checkpoint(checkpoints[parent], parent) for parent in names}
    plan = Plan.load(snakemake.input.plan) if "claim" in settings else None
    parents = plan.seen(parents) if plan else parents
    audit = Audit(Checkpoint(checkpoints[settings["model"]], settings["model"]), parents)
    tables = [read_table(path) for path in snakemake.input.shards]
    rows = [row for table in tables if len(table) for row in to_rows(table)] + audit.missing()
    recovered = recover(rows, names, audit.reproduces)
    rows = judge(rows, recovered, claim is not None)
    found = report(rows, audit, recovered, settings, claim)
    found |= {"revisions": snakemake.params.revisions, "digests": snakemake.params.digests}
    Path(output.audit).write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    aligned = {"align_embeddings": True} if plan and plan.alignment else {}
    recipe = (
        {"label": f"{settings['model']}, recovered", **recovered.entry, **aligned, "publish": True}
        if recovered.entry
        else None
    )
    variants = {f"{snakemake.wildcards.audit}-recovered": recipe} if recipe else {}
    head = f"# Reproduces {len(recovered.mixtures):,} of {len(rows):,} weights; to be copied into a study.\n"
    Path(output.recipe).write_text(
        head + yaml.safe_dump({"variants": variants}, sort_keys=False, default_flow_style=None, width=100),
        encoding="utf-8",
    )
    write_table(to_frame(rows), output.weights)
    for found_rows, columns, path in (
        (map_table(rows, names, recovered.mixtures), None, output.map),
        (lambda_table(rows, names), LAMBDAS, output.lambdas),
        (deviations(rows, audit.published.additional), DEVIATIONS, output.deviations),
    ):
        write_table(pd.DataFrame(found_rows, columns=columns).astype({"layer": "Int64"}), path)
    print(found["verdict"], *found["summary"], sep="\n")
