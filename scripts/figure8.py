"""Figure 8: the assembled model beside its parents, on every benchmark, and what an answer costs."""

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.patches import Patch
from aoe.document import drawing
from aoe.files.tables import read_table
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

LOOKS = [("white", ""), (drawing.SKY, "////"), (drawing.BLUE, "")]
NAMES = {
    "aime2024": "AIME-\n2024",
    "aime2025": "AIME-\n2025",
    "gpqa_diamond": "GPQA-\nDiamond",
    "bigcodebench": "BigCode-\nBench",
    "mt_bench": "MT-\nBench",
}

with logged(snakemake.log[0]):
    summary = read_table(snakemake.input.summary).set_index("variant").loc[snakemake.params.variants]
    measures = [*(f"{name}_percent" for name in snakemake.params.benchmarks), "cost"]
    names = [NAMES.get(name, name) for name in snakemake.params.benchmarks]
    figure, (scores, cost) = drawing.figure(2.5, ncols=2, gridspec_kw={"width_ratios": [len(measures) - 1, 1]})
    width = 0.8 / len(summary)
    for index, ((_, row), (color, hatch)) in enumerate(zip(summary.iterrows(), LOOKS, strict=False)):
        for place, measure in enumerate(measures):
            axes, position = (cost, 0) if measure == "cost" else (scores, place)
            x = position + (index - (len(summary) - 1) / 2) * width
            if pd.isna(row[measure]):
                axes.text(x, 0, "–", ha="center", va="bottom", fontsize=7)  # nobody could grade it
                continue
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
    looks = [Patch(fc=color, hatch=hatch, ec=drawing.INK, lw=0.7) for color, hatch in LOOKS]
    names_of_looks = list(summary.label)
    assembled = (1 - (len(summary) - 1) / 2) * width  # where its bar stands, between its parents'
    for value, whose in snakemake.params.published:
        ends = assembled - width / 2, assembled + width / 2
        lines = cost.hlines(value, *ends, color=drawing.INK, lw=1.4, ls=(0, (1, 0.6)))
        looks, names_of_looks = [*looks, lines], [*names_of_looks, f"published: {value:g} ({whose})"]
    scores.set_xticks(range(len(names)), names, fontsize=7 if len(names) < 4 else 5.5)
    scores.set_ylabel("score (%)")
    scores.set_ylim(0, 105)
    cost.set_xticks([0], ["inference\ncost"])
    cost.set_ylabel(drawing.of_reference("output tokens ({} = 1)", snakemake.params.reference_label))
    for axes in (scores, cost):
        axes.tick_params(axis="x", length=0)
    drawing.legend(figure, looks, names_of_looks, 14, 3, loc="outside upper center", ncols=2)
    table = summary.reset_index()[
        ["variant", "label", *(f"{m}{end}" for m in measures for end in ("", "_low", "_high"))]
    ]
    drawing.save(figure, table, snakemake.output)
