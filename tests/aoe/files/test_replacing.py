"""Files have their name only when they are complete, and failures leave nothing beside them."""

import os

import pytest
from aoe.files import replacing as module
from aoe.files.replacing import replace_text, replacing


def test_a_file_gets_its_name_when_it_is_complete(tmp_path):
    path = tmp_path / "file.json"
    path.write_text("old", encoding="utf-8")
    with replacing(path) as partial:
        assert partial == tmp_path / "file.json.partial"
        partial.write_text("new", encoding="utf-8")
        assert path.read_text(encoding="utf-8") == "old"
    assert path.read_text(encoding="utf-8") == "new"
    assert os.listdir(tmp_path) == ["file.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(error), replacing(path) as partial:
        partial.write_text("half", encoding="utf-8")
        raise error
    assert path.read_text(encoding="utf-8") == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_what_a_killed_process_left_is_written_over(tmp_path):
    (tmp_path / "file.partial").write_text("much that was left", encoding="utf-8")
    replace_text(tmp_path / "file", "λ\n")
    assert (tmp_path / "file").read_bytes() == "λ\n".encode()
    assert os.listdir(tmp_path) == ["file"]


def test_writers_of_the_same_file_do_not_meet(tmp_path):
    path = tmp_path / "file"
    with replacing(path, shared=True) as one, replacing(path, shared=True) as other:
        assert one != other
        for partial in (one, other):
            assert partial.parent == tmp_path and partial.suffix == ".partial"
            partial.write_text(partial.name, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == one.name  # the last one to end
    assert os.listdir(tmp_path) == ["file"]


def test_a_target_that_cannot_be_replaced_leaves_no_partial_file(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError), replacing(tmp_path / "folder") as partial:
        partial.write_text("x", encoding="utf-8")
    assert os.listdir(tmp_path) == ["folder"]


def test_content_is_on_the_disk_before_the_name(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(module, "flush", lambda path: flushed.append((path.name, (tmp_path / "file").exists())))
    with replacing(tmp_path / "file", flushed=True) as partial:
        partial.write_text("x", encoding="utf-8")
    assert flushed == [("file.partial", False)]


def test_files_are_readable_as_others_are(tmp_path):
    replace_text(tmp_path / "file", "x", shared=True)
    (tmp_path / "plain").write_text("x", encoding="utf-8")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode
