"""One process at a time, until it ends, however it ends; and nothing is left behind."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time

from aoe.files.locking import alone
from support.clones import ROOT

HOLDER = """
import sys
from pathlib import Path
from aoe.files.locking import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def in_thread(path):
    """A thread that wants the lock, and the list that it appends to once it has it."""
    had = []

    def want():
        with alone(path):
            had.append(time.monotonic())

    thread = threading.Thread(target=want)
    thread.start()
    return thread, had


def test_a_killed_process_gives_its_lock_up(tmp_path):
    path = tmp_path / "lock"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLDER, path], cwd=ROOT / "scripts", **pipes) as holder:
        assert holder.stdout.readline() == b"held\n"
        thread, had = in_thread(path)
        time.sleep(0.3)
        assert not had
        holder.send_signal(signal.SIGKILL)
        thread.join(10)
    assert had and os.listdir(tmp_path) == []


def test_whoever_waits_takes_no_lock_that_was_deleted(tmp_path):
    """The one who waits holds the deleted file's lock by then, and a third one could have made a new file."""
    path = tmp_path / "lock"
    with alone(path):
        first, had_first = in_thread(path)
        second, had_second = in_thread(path)
        time.sleep(0.3)
        assert not had_first and not had_second
    first.join(10)
    second.join(10)
    assert had_first and had_second and os.listdir(tmp_path) == []


def test_without_locks_nobody_waits(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    with alone(tmp_path / "lock"):
        thread, had = in_thread(tmp_path / "lock")
        thread.join(10)
        assert had
    assert os.listdir(tmp_path) == []
