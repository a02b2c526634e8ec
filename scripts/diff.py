"""Measure the differences between two checkpoints for the weights of one shard."""

from typing import TYPE_CHECKING

import pandas as pd
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.files.tables import write_table
from aoe.merging.difference import COLUMNS, shard_differences
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    base = Checkpoint(snakemake.params.base, snakemake.wildcards.base)
    other = Checkpoint(snakemake.params.other, snakemake.wildcards.other)
    rows = shard_differences(base, other, snakemake.params.file, snakemake.threads)
    rows = pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)  # a shard of scales alone has no rows
    rows.insert(0, "base", base.name)
    rows.insert(1, "other", other.name)
    write_table(rows, snakemake.output[0])
    print(f"{len(rows)} weights, {int(rows.identical.sum())} of them identical")
