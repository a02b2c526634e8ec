"""Lock the files of a study's models as they are now: sizes and SHA-256."""

import json
from pathlib import Path

from aoe.lock import lock_directories
from joblog import logged

with logged(snakemake.log[0]):
    content = lock_directories(snakemake.params.directories)
    Path(snakemake.output[0]).write_text(json.dumps(content, indent=1) + "\n")
    for model, entry in content["models"].items():
        print(f"{model}: {len(entry['files'])} files, {sum(f['size'] for f in entry['files'].values())} bytes")
