"""Figures 10a and 10b: a measure over the asked λ2 and over the realized ones, for every rounding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aoe.document.figures import Figure, Settings, Tables, sweep
from aoe.document.findings import fixed, listed, number
from aoe.studies.families import compares_roundings, families, roundings

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing
    from aoe.studies.study import Study

WEIGHTED = "groups"  # of aoe.scores.explained
OVER = {"asked": "asked λ2", "model": "realized λ2", WEIGHTED: "realized λ2 (weighted)"}
LABELS = {"closing": "answers with </think>", "cost": "inference cost"}
ROW, EDGES = 1.45, 0.75  # inches: the height of a family's panels, and of what is above and below all of them
MARGIN = 0.04  # of λ2, beside the outermost points that are not the parents


def settings_of_study(study: Study, measure: str) -> Settings:
    """The families of sweeps, and which column of the summary is shown."""
    found = families(study)
    shared = {"measure": measure, "families": found, "reference_label": study.label(study.reference)}
    return shared | {"explained": compares_roundings(found)}


def draw(tables: Tables, settings: Settings) -> tuple[Drawing, pd.DataFrame]:
    """Draw two panels a family of sweeps: over the asked and over the realized λ2, one line a rounding.

    Where the groups' realized λ2 explain more if they are weighted, there is a third.
    """
    import pandas as pd
    from aoe.document import drawing

    measure, names = settings["measure"], [family["name"] for family in settings["families"]]
    summary = tables["summary"].set_index("variant")[[measure, f"{measure}_low", f"{measure}_high"]]
    weights = _weights(tables) if settings["explained"] else {}
    shown = [_points(family, tables, weights).join(summary, on="variant") for family in settings["families"]]
    table = pd.concat([part.assign(family=name) for name, part in zip(names, shown, strict=True)])
    looks = dict(drawing.styles(roundings(settings["families"])))
    places = [name for name in OVER if table[name].notna().any()]
    height, shape = EDGES + ROW * len(names), (len(names), len(places))
    figure, axes = drawing.figure(height, nrows=shape[0], ncols=shape[1], sharex=True, sharey="row", squeeze=False)
    for row, name in zip(axes, names, strict=True):
        for panel, over in zip(row, places, strict=True):
            _draw_panel(panel, table[(table.family == name) & table[over].notna()], over, measure, looks)
        row[0].set_ylabel(f"{LABELS[measure]}\n({name})" if len(names) > 1 else LABELS[measure])
    for column, over in zip(axes.T, places, strict=True):
        column[0].set_title(OVER[over].replace("λ2", "λ$_2$").replace(" (", "\n("), parse_math=True)
        [panel for panel in column if panel.lines][-1].tick_params(labelbottom=True)
        for panel in column:
            panel.axison = bool(panel.lines)
    inner = table[table.asked.between(0, 1, "neither")][places]
    axes[0, 0].set_xlim(inner.min().min() - MARGIN, inner.max().max() + MARGIN)
    found = {}  # label -> handle: of the roundings of any family
    for panel in axes[:, 0]:
        found |= dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    drawing.legend(figure, found.values(), found.keys(), 16, loc="outside upper center", ncols=min(3, len(found)))
    columns = ["family", "sweep", "rounded", "variant", *OVER, measure, f"{measure}_low", f"{measure}_high"]
    return figure, table[columns]


def _weights(tables: Tables) -> dict[str, str]:
    """family -> the weights of groups that explain most, as aoe.scores.explained writes them."""
    table = tables["explained"]
    return table[table.over == WEIGHTED].set_index("family").weights.to_dict()


def _points(family: Settings, tables: Tables, weights: dict[str, str]) -> pd.DataFrame:
    from aoe.scores.explained import weighted
    from aoe.scores.realized import points

    table = points(family, tables["realized"])
    name = family["name"]
    return table.assign(**{WEIGHTED: weighted(table, weights[name]) if name in weights else float("nan")})


def _draw_panel(panel: Axes, table: pd.DataFrame, over: str, measure: str, looks: Settings) -> None:
    from aoe.document import drawing

    for place, (rounded, (color, marker, line)) in enumerate(looks.items()):
        part = table[table.rounded == rounded].sort_values([over, "asked"])
        if len(part):
            size = drawing.smaller(place)
            panel.plot(part[over], part[measure], color=color, ls=line, lw=0.8, alpha=0.8)
            drawing.with_interval(panel, part, over, measure, color, marker, rounded, ms=size)
    panel.set_ylim(bottom=min(0, panel.get_ylim()[0]) if measure == "cost" else -0.04)


def finding(table: pd.DataFrame, tables: Tables, settings: Settings) -> str:
    """Say how near the roundings come to one rising curve, over each λ2; table: one row a point of a sweep."""
    return " ".join(
        _of_family(name, part, settings["measure"])
        for name, part in table.dropna(subset=settings["measure"]).groupby("family", sort=False)
    )


def _of_family(name: str, table: pd.DataFrame, measure: str) -> str:
    from aoe.scores.explained import rising

    farthest = table.loc[(table.model - table.asked).abs().idxmax()]
    if table.rounded.nunique() < 2:
        return (
            f"In the sweep {name}, realized and asked λ2 differ most at {farthest.asked:g}, where the model has "
            f"{fixed(farthest.model, 3)}."
        )
    apart = table.groupby("asked")[measure].agg(lambda values: values.max() - values.min())
    of_all = table[table.asked == apart.idxmax()]
    said = listed(f"{_shown(row[measure], measure)} ({row['rounded']})" for row in of_all.to_dict("records"))
    own = table.drop_duplicates("variant")
    residuals = {
        over: ((own[measure] - rising(own[over].to_numpy(float), own[measure].to_numpy(float))) ** 2).mean() ** 0.5
        for over in OVER
        if own[over].notna().all()
    }
    words = [f"{_shown(residual, measure, True)} over the {OVER[over]}" for over, residual in residuals.items()]
    return (
        f"In the sweeps {name}, the roundings are farthest apart at the asked λ2 = {apart.idxmax():g}: {said}. "
        f"Their distance from one common rising curve (root mean square) is {listed(words)}."
    )


def _shown(value: float, measure: str, difference: bool = False) -> str:
    if measure == "cost":
        return number(value, 2) if difference else fixed(value, 2)
    return f"{fixed(100 * value)} {'points' if difference else '%'}"


def over_both(number: str, measure: str, title: str, caption: str) -> Figure:
    """Return the figure of one measure."""
    return Figure(
        number=number,
        title=title,
        caption=caption,
        needs=("summary.csv", "realized.parquet"),
        optional=("explained.csv",),
        applies=sweep.has_sweep,
        missing=sweep.MISSING,
        in_paper=False,
        settings=lambda study: settings_of_study(study, measure),
        draw=draw,
        finding=finding,
    )


FIGURE_A = over_both(
    "10a",
    "closing",
    "The closing tag over asked and realized λ2",
    """
Share of answers that close a forced ``<think>``, over the λ2 that recipes ask for (first) and over the λ2 that the
stored weights have (second), for every rounding and arithmetic of the study. Sweeps in a row merge the same weights.
A third panel has the groups' realized λ2, with the weights that explain the tag best.
""",
)
FIGURE_B = over_both(
    "10b",
    "cost",
    "Inference cost over asked and realized λ2",
    """
Inference cost (output tokens, those of ``{reference_label}`` are 1) over the λ2 that recipes ask for (first) and over
the λ2 that the stored weights have (second), for every rounding and arithmetic of the study. A third panel has the
groups' realized λ2, with the weights that explain the closing tag best.
""",
)
