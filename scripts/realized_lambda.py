"""Join the realized λ of all shards, by weight, layer, group and model."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd
from aoe.files.tables import read_table, write_parts
from aoe.merging.rounding.realized import COLUMNS, Totals, warning
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def table_of(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """The rows as a part of the table."""
    return pd.DataFrame(list(rows), columns=list(COLUMNS)).astype(COLUMNS)


def parts(paths: Iterable[str], totals: Totals) -> Iterator[pd.DataFrame]:
    """The table, part by part: a shard's weights each, and last what is summed over all of them."""
    for path in paths:
        rows = read_table(path).to_dict("records")
        yield table_of(totals.add(row | {"layer": None if pd.isna(row["layer"]) else row["layer"]} for row in rows))
    yield table_of(totals.rows())


with logged(snakemake.log[0]):
    totals = Totals()
    rows = write_parts(parts(snakemake.input, totals), snakemake.output[0])
    print(f"{rows} rows from {len(snakemake.input)} files")
    print(warning(totals.rows()) or "All λ are about as asked.")
