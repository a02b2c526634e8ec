"""What a study takes before anybody submits it: the jobs of Snakemake's own dry run, and the table of its cost."""

import re
import subprocess
import sys
from pathlib import Path

from aoe import AoeError
from aoe.studies.cost import estimate


def planned_jobs(config):
    """rule -> number of jobs that are to be run, with a configuration as config/config.yaml holds it.

    Raises AoeError if the dry run fails, with what it says.
    """
    words = [f"{key}={value}" for key, value in config.items()]
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "host", "--config", *words]
    run = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    if run.returncode:
        raise AoeError(f"The dry run failed: {run.stderr.strip()}")
    jobs = {rule: int(number) for rule, number in re.findall(r"^(\w+) +(\d+)$", run.stdout, re.MULTILINE)}
    return {rule: number for rule, number in jobs.items() if rule not in ("all", "total")}


def show_cost(study, locked, config, path):
    """Print the table of what a Study costs, and write it to ``path``; locked: name -> Locked, or expected."""
    table = "\n".join(cost_table(study, locked, config))
    Path(path).write_text(f"{table}\n", encoding="utf-8")
    print(table)


def cost_table(study, locked, config):
    """The lines of that table.  Raises AoeError if the study cannot be planned."""
    rows = estimate(study, locked).rows()
    jobs = planned_jobs(config)
    rows += [(f"jobs of {rule}", number, "") for rule, number in jobs.items()] + [("jobs, all", sum(jobs.values()), "")]
    width = max(len(what) for what, _, _ in rows)
    return [f"{what:{width}}  {_written(amount):>12} {unit}".rstrip() for what, amount, unit in rows]


def _written(amount):
    if amount is None:
        return "unknown"
    return f"{amount:,}" if isinstance(amount, int) else f"{amount:,.1f}"
