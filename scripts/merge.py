"""Write one shard of a published variant."""

import torch
from aoe.checkpoint import Checkpoint
from aoe.merge import Merge, write_shard
from aoe.plan import Plan
from joblog import logged

with logged(snakemake.log[0]):
    torch.set_num_threads(snakemake.threads)
    plan = Plan.load(snakemake.input.plan)
    checkpoints = {name: Checkpoint(snakemake.params.checkpoints[name], name) for name in plan.parents}
    write_shard(Merge(plan, checkpoints), snakemake.params.file, snakemake.output[0])
    print("\n".join(plan.describe()))
