"""Check every file of a model against the lock, and its shards against their headers and index."""

import json
from pathlib import Path

from aoe.lock import read_lock, revision, verify_model
from joblog import logged

with logged(snakemake.log[0]):
    model, directory = snakemake.wildcards.model, snakemake.params.directory
    locked = read_lock(snakemake.input.lock, [model])[model]
    files = locked["files"]
    size = verify_model(model, directory, files, snakemake.threads)
    print(f"{model}: {len(files)} files, {size} bytes, as locked")
    receipt = {"model": model, "revision": revision(locked), "directory": directory, "bytes": size, "files": files}
    Path(snakemake.output[0]).write_text(json.dumps(receipt, indent=1) + "\n")
