"""Fetch one locked file, or go on where an earlier run stopped."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from aoe.acquiring.fetching import Progress, fetch
from aoe.acquiring.sources import open_source
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def say(text: str) -> None:
    print(text)
    print(text, file=sys.__stderr__)


with logged(snakemake.log[0]):
    study, name, file = snakemake.wildcards.study, snakemake.wildcards.name, snakemake.wildcards.file
    facts = snakemake.params.facts
    run = Path(f"results/{study}/fetching.json")  # written when the run began
    progress = Progress(json.loads(run.read_text(encoding="utf-8")) if run.exists() else {})
    stall_seconds = snakemake.resources.stall_seconds
    source = open_source(snakemake.params.source, name, snakemake.params.commit, stall_seconds)
    with progress.reported(say, f"results/{study}/logs/progress.mutex"):
        transferred = fetch(source, file, facts, Path(snakemake.params.directory) / file)
    if transferred:
        say(f"{file} of {name} is here.  Of all files: {progress}")
    Path(snakemake.output[0]).write_text(
        json.dumps({"file": file, "source": str(source), **facts}) + "\n", encoding="utf-8"
    )
