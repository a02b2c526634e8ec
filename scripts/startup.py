"""What a run does before its first job: one run a folder, and no jobs of a killed one on the cluster."""

import fcntl
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from aoe import AoeError

# Snakemake's Slurm executor calls all jobs of a run by one random UUID, with the site's prefix before it.
RUN_NAME = re.compile(r"^(.*_)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
LAST_WORDS = 120  # seconds in which Slurm ends a cancelled job; KillWait is 30 by default


def hold(folder):
    """Keep other runs out of ``folder`` for as long as this process lives, however it ends; returns whether it is kept.

    The kernel gives the lock up with the process, so that nothing has to be unlocked by hand; some clusters' file
    systems have no locks.  Raises AoeError if another run has it.
    """
    path = Path(folder) / ".snakemake" / "running"
    path.parent.mkdir(exist_ok=True)
    held = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(held)
        raise AoeError("Another run is under way in this folder; wait for it, or stop it.") from error
    except OSError:
        os.close(held)
        return False
    return True


def cancel_left_jobs(folder):
    """Cancel the Slurm jobs of earlier runs in ``folder``, and wait until they have ended; returns their ids.

    A launcher that was killed cannot cancel its jobs, and they would write the files that this run is about to write.
    The folder has to be held: then no other run's jobs can be meant.  Raises AoeError if they do not end.
    """
    if not shutil.which("squeue"):
        return []
    left = _jobs_in(folder)
    if left:
        subprocess.run(["scancel", *left], check=False)
    deadline = time.monotonic() + LAST_WORDS
    while still := set(left) & set(_jobs_in(folder)):
        if time.monotonic() > deadline:
            raise AoeError(f"Jobs of an earlier run do not end: {', '.join(sorted(still))}; cancel them with scancel.")
        time.sleep(1)
    return left


def _jobs_in(folder):
    """Ids of the user's jobs that a run in ``folder`` submitted and that have not ended; none without a Slurm."""
    command = ["squeue", "--me", "--noheader", "--format", "%i|%j|%Z"]
    listed = subprocess.run(command, capture_output=True, text=True)
    jobs = [line.split("|", 2) for line in listed.stdout.splitlines() if line.count("|") >= 2]
    here = os.path.realpath(folder)
    return [job for job, name, place in jobs if RUN_NAME.match(name) and os.path.realpath(place) == here]
