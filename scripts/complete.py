"""Complete a published variant: index, config, tokenizer, recipe and model card beside its shards."""

from pathlib import Path
from typing import TYPE_CHECKING

from aoe.checkpoints.checkpoint import Checkpoint
from aoe.merging.plan import Plan
from aoe.merging.publishing import complete_checkpoint
from job.code import record_code
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    record_code(snakemake)
    plan = Plan.load(snakemake.input.plan)
    base = Checkpoint(snakemake.params.base, plan.base)
    provenance = {
        "variant": snakemake.wildcards.variant,
        "recipe": snakemake.params.recipe,
        "parents": snakemake.params.parents,
        "plan": plan.describe(),
    }
    folder, folders = Path(snakemake.output[0]).parent, snakemake.params.folders
    complete_checkpoint(base, folder, provenance, plan.beside, folders, plan.unrounded)
    print(f"completed {folder}")
