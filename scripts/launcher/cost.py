"""The cost of a study before anybody submits it, with the jobs of Snakemake's own dry run."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aoe import AoeError
from aoe.studies.cost import estimate

if TYPE_CHECKING:
    from aoe.acquiring.lock import Locked
    from aoe.studies.study import Study


def planned_jobs(config: Mapping[str, Any]) -> dict[str, int]:
    """Return rule -> the number of jobs that are to be run, with a configuration as config/config.yaml holds it.

    Raises AoeError if the dry run fails, with what it says.
    """
    words = [f"{key}={value}" for key, value in config.items()]
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "host", "--config", *words]
    run = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    if run.returncode:
        raise AoeError(f"The dry run failed: {run.stderr.strip()}")
    jobs = {rule: int(number) for rule, number in re.findall(r"^(\w+) +(\d+)$", run.stdout, re.MULTILINE)}
    return {rule: number for rule, number in jobs.items() if rule not in ("all", "total")}


def show_cost(study: Study, locked: Mapping[str, Locked], config: Mapping[str, Any], path: str | Path) -> None:
    """Print the table of a study's cost, and write it to ``path``; locked: name -> Locked, or expected."""
    table = "\n".join(cost_table(study, locked, config))
    Path(path).write_text(f"{table}\n", encoding="utf-8")
    print(table)


def cost_table(study: Study, locked: Mapping[str, Locked], config: Mapping[str, Any]) -> list[str]:
    """Return the lines of that table.  Raises AoeError if the study cannot be planned."""
    rows = estimate(study, locked).rows()
    jobs = planned_jobs(config)
    rows += [(f"jobs of {rule}", number, "") for rule, number in jobs.items()] + [("jobs, all", sum(jobs.values()), "")]
    width = max(len(what) for what, _, _ in rows)
    return [f"{what:{width}}  {_written(amount):>12} {unit}".rstrip() for what, amount, unit in rows]


def _written(amount):
    if amount is None:
        return "unknown"
    return f"{amount:,}" if isinstance(amount, int) else f"{amount:,.1f}"
