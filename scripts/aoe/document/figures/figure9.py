"""Figure 9: time, speed and energy of an answer, for variants that were put the same queues of questions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aoe.document.figures import Figure, Settings, Tables
from aoe.document.findings import counted, listed, number

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure as Drawing
    from aoe.studies.study import Study


def settings_of_study(study: Study) -> Settings:
    """The labels of the measured variants; the others are compared with the study's reference if it is one of them."""
    timed = study.content["latency"]["variants"]
    reference = study.reference if study.reference in timed else timed[0]
    return {"labels": {variant: study.label(variant) for variant in timed}, "reference": reference}


def draw(tables: Tables, settings: Settings) -> tuple[Drawing, pd.DataFrame]:
    """Draw a panel a measure and a bar a variant, and on it what its number of tokens alone would make."""
    from aoe.document import drawing, lettering

    table, labels, reference = tables["latency"], settings["labels"], settings["reference"]
    ends = table.at_once.min(), table.at_once.max()
    alone, many = (table[table.at_once == at_once].set_index("variant") for at_once in ends)
    # queue, measure, title, and how the measure changes with the tokens of an answer
    panels = [
        (alone, "seconds_an_answer", f"seconds an answer,\n{ends[0]} at once", 1),
        (many, "answers_per_second", f"answers per second,\n{ends[1]} at once", -1),
        (many, "joules_an_answer", f"GPU's joules an answer,\n{ends[1]} at once", 1),
    ]
    panels = [panel for panel in panels if panel[0][panel[1]].notna().all()]  # without a GPU there are no joules
    figure, ((*axes,),) = drawing.figure(2.4, columns=1.9, ncols=len(panels), squeeze=False)
    for axis, (part, measure, title, power) in zip(axes, panels, strict=True):
        lines = _draw_panel(axis, part, measure, power, reference)
        shown = lettering.distinct(map(labels.get, part.index), 14)
        axis.set_xticks(range(len(part)), shown, rotation=45, ha="right", rotation_mode="anchor")
        axis.set_title(title)
        axis.set_ylim(bottom=0)
    by_tokens = f"{lettering.shortened(labels[reference], 80)}, by the tokens alone"
    drawing.legend(figure, [lines], [by_tokens], 60, loc="outside upper center")
    return figure, table


def _draw_panel(axis: Axes, part: pd.DataFrame, measure: str, power: int, reference: str) -> LineCollection:
    from aoe.document import drawing

    errors = [part[measure] - part[f"{measure}_low"], part[f"{measure}_high"] - part[measure]]
    axis.bar(
        range(len(part)),
        part[measure],
        0.7,
        yerr=errors,
        capsize=2,
        color=drawing.SKY,
        edgecolor=drawing.INK,
        lw=0.7,
        error_kw={"elinewidth": 0.8},
    )
    by_tokens = part[measure][reference] * (part.tokens_an_answer / part.tokens_an_answer[reference]) ** power
    ends = ([x + side for x in range(len(part))] for side in (-0.42, 0.42))
    return axis.hlines(by_tokens, *ends, color=drawing.RED, lw=1.4)


def finding(table: pd.DataFrame, tables: Tables, settings: Settings) -> str:
    """Say the time and energy of an answer in each queue; table: the latencies."""
    import pandas as pd

    texts = []
    for at_once, part in table.groupby("at_once"):
        told = [
            f"{settings['labels'][row.variant]} {number(row.seconds_an_answer)} s"
            + ("" if pd.isna(row.joules_an_answer) else f" and {number(row.joules_an_answer)} J")
            for row in part.itertuples()
        ]
        texts.append(f"With {counted(at_once, 'question')} at a time, an answer takes {listed(told)}")
        per_token = 1000 * part.seconds_an_answer / part.tokens_an_answer
        texts[-1] += f"; a token {number(per_token.min())} to {number(per_token.max())} ms."
    return " ".join(texts)


FIGURE = Figure(
    number="9",
    title="Speed and energy",
    caption="""
Time of an answer when questions come one at a time, answers per second and energy per answer when many come at once:
the same questions for every variant. Bars are medians over the repeated queues, thin lines reach from the lowest to the
highest. The thick line is what the reference's value would be with this variant's number of tokens.
""",
    needs=("latency.csv",),
    applies=lambda study: "latency" in study.content,
    missing="the study measures no latencies",
    in_paper=False,
    settings=settings_of_study,
    draw=draw,
    finding=finding,
)
