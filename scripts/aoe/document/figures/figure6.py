"""Figure 6: the share of answers that close the reasoning over λ2, with a fitted transition for every sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aoe.document.figures import Figure, Settings, Tables, sweep
from aoe.document.findings import fixed, interval, listed, number, step_seen

if TYPE_CHECKING:
    import pandas as pd


def finding(table: pd.DataFrame, tables: Tables, settings: Settings) -> str:
    """Say where the tag appears; table: share of closed tags over λ2."""
    fits = tables["transitions"]
    texts = [
        _of_sweep(fit, table[table.sweep == fit.sweep].sort_values("lambda2"))
        for fit in fits[fits.measure == "closing"].itertuples()
    ]
    if settings["paper_values"]:
        said = listed(f"{position:g} (the {whose})" for position, whose in settings["paper_values"])
        texts.append(f"Published were {said}.")
    return " ".join(filter(None, [*texts, sweep.beside_published(table, settings)]))


def _of_sweep(fit: Any, points: pd.DataFrame) -> str:
    if not step_seen(fit, points.lambda2):
        ends = listed(f"{fixed(100 * row.closing)} % at {row.lambda2:g}" for row in points.iloc[[0, -1]].itertuples())
        return f"In the sweep {fit.sweep}, there is no step: the tag is closed in {ends}."
    below, above = points[points.lambda2 < fit.midpoint].tail(1), points[points.lambda2 >= fit.midpoint].head(1)
    around = ""
    if len(below) and len(above):
        around = f", from {fixed(100 * below.closing.iloc[0])} % at {below.lambda2.iloc[0]:g} to "
        around += f"{fixed(100 * above.closing.iloc[0])} % at {above.lambda2.iloc[0]:g}"
    midpoint = interval(fit.midpoint, fit.midpoint_low, fit.midpoint_high)
    appears = f"In the sweep {fit.sweep}, the tag appears at λ2 = {midpoint}{around}"
    return f"{appears}; the step is {number(fit.width)} wide."


FIGURE = Figure(
    number="6",
    title="The closing tag over λ2",
    caption="""
Share of answers that close a forced ``<think>`` with ``</think>``, counted by token id, over λ2 (figure 6 of the
paper). The vertical bands are the 95 % intervals of the fitted midpoints.
""",
    needs=sweep.NEEDS,
    applies=sweep.has_sweep,
    missing=sweep.MISSING,
    settings=lambda study: sweep.settings_of_study(study, "closing"),
    draw=sweep.draw,
    finding=finding,
)
