"""Estimate the realized λ of all planned variants from a few block rows; warn of λ that will not be as asked."""

import warnings
from typing import TYPE_CHECKING

import pandas as pd
from aoe import AoeWarning
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.files.tables import write_table
from aoe.merging.merge import Merge
from aoe.merging.plan import Plan
from aoe.merging.rounding.measuring import sampled_rows
from aoe.merging.rounding.realized import COLUMNS, warning
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    checkpoints = {name: Checkpoint(folder, name) for name, folder in snakemake.params.checkpoints.items()}
    rows = []
    for variant, path in snakemake.params.plans.items():
        rows += sampled_rows(Merge(Plan.load(path), checkpoints, device="cpu"), variant)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    shown = ["variant", "group", "parent", "asked", "realized", "noise", "elements"]
    write_table(table.loc[table.level == "group", shown].round(4), snakemake.output[0])
    if sentence := warning(rows):
        warnings.warn(sentence, AoeWarning, stacklevel=1)
