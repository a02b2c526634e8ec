"""One run a folder; that jobs of a killed run are cancelled is shown in workflow/test_slurm.py, by a real Slurm."""

import errno
import socket
import subprocess
import sys

import pytest
from aoe import AoeError
from launcher.startup import RUN_NAME, cancel_left_jobs, hold
from support.clones import ROOT

HOLDER = "import sys; from launcher.startup import hold; hold(sys.argv[1]); print('held', flush=True); sys.stdin.read()"


def test_a_folder_is_held_until_the_process_ends_however_it_ends(tmp_path):
    command = [sys.executable, "-c", HOLDER, tmp_path]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT / "scripts", **pipes) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(AoeError, match="Another run is under way in this folder"):
            hold(tmp_path)
        holder.kill()
        holder.wait()
    assert hold(tmp_path) is None


def test_some_file_systems_have_no_locks(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    assert hold(tmp_path) == socket.gethostname()


def test_a_run_on_another_machine_may_be_alive(tmp_path, monkeypatch):
    """Where locks do not reach from one login node to the other."""
    monkeypatch.setattr("launcher.startup.socket.gethostname", lambda: "login1")
    assert hold(tmp_path) is None
    other = tmp_path / ".snakemake/running"
    other.rename(other.with_name("elsewhere"))  # what holds the lock there is not seen here
    other.write_bytes(other.with_name("elsewhere").read_bytes())
    monkeypatch.setattr("launcher.startup.socket.gethostname", lambda: "login2")
    assert hold(tmp_path) == "login1"


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """Has `squeue` say something, with a status."""

    def say(text, status=0):
        path = tmp_path / "bin" / "squeue"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\necho '{text}'\nexit {status}\n", encoding="utf-8")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")

    return say


def test_jobs_of_what_may_be_alive_are_not_cancelled(tmp_path, squeue):
    squeue(f"17|52343721-84d8-42d8-a11e-e46138fe6766|{tmp_path}")
    with pytest.raises(AoeError, match=r"jobs 17 are of a run .* alive on login1; .*`scancel 17`"):
        cancel_left_jobs(tmp_path, "login1")


def test_a_slurm_that_does_not_answer_is_not_one_without_jobs(tmp_path, squeue):
    squeue("", status=1)
    with pytest.raises(AoeError, match="Slurm does not say what jobs there are"):
        cancel_left_jobs(tmp_path)
    assert cancel_left_jobs(tmp_path, slurm=False) == []


def test_only_runs_of_snakemake_are_taken_for_left_jobs():
    assert RUN_NAME.match("52343721-84d8-42d8-a11e-e46138fe6766")
    assert RUN_NAME.match("site_52343721-84d8-42d8-a11e-e46138fe6766")
    for other in (
        "launcher",
        "bash",
        "52343721",
        "my-52343721-84d8-42d8-a11e",
        "x52343721-84d8-42d8-a11e-e46138fe6766",
    ):
        assert not RUN_NAME.match(other), other


def test_without_a_slurm_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cancel_left_jobs(tmp_path) == []
