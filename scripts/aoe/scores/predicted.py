"""What two parents' weights predict of sweeps: realized λ2, where they make a step, and what decides at λ2 = 0.5.

Tables of shards hold sums (aoe.merging.rounding.prediction), which add up over shards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

HALF = 0.5
LOW, HIGH = 0.1, 0.9  # realized λ2 between which a step is said to lie
FEWEST = 4  # λ2 that a step can be told from
ALL = "all merged"  # instead of a group: all weights that a sweep merges
LEVELS = ("sweep", "group", "layer")
POINT = ["sweep", "delta", "rounded", "lambda2"]
SHARES = ["equal", "one_step", "two_steps", "three_steps", "more_steps"]
REALIZED_COLUMNS = ["level", "sweep", "delta", "rounded", "group", "layer", "lambda2", "realized", "noise"]
REALIZED_COLUMNS += ["base_codes", "other_codes", "other_values", "elements"]
STEP_COLUMNS = [
    "sweep",
    "rounded",
    "group",
    "below_at",
    "below",
    "above_at",
    "above",
    "midpoint",
    "low",
    "high",
    "width",
]
CODES_COLUMNS = ["group", "dtype", "compared", "left_out", "elements", "rms_codes", *SHARES]
CODES_COLUMNS += ["tie_base", "tie_other", "tie_even"]

Numbers = NDArray[np.float64]


def realized_table(sums: pd.DataFrame) -> pd.DataFrame:
    """Return one row a sweep, δ, rounding, λ2 and place: a layer's group, a group, or all merged weights.

    sums: rows of shards.  ``realized`` is the realized λ2, ``noise`` the rounding noise; ``base_codes`` and
    ``other_codes`` are the shares, of stored numbers in which the parents differ, that are each parent's, and
    ``other_values`` that of neither; ``elements``: of the weights that are merged.
    """
    parts = []
    for level, places in zip(LEVELS, ([], ["group"], ["group", "layer"]), strict=True):
        rows = sums if level != "layer" else sums[sums.layer.notna()]
        table = rows.groupby([*POINT, *places], sort=False).sum(numeric_only=True).reset_index()
        table["level"] = level
        table["group"] = table.get("group", ALL)
        if "layer" not in places:
            table["layer"] = pd.array([pd.NA] * len(table), "Int64")
        parts.append(table)
    table = pd.concat(parts, ignore_index=True)
    table["realized"] = table["product"] / table["size"]
    table["noise"] = np.sqrt(table.squared_noise / table["size"])
    for name in ("base_codes", "other_codes"):
        table[name] /= table.differing
    table["other_values"] = 1 - table.base_codes - table.other_codes
    order = ["level", "sweep", "delta", "rounded", "group", "layer", "lambda2"]
    ranks = {"level": LEVELS, "sweep": tuple(dict.fromkeys(sums.sweep)), "rounded": tuple(dict.fromkeys(sums.rounded))}

    def ranked(column: pd.Series) -> pd.Series:
        return column.map(ranks[str(column.name)].index) if column.name in ranks else column

    return table.sort_values(order, key=ranked, kind="stable")[REALIZED_COLUMNS].reset_index(drop=True)


def steps_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return where the realized λ2 of every sweep over λ2, rounding and group pass a half, and how wide that step is.

    table: of ``realized_table``.  ``below`` and ``above`` are the realized λ2 at the asked ones nearest to a half,
    ``below_at`` and ``above_at``; ``low``, ``midpoint`` and ``high`` the asked λ2 at which a realized one of 0.1, 0.5
    and 0.9 is reached, on lines between the points; ``width`` is high - low.
    """
    rows = []
    places = table[table.level != "layer"]
    for (sweep, delta, rounded, group), part in places.groupby(["sweep", "delta", "rounded", "group"], sort=False):
        asked, found = part.lambda2.to_numpy(float), part.realized.to_numpy(float)
        if delta or len(part) < FEWEST or not asked.min() < HALF < asked.max():
            continue
        below, above = asked[asked < HALF].max(), asked[asked > HALF].min()
        ends = dict(zip(asked, found, strict=True))
        low, midpoint, high = (passed(asked, found, value) for value in (LOW, HALF, HIGH))
        row = [sweep, rounded, group, below, ends[below], above, ends[above], midpoint, low, high, high - low]
        rows.append(row)
    return pd.DataFrame(rows, columns=STEP_COLUMNS)


