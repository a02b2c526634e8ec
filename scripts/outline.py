"""Fetch the outlines of all models, and see from them alone whether the study's pairs can be assembled."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from aoe.acquiring.fetching import fetch, fetch_outline
from aoe.acquiring.lock import read_lock
from aoe.acquiring.sources import open_source
from aoe.acquiring.together import check, check_stored
from aoe.checkpoints.architecture import Architecture, remarks
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.tokens.alignment import align
from aoe.merging.forms import check_compatible, check_formats
from aoe.merging.recipe import read_recipe
from aoe.merging.selection import check_recipe, places
from aoe.serving.servable import TOKENIZER, end_think_id
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    models, directories = snakemake.params.models, snakemake.params.directories
    locked = read_lock(snakemake.input[0], {"models": models, "datasets": []})
    parents = {name: Checkpoint(directories[name], name) for name in models}
    for name in filter(snakemake.params.sources.get, models):
        source = open_source(snakemake.params.sources[name], f"models.{name}", locked[name].commit)
        parents[name] = fetch_outline(source, locked[name], directories[name])
        if name == snakemake.params.reference:
            fetch(source, TOKENIZER, locked[name].files[TOKENIZER], Path(directories[name]) / TOKENIZER)
            end_think_id(Path(directories[name]) / TOKENIZER)
    for base, other in snakemake.params.pairs:
        check_compatible(parents[base], [parents[other]])
        print(f"{base} and {other} fit together")
    for base, other in snakemake.params.aligned:
        alignment = align(parents[base], [parents[other]])
        seen = alignment.aligned(parents[base], parents) if alignment else parents
        check_compatible(parents[base], [seen[other]])
        print(f"{base} and {other} fit together, with embeddings aligned by token")
    told = []
    for name, parent in parents.items():
        told += remarks(name, parent.config, {weight: parent.stored(weight).shape for weight in parent.weights})
    for sentence in [*told, *check_stored(parents.values()), *check(snakemake.params.unions, directories)]:
        print(sentence)
        print(sentence, file=sys.__stderr__)
    for variant, entry in snakemake.params.recipes.items():
        recipe = read_recipe(variant, entry, models)
        base = parents[recipe.base]
        check_recipe(f"The variant {variant}", recipe, places(Architecture(base.config), base.files))
        check_formats(f"The variant {variant}", recipe, parents)
    outline = {name: {"revision": locked[name].revision, "tensors": len(parents[name].files)} for name in models}
    Path(snakemake.output[0]).write_text(json.dumps(outline, indent=1) + "\n", encoding="utf-8")
