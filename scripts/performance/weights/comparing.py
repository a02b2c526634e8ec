"""Differences of two parents beside reading both, and verification beside sha256sum."""

import subprocess
from pathlib import Path

from aoe.acquiring.hashing import sha256
from performance.measure import Row, in_a_process, row, side_by_side
from performance.weights import shards


def diff_and_verify(work: Path, runs: int) -> list[Row]:
    """Measure the differences of two parents' shard against reading both; verification against sha256sum."""
    parents = shards.deepseek_shards(work, 2)
    files = [next(folder.glob("*.safetensors")) for folder in parents]
    peaks = {"diff": [], "verify": []}

    def run(name, *arguments):
        seconds, peak = in_a_process(name, *arguments)
        peaks[name].append(peak)
        return seconds

    def read():
        subprocess.run(["cat", *files], check=True, stdout=subprocess.DEVNULL)

    def sha256sum():
        subprocess.run(["sha256sum", files[0]], check=True, stdout=subprocess.DEVNULL)

    digest = sha256(files[0])
    rows = [
        side_by_side(
            "diff_fp8_vs_limit",
            runs,
            lambda: run("diff", *parents),
            read,
            f"all norms of a {shards.shard_size()} shard's differences, without the start of Python and the kernels; "
            "limit: cat of both files",
        ),
        side_by_side(
            "verify_vs_sha256sum",
            runs,
            lambda: run("verify", files[0], digest),
            sha256sum,
            f"one file of {shards.shard_size()}, one core each; reference: sha256sum",
        ),
    ]
    for name, column in peaks.items():
        rows.append(row(f"peak_memory_gib_{name}", column, shards.shard_gib(len(column)), "GiB", "reference: a shard"))
    return rows
