"""Apply a variant's recipe to the tensors of its parents."""

from typing import TYPE_CHECKING

from aoe.acquiring.together import check
from aoe.checkpoints.architecture import Architecture, unplaced
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.merging.plan import make_plan
from aoe.merging.recipe import read_recipe
from job.code import record_code
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    record_code(snakemake)
    recipe = read_recipe(snakemake.wildcards.variant, snakemake.params.recipe, snakemake.params.checkpoints)
    parents = {name: Checkpoint(snakemake.params.checkpoints[name], name) for name in recipe.parents}
    union = {"who": f"The variant {snakemake.wildcards.variant}", "models": recipe.parents, "mixed": True}
    union |= {"config_from": recipe.config_from, "config": sorted(recipe.config)}
    for sentence in check([union | {"tokenizer_from": recipe.tokenizer_from}], snakemake.params.checkpoints):
        print(sentence)
    norms = None
    if recipe.threshold.delta > 0:
        from aoe.files.tables import read_table  # pandas takes its time, and most plans have no threshold

        rows = read_table(snakemake.input.differences)
        rows = rows[rows.base == recipe.base].set_index(["other", "tensor"])[recipe.threshold.space]
        norms = {parent: rows[parent].to_dict() for parent in recipe.parents if parent != recipe.base}
    plan = make_plan(recipe, parents, norms)
    plan.save(snakemake.output[0])
    base = parents[recipe.base]
    print("\n".join([*plan.describe(), *unplaced(base.name, Architecture(base.config), base.files)]))
