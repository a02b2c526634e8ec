"""Figures 5 and 6: a measure over λ2 for every sweep, the closing tag with its fitted transition."""

from typing import TYPE_CHECKING

import pandas as pd
from aoe.document import drawing, lettering
from aoe.files.tables import read_table
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

FITTED = ("closing",)  # the other measures' points are joined: a step alone does not describe them
LABELS = {
    "cost": "inference cost\n(output tokens, {} = 1)",
    "closing": "answers with </think>",
}

with logged(snakemake.log[0]):
    measure = snakemake.params.measure
    summary = read_table(snakemake.input.summary).set_index("variant")
    transitions = read_table(snakemake.input.transitions).set_index(["sweep", "measure"])
    curves = read_table(snakemake.input.curves)
    figure, axes = drawing.figure(2.6)
    tables = []
    sweeps = [sweep for sweep in snakemake.params.sweeps if (sweep, measure) in transitions.index]
    for sweep, (color, marker, line) in drawing.marks(sweeps):
        points = pd.DataFrame(snakemake.params.sweeps[sweep])
        columns = [measure, f"{measure}_low", f"{measure}_high"]
        table = points.join(summary[columns], on="variant")
        table.insert(0, "sweep", sweep)
        tables.append(table)
        if measure in FITTED:
            fit = transitions.loc[(sweep, measure)]
            curve = curves[(curves.sweep == sweep) & (curves.measure == measure)]
            axes.fill_between(curve.lambda2, curve.low, curve.high, color=color, alpha=0.18, lw=0)
            axes.plot(curve.lambda2, curve.value, color=color, ls=line)
            axes.axvspan(fit.midpoint_low, fit.midpoint_high, color=color, alpha=0.25, lw=0)
            axes.axvline(fit.midpoint, color=color, ls=line, lw=0.6)
            label = f"{sweep}: midpoint {fit.midpoint:.3f} ({fit.midpoint_low:.3f} to {fit.midpoint_high:.3f})"
        else:
            axes.plot(table.lambda2, table[measure], color=color, ls=line, lw=0.8)
            label = sweep
        drawing.with_interval(axes, table, "lambda2", measure, color, marker, label)
    drawing.published(axes, snakemake.params.published)
    axes.set_xlim(table.lambda2.min() - 0.03, table.lambda2.max() + 0.03)
    label = snakemake.params.reference_label
    math = label.isascii() and "$" not in label  # formulas have no other letters, and no $ that is one
    weight = f"{'λ$_2$' if math else 'λ₂'}, the weight of {label}"
    axes.set_xlabel(lettering.wrapped(weight, drawing.ACROSS), parse_math=math)
    axes.set_ylabel(drawing.of_reference(LABELS[measure], label))
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]) if measure == "cost" else -0.04)
    drawing.legend(figure, *axes.get_legend_handles_labels(), 29, loc="outside upper center", ncols=1)
    drawing.save(figure, pd.concat(tables), snakemake.output)
