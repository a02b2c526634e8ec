"""Write one shard of a published variant."""

from aoe.checkpoint import Checkpoint
from aoe.merge import Merge
from aoe.plan import Plan
from aoe.shard_writer import write_shard
from joblog import logged

with logged(snakemake.log[0]):
    plan = Plan.load(snakemake.input.plan)
    checkpoints = {name: Checkpoint(snakemake.params.checkpoints[name], name) for name in plan.parents}
    merge = Merge(plan, checkpoints, threads=snakemake.threads)
    write_shard(merge, snakemake.params.file, snakemake.output[0])
    print("\n".join(plan.describe()))
