"""Locks: every altered, truncated or missing file is found and named."""

import pytest
from aoe import AoeError
from aoe.lock import lock_directories, read_lock, verify_model

SHARD = "model-00001-of-00002.safetensors"


@pytest.fixture
def locked(family):
    directory = family["v3"].directory
    return directory, lock_directories({"v3": directory})["models"]["v3"]["files"]


def test_an_unchanged_model_passes(locked):
    directory, files = locked
    assert verify_model("v3", directory, files, threads=2) == sum(path.stat().st_size for path in directory.iterdir())


def test_every_changed_byte_is_found(locked):
    directory, files = locked
    path = directory / SHARD
    original = path.read_bytes()
    for position in (0, 9, len(original) // 2, len(original) - 1):
        path.write_bytes(original[:position] + bytes([original[position] ^ 1]) + original[position + 1 :])
        with pytest.raises(AoeError, match=f"{SHARD} has the SHA-256 .* was altered"):
            verify_model("v3", directory, files)


def test_truncated_and_missing_files_are_named(locked):
    directory, files = locked
    path = directory / SHARD
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(AoeError, match="instead of the locked"):
        verify_model("v3", directory, files)
    path.unlink()
    with pytest.raises(AoeError, match=f"{SHARD} is missing"):
        verify_model("v3", directory, files)


def test_an_index_that_disagrees_with_the_shards_is_refused(locked):
    directory, _ = locked
    index = directory / "model.safetensors.index.json"
    index.write_text(index.read_text().replace('"model.norm.weight"', '"model.norm2.weight"'))
    files = lock_directories({"v3": directory})["models"]["v3"]["files"]
    with pytest.raises(AoeError, match=r"disagree about the tensor model\.norm2?\.weight"):
        verify_model("v3", directory, files)


def test_broken_locks_are_refused(tmp_path):
    with pytest.raises(AoeError, match="cannot be read"):
        read_lock(tmp_path / "none.json", [])
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(AoeError, match="is broken"):
        read_lock(tmp_path / "bad.json", [])
    (tmp_path / "other.json").write_text('{"models": {"v3": {}}}')
    with pytest.raises(AoeError, match="does not have the model 'r1'"):
        read_lock(tmp_path / "other.json", ["v3", "r1"])
