"""How long Snakemake takes to plan the paper, and in how much memory."""

import sys

from performance.measure import Row, row, timed_command

TARGET_SECONDS, TARGET_GIB = 30.0, 500e6 / 2**30  # to plan it in


def dry_run(runs: int) -> list[Row]:
    """Measure a dry run of the study `paper`: all parents' shards, variants and benchmarks."""
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "all", "--config", "study=paper"]
    measured = [timed_command(*command) for _ in range(-1, runs)][1:]
    seconds, peaks = zip(*measured, strict=True)
    note = f"a dry run of the study `paper`, which is not locked yet; reference: {TARGET_SECONDS:g} s"
    return [
        row("dry_run_paper", seconds, [TARGET_SECONDS] * runs, "s", note),
        row("peak_memory_gib_dry_run_paper", peaks, [TARGET_GIB] * runs, "GiB", "reference: 500 MB"),
    ]
