"""In which norm would the published thresholds make sense?"""

import pandas as pd
from aoe import norms


def shares_above(table, deltas):
    """How each group's differences lie in every space: their median, and the share of tensors above each δ.

    table: a data frame of rows of one pair of models; deltas: numbers.  The paper does not say in which space it
    measured [paper, section 3]; this shows in which one its δ would make sense.
    """
    columns = ["space", "group", "tensors", "median", *(f"above_{delta:g}" for delta in deltas)]
    rows = [
        [space, group, len(part), part[space].median(), *((part[space] > delta).mean() for delta in deltas)]
        for space in norms.names()
        for group, part in table.groupby("group")
    ]
    return pd.DataFrame(rows, columns=columns).round(6)
