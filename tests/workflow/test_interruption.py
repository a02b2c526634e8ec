"""Killed at any moment, the same command goes on, and the end result is byte for byte that of an undisturbed run."""

import os
import random
import shutil
import signal
import subprocess
import time

import pytest
from support.clones import SMALL

pytestmark = [pytest.mark.workflow, pytest.mark.server]
RESULTS = ["summary.csv", "transitions.csv", "merged/r1t/model.safetensors.index.json"]


def test_killed_three_times_the_result_is_the_same(clone, small_job):
    killed = clone
    killed.study("small", **SMALL)
    rng = random.Random(1)
    for seconds in (rng.uniform(8, 20), rng.uniform(20, 35), rng.uniform(35, 50)):
        process = subprocess.Popen(killed.make("small"), cwd=killed.folder, start_new_session=True)
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    killed.run(*killed.make("small"))
    assert_equal_results(small_job, killed)
    # what an interrupted job leaves behind: its old outputs are gone, but what was made from them is not
    shutil.rmtree(killed.folder / "results/small/answers/r1t")
    (killed.folder / "results/small/plans/threshold-8.json").unlink()
    killed.run(*killed.make("small"))
    assert len(list((killed.folder / "results/small/answers/r1t").glob("*.eval"))) == 2
    assert_equal_results(small_job, killed)


def assert_equal_results(*clones):
    for file in RESULTS:
        ours, theirs = (clone.folder / "results/small" / file for clone in clones)
        assert ours.read_bytes() == theirs.read_bytes(), file


def test_two_runs_in_one_folder_do_not_meet(clone):
    clone.study("small", **SMALL)
    first = subprocess.Popen(clone.make("small"), cwd=clone.folder, start_new_session=True)
    time.sleep(4)
    second = clone.run(*clone.make("small"), check=False)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert second.returncode != 0
    assert "Another run is under way in this folder" in second.stderr
