"""Figure 4: intelligence against inference cost, for every variant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aoe.document.figures import Figure, Settings, Tables
from aoe.document.findings import fixed

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing
    from aoe.studies.study import Study

STEPS = 500  # in which labels find a free place
LEVEL_WITHIN = 3  # points of intelligence: a variant this much below another is called level with it


def settings_of_study(study: Study) -> Settings:
    """The variants by their sweeps, those outside of sweeps, and the reference of the cost."""
    return {
        "named": study.named,
        "sweeps": study.positions(),
        "reference": study.reference,
        "reference_label": study.label(study.reference),
    }


def draw(tables: Tables, settings: Settings) -> tuple[Drawing, pd.DataFrame]:
    """Draw a point a variant, with its intervals and label; a style a sweep."""
    from adjustText import adjust_text
    from aoe.document import drawing, lettering

    summary = tables["summary"].dropna(subset="intelligence")
    named, sweeps = settings["named"], settings["sweeps"]
    figure, axes = drawing.figure(3.0)
    drawn = set(named)
    for sweep, (color, marker, _) in drawing.styles(sweeps):
        part = summary[summary.variant.isin({point["variant"] for point in sweeps[sweep]} - drawn)]
        drawn |= set(part.variant)
        errors = [part.cost - part.cost_low, part.cost_high - part.cost]
        drawing.with_interval(axes, part, "cost", "intelligence", color, marker, sweep, xerr=errors, alpha=0.85, ms=3.5)
    part = summary[summary.variant.isin(named)]
    errors = [part.cost - part.cost_low, part.cost_high - part.cost]
    drawing.with_interval(axes, part, "cost", "intelligence", drawing.INK, "*", "models and recipes", xerr=errors, ms=7)
    drawing.paper_values(axes, settings["paper_values"])
    shown = lettering.distinct(part.label, 14, 2)
    texts = [
        axes.text(row.cost, row.intelligence, label, fontsize=7)
        for row, label in zip(part.itertuples(), shown, strict=True)
    ]
    measured = f"inference cost (output tokens, {lettering.shortened(settings['reference_label'], 40)} = 1)"
    axes.set_xlabel(lettering.wrapped(measured, drawing.ACROSS, 3))
    axes.set_ylabel("intelligence score (%)")
    axes.margins(x=0.14, y=0.1)
    handles, labels = axes.get_legend_handles_labels()
    drawing.legend(figure, handles, labels, 24, axes=axes, loc="lower right")
    if summary.empty:
        axes.text(0.5, 0.5, "no variant has marks\nin every benchmark", transform=axes.transAxes, ha="center")
    lines = {"arrowstyle": "-", "color": drawing.INK, "lw": 0.5}
    lettering.use_fonts(figure)
    figure.canvas.draw()
    # by steps, not by the clock: labels have to come to rest in the same places on any machine
    places = summary.cost.to_numpy(), summary.intelligence.to_numpy()
    adjust_text(texts, *places, ax=axes, arrowprops=lines, iter_lim=STEPS)
    return figure, summary


def finding(table: pd.DataFrame, tables: Tables, settings: Settings) -> str:
    """Say which variant is level with the reference at the lowest cost; table: the summary."""
    reference, graded = settings["reference"], table.dropna(subset="intelligence").set_index("variant")
    if graded.empty:
        return "No variant has marks in every benchmark of the intelligence score."
    if reference not in graded.index:
        return f"{table.set_index('variant').label[reference]} has no marks in some benchmark, so nothing is compared."
    best = graded.loc[reference]
    near = graded[(graded.intelligence >= best.intelligence - LEVEL_WITHIN) & (graded.cost < best.cost)]
    text = f"{best.label} reaches {fixed(best.intelligence)} %. "
    if near.empty:
        return text + f"No variant that costs less has at most {LEVEL_WITHIN} points less."
    cheapest = near.loc[near.cost.idxmin()]
    others = len(graded) - 1
    many = f"{len(near)} of the {others} others cost" if others > 1 else "The other one costs"
    text += f"{many} less and {'has' if others == 1 else 'have'} at most {LEVEL_WITHIN} points less; the cheapest is "
    return text + f"{cheapest.label}: {fixed(cheapest.intelligence)} % for {fixed(cheapest.cost, 2)} of its tokens."


FIGURE = Figure(
    number="4",
    title="Intelligence against inference cost",
    caption="""
Intelligence score (mean of the benchmarks' percentages) against inference cost (output tokens relative to
``{reference}`` on the same questions), for every variant (figure 4 of the paper).
""",
    needs=("summary.csv",),
    settings=settings_of_study,
    draw=draw,
    finding=finding,
)
