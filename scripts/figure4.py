"""Figure 4: intelligence against inference cost, for every variant."""

from typing import TYPE_CHECKING

from adjustText import adjust_text
from aoe.document import drawing, lettering
from aoe.files.tables import read_table
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

STEPS = 500  # in which labels find a free place

with logged(snakemake.log[0]):
    summary = read_table(snakemake.input.summary).dropna(subset="intelligence")
    named, sweeps = snakemake.params.named, snakemake.params.sweeps
    figure, axes = drawing.figure(3.0)
    drawn = set(named)
    for sweep, (color, marker, _) in drawing.marks(sweeps):
        part = summary[summary.variant.isin({point["variant"] for point in sweeps[sweep]} - drawn)]
        drawn |= set(part.variant)
        errors = [part.cost - part.cost_low, part.cost_high - part.cost]
        drawing.with_interval(axes, part, "cost", "intelligence", color, marker, sweep, xerr=errors, alpha=0.85, ms=3.5)
    part = summary[summary.variant.isin(named)]
    errors = [part.cost - part.cost_low, part.cost_high - part.cost]
    drawing.with_interval(axes, part, "cost", "intelligence", drawing.INK, "*", "models and recipes", xerr=errors, ms=7)
    drawing.published(axes, snakemake.params.published)
    shown = lettering.distinct(part.label, 14, 2)
    labels = [
        axes.text(row.cost, row.intelligence, label, fontsize=7)
        for row, label in zip(part.itertuples(), shown, strict=True)
    ]
    measured = f"inference cost (output tokens, {lettering.shortened(snakemake.params.reference_label, 40)} = 1)"
    axes.set_xlabel(lettering.wrapped(measured, drawing.ACROSS, 3))
    axes.set_ylabel("intelligence score (%)")
    axes.margins(x=0.14, y=0.1)
    drawing.legend(figure, *axes.get_legend_handles_labels(), 24, axes=axes, loc="lower right")
    if summary.empty:
        axes.text(0.5, 0.5, "no variant has marks\nin every benchmark", transform=axes.transAxes, ha="center")
    lines = {"arrowstyle": "-", "color": drawing.INK, "lw": 0.5}
    lettering.use_fonts(figure)
    figure.canvas.draw()
    # by steps, not by the clock: labels have to come to rest in the same places on any machine
    places = summary.cost.to_numpy(), summary.intelligence.to_numpy()
    adjust_text(labels, *places, ax=axes, arrowprops=lines, iter_lim=STEPS)
    drawing.save(figure, summary, snakemake.output)
