"""Show in which norm the paper's thresholds would make sense."""

from collections.abc import Sequence

import pandas as pd
from aoe import norms


def shares_above(table: pd.DataFrame, deltas: Sequence[float]) -> pd.DataFrame:
    """Return the median of each group's differences in every space, and the share of tensors above each δ.

    table: the differences of one pair of models.  The paper does not say in which space it measured [paper, section 3];
    this shows in which one its δ would make sense.
    """
    columns = ["space", "group", "tensors", "median", *(f"above_{delta:g}" for delta in deltas)]
    rows = [
        [space, group, len(part), part[space].median(), *((part[space] > delta).mean() for delta in deltas)]
        for space in norms.names()
        for group, part in table.groupby("group")
    ]
    return pd.DataFrame(rows, columns=columns).round(6)
