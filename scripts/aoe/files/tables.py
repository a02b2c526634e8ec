"""Tables of results, written and read in one place: names stay text, numbers stay numbers.

A CSV file does not say which of its columns are text.  A variant called ``NA``, ``1e3`` or ``007`` would come back as a
missing value or a number, so that the columns that hold names, labels and sentences are listed here.  Cells are written
as they are: a label that begins with ``=`` keeps it, as programs read these files; import them as text into a
spreadsheet.
"""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

# Columns of text, in whatever table; an empty cell is an empty text.
NAMES = {
    "variant",
    "other",
    "label",
    "base",
    "parent",
    "origin",
    "tensor",
    "group",
    "kind",
    "sweep",
    "measure",
    "space",
    "family",
    "over",
    "rounded",
}
ANSWERS = {"benchmark", "category", "question", "finish", "judge", "revision", "text", "warning"}
CLAIMS = {"claim", "says", "source", "published", "condition", "unit", "verdict", "note", "rule"}
OTHERS = {"weights", "subset", "status", "what", "grade", "found", "machine", "shape", "handed", "shared"}
TEXT = NAMES | ANSWERS | CLAIMS | OTHERS
WHOLE = {"layer", "expert"}  # whole numbers, empty where a tensor has none


def read_table(path: Path | str, numbers: Iterable[str] = ()) -> pd.DataFrame:
    """Return the data frame of a CSV or Parquet file that ``write_table`` wrote.

    numbers: columns that hold numbers in this table, although TEXT lists them.  In a CSV, columns of TEXT are strings,
    ``layer`` and ``expert`` Int64; an empty cell of any other column is NaN.
    """
    if Path(path).suffix == ".parquet":
        return pd.read_parquet(path)
    columns = pd.read_csv(path, nrows=0, encoding="utf-8").columns
    text = {column: str for column in columns if column in TEXT and column not in numbers}
    whole = {column: "Int64" for column in columns if column in WHOLE}
    missing = {column: [""] for column in columns if column not in text}
    return pd.read_csv(
        path, encoding="utf-8", lineterminator="\n", dtype=text | whole, keep_default_na=False, na_values=missing
    )


def read_levels(path: Path | str, levels: Iterable[str]) -> pd.DataFrame:
    """Return the rows of a Parquet file whose column ``level`` is one of these, without ever holding the others."""
    return pd.read_parquet(path, filters=[("level", "in", list(levels))])


def write_table(table: pd.DataFrame, path: Path | str, float_format: str | None = None) -> None:
    """Write a data frame, without its index, to a CSV or Parquet file.

    float_format: of a CSV's numbers, such as ``%.6g``; without it, the shortest that gives the same number.  In a
    Parquet file, a column without any value is of text if TEXT lists it, and of float64 otherwise.
    """
    if Path(path).suffix == ".parquet":
        empty = {column: "str" if column in TEXT else float for column in table if _is_untyped(table[column])}
        table.astype(empty).to_parquet(path, index=False)
    else:
        table.to_csv(path, index=False, encoding="utf-8", lineterminator="\n", float_format=float_format)


def _is_untyped(column):
    """Whether a column has no values from which Parquet could tell its type."""
    return column.dtype == object and column.isna().all()


def write_parts(parts: Iterable[pd.DataFrame], path: Path | str) -> int:
    """Write data frames of the same columns and dtypes into one Parquet file, each as it comes; return how many rows.

    A table that does not fit into memory is written in this way.  There has to be at least one part.
    """
    import pyarrow as pa  # takes a tenth of a second, and few tables are written in parts
    from pyarrow import parquet

    rows, writer = 0, None
    try:
        for part in parts:
            table = pa.Table.from_pandas(part, preserve_index=False)
            writer = writer or parquet.ParquetWriter(path, table.schema)
            writer.write_table(table)
            rows += len(part)
    finally:
        if writer is not None:
            writer.close()
    return rows


def join_tables(paths: Iterable[Path | str], target: Path | str) -> str:
    """Write the rows of several Parquet tables into one, in their order; return how many there are, in words."""
    tables = [read_table(path) for path in paths]
    write_table(pd.concat(tables, ignore_index=True), target)
    return f"{sum(map(len, tables))} rows from {len(tables)} files"
