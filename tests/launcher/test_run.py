"""A run's study and lock, read as late as possible, and ended in a sentence."""

import pytest
from snakemake.exceptions import WorkflowError
from launcher.run import Run, read_strictly
from support.clones import ROOT
from support.runs import run_of


def test_a_lock_is_read_when_it_is_asked_for(mini, monkeypatch):
    monkeypatch.setattr(Run, "read_lock", lambda self: pytest.fail("nobody asked for it"))
    assert mini.inputs.to_lock().keys() == {"v3-0324", "r1", "r1-0528"}
    assert mini.inputs.planned[0] == "r1t"


def test_what_is_locked_lies_in_folders(mini):
    assert mini.run.locked.keys() == mini.run.directories.keys() == set(mini.study.inputs)
    assert mini.run.directories["r1"] == "resources/mini/r1"


def test_a_study_without_a_lock_ends_in_a_sentence(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)  # where no lock is
    run = run_of("mini")
    with pytest.raises(SystemExit) as ended:
        run.locked  # noqa: B018
    assert ended.value.code == 1
    assert "mini/lock.json cannot be read" in caplog.text
    assert "`snakemake --cores 1 --config study=mini -- lock` writes a new one" in caplog.text


def test_a_study_that_states_what_it_expects_is_planned_without_a_lock(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    run = run_of("paper")
    assert len(run.locked["r1"].shards) == 163
    assert not run.is_locked


def test_caches_are_put_where_the_site_says(monkeypatch):
    run = run_of("mini", caches="/scratch/me")
    environment = {"HF_HOME": "/mine"}
    run.prepare(environment)
    assert environment["TRITON_HOME"] == "/scratch/me/triton"
    assert environment["HF_HOME"] == "/mine"


def test_a_file_that_is_not_what_it_seems_is_refused_by_snakemakes_own_error(tmp_path):
    (tmp_path / "twice.yaml").write_text("a: 1\na: 2\n", encoding="utf-8")
    with pytest.raises(WorkflowError, match="the key 'a' is given twice"):
        read_strictly(tmp_path / "twice.yaml")
