"""Verification: every altered, truncated or missing file is found and named; receipts spare a second reading."""

import hashlib
import json
import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from aoe import AoeError
from aoe.acquiring import verification
from aoe.acquiring.fetching import lock_source
from aoe.acquiring.hashing import digest_of, facts_of
from aoe.acquiring.sources import open_source
from aoe.acquiring.verification import check_present, doubtful, is_lost, verify, verify_file
from aoe.checkpoints.checkpoint import INDEX

SHARD = "model-00001-of-00002.safetensors"


@pytest.fixture
def locked(family):
    directory = family["v3"].directory
    return directory, lock(directory).files


def lock(directory):
    return lock_source("v3", "models", open_source(f"file:{directory}"))


def test_an_unchanged_model_passes(locked):
    directory, files = locked
    assert verify("v3", directory, files, threads=2) == sum(path.stat().st_size for path in directory.iterdir())


def test_every_changed_byte_is_found(locked):
    directory, files = locked
    path = directory / SHARD
    original = path.read_bytes()
    for position in (0, 9, len(original) // 2, len(original) - 1):
        path.write_bytes(original[:position] + bytes([original[position] ^ 1]) + original[position + 1 :])
        with pytest.raises(AoeError, match=f"{SHARD} has the SHA-256 .* was altered"):
            verify("v3", directory, files)


def test_truncated_and_missing_files_are_named(locked):
    directory, files = locked
    path = directory / SHARD
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(AoeError, match="instead of the locked"):
        verify("v3", directory, files)
    path.unlink()
    with pytest.raises(AoeError, match=f"{SHARD} is missing"):
        verify("v3", directory, files)


def test_an_index_that_disagrees_with_the_shards_is_refused(locked):
    directory, _ = locked
    index = directory / INDEX
    index.write_text(
        index.read_text(encoding="utf-8").replace('"model.norm.weight"', '"model.last_norm.weight"'), encoding="utf-8"
    )
    with pytest.raises(AoeError, match=r"disagree about the tensor model\.(last_)?norm\.weight"):
        verify("v3", directory, lock(directory).files)


def test_a_part_is_checked_as_far_as_it_goes(locked):
    directory, files = locked
    other = "model-00002-of-00002.safetensors"
    (directory / other).unlink()
    part = {name: facts for name, facts in files.items() if name != other}
    assert verify("v3", directory, part, whole=False) == sum(facts["size"] for facts in part.values())
    index = json.loads((directory / INDEX).read_text(encoding="utf-8"))
    index["weight_map"]["model.embed_tokens.weight"] = other
    (directory / INDEX).write_text(json.dumps(index), encoding="utf-8")
    del part["config.json"]
    with pytest.raises(AoeError, match=r"disagree about the tensor model\.embed_tokens\.weight"):
        verify("v3", directory, part | {INDEX: facts_of(directory / INDEX)}, whole=False)


def test_the_git_blob_id_is_gits(tmp_path):
    (tmp_path / "file").write_bytes(b"some text\n" * 1000)
    ours = digest_of(tmp_path / "file", {"git": ""})
    assert ours == subprocess.check_output(["git", "hash-object", "file"], cwd=tmp_path, encoding="utf-8").strip()
    verify_file(tmp_path / "file", {"size": 10_000, "git": ours})
    with pytest.raises(AoeError, match="has the git blob id"):
        verify_file(tmp_path / "file", {"size": 10_000, "git": "0" * 40})


def test_a_receipt_spares_reading_until_file_or_lock_change(tmp_path, monkeypatch):
    path, receipt = tmp_path / "file", tmp_path / "receipts/file.json"
    path.write_bytes(b"abc")
    facts = {"size": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}
    read = []
    monkeypatch.setattr(verification, "digest_of", lambda *words: read.append(words) or digest_of(*words))
    verify_file(path, facts, receipt)
    verify_file(path, facts, receipt)
    assert len(read) == 1
    with pytest.raises(AoeError, match="was altered"):
        verify_file(path, {"size": 3, "sha256": "0" * 64}, receipt)
    receipt.write_text("{half a rece", encoding="utf-8")
    verify_file(path, facts, receipt)
    assert json.loads(receipt.read_text(encoding="utf-8"))["size"] == 3


@pytest.mark.parametrize("how", ["written", "with its old time", "by an older file", "in another folder"])
def test_a_replaced_file_is_doubtful_and_found(tmp_path, how):
    path, receipts = tmp_path / "a/file", tmp_path / "receipts"
    path.parent.mkdir()
    path.write_bytes(b"abc")
    files = {"file": {"size": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}, "other": {"size": 1, "sha256": "0"}}
    assert doubtful(tmp_path / "a", files, receipts) == []
    verify_file(path, files["file"], receipts / "file.json")
    assert doubtful(tmp_path / "a", files, receipts) == []
    before = path.stat()
    if how == "in another folder":
        shutil.copytree(tmp_path / "a", tmp_path / "b")
        path = tmp_path / "b/file"
    path.write_bytes(b"xyz")
    if how != "written":
        moment = 1_600_000_000 * 10**9 if how == "by an older file" else before.st_mtime_ns
        os.utime(path, ns=(moment, moment))
    assert doubtful(path.parent, files, receipts) == ["file"]
    with pytest.raises(AoeError, match="was altered"):
        verify_file(path, files["file"], receipts / "file.json")


def test_a_verified_file_without_its_receipt_is_doubtful(tmp_path):
    assert doubtful(tmp_path, {"file": {"size": 3, "sha256": "0"}}, tmp_path / "receipts", verified=True) == ["file"]


def test_a_recorded_download_is_lost_with_its_file(tmp_path):
    facts = {"size": 3, "sha256": "0" * 64}
    file, record = tmp_path / "file", tmp_path / "file.json"
    assert not is_lost(record, file, facts)
    file.write_bytes(b"abc")
    record.write_text("{}", encoding="utf-8")
    assert not is_lost(record, file, facts)
    file.write_bytes(b"ab")
    assert is_lost(record, file, facts)
    file.unlink()
    assert is_lost(record, file, facts)


def test_a_shard_that_only_the_index_knows_is_named(locked):
    directory, files = locked
    del files[SHARD]
    with pytest.raises(AoeError, match=rf"the index names the shard {SHARD}, which the lock does not have"):
        verify("v3", directory, files)


def test_a_model_that_is_not_there_is_named(locked):
    directory, _ = locked
    entry = lock(directory)
    check_present({"v3": entry}, {"v3": directory})
    (directory / SHARD).unlink()
    with pytest.raises(AoeError, match=rf"v3 lacks the locked file .*{SHARD}; .*models\.v3\.path"):
        check_present({"v3": entry}, {"v3": directory})


def test_of_several_jobs_that_verify_a_file_one_reads_it(tmp_path, monkeypatch):
    path, receipt = tmp_path / "file", tmp_path / "receipts/file.json"
    path.write_bytes(b"content")
    facts = facts_of(path)
    read = []

    def digest_slowly(*arguments):
        read.append(arguments)
        time.sleep(0.2)
        return facts["sha256"]

    monkeypatch.setattr("aoe.acquiring.verification.digest_of", digest_slowly)
    with ThreadPoolExecutor(8) as pool:
        for job in [pool.submit(verify_file, path, facts, receipt) for _ in range(8)]:
            job.result()
    assert len(read) == 1
    assert [file.name for file in receipt.parent.iterdir()] == ["file.json"]
