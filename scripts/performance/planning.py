"""How long Snakemake takes to plan the paper, and in how much memory."""

import sys

from performance.measure import row, timed_command

SECONDS, GIB = 30.0, 500e6 / 2**30  # to plan it in


def dry_run(runs):
    """A dry run of the study `paper`: all parents' shards, variants and benchmarks."""
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "all", "--config", "study=paper"]
    measured = [timed_command(*command) for _ in range(-1, runs)][1:]
    seconds, peaks = zip(*measured, strict=True)
    note = f"a dry run of the study `paper`, which is not locked yet; reference: {SECONDS:g} s"
    return [
        row("dry_run_paper", seconds, [SECONDS] * runs, "s", note),
        row("peak_memory_gib_dry_run_paper", peaks, [GIB] * runs, "GiB", "reference: 500 MB"),
    ]
