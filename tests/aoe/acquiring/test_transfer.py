"""Transfers cannot hang: a connection that does not deliver is dropped, and gone on with or given up."""

import random
import socket
import threading
import time

import pytest
from aoe import AoeError
from aoe.acquiring import transfer
from aoe.acquiring.fetching import fetch, partial_of
from aoe.acquiring.sources import open_source
from aoe.acquiring.transfer import Pace, StallError, retried, within
from support.hub import LARGE, Fault

CONTENT = random.Random(0).randbytes(3 * LARGE)


@pytest.fixture
def source(hub, monkeypatch):
    """A source with one file, of which half arrives at once whatever the fault, and its repository; not patient."""
    monkeypatch.setattr(transfer, "FIRST_WAIT", 0.01)
    repo = hub.add("o/n", {"file": CONTENT})
    found = open_source("hf://o/n", stall_seconds=1)
    found.snapshot()
    return found, repo


SILENT, TRICKLING = {"stall": 60}, {"slow": 0.05, "piece": 20}


@pytest.mark.parametrize("fault", [SILENT, TRICKLING])
def test_a_connection_that_stalls_is_dropped_and_gone_on_with(hub, source, tmp_path, fault):
    source, repo = source
    repo.faults = [Fault("storage", **fault)]
    begun = time.monotonic()
    fetch(source, "file", source.snapshot()["file"], tmp_path / "file")
    assert 0.9 < time.monotonic() - begun < 20
    assert (tmp_path / "file").read_bytes() == CONTENT
    stored = [headers for _, _, path, headers in hub.requests if "signature" in path]
    first, second = (headers.get("Range", headers.get("range")) for headers in stored)
    assert first is None
    assert int(second.removeprefix("bytes=").removesuffix("-")) >= len(CONTENT) // 2


@pytest.mark.parametrize("fault", [SILENT, TRICKLING])
def test_stalls_without_end_are_given_up_with_advice(source, tmp_path, fault):
    """A server that sends a little after every attempt makes no progress, either."""
    source, repo = source
    repo.faults = [Fault("storage", **fault) for _ in range(99)]
    facts = source.snapshot()["file"]
    partial = partial_of(tmp_path / "file", facts)
    partial.write_bytes(CONTENT[:LARGE])
    begun = time.monotonic()
    with pytest.raises(AoeError, match=r"file of o/n could not be fetched .*transfer or compute node.*DISABLE_XET=1"):
        fetch(source, "file", facts, tmp_path / "file")
    assert time.monotonic() - begun < 60
    assert len(repo.faults) > 80
    assert CONTENT.startswith(partial.read_bytes()) and partial.stat().st_size > LARGE


def test_a_slow_connection_is_no_stalled_one(hub, source, tmp_path):
    source, repo = source
    repo.faults = [Fault("storage", slow=0.4, piece=transfer.SLOWEST)]
    fetch(source, "file", source.snapshot()["file"], tmp_path / "file")
    assert len([path for _, _, path, _ in hub.requests if "signature" in path]) == 1


@pytest.fixture
def dripping():
    """The address of a server that sends one byte of an endless header now and then, so that nothing times out."""
    server, done = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def drip(connection):
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not done.wait(0.1):
                connection.sendall(b"x")

    def serve():
        while not done.is_set():
            threading.Thread(target=drip, args=[server.accept()[0]], daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}"
    done.set()
    server.close()


def test_a_listing_that_never_comes_is_given_up(hub, dripping, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(transfer, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(constants, "ENDPOINT", dripping)
    begun = time.monotonic()
    with pytest.raises(AoeError, match=r"its files of o/n could not be fetched from http.* no answer came in 1 sec"):
        open_source("hf://o/n", stall_seconds=1).snapshot()
    assert 4 < time.monotonic() - begun < 30


@pytest.mark.parametrize("read", [lambda source: source.read("file", 0, 9), lambda source: source.snapshot()])
def test_a_file_of_the_web_that_never_comes_is_given_up(dripping, monkeypatch, read):
    monkeypatch.setattr(transfer, "FIRST_WAIT", 0.01)
    with pytest.raises(AoeError, match=r"file of http.* could not be fetched"):
        read(open_source(f"{dripping}/file", stall_seconds=1))


def test_pace_measures_each_window_by_itself(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    pace = Pace(10)
    for second in range(1, 31):
        now[0] = second
        pace.count(transfer.SLOWEST)
    now[0] = 40
    with pytest.raises(StallError, match="0 bytes came in 10 seconds"):
        pace.count(0)


def test_within_returns_and_raises_what_the_call_does():
    assert within(5, lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 / 0)
    with pytest.raises(StallError, match=r"no answer came in 0\.05 seconds"):
        within(0.05, threading.Event().wait)


def test_attempts_that_bring_a_byte_each_are_given_up(monkeypatch):
    monkeypatch.setattr(transfer, "FIRST_WAIT", 0.01)
    there = []

    def attempt():
        there.append(0)
        raise OSError("cut")

    with pytest.raises(OSError, match="cut"):
        retried(attempt, lambda: len(there))
    assert len(there) == transfer.ATTEMPTS


def test_waits_become_longer_and_begin_anew_after_progress(monkeypatch):
    """A server's own wish comes first; an attempt that brought enough does not count."""
    waits, there = [], [0]
    monkeypatch.setattr(time, "sleep", waits.append)
    outcomes = iter([0, 0, 10**9, 0, 0, 0, 0])

    def attempt():
        there[0] += next(outcomes)
        raise OSError("cut")

    with pytest.raises(OSError, match="cut"):
        retried(attempt, lambda: there[0])
    assert waits == [1, 2, 1, 2, 4, 8]
    assert next(outcomes, None) is None


def test_what_does_not_pass_is_tried_once(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("waited"))
    tried = []

    def attempt():
        tried.append(1)
        raise PermissionError(13, "Permission denied")

    with pytest.raises(PermissionError):
        retried(attempt)
    assert len(tried) == 1
