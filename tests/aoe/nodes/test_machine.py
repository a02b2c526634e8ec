"""The commit that results are recorded with: of this clone, whoever owns it, and never silently nothing."""

import os
import shutil
import subprocess

import pytest
from aoe.nodes.machine import commit

IDENTITY = ["-c", "user.name=a", "-c", "user.email=a@b"]


def git(folder, *words):
    command = ["git", *IDENTITY, *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, encoding="utf-8").stdout.strip()


@pytest.fixture
def clone(tmp_path):
    folder = tmp_path / "clone"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "file").write_text("λ\n", encoding="utf-8")
    git(folder, "add", "file")
    git(folder, "commit", "--quiet", "--message", "first")
    return folder


def test_what_differs_from_its_commit_is_dirty(clone):
    head = git(clone, "rev-parse", "HEAD")
    assert commit(clone) == head
    (clone / "file").write_text("δ\n", encoding="utf-8")
    assert commit(clone) == f"{head}-dirty"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_clone_of_another_owner_has_its_commit(clone, monkeypatch):
    head = git(clone, "rev-parse", "HEAD")
    for path in [clone, *clone.rglob("*")]:
        os.chown(path, 4321, 4321, follow_symlinks=False)
    monkeypatch.delenv("SUDO_UID", raising=False)  # whose clones git trusts, too
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    refused = subprocess.run(["git", "describe", "--always"], cwd=clone, capture_output=True)
    assert refused.returncode != 0
    assert commit(clone) == head


def test_worktrees_and_shallow_clones_are_clones(clone, tmp_path):
    head = git(clone, "rev-parse", "HEAD")
    git(clone, "worktree", "add", "--quiet", tmp_path / "tree", "HEAD")
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{clone}", "shallow")
    (tmp_path / "link").symlink_to(clone)
    assert {commit(tmp_path / name) for name in ("tree", "shallow", "link")} == {head}


def test_files_in_the_clone_of_something_else_have_no_commit(clone):
    (clone / "unpacked").mkdir()
    assert commit(clone / "unpacked") == "unknown: the files are no clone of a repository"


def test_another_repository_in_the_environment_is_not_asked(clone, tmp_path, monkeypatch):
    head = git(clone, "rev-parse", "HEAD")
    git(tmp_path, "init", "--quiet", "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other/.git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "other"))
    assert commit(clone) == head


def test_why_a_commit_is_not_known(clone, monkeypatch):
    shutil.rmtree(clone / ".git/refs")
    assert commit(clone).startswith("unknown: not a git repository")
    monkeypatch.setenv("PATH", str(clone))
    assert commit(clone) == "unknown: git cannot be started (No such file or directory)"
