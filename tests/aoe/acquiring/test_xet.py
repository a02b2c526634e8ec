"""Xet hangs as a process does, with its real library: it is killed, and plain HTTP goes on from the bytes there are."""

import os
import random
import socket
import subprocess
import sys
import threading
import time

import psutil
import pytest
from aoe.acquiring.fetching import fetch, partial_of
from aoe.acquiring.sources import open_source

pytest.importorskip("hf_xet")
UPLOAD = (  # a process of its own, as the storage serves one at a time
    "import hf_xet, sys\n"
    "storage = dict(endpoint=sys.argv[1], token='xet', token_expiry_unix_secs=9999999999)\n"
    "with hf_xet.XetSession().new_upload_commit(**storage) as commit:\n"
    "    upload = commit.start_upload_file(sys.argv[2])\n"
    "print(upload.result().xet_info.hash)"
)


def children():
    return [c for c in psutil.Process().children() if "aoe.acquiring.xet" in " ".join(c.cmdline())]


def asked(hub):
    """The ranges that were asked for of the storage, by plain HTTP."""
    return [headers.get("Range", headers.get("range")) for _, _, path, headers in hub.requests if "signature" in path]


@pytest.fixture
def silent():
    """The address of a server that takes every connection and never says a word."""
    server = socket.create_server(("127.0.0.1", 0))
    yield f"http://127.0.0.1:{server.getsockname()[1]}"
    server.close()


def test_a_storage_that_never_answers_is_left_for_plain_http(hub, silent, tmp_path):
    content = random.Random(0).randbytes(300_000)
    hub.cas = silent
    hub.add("o/n", {"file": content}, xet={"file": "a" * 64})
    source = open_source("hf://o/n", stall_seconds=4)
    begun = time.monotonic()
    fetch(source, "file", source.snapshot()["file"], tmp_path / "fetched/file")
    assert 4 < time.monotonic() - begun < 40
    assert (tmp_path / "fetched/file").read_bytes() == content
    assert asked(hub) == [None]
    assert any("xet-read-token" in path for _, _, path, _ in hub.requests)
    assert not children()
    assert os.listdir(tmp_path / "fetched") == ["file"]


def test_a_process_that_hangs_is_killed_and_its_bytes_are_kept(hub, tmp_path):
    original = tmp_path / "original"
    with open(original, "wb") as file:
        for seed in range(20):
            file.write(random.Random(seed).randbytes(10_000_000))
    hub.cas = f"local://{tmp_path}/storage"
    (tmp_path / "storage").mkdir()
    command = [sys.executable, "-c", UPLOAD, hub.cas, str(original)]
    stored = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout.strip()
    hub.add("o/n", {"file": original}, xet={"file": stored})
    source = open_source("hf://o/n", stall_seconds=5)
    facts, target = source.snapshot()["file"], tmp_path / "fetched/file"
    partial, stopped = partial_of(target, facts), []

    def stop():
        """Let the process go on a little at a time, so that it is never done before anybody looks."""
        while not (child := next(iter(children()), None)):
            time.sleep(0.001)
        child.suspend()
        while not (partial.exists() and partial.stat().st_size):
            child.resume()
            time.sleep(0.02)
            child.suspend()
        stopped.append(partial.stat().st_size)
        stopped.append(child.cmdline())  # which everybody can read

    thread = threading.Thread(target=stop)
    thread.start()
    fetch(source, "file", facts, target)
    thread.join()
    (begin,) = asked(hub)
    assert 0 < stopped[0] <= int(begin.removeprefix("bytes=").removesuffix("-")) < facts["size"]
    assert stopped[1] == [sys.executable, "-m", "aoe.acquiring.xet"]
    assert target.read_bytes() == original.read_bytes()
    assert not children()


def test_a_failure_of_xet_is_gone_on_from_too(hub, tmp_path, monkeypatch):
    content = random.Random(1).randbytes(300_000)
    hub.cas = f"local://{tmp_path}/nothing"
    hub.add("o/n", {"file": content}, xet={"file": "b" * 64})
    source = open_source("hf://o/n", stall_seconds=30)
    fetch(source, "file", source.snapshot()["file"], tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == content
    assert asked(hub) == [None]


def test_the_process_ends_with_its_parent(silent, hub, tmp_path):
    hub.cas = silent
    hub.add("o/n", {"file": bytes(300_000)}, xet={"file": "c" * 64})
    script = (
        "import sys; from aoe.acquiring.fetching import fetch; from aoe.acquiring.sources import open_source\n"
        "source = open_source('hf://o/n'); fetch(source, 'file', source.snapshot()['file'], sys.argv[1])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, map(str, sys.path)))}
    job = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "file")], env=environment)
    try:
        parent, deadline = psutil.Process(job.pid), time.monotonic() + 60
        while not any("xet-read-token" in path for _, _, path, _ in hub.requests) and time.monotonic() < deadline:
            time.sleep(0.05)
        (child,) = parent.children()
        assert child.is_running()
    finally:
        job.kill()
        job.wait()
    assert psutil.wait_procs([child], timeout=10)[1] == []
