"""The points of sweeps over the λ2 that their models really have, beside the λ2 that was asked for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from aoe.checkpoints.parts import TensorGroup
from aoe.files.tables import read_levels

# the groups that most of a model's weights, and all of its block-scaled ones, are in
LARGE = (
    *(TensorGroup.ROUTED_EXPERTS, TensorGroup.SHARED_EXPERTS, TensorGroup.ATTENTION, TensorGroup.DENSE_MLP),
    TensorGroup.LINEAR_ATTENTION,
)
ASKED, MODEL = "asked", "model"  # λ2 of the sweep; realized λ2 of all weights that are merged


def read_realized(path: Path | str) -> pd.DataFrame:
    """Return the rows of realized.parquet for groups and models, without those for millions of weights."""
    return read_levels(path, ["group", MODEL])


def points(family: Mapping[str, Any], realized: pd.DataFrame) -> pd.DataFrame:
    """Return one row a point of a family's sweeps: sweep, rounded, variant, asked, model, noise, and a column a group.

    family: of aoe.studies.families; realized: the table realized.parquet.  ``asked`` is the λ2 of the sweep; ``model``
    and the groups have the realized λ2 of all merged weights and of the group's, ``noise`` the rounding noise of all.
    A variant that copies has the λ2 that was asked for, and no noise; another one without realized λ2, as its parents
    agree in every weight, is left out.  Groups that the family does not merge are not there.
    """
    table = pd.DataFrame(
        {"sweep": sweep, "rounded": member["rounded"], "variant": point["variant"], ASKED: point["lambda2"]}
        for sweep, member in family["sweeps"].items()
        for point in member["points"]
    )
    others = realized[(realized.parent == family["other"]) & realized.variant.isin(table.variant)]
    of_model = others[others.level == "model"].set_index("variant")
    of_groups = others[others.level == "group"].pivot(index="variant", columns="group", values="realized")
    copied = table[ASKED].where(table[ASKED].isin([0, 1]))
    table[MODEL] = table.variant.map(of_model.realized).fillna(copied)
    table["noise"] = table.variant.map(of_model.noise).fillna(0.0)
    for group in TensorGroup:
        if group.value in of_groups:
            table[group.value] = table.variant.map(of_groups[group.value]).fillna(copied)
    return table.dropna(subset=MODEL).reset_index(drop=True)


def groups_of(table: pd.DataFrame) -> list[str]:
    """Return the groups that a table of ``points`` has columns of."""
    return [group.value for group in TensorGroup if group.value in table]


def by_group(family: Mapping[str, Any], realized: pd.DataFrame) -> pd.DataFrame:
    """Return one row a point and group: rounded, variant, asked, group, realized; arguments as of ``points``."""
    table = points(family, realized)
    return table.melt(["rounded", "variant", ASKED], groups_of(table), "group", "realized")
