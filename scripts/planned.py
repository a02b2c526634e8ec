"""What a study takes before anybody submits it: the jobs of Snakemake's own dry run, and the table of its cost."""

import re
import subprocess
import sys
from pathlib import Path

from aoe import AoeError
from aoe.cost import estimate


def planned_jobs(study):
    """rule -> number of jobs.  Raises AoeError if the dry run fails, with what it says."""
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "host", "--config", f"study={study}"]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        raise AoeError(f"The dry run failed: {run.stderr.strip()}")
    jobs = {rule: int(number) for rule, number in re.findall(r"^(\w+) +(\d+)$", run.stdout, re.MULTILINE)}
    return {rule: number for rule, number in jobs.items() if rule not in ("all", "total")}


def show_cost(study, locked, path):
    """Print the table of what a Study costs, and write it to ``path``; locked: name -> Locked, or expected."""
    table = "\n".join(cost_table(study, locked))
    Path(path).write_text(f"{table}\n")
    print(table)


def cost_table(study, locked):
    """The lines of that table.  Raises AoeError if the study cannot be planned."""
    rows = estimate(study, locked).rows()
    jobs = planned_jobs(study.name)
    rows += [(f"jobs of {rule}", number, "") for rule, number in jobs.items()] + [("jobs, all", sum(jobs.values()), "")]
    width = max(len(what) for what, _, _ in rows)
    return [f"{what:{width}}  {_written(amount):>12} {unit}".rstrip() for what, amount, unit in rows]


def _written(amount):
    if amount is None:
        return "unknown"
    return f"{amount:,}" if isinstance(amount, int) else f"{amount:,.1f}"
