"""Map of an audit: from which parent is what, layer by layer and group by group, in the parents' colours."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
import seaborn as sns
from matplotlib.patches import Patch, Rectangle
from aoe.checkpoints.architecture import TensorGroup
from aoe.document import drawing
from aoe.files.tables import read_table
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

PAPER = "#f2f2f2"
DISTINCT = 10  # colours of the palette for people who do not see all of them
SPECIAL = {  # origin: (face, hatch, legend)
    "all parents": ("#d0d0d0", "", "the same in all parents"),
    "unexplained": ("#ffffff", "xxxx", "unexplained"),
    "moved": ("#ffffff", "////", "another weight's bytes"),
    "reshaped": ("#ffffff", "\\\\\\\\", "of another size"),
    "missing": ("#ffffff", "", "missing"),
    "unreadable": ("#ffffff", "....", "cannot be compared"),
}


def blend(row: Mapping[str, Any], colours: Mapping[str, tuple[float, float, float]]) -> tuple[float, ...]:
    """The parents' colours, mixed by their λ."""
    shares = {parent: max(row[f"lambda_{parent}"], 0.0) for parent in colours}
    total = sum(shares.values()) or 1.0
    return tuple(sum(shares[parent] * colours[parent][i] for parent in colours) / total for i in range(3))


with logged(snakemake.log[0]):
    table, labels = read_table(snakemake.input[0]), snakemake.params.labels
    parents = snakemake.params.settings["parents"]
    palette = "colorblind" if len(parents) <= DISTINCT else "husl"
    colours = dict(zip(parents, sns.color_palette(palette, len(parents)), strict=True))
    groups = [str(group) for group in TensorGroup if group in set(table.group)]
    layers = [*sorted(table.layer.dropna().astype(int).unique())] + ([None] if table.layer.isna().any() else [])
    figure, axis = drawing.figure(1.6 + 0.13 * len(layers), columns=1.75)
    for (layer, group), cell in table.groupby(["layer", "group"], dropna=False):
        y, left = layers.index(None if pd.isna(layer) else int(layer)), groups.index(group) + 0.04
        for row in cell.sort_values("origin").to_dict("records"):
            face, hatch, _ = SPECIAL.get(row["origin"], (blend(row, colours), "", ""))
            width = 0.92 * row["share"]
            axis.add_patch(
                Rectangle(
                    (left, y + 0.06), width, 0.88, facecolor=face, hatch=hatch, edgecolor="#555555", linewidth=0.2
                )
            )
            left += width
    axis.set(xlim=(0, len(groups)), ylim=(len(layers), 0), ylabel="decoder layer", facecolor=PAPER)
    axis.set_xticks([i + 0.5 for i in range(len(groups))], [group.replace("_", "\n") for group in groups])
    step = max(1, len(layers) // 16)
    shown = [i for i, layer in enumerate(layers) if layer is None or i % step == 0]
    axis.set_yticks([i + 0.5 for i in shown], ["none" if layers[i] is None else layers[i] for i in shown])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    handles = [Patch(facecolor=colour) for colour in colours.values()]
    names = [labels[parent] for parent in colours]
    for origin, (face, hatch, label) in SPECIAL.items():
        if origin in set(table.origin):
            handles.append(Patch(facecolor=face, hatch=hatch, edgecolor="#555555"))
            names.append(label)
    drawing.legend(figure, handles, names, 16, 3, loc="outside lower center", ncols=3)
    drawing.save(figure, table, snakemake.output)
