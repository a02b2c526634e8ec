"""The states of Slurm's jobs, where Snakemake's executor for Slurm would wait for ever, or forget them.

The executor (2.8.0) takes what Slurm does not list for a job that still runs, forgets all jobs when Slurm does not
answer, waits for Slurm to resume what was preempted, and does not know `CANCELLED by 1000`, as sacct says it.
"""

import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

EXECUTOR = "snakemake_executor_plugin_slurm"
# (command, logger) -> (states by job, or None; seconds that it took)
Query = Callable[[str, Any], Awaitable[tuple[dict[str, str] | None, float | None]]]
Check = Callable[[Any, Iterable[Any]], AsyncIterator[Any]]  # (executor, jobs) -> those that still run

UNLISTED_SECONDS = 30  # a job that Slurm does not list for so long has ended
# states of jobs that have ended, in the executor's words; no job of ours is requeued
ENDED = {"PREEMPTED": "CANCELLED", "REVOKED": "CANCELLED"}


def watch(settings: Any) -> None:
    """Mend the executor for Slurm, so that no job is waited for in vain; under other executors, do nothing.

    settings: the executor's.
    """
    executor: Any = sys.modules.get(EXECUTOR)
    if executor is None:
        return
    if settings.status_command == "sacct" and not accounting():
        settings.status_command = "squeue"
    executor.query_job_status = answering(executor.query_job_status)
    executor.Executor.check_active_jobs = finding_vanished(executor.Executor.check_active_jobs)


def accounting() -> bool:
    """Tell whether Slurm keeps accounts here: `sacct` is installed everywhere, and fails where it does not."""
    try:
        return subprocess.run(["sacct", "-X", "--noheader"], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def answering(query: Query) -> Query:
    """Wrap the executor's `query_job_status`: ask squeue where sacct fails, and answer in words that it knows.

    Where Slurm does not answer at all, nothing is known of any job: they are asked for again later.
    """

    async def ask(command: str, logger: Any) -> tuple[dict[str, str], float]:
        states, seconds = await query(command, logger)
        if states is None and command.startswith("sacct"):
            name = command.split()[-1]
            states, seconds = await query(f"squeue --format='%i|%T' --states=all --noheader --name {name}", logger)
        return {job: in_one_word(state) for job, state in (states or {}).items()}, seconds or 0.0

    return ask


def in_one_word(state: str) -> str:
    """Return a job's state as the executor knows it."""
    word = state.split()[0] if state else state
    return ENDED.get(word, word)


def finding_vanished(check: Check) -> Check:
    """Wrap the executor's `check_active_jobs`: report jobs that Slurm has not listed for UNLISTED_SECONDS as ended.

    Slurm forgets a job some minutes after its end (MinJobAge), or when its controller loses its state.  The job's own
    log says whether it had done its work.
    """
    since: dict[str, float] = {}  # job -> when it was first missed

    async def check_all(self: Any, active_jobs: Iterable[Any]) -> AsyncIterator[Any]:
        going_on = [job async for job in check(self, active_jobs)]
        listed, now = listed_jobs() if going_on else None, time.monotonic()
        for job in going_on:
            if listed is None or job.external_jobid in listed:
                since.pop(job.external_jobid, None)
                yield job
            elif now - since.setdefault(job.external_jobid, now) < UNLISTED_SECONDS:
                yield job
            else:
                report_vanished(self, job)

    return check_all


def report_vanished(executor: Any, info: Any) -> None:
    """Report the end of a job: as a success if Slurm's log of it has Snakemake's last words, else as a failure."""
    log, members = info.aux["slurm_logfile"], len(list(info.job.jobs)) if info.job.is_group() else 1
    if log.exists() and f"{members} of {members} steps (100%) done" in log.read_text(
        errors="replace", encoding="utf-8"
    ):
        executor.report_job_success(info)
        return
    message = (
        f"Slurm knows nothing of the job {info.external_jobid} any more, and its log does not say that it was done."
    )
    executor.report_job_error(info, msg=message, aux_logs=[str(log)])


def listed_jobs() -> set[str] | None:
    """Return the ids of the user's jobs that Slurm's controller knows, ended ones too; None if it does not answer."""
    command = ["squeue", "--me", "--states=all", "--noheader", "--format=%i"]
    try:
        listed = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if listed.returncode else set(listed.stdout.split())
