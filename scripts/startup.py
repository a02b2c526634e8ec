"""What a run does before its first job: one run a folder, and no jobs of a killed one on the cluster."""

import fcntl
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

from aoe import AoeError

# Snakemake's Slurm executor calls all jobs of a run by one random UUID, with the site's prefix before it.
RUN_NAME = re.compile(r"^(.*_)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
LAST_WORDS = 120  # seconds in which Slurm ends a cancelled job; KillWait is 30 by default


def hold(folder):
    """Keep other runs out of ``folder`` for as long as this process lives, however it ends.

    The kernel gives the lock up with the process, so that nothing has to be unlocked by hand.  Returns the machine on
    which there may be another run all the same, or None: locks of some clusters' file systems do not reach from one
    machine to another, or do not exist at all.  Raises AoeError if another run has the lock.
    """
    path = Path(folder) / ".snakemake" / "running"
    here = socket.gethostname()
    try:
        path.parent.mkdir(exist_ok=True)
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
    except OSError as error:
        raise AoeError(f"{path} cannot be written ({error.strerror}); run in a folder of your own.") from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(held)
        raise AoeError("Another run is under way in this folder; wait for it, or stop it.") from error
    except OSError:
        os.close(held)
        return here
    last = os.pread(held, 256, 0).decode(errors="replace").strip()
    os.pwrite(held, f"{here:<255}\n".encode(), 0)
    return last if last not in ("", here) else None


def cancel_left_jobs(folder, elsewhere=None, slurm=True):
    """Cancel the Slurm jobs of earlier runs in ``folder``, and wait until they have ended; returns their ids.

    A launcher that was killed cannot cancel its jobs, and they would write the files that this run is about to write.
    elsewhere: what ``hold`` returned; slurm: whether this run submits jobs itself.  Raises AoeError if the jobs do not
    end, if they may be those of a run that is alive, or if Slurm cannot be asked.
    """
    left = _jobs_in(folder, slurm)
    if left and elsewhere:
        raise AoeError(
            f"The Slurm jobs {', '.join(left)} are of a run in this folder that may be alive on {elsewhere}; if it is "
            f"not, cancel them with `scancel {' '.join(left)}` and call this again."
        )
    if left:
        subprocess.run(["scancel", *left], check=False)
    deadline = time.monotonic() + LAST_WORDS
    while still := sorted(set(left) & set(_jobs_in(folder, slurm))):
        if time.monotonic() > deadline:
            raise AoeError(f"Jobs of an earlier run do not end: {', '.join(still)}; cancel them with scancel.")
        time.sleep(1)
    return left


def _jobs_in(folder, slurm):
    """Ids of the user's jobs that a run in ``folder`` submitted and that have not ended."""
    if not shutil.which("squeue"):
        return []
    command = ["squeue", "--me", "--noheader", "--format", "%i|%j|%Z"]
    listed = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    if listed.returncode and slurm:
        raise AoeError(f"Slurm does not say what jobs there are ({listed.stderr.strip()}); call this again later.")
    jobs = [line.split("|", 2) for line in listed.stdout.splitlines() if line.count("|") >= 2]
    here = os.path.realpath(folder)
    return [job for job, name, place in jobs if RUN_NAME.match(name) and os.path.realpath(place) == here]
