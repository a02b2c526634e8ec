"""Audits of one shard beside reading the audited file and its parents', from the page cache and from the disk."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from performance import job
from performance.measure import Row, in_a_process, row, side_by_side
from performance.weights import shards


def audit(work: Path, runs: int) -> list[Row]:
    """Attribute a shard of copies, and one of a mixture, to its two parents, against reading all three files."""
    parents, audited, rows = shards.deepseek_shards(work, 2), work / "audited", []
    note = f"a {shards.shard_size()} shard and its two parents, without the start of Python and the kernels"
    for name, make in (("copies", lambda: None), ("mixture", lambda: job.merge(audited, *parents))):
        shutil.copytree(parents[1], audited)
        make()
        files = [next(folder.glob("*.safetensors")) for folder in (audited, *parents)]
        for where, before in (("", lambda: None), ("_from_disk", lambda files=files: evict(files))):
            peaks = []

            def run(peaks=peaks):
                seconds, peak = in_a_process("audit", audited, *parents)
                peaks.append(peak)
                return seconds

            def read(files=files):
                subprocess.run(["cat", *files], check=True, stdout=subprocess.DEVNULL)

            limit = f"{note}; limit: cat of the three files, {'on the disk' if where else 'in the page cache'}"
            rows.append(side_by_side(f"audit_{name}{where}_vs_limit", runs, run, read, limit, before))
        sizes = shards.shard_gib(len(peaks))
        rows.append(row(f"peak_memory_gib_audit_{name}", peaks, sizes, "GiB", "reference: a shard"))
        shutil.rmtree(audited)
    return rows


def evict(files: Sequence[Path]) -> None:
    """Have the system forget what it keeps of files in memory."""
    for path in files:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
