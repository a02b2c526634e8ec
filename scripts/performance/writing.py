"""How long it takes from scored answers to tables, figures, claims and the document."""

import sys
from pathlib import Path

from performance.measure import Row, row, timed_command

TARGET_SECONDS = 60.0
SCORES = Path("results/mini/scores.parquet")


def from_scores(runs: int) -> list[Row]:
    """Measure all that `make run` makes of the mini study's scores; return no Rows where it has not been run."""
    if not SCORES.exists():
        print(f"{SCORES} is not there; `make run` makes it.")
        return []
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--quiet", "all"]
    command += ["--config", "study=mini", "--forcerun", "summary", "figure2", "figure3"]
    seconds = [timed_command(*command)[0] for _ in range(-1, runs)][1:]
    made = "tables, fits, figures 2 to 8, claims, PDF and pages of the mini study"
    note = f"{made}, on 2 cores; reference: {TARGET_SECONDS:g} s"
    return [row("from_scores_to_paper", seconds, [TARGET_SECONDS] * runs, "s", note)]
