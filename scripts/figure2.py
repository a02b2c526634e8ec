"""Figure 2: how much the parents differ, layer by layer and kind by kind."""

from aoe.checkpoints.architectures import projections
from aoe.checkpoints.parts import TensorGroup
from aoe.document import drawing
from aoe.files.tables import read_table
from job.logging import logged

SHOWN = (TensorGroup.ROUTED_EXPERTS, TensorGroup.SHARED_EXPERTS, TensorGroup.ATTENTION)
PANELS = {str(group): projections()[group] for group in SHOWN}

with logged(snakemake.log[0]):
    space = snakemake.params.space
    rows = read_table(snakemake.input[0])
    rows = rows[(rows.base == snakemake.params.base) & (rows.other == snakemake.params.other)]
    means = rows.groupby(["group", "layer", "kind"], as_index=False)[space].mean()
    means = means[means.group.isin(PANELS)]
    kinds = {
        group: [kind for kind in PANELS[group] if kind in set(means[means.group == group].kind)]
        for group in PANELS
        if group in set(means.group)  # not every architecture has shared experts
    }
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
    drawing.save(figure, means, snakemake.output)
