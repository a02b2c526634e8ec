"""Measure, for one shard of the base, the realized λ2 of all points of the sweeps, and how far codes lie apart."""

from typing import TYPE_CHECKING

import pandas as pd
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.files.tables import write_table
from aoe.merging.rounding.prediction import (
    CODES,
    CODES_SUMS,
    REALIZED,
    REALIZED_SUMS,
    Pair,
    selections,
    shard_prediction,
)
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    base, other = (Checkpoint(folder, name) for name, folder in snakemake.params.checkpoints.items())
    wanted = selections(snakemake.params.sweeps, base.name, other.name)
    pair = Pair(base, other, snakemake.params.files)
    realized, codes = shard_prediction(pair, snakemake.params.file, wanted, snakemake.threads)
    for rows, columns, sums, path in (
        (realized, REALIZED, REALIZED_SUMS, snakemake.output.realized),
        (codes, CODES, CODES_SUMS, snakemake.output.codes),
    ):
        write_table(pd.DataFrame(rows, columns=[*columns, *sums]).astype(columns), path)
    compared, left_out = (int(sum(row[name] for row in codes)) for name in ("compared", "left_out"))
    print(f"{compared} weights compared; {left_out} left out, as they are not wholly in the files that are read")
