"""Files of the web as sources: named, fetched once to be locked, fetched again with their digest; no token is sent."""

import hashlib
import os
import random

import pytest
from aoe import AoeError
from aoe.acquiring import transfer
from aoe.acquiring.fetching import fetch, lock_source
from aoe.acquiring.sources import open_source
from support.hub import LARGE, Fault

CONTENT = random.Random(0).randbytes(2 * LARGE)


@pytest.fixture
def web(hub, monkeypatch):
    """The address of a folder with two files, one of which is redirected, as seen by somebody who has a token."""
    monkeypatch.setattr(transfer, "FIRST_WAIT", 0.01)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    repo = hub.add("o/n", {"data/a b/large.bin": CONTENT, "data/small.jsonl": b'{"id": 1}\n'}, kind="dataset")
    return f"{hub.url}/datasets/o/n/resolve/{repo.refs['main']}/data/"


def test_a_file_is_called_by_the_last_part_of_its_address(hub, web, tmp_path):
    source = open_source(f"{web}a%20b/large.bin?download=true")
    locked = lock_source("q", "datasets", source)
    facts = locked.files["large.bin"]
    assert (facts["size"], facts["sha256"]) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert locked.revision.startswith("sha256:")
    again = open_source(facts["from"])
    assert fetch(again, "large.bin", facts, tmp_path / "large.bin") == len(CONTENT)
    assert (tmp_path / "large.bin").read_bytes() == CONTENT
    assert {method for method, *_ in hub.requests} == {"GET"}
    assert not [headers for *_, headers in hub.requests if "authorization" in {name.lower() for name in headers}]


def test_files_of_a_folder_are_called_by_what_follows_it(web, tmp_path):
    locked = lock_source("q", "datasets", open_source(web), ["a b/large.bin", "small.jsonl"])
    assert {file: facts["from"] for file, facts in locked.files.items()} == {
        "a b/large.bin": f"{web}a%20b/large.bin",
        "small.jsonl": f"{web}small.jsonl",
    }
    for file, facts in locked.files.items():
        fetch(open_source(facts["from"]), file, facts, tmp_path / file)
    assert (tmp_path / "a b/large.bin").read_bytes() == CONTENT


def test_a_cut_download_goes_on_where_it_was(hub, web, tmp_path):
    source = open_source(f"{web}a%20b/large.bin")
    facts = source.snapshot()["large.bin"]
    hub.repos["dataset", "o/n"].faults = [Fault("storage", cut=150_000), Fault("storage", status=503)]
    hub.requests.clear()
    fetch(source, "large.bin", facts, tmp_path / "large.bin")
    ranges = [headers.get("Range", headers.get("range")) for _, _, path, headers in hub.requests if "sign" in path]
    assert ranges == [None, "bytes=150000-", "bytes=150000-"]
    assert (tmp_path / "large.bin").read_bytes() == CONTENT


def test_another_file_than_the_locked_one_is_refused(hub, web, tmp_path):
    source = open_source(f"{web}a%20b/large.bin")
    facts = source.snapshot()["large.bin"]
    repo = hub.repos["dataset", "o/n"]
    repo.commits[repo.refs["main"]]["data/a b/large.bin"] = bytes(len(CONTENT))
    with pytest.raises(AoeError, match=r"gives other bytes for large\.bin"):
        fetch(source, "large.bin", facts, tmp_path / "fetched/large.bin")
    assert os.listdir(tmp_path / "fetched") == []


def test_what_is_not_there_is_named(web):
    assert open_source(f"{web}small.jsonl").read("small.jsonl", 0, 5) == b'{"id"'
    with pytest.raises(AoeError, match=r"answered HTTP 404 for none\.jsonl of http.*is the address right"):
        open_source(f"{web}none.jsonl").snapshot()


def test_a_host_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(transfer, "FIRST_WAIT", 0.01)
    with pytest.raises(AoeError, match=r"file of http://127\.0\.0\.1:9/file could not be fetched"):
        open_source("http://127.0.0.1:9/file").snapshot()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("https://", "is no address of a file"),
        ("https://host", "names no file"),
        ("https://host/", "names no file"),
        ("https://me:secret@host/file", "is no address of a file"),
        ("https://host/file#part", "is no address of a file"),
        ("https://[host/file", "is no address of a file"),
        ("http://example.org/file", "anybody on the way could alter"),
        ("https://host/folder/?x=1", "names no file"),
    ],
)
def test_addresses_that_are_none_are_refused(url, sentence):
    with pytest.raises(AoeError, match=rf"datasets\.q has .*{sentence}") as caught:
        open_source(url, "datasets.q")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("pattern", ["*", "*.jsonl", "[ab]"])
def test_a_folder_of_the_web_cannot_be_listed(web, pattern):
    with pytest.raises(AoeError, match=r"datasets\.q: http.*/data/ cannot be listed; name its `files`"):
        lock_source("q", "datasets", open_source(web, "datasets.q"), [pattern])
