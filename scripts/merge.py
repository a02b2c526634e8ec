"""Write one shard of a published variant."""

from typing import TYPE_CHECKING

from aoe.checkpoints.checkpoint import Checkpoint
from aoe.merging.merge import Merge
from aoe.merging.plan import Plan
from aoe.merging.shard_writer import write_shard
from job.code import record_code
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    record_code(snakemake)
    plan = Plan.load(snakemake.input.plan)
    checkpoints = {name: Checkpoint(snakemake.params.checkpoints[name], name) for name in plan.parents}
    merge = Merge(plan, checkpoints, threads=snakemake.threads)
    write_shard(merge, snakemake.params.file, snakemake.output[0])
    print("\n".join(plan.describe()))
