"""Complete a published variant: index, config, tokenizer, recipe and model card beside its shards."""

import json
from pathlib import Path

from aoe.checkpoint import Checkpoint
from aoe.plan import Plan
from aoe.publishing import complete_checkpoint
from joblog import logged

with logged(snakemake.log[0]):
    plan = Plan.load(snakemake.input.plan)
    base = Checkpoint(snakemake.params.checkpoints[plan.base], plan.base)
    receipts = [json.loads(Path(path).read_text()) for path in snakemake.input.verified]
    provenance = {
        "variant": snakemake.wildcards.variant,
        "recipe": snakemake.params.recipe,
        "parents": {
            receipt["model"]: {"revision": receipt["revision"], "files": receipt["files"]} for receipt in receipts
        },
        "plan": plan.describe(),
    }
    complete_checkpoint(base, Path(snakemake.output[0]).parent, provenance)
    print(f"completed {Path(snakemake.output[0]).parent}")
