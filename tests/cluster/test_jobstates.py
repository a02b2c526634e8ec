"""What Slurm's answers mean; that jobs which vanish, or are preempted, end is shown in workflow/test_slurm.py."""

import asyncio
import logging
import types

import pytest
from cluster import jobstates

SQUEUE = "squeue --format='%i|%T' --states=all --noheader --name run"


def answered(states, command="sacct -X --name run"):
    """What the executor is told, and the commands that were given, where Slurm answers `states`: {program: answer}."""
    given = []

    async def query(command, logger):
        given.append(command)
        answer = states.get(command.split()[0])
        return (None, None) if answer is None else (answer, 0.1)

    told, seconds = asyncio.run(jobstates.answering(query)(command, logging.getLogger()))
    assert seconds is not None
    return told, given


def test_states_are_told_in_words_that_the_executor_knows():
    said = {"1": "CANCELLED by 1000", "2": "PREEMPTED", "3": "RUNNING", "4": "COMPLETED"}
    assert answered({"sacct": said})[0] == {"1": "CANCELLED", "2": "CANCELLED", "3": "RUNNING", "4": "COMPLETED"}


def test_where_there_are_no_accounts_squeue_is_asked():
    assert answered({"squeue": {"1": "FAILED"}}) == ({"1": "FAILED"}, ["sacct -X --name run", SQUEUE])


def test_a_slurm_that_does_not_answer_leaves_all_jobs_as_they_are():
    assert answered({}) == ({}, ["sacct -X --name run", SQUEUE])
    assert answered({}, command=SQUEUE) == ({}, [SQUEUE])


class Executor:
    """Keeps what it is told of jobs."""

    def __init__(self):
        self.done, self.failed = [], []

    def report_job_success(self, info):
        self.done.append(info.external_jobid)

    def report_job_error(self, info, msg, aux_logs):
        self.failed.append((info.external_jobid, msg))


@pytest.fixture
def jobs(tmp_path):
    """Three that Slurm is asked about: one job, done; a group of three, of which one member was; one without a log."""

    def job(number, members, text):
        log = tmp_path / f"{number}.log"
        if text:
            log.write_text(text, encoding="utf-8")
        group = types.SimpleNamespace(is_group=lambda: members > 1, jobs=range(members))
        return types.SimpleNamespace(external_jobid=number, job=group, aux={"slurm_logfile": log})

    return [
        job("1", 1, "…\n1 of 1 steps (100%) done\n"),
        job("2", 3, "…\n1 of 1 steps (100%) done\n1 of 3 steps (33%) done\n"),
        job("3", 1, None),
    ]


def test_what_slurm_does_not_know_any_more_has_ended_and_its_log_says_how(jobs, monkeypatch):
    async def check(executor, active):
        for job in active:
            yield job

    async def still_active(executor):
        return [job.external_jobid async for job in check_all(executor, jobs)]

    now, listed, executor, check_all = [0.0], set(), Executor(), jobstates.finding_vanished(check)
    monkeypatch.setattr(jobstates.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(jobstates, "listed_jobs", lambda: listed)
    assert asyncio.run(still_active(executor)) == ["1", "2", "3"]
    now[0] += jobstates.UNLISTED_SECONDS - 1
    listed |= {"3"}
    assert asyncio.run(still_active(executor)) == ["1", "2", "3"]
    now[0] += 1
    listed -= {"3"}  # missed anew
    assert asyncio.run(still_active(executor)) == ["3"]
    ((failed, message),) = executor.failed
    assert executor.done == ["1"] and failed == "2"
    assert message == "Slurm knows nothing of the job 2 any more, and its log does not say that it was done."


def test_a_controller_that_does_not_answer_makes_no_job_vanish(jobs, monkeypatch, tmp_path):
    async def check(executor, active):
        for job in active:
            yield job

    async def still_active():
        return [job async for job in jobstates.finding_vanished(check)(Executor(), jobs)]

    (tmp_path / "squeue").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(jobstates, "UNLISTED_SECONDS", 0)
    assert asyncio.run(still_active()) == jobs
    (tmp_path / "squeue").write_text("#!/bin/sh\necho 1; echo 2\n", encoding="utf-8")
    assert asyncio.run(still_active()) == jobs[:2]
