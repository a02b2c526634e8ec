"""What the document says of λ: how far the realized λ2 are from the asked ones, and whether they explain behaviour."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from aoe.document.drawing import GROUPS
from aoe.document.findings import fixed, interval, listed, number
from aoe.scores.realized import by_group, points
from aoe.studies.families import roundings

Family = Mapping[str, Any]
SIGNIFICANT = 0.05
MIDDLE = 0.5
SMALLEST = 0.0005  # deviation that three decimals show


def meaning(families: Sequence[Family], realized: pd.DataFrame, explained: pd.DataFrame | None) -> dict[str, Any]:
    """Return the facts of the section on λ; nothing of a study without sweeps over λ2.

    families: of aoe.studies.families; realized, explained: the tables, the second of studies with several roundings.
    ``groups`` are the heads of the table ``rows``, a row a rounding, of cells with lines; ``tests`` are sentences, one
    a family.
    """
    if not families:
        return {}
    long = pd.concat([by_group(family, realized) for family in families])
    groups = {group: look[0] for group, look in GROUPS.items() if group in set(long.group)}
    rows = [
        [[rounded], *(_farthest(part[part.group == group]) for group in groups), [_noise(families, realized, rounded)]]
        for rounded in roundings(families)
        for part in [long[long.rounded == rounded]]
    ]
    tests = [] if explained is None else [_tested(part) for _, part in explained.groupby("family", sort=False)]
    return {"groups": list(groups.values()), "rows": rows, "tests": tests}


def _farthest(part: pd.DataFrame) -> list[str]:
    """Write where a group's realized λ2 is farthest from the asked one, in lines: ``+0.480``, ``at 0.51``."""
    if part.empty:
        return ["–"]
    off = (part.realized - part.asked).reset_index(drop=True)
    place = off.abs().idxmax()
    if abs(off[place]) < SMALLEST:
        return [fixed(0, 3)]
    sign = "+" if off[place] > 0 else ""
    return [f"{sign}{fixed(off[place], 3)}", f"at {part.asked.iloc[place]:g}"]


def _noise(families: Sequence[Family], realized: pd.DataFrame, rounded: str) -> str:
    """Write the rounding noise of all merged weights at the λ2 nearest to a half, of the first family that has it."""
    for family in families:
        table = points(family, realized)
        own = table[table.rounded == rounded].reset_index(drop=True)
        if len(own):
            return fixed(own.noise[(own.asked - MIDDLE).abs().idxmin()], 3)
    return "–"


def _tested(table: pd.DataFrame) -> str:
    """Say what the test found of one family; table: its rows of explained.csv."""
    rows = table.set_index("over")
    asked, model = rows.loc["asked"], rows.loc["model"]
    text = (
        f"Sweeps {asked.family} ({asked.variants} variants, {asked.roundings} roundings): one curve that never falls "
    )
    text += (
        f"explains {_explained(asked)} of the deviance over the asked λ2, and {_explained(model)} over the realized "
    )
    text += "λ2 of all merged weights"
    best = model
    if "groups" in rows.index:
        best = rows.loc["groups"]
        text += f"; over the realized λ2 of groups, with the weights that explain most, {best.weights}, it is "
        text += _explained(best)
    told = {"asked": asked, "realized": model} | ({"weighted": best} if best is not model else {})
    chances = listed(f"{number(row.p_value, 2)} over the {name} λ2" for name, row in told.items())
    return f"{text}. That all roundings have this curve has a p-value of {chances}. {_concluded(best, list(told)[-1])}"


def _explained(row: Any) -> str:
    return f"{interval(100 * row.explained, 100 * row.explained_low, 100 * row.explained_high, fixed)} %"


def _concluded(best: Any, which: str) -> str:
    if best.p_value >= SIGNIFICANT:
        return f"Given the {which} λ2, the test sees no difference between the roundings."
    if best.gain_low > 0:
        return f"The {which} λ2 explains more than the asked one, but the roundings still differ."
    return f"The {which} λ2 does not explain more than the asked one."
