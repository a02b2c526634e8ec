"""Speed and energy of all variants: of every measure the median over the repeated queues, and its ends."""

from typing import TYPE_CHECKING

import pandas as pd
from aoe.files.tables import read_table, write_table
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

QUEUE = ["variant", "at_once"]

with logged(snakemake.log[0]):
    runs = pd.concat([read_table(file) for file in snakemake.input])
    queues = runs.groupby(QUEUE, sort=False)
    repeated = runs.drop(columns=["answers", "repeat", "machine"]).groupby(QUEUE, sort=False)
    table = repeated.median().join(repeated.min(), rsuffix="_low").join(repeated.max(), rsuffix="_high")
    table = table.join(
        queues.agg(answers=("answers", "first"), repeats=("repeat", "size"), machine=("machine", "first"))
    )
    write_table(table.reset_index(), snakemake.output[0], float_format="%.6g")
    print(table.to_string())
