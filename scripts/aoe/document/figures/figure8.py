"""Figure 8: the assembled model beside its parents, on every benchmark, and what an answer costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aoe.benchmarks import short_title_of, title_of
from aoe.document.figures import Figure, Settings, Tables
from aoe.document.findings import fixed, listed

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing
    from aoe.studies.study import Study


def has_assembled(study: Study) -> bool:
    """Whether the study names a variant that is shown between its parents."""
    return "assembled" in study.content["figures"]


def settings_of_study(study: Study) -> Settings:
    """The assembled variant between its parents, and the benchmarks."""
    figures = study.content["figures"]
    return {
        "variants": [figures["base"], figures["assembled"], figures["other"]],
        "assembled": figures["assembled"],
        "benchmarks": list(study.content["benchmarks"]),
        "reference_label": study.label(study.reference),
    }


def draw(tables: Tables, settings: Settings) -> tuple[Drawing, pd.DataFrame]:
    """Draw a bar a variant and benchmark, with its interval, and beside them the costs."""
    from matplotlib.patches import Patch
    from aoe.document import drawing

    styles = [("white", ""), (drawing.SKY, "////"), (drawing.BLUE, "")]
    summary = tables["summary"].set_index("variant").loc[settings["variants"]]
    measures = [*(f"{name}_percent" for name in settings["benchmarks"]), "cost"]
    names = [short_title_of(name) for name in settings["benchmarks"]]
    figure, (scores, cost) = drawing.figure(2.5, ncols=2, gridspec_kw={"width_ratios": [len(measures) - 1, 1]})
    width = 0.8 / len(summary)
    for index, ((_, row), style) in enumerate(zip(summary.iterrows(), styles, strict=False)):
        for place, measure in enumerate(measures):
            axes, position = (cost, 0) if measure == "cost" else (scores, place)
            _draw_bar(axes, position + (index - (len(summary) - 1) / 2) * width, row, measure, width, style)
    handles = [Patch(fc=color, hatch=hatch, ec=drawing.INK, lw=0.7) for color, hatch in styles]
    labels = list(summary.label)
    assembled = (1 - (len(summary) - 1) / 2) * width  # where its bar stands, between its parents'
    for value, whose in settings["paper_values"]:
        ends = assembled - width / 2, assembled + width / 2
        lines = cost.hlines(value, *ends, color=drawing.INK, lw=1.4, ls=(0, (1, 0.6)))
        handles, labels = [*handles, lines], [*labels, f"published: {value:g} ({whose})"]
    scores.set_xticks(range(len(names)), names, fontsize=7 if len(names) < 4 else 5.5)
    scores.set_ylabel("score (%)")
    scores.set_ylim(0, 105)
    cost.set_xticks([0], ["inference\ncost"])
    cost.set_ylabel(drawing.of_reference("output tokens ({} = 1)", settings["reference_label"]))
    for axes in (scores, cost):
        axes.tick_params(axis="x", length=0)
    drawing.legend(figure, handles, labels, 14, 3, loc="outside upper center", ncols=2)
    columns = [f"{measure}{end}" for measure in measures for end in ("", "_low", "_high")]
    return figure, summary.reset_index()[["variant", "label", *columns]]


def _draw_bar(axes: Axes, x: float, row: pd.Series, measure: str, width: float, style: tuple[str, str]) -> None:
    import pandas as pd
    from aoe.document import drawing

    if pd.isna(row[measure]):
        axes.text(x, 0, "–", ha="center", va="bottom", fontsize=7)  # nobody could grade it
        return
    color, hatch = style
    error = [[row[measure] - row[f"{measure}_low"]], [row[f"{measure}_high"] - row[measure]]]
    axes.bar(
        x,
        row[measure],
        width * 0.92,
        yerr=error,
        color=color,
        hatch=hatch,
        edgecolor=drawing.INK,
        lw=0.7,
        error_kw={"elinewidth": 0.8, "capsize": 1.5},
    )


def finding(table: pd.DataFrame, tables: Tables, settings: Settings) -> str:
    """Say the assembled model's scores and cost beside its parents'; table: all three on every benchmark."""
    row = table.set_index("variant").loc[settings["assembled"]]
    others = [other for other in table.to_dict("records") if other["variant"] != settings["assembled"]]

    def beside(column: str, places: int) -> str:
        found = listed(f"{other['label']} {fixed(other[column], places)}" for other in others)
        return f" ({found})" if others else ""

    parts = [
        f"{title_of(column.removesuffix('_percent'))} {fixed(row[column])} %{beside(column, 1)}"
        for column in table.columns
        if column.endswith("_percent")
    ]
    return f"{row.label}: {'; '.join(parts)}; cost {fixed(row.cost, 2)}{beside('cost', 2)}."


FIGURE = Figure(
    number="8",
    title="The assembled model and its parents",
    caption="""
The assembled model between its parents (figure 8 of the paper): the share of right answers, or the mean mark, on every
benchmark, and output tokens.
""",
    needs=("summary.csv",),
    applies=has_assembled,
    missing="the study names no assembled model",
    settings=settings_of_study,
    draw=draw,
    finding=finding,
)
