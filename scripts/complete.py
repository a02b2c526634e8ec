"""Complete a published variant: index, config, tokenizer and the recipe with its parents' hashes beside its shards."""

import json
from pathlib import Path

from aoe.checkpoint import Checkpoint
from aoe.merge import Merge, copy_surroundings
from aoe.plan import Plan
from joblog import logged

with logged(snakemake.log[0]):
    plan = Plan.load(snakemake.input.plan)
    checkpoints = {name: Checkpoint(snakemake.params.checkpoints[name], name) for name in plan.parents}
    receipts = [json.loads(Path(path).read_text()) for path in snakemake.input.verified]
    provenance = {
        "variant": snakemake.wildcards.variant,
        "recipe": snakemake.params.recipe,
        "parents": {receipt["model"]: receipt["files"] for receipt in receipts},
        "plan": plan.describe(),
    }
    copy_surroundings(Merge(plan, checkpoints), Path(snakemake.output[0]).parent, provenance)
    print(f"completed {Path(snakemake.output[0]).parent}")
