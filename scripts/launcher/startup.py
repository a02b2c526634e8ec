"""What a run does before its first job.

One run a folder, no jobs of a killed run on the cluster, an interpreter that a shell can start, output that any locale
can print, and no dates to come.
"""

import codecs
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from filelock import lock_descriptor
from aoe import AoeError

# Snakemake's Slurm executor calls all jobs of a run by one random UUID, with the site's prefix before it.
RUN_NAME = re.compile(r"^(.*_)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
CANCEL_SECONDS = 120  # in which Slurm ends a cancelled job; KillWait is 30 by default


def check_folder(folder: str | Path) -> None:
    """Raise AoeError if Snakemake would take the path of the workflow's folder for a pattern."""
    if {"{", "}"} & set(str(folder)):
        raise AoeError(
            f"{folder} has a brace in it, which Snakemake takes for the name of a wildcard; move the clone to a folder "
            "without."
        )


def name_interpreter() -> None:
    """Let Snakemake start this Python by its bare name if a shell would not take its path for one word.

    Snakemake puts ``sys.executable`` into shell commands without quotes, so that a space in it ends every job.  PATH
    takes any folder: it begins with the interpreter's own, and children find the same Python there.
    """
    path = os.environ.setdefault("PATH", os.defpath)  # Snakemake wants one, too
    folder, name = os.path.split(sys.executable)
    if shlex.quote(sys.executable) == sys.executable or not folder:
        return
    os.environ["PATH"] = os.pathsep.join([folder, path])
    sys.executable = name


def print_anything() -> None:
    """Let this process, and its children, escape what the locale's encoding lacks, such as λ, instead of ending."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    if codecs.lookup(encoding).name == "utf-8":
        return
    streams: tuple[Any, Any] = sys.stdout, sys.stderr
    for stream in streams:
        stream.reconfigure(errors="backslashreplace")
    chosen = os.environ.get("PYTHONIOENCODING", "").partition(":")[0]
    os.environ["PYTHONIOENCODING"] = f"{chosen}:backslashreplace"


def undo_future_dates(sources: Iterable[str], results: str) -> list[str]:
    """Date files that are dated later than now to now, so that Snakemake compares dates that mean something.

    Snakemake takes whatever is newer for changed, and refuses an output that is older than an input: a clock that was
    set back, or an archive from a machine with another clock, would end a run or repeat it for ever.

    sources: files and folders that rules read, dated a second before ``results``, the folder of what they make.
    Returns the paths, as texts, whose dates cannot be changed.
    """
    now, kept = _file_system_time("."), []
    for places, date in ((sources, now - 1), ([results], now)):
        for path in (path for place in places for path in _files_in(place)):
            try:
                if path.lstat().st_mtime > now:
                    os.utime(path, (date, date), follow_symlinks=False)
                if path.is_symlink() and path.exists() and path.stat().st_mtime > now:
                    os.utime(path, (date, date))
            except FileNotFoundError:  # another run in this folder is under way
                continue
            except OSError:
                kept.append(str(path))
    return kept


def _files_in(place):
    """The files in a folder, however deep; a file itself."""
    if not os.path.isdir(place):
        return [Path(place)] if os.path.lexists(place) else []
    return [Path(folder, file) for folder, _, files in os.walk(place) for file in files]


def _file_system_time(folder):
    """Now, in seconds since 1970, by the clock that dates new files in ``folder``; it may be a file server's."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return max(os.fstat(file.fileno()).st_mtime, time.time())
    except OSError:
        return time.time()


def hold(folder: str | Path) -> str | None:
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
        alone = lock_descriptor(held, blocking=False)
    except OSError:
        os.close(held)
        return here
    if not alone:
        os.close(held)
        raise AoeError("Another run is under way in this folder; wait for it, or stop it.")
    last = os.pread(held, 256, 0).decode(errors="replace").strip()
    os.pwrite(held, f"{here:<255}\n".encode(), 0)
    return last if last not in ("", here) else None


def cancel_left_jobs(folder: str | Path, elsewhere: str | None = None, slurm: bool = True) -> list[str]:
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
    deadline = time.monotonic() + CANCEL_SECONDS
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
