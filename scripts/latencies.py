"""Speed and energy of all variants: of every measure the median over the repeated queues, and its ends."""

import pandas as pd
from joblog import logged

QUEUE = ["variant", "at_once"]

with logged(snakemake.log[0]):
    runs = pd.concat([pd.read_csv(file) for file in snakemake.input])
    queues = runs.groupby(QUEUE, sort=False)
    repeated = runs.drop(columns=["answers", "repeat", "machine"]).groupby(QUEUE, sort=False)
    table = repeated.median().join(repeated.min(), rsuffix="_low").join(repeated.max(), rsuffix="_high")
    table = table.join(
        queues.agg(answers=("answers", "first"), repeats=("repeat", "size"), machine=("machine", "first"))
    )
    table.reset_index().to_csv(snakemake.output[0], index=False, float_format="%.6g")
    print(table.to_string())
