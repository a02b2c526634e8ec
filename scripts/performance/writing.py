"""How long it takes from scored answers to tables, figures, claims and the document."""

import sys
from pathlib import Path

from performance.measure import row, timed_command

SECONDS = 60.0  # to do it in
SCORES = Path("results/mini/scores.parquet")


def from_scores(runs):
    """All that `make run` makes of the mini study's scores; nothing where it has not been run."""
    if not SCORES.exists():
        print(f"{SCORES} is not there; `make run` makes it.")
        return []
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--quiet", "all"]
    command += ["--config", "study=mini", "--forcerun", "summary", "figure2", "figure3"]
    seconds = [timed_command(*command)[0] for _ in range(-1, runs)][1:]
    note = (
        f"tables, fits, figures 2 to 8, claims, PDF and pages of the mini study, on 2 cores; reference: {SECONDS:g} s"
    )
    return [row("from_scores_to_paper", seconds, [SECONDS] * runs, "s", note)]
