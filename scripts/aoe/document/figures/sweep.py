"""What figures 5 and 6 share: a measure over λ2, for every sweep with enough positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aoe.document.figures import Settings, Tables

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing
    from aoe.studies.study import Study

NEEDS = ("summary.csv", "transitions.csv", "transition_curves.csv")
MISSING = "the study has no sweep over at least four λ2"
FITTED = ("closing",)  # the other measures' points are joined: a step alone does not describe them
LABELS = {
    "cost": "inference cost\n(output tokens, {} = 1)",
    "closing": "answers with </think>",
}


def has_sweep(study: Study) -> bool:
    """Whether a sweep has enough λ2 to fit a transition."""
    return bool(study.positions(over_lambda2=True))


def settings_of_study(study: Study, measure: str) -> Settings:
    """The sweeps, and which column of the summary is shown."""
    return {
        "measure": measure,
        "sweeps": study.positions(over_lambda2=True),
        "reference_label": study.label(study.reference),
    }


def draw(tables: Tables, settings: Settings) -> tuple[Drawing, pd.DataFrame]:
    """Draw a line a sweep over λ2: of the closing tag the fitted transition, of another measure the joined points."""
    import pandas as pd
    from aoe.document import drawing

    measure = settings["measure"]
    summary = tables["summary"].set_index("variant")
    fits = tables["transitions"].set_index(["sweep", "measure"])
    curves = tables["transition_curves"]
    figure, axes = drawing.figure(2.6)
    shown = []
    sweeps = [sweep for sweep in settings["sweeps"] if (sweep, measure) in fits.index]
    for sweep, (color, marker, line) in drawing.styles(sweeps):
        points = pd.DataFrame(settings["sweeps"][sweep])
        table = points.join(summary[[measure, f"{measure}_low", f"{measure}_high"]], on="variant")
        table.insert(0, "sweep", sweep)
        shown.append(_with_published(table, settings))
        label = sweep
        if measure in FITTED:
            curve = curves[(curves.sweep == sweep) & (curves.measure == measure)]
            label = _draw_transition(axes, fits.loc[(sweep, measure)], curve, sweep, color, line)
        else:
            axes.plot(table.lambda2, table[measure], color=color, ls=line, lw=0.8)
        drawing.with_interval(axes, table, "lambda2", measure, color, marker, label)
    drawing.paper_values(axes, settings["paper_values"])
    for curve in settings.get("paper_curves", []):
        drawing.paper_curve(axes, curve["points"], curve["whose"])
    axes.set_xlim(table.lambda2.min() - 0.03, table.lambda2.max() + 0.03)
    _label_axes(axes, measure, settings["reference_label"])
    handles, labels = axes.get_legend_handles_labels()
    drawing.legend(figure, handles, labels, 29, loc="outside upper center", ncols=1)
    return figure, pd.concat(shown)


def _with_published(table: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Add a column ``published`` to a sweep's table if the figure shows a published curve; empty for other sweeps."""
    curves = settings.get("paper_curves", [])
    values = {
        place: value for curve in curves if curve["sweep"] == table.sweep.iloc[0] for place, value in curve["points"]
    }
    return table.assign(published=table.lambda2.map(values).astype(float)) if curves else table


def beside_published(table: pd.DataFrame, settings: Settings) -> str:
    """Say where a measure differs most from a published curve; empty if the figure shows none.

    table: of the figure, with the columns ``lambda2``, ``published`` and the measure.
    """
    texts, measure = [], settings.get("measure", "")
    for curve in settings.get("paper_curves", []):
        rows = table[table.sweep == curve["sweep"]].dropna(subset=["published", measure])
        if rows.empty:
            continue
        row = rows.loc[(rows[measure] - rows.published).abs().idxmax()]
        text = f"From the curve that {curve['whose']} published, the sweep {row.sweep} differs most at λ2 = "
        texts.append(f"{text}{row.lambda2:g}: {row[measure]:.2f} here, {row.published:.2f} there.")
    return " ".join(texts)


def _draw_transition(axes: Axes, fit: pd.Series, curve: pd.DataFrame, sweep: str, color: str, line: str) -> str:
    """Draw a fitted step with its interval, and return the sweep's label, which says its midpoint."""
    axes.fill_between(curve.lambda2, curve.low, curve.high, color=color, alpha=0.18, lw=0)
    axes.plot(curve.lambda2, curve.value, color=color, ls=line)
    axes.axvspan(fit.midpoint_low, fit.midpoint_high, color=color, alpha=0.25, lw=0)
    axes.axvline(fit.midpoint, color=color, ls=line, lw=0.6)
    return f"{sweep}: midpoint {fit.midpoint:.3f} ({fit.midpoint_low:.3f} to {fit.midpoint_high:.3f})"


def _label_axes(axes: Axes, measure: str, label: str) -> None:
    from aoe.document import drawing, lettering

    math = label.isascii() and "$" not in label  # formulas have no other letters, and no $ that is one
    weight = f"{'λ$_2$' if math else 'λ₂'}, the weight of {label}"
    axes.set_xlabel(lettering.wrapped(weight, drawing.ACROSS), parse_math=math)
    axes.set_ylabel(drawing.of_reference(LABELS[measure], label))
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]) if measure == "cost" else -0.04)
