"""Join the predictions of all shards: realized λ2, the steps that they make, codes, and the threshold's points."""

from typing import TYPE_CHECKING

import pandas as pd
from aoe import AoeError
from aoe.files.tables import read_table, write_table
from aoe.scores.predicted import codes_table, realized_table, steps_table, threshold_table
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    sums, counts = (
        pd.concat([read_table(path) for path in snakemake.input[name]], ignore_index=True)
        for name in ("realized", "codes")
    )
    if sums.empty:
        raise AoeError(
            "No weight that the sweeps merge lies wholly in the shards that were read of both parents, or none "
            "differs; read more shards: raise `prediction_shards`, or leave it out."
        )
    realized, codes = realized_table(sums), codes_table(counts)
    tables = {
        "realized": realized,
        "steps": steps_table(realized),
        "codes": codes,
        "threshold": threshold_table(realized, codes),
    }
    for name, table in tables.items():
        write_table(table, snakemake.output[name], float_format="%.6g")
    print(tables["steps"].to_string())
