"""Figure 3: the distribution of the differences, and how many tensors exceed a threshold δ."""

from typing import TYPE_CHECKING

import numpy as np
from aoe.document import drawing
from aoe.files.tables import read_table
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

SMALLEST = 1e-3  # the paper shows tensors with a difference of at least this

with logged(snakemake.log[0]):
    space = snakemake.params.space
    rows = read_table(snakemake.input[0])
    rows = rows[(rows.base == snakemake.params.base) & (rows.other == snakemake.params.other)]
    rows = rows[rows.group.isin(drawing.GROUPS)]
    smallest = SMALLEST if space in ("codes", "frobenius") else 0
    shown = rows[rows[space] >= smallest]
    bins = np.linspace(0, shown[space].max() * 1.05, 31)
    figure, (density, exceeding) = drawing.figure(3.4, nrows=2, sharex=True)
    for group, (label, color, line) in drawing.GROUPS.items():
        part = rows[rows.group == group][space].sort_values().to_numpy()
        if not len(part):
            continue
        kept = part[part >= smallest]
        density.hist(
            kept, bins, weights=np.full(len(kept), 1 / len(part)), histtype="step", color=color, ls=line, lw=1.2
        )
        density.hist(kept, bins, weights=np.full(len(kept), 1 / len(part)), color=color, alpha=0.15)
        left = np.concatenate([[0], part])
        share = np.concatenate([(part > 0).mean()[None], [(part > value).mean() for value in part]])
        exceeding.step(left, share, where="post", color=color, ls=line, label=f"{label} ({len(part)})")
    drawing.published(exceeding, snakemake.params.published)
    density.set_ylabel("share of the group")
    exceeding.set_ylabel("share above δ")
    exceeding.set_ylim(-0.03, 1.03)
    exceeding.set_xlabel(drawing.SPACES[space], parse_math=True)
    figure.legend(loc="outside upper center", ncols=2)
    drawing.save(figure, shown[["tensor", "group", "layer", "kind", space]], snakemake.output)
