"""Check the files of a model or dataset against the lock, and its shards against their headers and index."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from aoe.acquiring.together import check_stored
from aoe.acquiring.verification import verify
from aoe.checkpoints.checkpoint import Checkpoint
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    name, directory, files = snakemake.wildcards.name, snakemake.params.directory, snakemake.params.files
    # a variant's part of a parent, or what a prediction reads, is less than all shards
    whole = not hasattr(snakemake.wildcards, "variant") and snakemake.params.get("whole", True)
    size = verify(
        name, directory, files, snakemake.params.receipts, snakemake.threads, whole, not snakemake.params.audited
    )
    print(f"{name}: {len(files)} files, {size} bytes, as locked")
    if "config.json" in files and whole:
        print(*check_stored([Checkpoint(directory, name)]), sep="\n")
    receipt = {"name": name, "directory": directory, "bytes": size, "files": files}
    Path(snakemake.output[0]).write_text(json.dumps(receipt, indent=1) + "\n", encoding="utf-8")
