"""Figure 5: inference cost over λ2, for every sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aoe.document.figures import Figure, Settings, Tables, sweep
from aoe.document.findings import fixed

if TYPE_CHECKING:
    import pandas as pd


def finding(table: pd.DataFrame, tables: Tables, settings: Settings) -> str:
    """Say from where to where the cost goes, and where most steeply; table: cost over λ2, for every sweep."""
    texts = []
    for name, points in table.dropna(subset="cost").groupby("sweep", sort=False):
        points = points.sort_values("lambda2").reset_index(drop=True)
        first, last = points.iloc[0], points.iloc[-1]
        text = f"In the sweep {name}, cost goes from {fixed(first.cost, 2)} at λ2 = {first.lambda2:g} to "
        text += f"{fixed(last.cost, 2)} at λ2 = {last.lambda2:g}"
        steps = (points.cost.diff() / points.lambda2.diff()).abs()
        if len(points) > 1 and steps.max() > 0:
            steepest = steps.idxmax()
            between = f"{points.lambda2[steepest - 1]:g} and {points.lambda2[steepest]:g}"
            text += f", most steeply between {between}"
        texts.append(f"{text}.")
    texts = texts or ["No variant has a cost."]
    return " ".join(filter(None, [*texts, sweep.beside_published(table, settings)]))


FIGURE = Figure(
    number="5",
    title="Inference cost over λ2",
    caption="""
Inference cost over λ2 (figure 5 of the paper): full merges and merges of the routed experts alone. The lines only join
the points; ``transitions.csv`` has a logistic step fitted to each, with its residual.
""",
    needs=sweep.NEEDS,
    applies=sweep.has_sweep,
    missing=sweep.MISSING,
    settings=lambda study: sweep.settings_of_study(study, "cost"),
    draw=sweep.draw,
    finding=finding,
)
