"""Figure 2: how much the parents differ, layer by layer and kind by kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aoe.checkpoints.parts import MATRICES, TensorGroup
from aoe.document.figures import Figure, Settings, Tables
from aoe.document.findings import listed, number, plural

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing
    from aoe.studies.study import Study

PANELS = ("routed_experts", "shared_experts", "attention", "linear_attention", "indexer")
DENSE = ("dense_mlp", *PANELS[2:])  # of a model without experts


def compared(study: Study) -> Settings:
    """The two models whose differences are shown, and the norm."""
    return {key: study.content["figures"][key] for key in ("base", "other", "space")}


def draw(tables: Tables, settings: Settings) -> tuple[Drawing, pd.DataFrame]:
    """Draw a panel a group: one cell a layer and kind, coloured by the mean over its tensors."""
    from aoe.document import drawing

    space, rows = settings["space"], tables["differences"]
    rows = rows[(rows.base == settings["base"]) & (rows.other == settings["other"])]
    means = rows.groupby(["group", "layer", "kind"], as_index=False)[space].mean()
    panels = PANELS if "routed_experts" in set(means.group) else DENSE
    means = means[means.group.isin(panels)]
    # not every architecture has shared experts
    kinds = {group: _kinds(group, means) for group in panels if group in set(means.group)}
    layers = sorted(means.layer.unique())
    height = 1.3 + 0.16 * min(len(layers), 40)
    widths = {"width_ratios": [len(names) for names in kinds.values()]}
    figure, ((*axes,),) = drawing.figure(height, ncols=len(kinds), sharey=True, squeeze=False, gridspec_kw=widths)
    for axis, group in zip(axes, kinds, strict=True):
        part = means[means.group == group].pivot(index="layer", columns="kind", values=space)
        part = part.reindex(index=layers, columns=kinds[group])
        image = axis.pcolormesh(part.to_numpy(float), cmap="cividis_r", vmin=0, vmax=means[space].max())
        axis.set_title(group.replace("_", "\n"))
        axis.set_xticks([i + 0.5 for i in range(len(kinds[group]))])
        names = [kind.removesuffix("_with_mqa").removesuffix("_proj") for kind in kinds[group]]
        axis.set_xticklabels(names, rotation=60, ha="right", rotation_mode="anchor")
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
        axis.patch.set(facecolor="#f2f2f2", hatch="///", edgecolor="#c4c4c4")  # where a layer has no such tensors
        if axis is axes[0]:
            step = max(1, len(layers) // 12)
            axis.set_yticks([i + 0.5 for i in range(0, len(layers), step)])
            axis.set_yticklabels(layers[::step])
            axis.set_ylabel("decoder layer")
            axis.invert_yaxis()
    bar = figure.colorbar(image, ax=axes, shrink=0.9, pad=0.02)
    bar.set_label(drawing.SPACES[space], parse_math=True)
    return figure, means


def _kinds(group: str, means: pd.DataFrame) -> list[str]:
    """The kinds of a group's weight matrices in their order; of a group that has none of those, all its kinds."""
    found = set(means[means.group == group].kind)
    return [kind for kind in MATRICES[TensorGroup(group)] if kind in found] or sorted(found)


def finding(table: pd.DataFrame, tables: Tables, settings: Settings) -> str:
    """Say which groups and which cell differ most; table: the mean difference of every group, layer and kind."""
    space = settings["space"]
    table = table.dropna(subset=space)
    if table.empty:
        return "No weights of these groups were compared."
    means = table.groupby("group")[space].mean().sort_values(ascending=False)
    ranked = listed(f"{plural(group)} ({number(value)})" for group, value in means.items())
    top = table.loc[table[space].idxmax()]
    text = f"On average over layers and kinds, the differences are: {ranked}. "
    text += f"The largest is that of {top.kind} of the {plural(top.group)} in layer {int(top.layer)} "
    text += f"({number(top[space])})."
    gates = table[(table.group == "shared_experts") & (table.kind == "gate_proj")].sort_values("layer")[space]
    if len(gates) > 1:
        text += f" Of the shared experts, the gate projections go from {number(gates.iloc[0])} in their first layer to "
        text += f"{number(gates.iloc[-1])} in their last."
    return text


FIGURE = Figure(
    number="2",
    title="Differences by layer and kind",
    caption="""
Differences between ``{base}`` and ``{other}`` (figure 2 of the paper): each cell is the mean over the tensors of one
kind in one layer. Hatched: the layer has no such tensors.
""",
    needs=("differences.parquet",),
    settings=compared,
    draw=draw,
    finding=finding,
)
