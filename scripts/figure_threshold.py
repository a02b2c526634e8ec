"""Figures 7a and 7b: a measure over the threshold δ, for merges with equal weights."""

from typing import TYPE_CHECKING

import pandas as pd
from aoe.document import drawing, lettering
from aoe.files.tables import read_table
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

LABELS = {"intelligence": "intelligence score (%)", "cost": "inference cost\n(output tokens, {} = 1)"}

with logged(snakemake.log[0]):
    measure = snakemake.params.measure
    summary = read_table(snakemake.input.summary).set_index("variant")
    points = pd.DataFrame(snakemake.params.points)
    table = points.join(summary[[measure, f"{measure}_low", f"{measure}_high"]], on="variant")
    figure, axes = drawing.figure(2.1)
    axes.plot(table.delta, table[measure], color=drawing.BLUE, lw=0.8)
    drawing.with_interval(axes, table, "delta", measure, drawing.BLUE, "s", None)
    drawing.published(axes, snakemake.params.published)
    base = summary.loc[snakemake.params.base]
    handles, labels = axes.get_legend_handles_labels()
    line = axes.axhline(base[measure], color=drawing.INK, lw=0.8, ls=":")
    axes.set_xlabel(f"threshold δ ({drawing.SPACES[snakemake.params.space]})", parse_math=True)
    axes.set_ylabel(drawing.of_reference(LABELS[measure], snakemake.params.reference_label))
    axes.margins(y=0.12)
    shown = f"{lettering.shortened(base.label, 36)} (δ → ∞)"
    drawing.legend(figure, [*handles, line], [*labels, shown], 24, axes=axes, loc="upper right")
    drawing.save(figure, table, snakemake.output)
