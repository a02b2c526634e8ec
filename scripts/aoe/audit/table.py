"""Rows of an audit as a data frame, and back: what is kept in Parquet between its jobs."""

from collections.abc import Sequence

import pandas as pd
from aoe.audit import Row

PLACES = ("layer", "expert")  # None where a weight has none
WHOLE = (*PLACES, "differing", "scales", "outside", "claim_differing", "claim_scales", "claim_outside")


def to_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """Return a data frame of aoe.audit.attribution's rows; columns that some of them lack are empty there."""
    frame = pd.DataFrame(rows)
    return frame.astype({column: "Int64" for column in WHOLE if column in frame})


def to_rows(frame: pd.DataFrame) -> list[Row]:
    """Return the rows of a data frame, as they were before."""
    return [
        {key: _plain(value) for key, value in row.items() if value is not None and not _is_missing(value)}
        | {key: None if _is_missing(row[key]) else int(row[key]) for key in PLACES}
        for row in frame.to_dict("records")
    ]


def _is_missing(value):
    return not hasattr(value, "__len__") and pd.isna(value)


def _plain(value):
    return [_plain(part) for part in value] if hasattr(value, "tolist") and getattr(value, "ndim", False) else value
