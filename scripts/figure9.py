"""Figure 9: time, speed and energy of an answer, for variants that were put the same queues of questions."""

from typing import TYPE_CHECKING

from aoe.document import drawing, lettering
from aoe.files.tables import read_table
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    table, labels, reference = read_table(snakemake.input[0]), snakemake.params.labels, snakemake.params.reference
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
        errors = [part[measure] - part[f"{measure}_low"], part[f"{measure}_high"] - part[measure]]
        looks = {"color": drawing.SKY, "edgecolor": drawing.INK, "lw": 0.7, "error_kw": {"elinewidth": 0.8}}
        axis.bar(range(len(part)), part[measure], 0.7, yerr=errors, capsize=2, **looks)
        by_tokens = part[measure][reference] * (part.tokens_an_answer / part.tokens_an_answer[reference]) ** power
        lines = axis.hlines(
            by_tokens, *([x + side for x in range(len(part))] for side in (-0.42, 0.42)), color=drawing.RED, lw=1.4
        )
        shown = lettering.distinct(map(labels.get, part.index), 14)
        axis.set_xticks(range(len(part)), shown, rotation=45, ha="right", rotation_mode="anchor")
        axis.set_title(title)
        axis.set_ylim(bottom=0)
    alone = f"{lettering.shortened(labels[reference], 80)}, by the tokens alone"
    drawing.legend(figure, [lines], [alone], 60, loc="outside upper center")
    drawing.save(figure, table, snakemake.output)
