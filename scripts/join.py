"""Join the Parquet tables that the jobs of a rule wrote, in the order of the input."""

import pandas as pd
from joblog import logged

with logged(snakemake.log[0]):
    tables = [pd.read_parquet(path) for path in snakemake.input]
    pd.concat(tables, ignore_index=True).to_parquet(snakemake.output[0], index=False)
    print(f"{sum(map(len, tables))} rows from {len(tables)} files")
