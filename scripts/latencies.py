"""Speed and energy of all variants: of every measure the median over the repeated queues, and its ends."""

import pandas as pd
from joblog import logged

FIXED = ["answers", "repeat"]

with logged(snakemake.log[0]):
    runs = pd.concat([pd.read_csv(file) for file in snakemake.input])
    grouped = runs.drop(columns=FIXED).groupby(["variant", "at_once"], sort=False)
    table = grouped.median().join(grouped.min(), rsuffix="_low").join(grouped.max(), rsuffix="_high")
    table["repeats"] = grouped.size()
    table.reset_index().to_csv(snakemake.output[0], index=False, float_format="%.6g")
    print(table.to_string())
