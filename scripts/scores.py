"""Join the Parquet tables that the jobs of a rule wrote, in the order of the input."""

from typing import TYPE_CHECKING

import pandas as pd
from aoe.files.tables import read_table, write_table
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    tables = [read_table(path) for path in snakemake.input]
    write_table(pd.concat(tables, ignore_index=True), snakemake.output[0])
    print(f"{sum(map(len, tables))} rows from {len(tables)} files")