def passed(asked: Numbers, realized: Numbers, value: float) -> float:
    """Return the asked λ2 from which on the realized one is at least ``value``; at 0 and 1 they are equal."""
    positions, curve = np.r_[0.0, asked, 1.0], np.maximum.accumulate(np.r_[0.0, realized, 1.0])
    place = int(np.argmax(curve >= value))
    start, end = curve[place - 1], curve[place]
    return float(positions[place - 1] + (positions[place] - positions[place - 1]) * (value - start) / (end - start))


def codes_table(sums: pd.DataFrame) -> pd.DataFrame:
    """Return one row a group and dtype: how many steps the parents' numbers lie apart, and what decides between them.

    sums: rows of shards.  SHARES are of stored numbers; ``rms_codes`` is the root mean square of their differences.
    ``tie_base`` and ``tie_other`` are, of FP8 codes one step apart, the shares that are stored as each parent's at
    λ2 = 0.5; ``tie_even`` is the share of even codes among both together.  ``left_out``: weights that are not wholly in
    the shards that were read.
    """
    table = sums.groupby(["group", "dtype"], sort=False).sum(numeric_only=True).reset_index()
    steps = [f"steps_{name}" for name in ("0", "1", "2", "3", "more")]
    for share, name in zip(SHARES, steps, strict=True):
        table[f"{share}_share"] = table[name] / table.elements
    table["rms_codes"] = np.sqrt(table.squared_codes / table.elements)
    decided = table.one_step_base + table.one_step_other
    table["tie_base"], table["tie_other"] = table.one_step_base / table.one_step, table.one_step_other / table.one_step
    table["tie_even"] = table.one_step_even / decided
    table = table.drop(columns="one_step").rename(columns={f"{share}_share": share for share in SHARES})
    table = table.astype({"compared": "int64", "left_out": "int64", "elements": "int64"})
    return table.sort_values("elements", ascending=False, kind="stable")[CODES_COLUMNS].reset_index(drop=True)


def threshold_table(table: pd.DataFrame, codes: pd.DataFrame) -> pd.DataFrame:
    """Return, of sweeps over δ, one row a point and group: the share of weights that are merged, and what they have.

    table: of ``realized_table``; codes: of ``codes_table``.  ``merged`` is a share of numbers; the other columns are
    those of ``realized_table``, rounded to nearest.
    """
    over_delta = [sweep for sweep, part in table.groupby("sweep", sort=False) if part.delta.nunique() > 1]
    rows = table[table.sweep.isin(over_delta) & (table.level != "layer") & (table.rounded == "nearest")]
    whole = codes.groupby("group").elements.sum()
    totals = rows.group.map({**whole, ALL: whole.sum()}).astype(float)  # of no rows, it would be text
    kept = ["sweep", "delta", "group", "lambda2", "merged", "realized", "base_codes", "other_codes", "other_values"]
    return rows.assign(merged=rows.elements / totals)[kept].reset_index(drop=True)


def groups_in(table: pd.DataFrame, known: Sequence[str]) -> list[str]:
    """Return those of the ``known`` groups that a table has rows of."""
    return [group for group in known if group in set(table.group)]


def one_sweep(table: pd.DataFrame, sweep: str, group: str, rounded: Iterable[str]) -> pd.DataFrame:
    """Return the rows of a sweep without δ and of one group, of some roundings."""
    rows = table[(table.sweep == sweep) & (table.group == group) & (table.level != "layer") & (table.delta == 0)]
    return rows[rows.rounded.isin(set(rounded))]
