"""Figure 9: time, speed and energy of an answer, for variants that were put the same queue of questions."""

import pandas as pd
from aoe import drawing
from joblog import logged

with logged(snakemake.log[0]):
    table, labels = pd.read_csv(snakemake.input[0]), snakemake.params.labels
    ends = table.at_once.min(), table.at_once.max()
    alone, many = (table[table.at_once == at_once].set_index("variant") for at_once in ends)
    panels = [
        (alone, "seconds_an_answer", f"seconds an answer,\n{ends[0]} at once"),
        (many, "answers_per_second", f"answers per second,\n{ends[1]} at once"),
        (many, "joules_an_answer", f"GPU's joules an answer,\n{ends[1]} at once"),
    ]
    panels = [panel for panel in panels if panel[0][panel[1]].notna().any()]  # without a GPU there are no joules
    figure, ((*axes,),) = drawing.figure(2.3, columns=1.9, ncols=len(panels), squeeze=False)
    for axis, (part, measure, title) in zip(axes, panels, strict=True):
        names = [labels[variant] for variant in part.index]
        errors = [part[measure] - part[f"{measure}_low"], part[f"{measure}_high"] - part[measure]]
        looks = {"color": drawing.SKY, "edgecolor": drawing.INK, "lw": 0.7, "error_kw": {"elinewidth": 0.8}}
        axis.bar(range(len(part)), part[measure], 0.7, yerr=errors, capsize=2, **looks)
        axis.set_xticks(range(len(part)), names, rotation=45, ha="right", rotation_mode="anchor")
        axis.set_title(title)
        axis.set_ylim(bottom=0)
    drawing.save(figure, table, snakemake.output)
