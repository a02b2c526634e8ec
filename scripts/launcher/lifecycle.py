"""Between the plan and the first job, and after the last one.

In two cases Snakemake's plan is out of date as soon as it was carried out, or before: the lock that it was made of did
not exist yet, or something was made anew that others only wait for.  Then ``again`` calls the same command once more;
nothing else re-executes Snakemake, except for a preflight (launcher.preflight.flight), which takes Snakemake's place.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from aoe import AoeError
from aoe.acquiring.fetching import begin_fetching, lock_all
from aoe.acquiring.lock import format_lock, resolved
from aoe.files.replacing import replace_text
from cluster.jobstates import watch
from cluster.partitions import problems, read_partitions
from cluster.requests import requests_of
from launcher.preflight.flight import fly
from launcher.preflight.plan import plan_of
from launcher.startup import cancel_left_jobs, hold

if TYPE_CHECKING:
    from snakemake.workflow import Workflow
    from launcher.code.watch import CodeWatch
    from launcher.inputs import Inputs
    from launcher.run import Run

CALLS = "AOE_CALLS"  # the variable that counts how often a command has called itself
MOST_CALLS = 3  # verified files are looked at once more, and then what depends on them


class Lifecycle:
    """What Snakemake's hooks ``onstart`` and ``onsuccess`` do; made before the plan, as it notes what was verified."""

    def __init__(self, workflow: Workflow, run: Run, inputs: Inputs, code: CodeWatch) -> None:
        self.workflow, self.run, self.inputs, self.code = workflow, run, inputs, code
        self.ancient_before = self._ancient()

    def start(self) -> None:
        """Look at what no rule can look at; raises WorkflowError, in a sentence, if the run cannot be."""
        try:
            self._start(self.workflow.dag_settings.targets)
        except (AoeError, OSError) as error:
            raise WorkflowError(str(error)) from error

    def _start(self, targets: set[str]) -> None:
        workflow = self.workflow
        if "preflight" in targets:
            # from here, as what it has Snakemake do may fail before any job begins
            fly(plan_of(workflow, self.run))
        if "cost" not in targets:  # which changes nothing
            elsewhere = hold(".")
            for job in cancel_left_jobs(".", elsewhere, slurm=not workflow.local_exec):
                logger.info(f"Cancelled the Slurm job {job}, which an earlier run in this folder left.")
        if not workflow.local_exec:
            watch(workflow.executor_settings)
            self._check_partitions()
        fetched = self._to_be_fetched()
        if fetched and not self.run.is_locked:
            self._lock()
            again()
        # before the first byte: is there room for all that this run fetches?
        begin_fetching(fetched, self.run.results.path("fetching.json"))
        if "cost" not in targets:
            self.code.begin()

    def succeed(self) -> None:
        """Call Snakemake again if anything was made anew that is ``ancient`` to others.

        Snakemake does not look at whether a job has reasons of its own while one that it depends on has to be run, and
        then leaves it out, as long as all that connects them is `ancient`.
        """
        settings = self.workflow.dag_settings
        calls = int(os.environ.get(CALLS, "0"))
        if calls >= MOST_CALLS or settings.forcerun or settings.forceall or settings.forcetargets:
            return  # what is forced would be made anew by every call
        now = self._ancient()
        changed = [path for path, date in self.ancient_before.items() if now.get(path, date) != date]
        if any("/verified" in path for path in changed):
            logger.info("Files that had changed were verified anew; now for what else there is to do.")
        elif changed:
            logger.info("What other jobs wait for was made anew; now for what else there is to do.")
        if changed:
            os.environ[CALLS] = str(calls + 1)
            again()

    def _ancient(self) -> dict[str, int]:
        """path -> when it was last changed (ns), of what rules have as an `ancient` input."""
        patterns = ["verified*/**/*.json", "outline.json", "questions.json", "differences.parquet"]
        paths = [path for pattern in patterns for path in Path().glob(self.run.results.path(pattern))]
        paths += Path().glob(self.run.results.answers("*", "machine.json"))
        return {str(path): path.stat().st_mtime_ns for path in paths}

    def _to_be_fetched(self) -> dict[str, dict[str, Any]]:
        """path -> the lock's entry, of every file that this run fetches."""
        jobs = [job for job in self.workflow.dag.needrun_jobs() if job.rule.name == "download"]
        places = self.run.directories if jobs else {}
        return {
            f"{places[job.wildcards.name]}/{job.wildcards.file}": self.inputs.file_entry(job.wildcards) for job in jobs
        }

    def _check_partitions(self) -> None:
        """Raises AoeError with all that Slurm would refuse, or let wait for ever."""
        retries = self.workflow.execution_settings.retries
        requests = requests_of(self.workflow.dag, retries, self.run.config.get("most_minutes"))
        if found := problems(requests, read_partitions()) if requests else []:
            raise AoeError("\n".join(found))

    def _lock(self) -> None:
        """Write the lock file that the study names, of what its sources have now."""
        path = Path(self.run.study.content["lock"])
        logger.info(f"{path} does not exist yet: locking what the study's sources have now.")
        entries = []
        for entry in lock_all(self.inputs.to_lock(), self.run.study.unions(), logger.warning):
            entries.append(entry)
            logger.info(f"{entry.name}: {entry.revision}, {entry.size(entry.needed) / 1e9:,.1f} GB")
        if branches := resolved(entries):
            logger.info(branches)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, format_lock(entries))


def again() -> NoReturn:
    """Become the same command once more: a new plan is made of what there is now."""
    sys.stdout.flush()
    os.execvp(sys.executable, sys.orig_argv)
