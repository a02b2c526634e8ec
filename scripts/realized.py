"""Measure the realized λ of all variants of a base that combine weights, for one of its shards."""

from typing import TYPE_CHECKING

import pandas as pd
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.files.tables import write_table
from aoe.merging.merge import Merge
from aoe.merging.plan import Plan
from aoe.merging.rounding.measuring import shard_projections
from aoe.merging.rounding.realized import SUMS
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    checkpoints = {name: Checkpoint(folder, name) for name, folder in snakemake.params.checkpoints.items()}
    merges = {
        variant: Merge(Plan.load(path), checkpoints, device="cpu") for variant, path in snakemake.params.plans.items()
    }
    rows = shard_projections(merges, snakemake.params.file, snakemake.threads)
    write_table(pd.DataFrame(rows, columns=list(SUMS)).astype(SUMS), snakemake.output[0])
    print(f"{len(rows)} combined weights of {len(merges)} variants")
