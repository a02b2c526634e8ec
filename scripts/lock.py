"""Lock the files of a study's models and datasets as their sources have them now, and tell what has changed."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from aoe.acquiring.fetching import lock_all
from aoe.acquiring.lock import compare, format_lock, resolved
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    entries, told = [], []
    for entry in lock_all(snakemake.params.inputs, snakemake.params.unions, told.append):
        entries.append(entry)
        print(f"{entry.name}: {entry.revision}, {len(entry.needed)} files, {entry.size(entry.needed)} bytes")
    for line in filter(None, [*told, *compare(snakemake.params.old, entries), resolved(entries)]):
        print(line)
        print(line, file=sys.__stderr__)
    Path(snakemake.output[0]).write_text(format_lock(entries), encoding="utf-8")
