"""Apply a variant's recipe to the tensors of its parents."""

from typing import TYPE_CHECKING

from aoe.acquiring.together import check
from aoe.checkpoints.architecture import remarks
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.merging.plan import make_plan
from aoe.merging.recipe import Interpolation, read_recipe, said_of
from job.code import record_code
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    record_code(snakemake)
    recipe = read_recipe(snakemake.wildcards.variant, snakemake.params.recipe, snakemake.params.checkpoints)
    parents = {name: Checkpoint(snakemake.params.checkpoints[name], name) for name in recipe.parents}
    union = {"who": f"The variant {snakemake.wildcards.variant}", "models": recipe.parents, "mixed": True}
    for sentence in check([union | said_of(recipe)], snakemake.params.checkpoints):
        print(sentence)
    norms = cosines = None
    if recipe.needs_differences:
        # pandas takes its time, and most plans need no differences
        from aoe.files.tables import read_table
        from aoe.merging.sphere import fused_cosines

        rows = read_table(snakemake.input.differences)
        rows = rows[rows.base == recipe.base]
        norms, cosines = {}, {}
        for parent in (name for name in recipe.parents if name != recipe.base):
            of_parent = rows[rows.other == parent].set_index("tensor", drop=False)
            norms[parent], cosines[parent] = of_parent[recipe.threshold.space].to_dict(), of_parent.cosine.to_dict()
            if recipe.interpolation == Interpolation.SLERP_FUSED:
                cosines[parent] = fused_cosines(of_parent.astype({"expert": "float64"}).to_dict("records"))
    plan = make_plan(recipe, parents, norms, cosines)
    plan.save(snakemake.output[0])
    base = parents[recipe.base]
    shapes = {weight: base.stored(weight).shape for weight in base.weights}
    print("\n".join([*plan.describe(), *remarks(base.name, base.config, shapes)]))
