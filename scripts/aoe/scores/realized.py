"""The points of sweeps over the λ2 that their models really have, beside the λ2 that was asked for."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from aoe.checkpoints.parts import TensorGroup

MODEL = "model"  # instead of a group: all weights that are merged


def points(family: Mapping[str, Any], realized: pd.DataFrame) -> pd.DataFrame:
    """Return one row a point of a family's sweeps: sweep, rounded, variant, asked, model, and a column a group.

    family: of aoe.studies.families; realized: the table realized.parquet.  ``asked`` is the λ2 of the sweep; ``model``
    and the groups have the realized λ2 of all merged weights and of the group's, rounding noise in ``noise``.  A
    variant that copies has the λ2 that was asked for, and no noise.  Groups that the family does not merge are absent.
    """
    rows = [
        {"sweep": sweep, "rounded": member["rounded"], "variant": point["variant"], "asked": point["lambda2"]}
        for sweep, member in family["sweeps"].items()
        for point in member["points"]
    ]
    table = pd.DataFrame(rows)
    others = realized[(realized.parent == family["other"]) & realized.variant.isin(table.variant)]
    of_model = others[others.level == "model"].set_index("variant")
    of_groups = others[others.level == "group"].pivot(index="variant", columns="group", values="realized")
    groups = [group.value for group in TensorGroup if group.value in of_groups]
    table[MODEL] = table.variant.map(of_model.realized).fillna(table.asked)
    table["noise"] = table.variant.map(of_model.noise).fillna(0.0)
    for group in groups:
        table[group] = table.variant.map(of_groups[group]).fillna(table.asked)
    return table


def deviations(families: Iterable[Mapping[str, Any]], realized: pd.DataFrame) -> pd.DataFrame:
    """Return one row a rounding and group, of all families together: where the realized λ2 is farthest from the asked.

    The columns are rounded, group, asked, realized, deviation (the largest, in magnitude).
    """
    rows = []
    for family in families:
        table = points(family, realized)
        groups = [column for column in table.columns if column in set(TensorGroup)]
        long = table.melt(["rounded", "asked"], groups, "group", "realized")
        rows.append(long.assign(deviation=(long.realized - long.asked).abs()))
    every = pd.concat(rows, ignore_index=True)
    largest = every.groupby(["rounded", "group"], sort=False).deviation.idxmax()
    return every.loc[largest, ["rounded", "group", "asked", "realized", "deviation"]].reset_index(drop=True)
