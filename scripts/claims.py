"""Which published claims the study reproduces, and in which space of norms the published δ would make sense."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from aoe import norms
from aoe.claims.evaluation import evaluate
from aoe.claims.evidence import Evidence
from aoe.claims.norms import shares_above
from aoe.files.configuration import read_yaml
from aoe.files.tables import write_table
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    content = read_yaml(snakemake.input.claims)
    evidence = Evidence(
        folder=Path("results") / snakemake.wildcards.study,
        architecture=json.loads(Path(snakemake.input.architecture).read_text(encoding="utf-8")),
        measured=json.loads(Path(snakemake.input.measured).read_text(encoding="utf-8")),
        **snakemake.params.evidence,
    )
    table = evaluate(content, evidence)
    write_table(table, snakemake.output.claims, float_format="%.6g")
    measured = evidence.norms if evidence.differences else pd.DataFrame(columns=["group", *norms.names()])
    write_table(shares_above(measured, snakemake.params.deltas), snakemake.output.norms)
    print(table[["claim", "condition", "value", "low", "high", "verdict", "note"]].to_string())
