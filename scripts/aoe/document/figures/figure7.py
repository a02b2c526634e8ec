"""Figures 7a and 7b: a measure over the threshold δ, for merges with equal weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aoe.document.figures import Figure, Settings, Tables
from aoe.document.findings import fixed, listed

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing
    from aoe.studies.study import Study

LABELS = {"intelligence": "intelligence score (%)", "cost": "inference cost\n(output tokens, {} = 1)"}


def has_threshold(study: Study) -> bool:
    """Whether the study names a sweep over δ."""
    return "threshold" in study.content["figures"]


def settings_of_study(study: Study, measure: str) -> Settings:
    """The sweep over δ, the norm that δ is compared with, and which column of the summary is shown."""
    figures = study.content["figures"]
    return {
        "measure": measure,
        "points": study.positions()[figures["threshold"]],
        "base": figures["base"],
        "space": study.content["sweeps"][figures["threshold"]]["space"],
        "reference_label": study.label(study.reference),
    }


def draw(tables: Tables, settings: Settings) -> tuple[Drawing, pd.DataFrame]:
    """Draw the measure over δ, and the base model, which remains as δ → ∞."""
    import pandas as pd
    from aoe.document import drawing, lettering

    measure = settings["measure"]
    summary = tables["summary"].set_index("variant")
    points = pd.DataFrame(settings["points"])
    table = points.join(summary[[measure, f"{measure}_low", f"{measure}_high"]], on="variant")
    figure, axes = drawing.figure(2.1)
    axes.plot(table.delta, table[measure], color=drawing.BLUE, lw=0.8)
    drawing.with_interval(axes, table, "delta", measure, drawing.BLUE, "s", None)
    drawing.paper_values(axes, settings["paper_values"])
    base = summary.loc[settings["base"]]
    handles, labels = axes.get_legend_handles_labels()
    line = axes.axhline(base[measure], color=drawing.INK, lw=0.8, ls=":")
    axes.set_xlabel(f"threshold δ ({drawing.SPACES[settings['space']]})", parse_math=True)
    axes.set_ylabel(drawing.of_reference(LABELS[measure], settings["reference_label"]))
    axes.margins(y=0.12)
    shown = f"{lettering.shortened(base.label, 36)} (δ → ∞)"
    drawing.legend(figure, [*handles, line], [*labels, shown], 24, axes=axes, loc="upper right")
    return figure, table


def finding(table: pd.DataFrame, tables: Tables, settings: Settings) -> str:
    """Say the measure at each δ, and the base model's; table: the measure over δ."""
    measure = settings["measure"]
    base = tables["summary"].set_index("variant").loc[settings["base"]]
    places, unit = (1, " %") if measure == "intelligence" else (3, "")
    points = table.sort_values("delta")
    if points[measure].isna().all():
        return "No variant has marks in every benchmark."
    said = listed(f"{fixed(row[measure], places)}{unit} at δ = {row['delta']:g}" for row in points.to_dict("records"))
    what = "Intelligence" if measure == "intelligence" else "Cost"
    return f"{what} is {said}; {base.label}, where nothing is merged, has {fixed(base[measure], places)}{unit}."


SHARED: dict[str, Any] = {
    "needs": ("summary.csv",),
    "applies": has_threshold,
    "missing": "the study has no sweep over δ",
    "draw": draw,
    "finding": finding,
}
FIGURE_A = Figure(
    number="7a",
    title="Intelligence over the threshold δ",
    caption="""
Intelligence score over the threshold δ, for full merges with equal weights (figure 7a of the paper). At δ → ∞ nothing
is merged and the base model remains.
""",
    settings=lambda study: settings_of_study(study, "intelligence"),
    **SHARED,
)
FIGURE_B = Figure(
    number="7b",
    title="Inference cost over the threshold δ",
    caption="Inference cost over the threshold δ, for full merges with equal weights (figure 7b of the paper).",
    settings=lambda study: settings_of_study(study, "cost"),
    **SHARED,
)
