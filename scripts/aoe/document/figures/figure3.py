"""Figure 3: the distribution of the differences, and how many tensors exceed a threshold δ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aoe.document.figures import Figure, Settings, Tables
from aoe.document.figures.figure2 import compared
from aoe.document.findings import fixed, listed, number, plural
from aoe.norms import norm

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing


def draw(tables: Tables, settings: Settings) -> tuple[Drawing, pd.DataFrame]:
    """Draw a histogram a group, and below it the share of the group's tensors above each δ."""
    import numpy as np
    from aoe.document import drawing

    space, rows = settings["space"], tables["differences"]
    rows = rows[(rows.base == settings["base"]) & (rows.other == settings["other"])]
    rows = rows[rows.group.isin(drawing.GROUPS)]
    smallest = norm(space).smallest_shown
    shown = rows[rows[space] >= smallest]
    bins = np.linspace(0, shown[space].max() * 1.05, 31)
    figure, (density, exceeding) = drawing.figure(3.4, nrows=2, sharex=True)
    for group, (label, color, line) in drawing.GROUPS.items():
        part = rows[rows.group == group][space].sort_values().to_numpy()
        if not len(part):
            continue
        kept = part[part >= smallest]
        density.hist(
            kept, bins, weights=np.full(len(kept), 1 / len(part)), histtype="step", color=color, ls=line, lw=1.2
        )
        density.hist(kept, bins, weights=np.full(len(kept), 1 / len(part)), color=color, alpha=0.15)
        left = np.concatenate([[0], part])
        share = np.concatenate([(part > 0).mean()[None], [(part > value).mean() for value in part]])
        exceeding.step(left, share, where="post", color=color, ls=line, label=f"{label} ({len(part)})")
    drawing.paper_values(exceeding, settings["paper_values"])
    density.set_ylabel("share of the group")
    exceeding.set_ylabel("share above δ")
    exceeding.set_ylim(-0.03, 1.03)
    exceeding.set_xlabel(drawing.SPACES[space], parse_math=True)
    figure.legend(loc="outside upper center", ncols=2)
    return figure, shown[["tensor", "group", "layer", "kind", space]]


def finding(table: pd.DataFrame, tables: Tables, settings: Settings) -> str:
    """Say each group's median, and what the paper's δ would let into a merge; table: one difference a tensor."""
    if table.empty:
        return "No weights of these groups differ."
    space = settings["space"]
    medians = table.groupby("group")[space].median().sort_values(ascending=False)
    text = f"Medians: {listed(f'{plural(group)} {number(value)}' for group, value in medians.items())}."
    for delta, _ in settings["paper_values"]:
        shares = (table[space] > delta).groupby(table.group).mean()
        among = listed(f"{fixed(100 * shares[group], 0)} % of the {plural(group)}" for group in medians.index)
        text += f" A threshold δ of {delta:g} would let {among} into a merge."
    return text


FIGURE = Figure(
    number="3",
    title="Distribution of the differences",
    caption="""
Distribution of the differences between ``{base}`` and ``{other}`` by group (figure 3 of the paper), and below it the
share of each group's tensors that a threshold δ would let into a merge.
""",
    needs=("differences.parquet",),
    settings=compared,
    draw=draw,
    finding=finding,
)
