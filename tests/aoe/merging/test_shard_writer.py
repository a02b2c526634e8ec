"""Writing shards: whole copies, scales apart from their weights, full disks, interruptions."""

import errno
import filecmp
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aoe import AoeError
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.files import disk
from aoe.files.disk import copy_range
from aoe.merging import shard_writer
from aoe.merging.merge import Merge
from aoe.merging.plan import copy_plan, make_plan
from aoe.merging.recipe import read_recipe
from aoe.merging.shard_writer import write_shard
from support.checkpoints import stored, weights, write_checkpoint

SCRIPTS = Path(__file__).parents[3] / "scripts"
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def merge_of(family, **entry):
    recipe = read_recipe("test", {"base": "v3", "weights": {"v3": 0.7, "r1": 0.3}} | entry, family)
    return Merge(make_plan(recipe, family), family, "cpu", threads=2)


def test_a_shard_of_one_parent_is_copied_in_one_piece(family, tmp_path, monkeypatch):
    copied = []
    monkeypatch.setattr(shard_writer, "copy_range", lambda *words: copied.append(words) or copy_range(*words))
    write_shard(Merge(copy_plan(family["r1"]), family), FIRST, tmp_path / FIRST)
    assert filecmp.cmp(tmp_path / FIRST, family["r1"].directory / FIRST, shallow=False)
    assert [words[-1] for words in copied] == [family["r1"].shard(FIRST).size]


def test_a_parent_with_another_order_of_tensors_is_copied_tensor_by_tensor(family, tmp_path):
    tensors = stored(weights(1))
    family["r1"] = write_checkpoint(tmp_path / "odd", dict(reversed(tensors.items())) | {}, "r1")
    merge = merge_of(family, weights={"r1": 1})
    for file in (FIRST, SECOND):
        write_shard(merge, file, tmp_path / file)
        for tensor, place in Checkpoint(family["v3"].directory).shard(file).tensors.items():
            written = (tmp_path / file).read_bytes()[place.begin : place.end]
            assert written == family["r1"].bytes(tensor), tensor


@pytest.mark.parametrize("number", [*disk.NO_KERNEL_COPY, None])
def test_without_the_kernels_copies_the_bytes_are_the_same(family, tmp_path, monkeypatch, number):
    def refuse(*_):
        if number is None:
            return 0  # as some network file systems do
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "copy_file_range", refuse)
    write_shard(Merge(copy_plan(family["r1"]), family), SECOND, tmp_path / SECOND)
    assert filecmp.cmp(tmp_path / SECOND, family["r1"].directory / SECOND, shallow=False)


def test_a_file_system_that_cannot_reserve_space_is_written_to_all_the_same(family, tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "SYSTEM", object())
    write_shard(merge_of(family), FIRST, tmp_path / "one")
    monkeypatch.undo()
    write_shard(merge_of(family), FIRST, tmp_path / "other")
    assert filecmp.cmp(tmp_path / "one", tmp_path / "other", shallow=False)


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a real file system of 32 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs to be root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_too_little_space_is_told_before_the_first_byte(family, small_disk):
    with pytest.raises(AoeError, match=r"small has [\d,]+ bytes left, but model-00001.* takes [\d,]+"):
        write_shard(merge_of(family), FIRST, small_disk / FIRST)
    assert not list(small_disk.iterdir())


@pytest.mark.parametrize("reserving", [True, False])
def test_a_disk_that_fills_up_meanwhile_leaves_nothing_behind(family, small_disk, monkeypatch, reserving):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1 << 40, 0, 1 << 40))
    if not reserving:
        monkeypatch.setattr(disk, "SYSTEM", object())
    for merge in (merge_of(family), Merge(copy_plan(family["r1"]), family)):
        with pytest.raises(AoeError, match=rf"{FIRST} could not be written: {os.strerror(errno.ENOSPC)}; it takes"):
            write_shard(merge, FIRST, small_disk / FIRST)
    assert not list(small_disk.iterdir())


def test_a_parent_that_is_cut_off_meanwhile_is_named(family, tmp_path):
    merge = merge_of(family)
    for checkpoint in (family["v3"], family["r1"]):
        checkpoint.shard(FIRST), checkpoint.shard(SECOND)
    path = family["r1"].directory / SECOND
    os.truncate(path, path.stat().st_size - 10)
    with pytest.raises(AoeError, match=r"r1/model-00002-of-00002\.safetensors ends within the tensor"):
        write_shard(merge, SECOND, tmp_path / SECOND)
    with pytest.raises(AoeError, match=r"model-00002-of-00002\.safetensors ends before its header says"):
        write_shard(Merge(copy_plan(family["r1"]), family), SECOND, tmp_path / SECOND)
    assert not list(tmp_path.glob("model-*"))


KILLED = """
import os, signal, sys
sys.path[:0] = [{scripts!r}]
from aoe.merging import shard_writer
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.merging.merge import Merge
from aoe.merging.plan import Plan
written = shard_writer._write
def write(out, array, position):
    written(out, array, position)
    if position > {position}:
        os.kill(os.getpid(), signal.SIGKILL)
shard_writer._write = write
plan = Plan.load({plan!r})
merge = Merge(plan, {{name: Checkpoint(f"{folder}/{{name}}", name) for name in plan.parents}}, "cpu")
shard_writer.write_shard(merge, {file!r}, {target!r})
"""


def test_a_merge_that_was_killed_and_begun_anew_equals_an_undisturbed_one(family, tmp_path):
    merge = merge_of(family)
    merge.plan.save(tmp_path / "plan.json")
    write_shard(merge, FIRST, tmp_path / "undisturbed")
    target = tmp_path / FIRST
    size = target.with_name("undisturbed").stat().st_size
    facts = {"scripts": str(SCRIPTS), "plan": str(tmp_path / "plan.json"), "folder": tmp_path, "file": FIRST}
    for position in (0, size // 4, size // 2):
        script = KILLED.format(position=position, target=str(target), **facts)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8")
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert not target.exists()  # what is under its own name is complete
        assert target.with_name(f"{FIRST}.partial").exists()
    write_shard(merge_of(family), FIRST, target)
    assert filecmp.cmp(target, tmp_path / "undisturbed", shallow=False)
    assert not target.with_name(f"{FIRST}.partial").exists()


def test_a_folder_that_is_not_there_is_told(family, tmp_path):
    with pytest.raises(AoeError, match="could not be written: No such file or directory"):
        write_shard(merge_of(family), FIRST, tmp_path / "nowhere" / FIRST)


def test_a_shard_that_holds_more_than_the_index_says_is_refused(family, tmp_path):
    merge = merge_of(family)
    del merge.base.files["model.norm.weight"]
    with pytest.raises(AoeError, match=r"holds the tensor model\.norm\.weight, but the index does not put it there"):
        write_shard(merge, SECOND, tmp_path / SECOND)


def test_nothing_goes_on_after_a_failure(family, tmp_path, monkeypatch):
    """The other threads end before the error is told, so that no file is written to once it is closed."""
    merge, late = merge_of(family), []

    def task(number):
        if number == 1:
            raise AoeError("one")
        time.sleep(0.05)
        late.append(time.monotonic())

    with pytest.raises(AoeError, match="one"):
        merge.run((lambda number=number: task(number)) for number in range(50))
    ended = time.monotonic()
    time.sleep(0.2)
    assert len(late) < 49
    assert all(moment <= ended for moment in late)
