"""`make clean`, with the real Makefile in a folder of its own."""

import os
import pty
import shutil
import subprocess

import pytest
from support.clones import ROOT

FILES = ("Makefile", "requirements.lock", "envs/machine_check.py", "scripts/launcher/clean.py", "results/README.md")


@pytest.fixture
def folder(tmp_path):
    """The Makefile and what it calls, with a study that has been planned, but not answered."""
    for file in FILES:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    for file in ("results/mini/plans/r1t.json", ".snakemake/log/1.log", "inputs/model.safetensors"):
        write(tmp_path / file, 10)
    return tmp_path


@pytest.fixture
def answered(folder):
    """The same with answers of 1.5 MB, in a study whose name has a blank."""
    write(folder / "results/my study/answers/r1/dialogue.eval", 1_000_000)
    write(folder / "results/my study/answers/r1/machine.json", 500_000)
    return folder


def write(path, size):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def clean(folder, *words, stdin=subprocess.DEVNULL, **piped):
    command = ["make", "--no-print-directory", "clean", *words]  # which a make above this one asks for
    inputs = piped or {"stdin": stdin}
    return subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", **inputs)


def clean_on_a_terminal(folder, typed):
    """`make clean` whose standard input is a terminal on which somebody has typed."""
    terminal, stdin = pty.openpty()
    try:
        os.write(terminal, typed)
        return clean(folder, stdin=stdin)
    finally:
        os.close(terminal)
        os.close(stdin)


def is_clean(folder):
    return files(folder) == {*FILES, "inputs/model.safetensors"} and not (folder / ".snakemake").exists()


def test_what_holds_no_answers_is_deleted_without_a_question(folder):
    (folder / "results/mini/answers/r1").mkdir(parents=True)  # empty
    done = clean(folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert is_clean(folder) and [path.name for path in (folder / "results").iterdir()] == ["README.md"]
    assert clean(folder).returncode == 0


@pytest.mark.parametrize("piped", [{}, {"input": "y\n"}])
def test_answers_are_kept_where_nobody_can_be_asked(answered, piped):
    before = files(answered)
    done = clean(answered, **piped)
    assert done.returncode != 0 and files(answered) == before
    assert "  results/my study/answers: 2 files, 1.5 MB\n" in done.stderr
    assert "is called as `make clean YES=1`." in done.stderr


@pytest.mark.parametrize("typed", [b"y\n", b"YES\n"])
def test_answers_are_deleted_after_a_yes(answered, typed):
    done = clean_on_a_terminal(answered, typed)
    assert done.returncode == 0 and is_clean(answered)
    assert "my study" in done.stderr and "[y/N]" in done.stdout + done.stderr


@pytest.mark.parametrize("typed", [b"\n", b"n\n", b"what\n", b"\x04"], ids=["return", "n", "what", "end"])
def test_anything_else_keeps_everything(answered, typed):
    before = files(answered)
    done = clean_on_a_terminal(answered, typed)
    assert done.returncode != 0 and files(answered) == before
    assert "Nothing was deleted." in done.stderr


def test_a_variable_of_make_is_a_yes(answered):
    before = files(answered)
    assert clean(answered, "YES=0").returncode != 0 and files(answered) == before
    done = clean(answered, "YES=1")
    assert (done.returncode, done.stderr) == (0, "") and is_clean(answered)


def test_a_judges_verdicts_are_answers(folder):
    write(folder / "results/paper/verdicts/ab/cd.json", 100)
    done = clean(folder)
    assert done.returncode != 0 and "results/paper/verdicts: 1 file, 0.0 MB" in done.stderr
    assert (folder / "results/mini").exists()


def test_what_a_link_leads_to_is_not_the_projects(answered, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.move(answered / "results/my study", elsewhere / "study")
    (answered / "results/linked").symlink_to(elsewhere / "study")
    done = clean(answered)
    assert (done.returncode, done.stderr) == (0, "") and is_clean(answered)
    assert len(files(elsewhere)) == 2


def test_results_that_are_a_link_lose_the_link_only(answered, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.move(answered / "results", elsewhere / "results")
    (answered / "results").symlink_to(elsewhere / "results")
    before = files(elsewhere)
    done = clean(answered)
    assert (done.returncode, done.stderr) == (0, "")
    assert not os.path.lexists(answered / "results") and files(elsewhere) == before
