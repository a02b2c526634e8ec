"""Studies: the shipped one is valid, sweeps become variants, and mistakes are named by their place."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from aoe import AoeError
from aoe.lock import Locked
from aoe.study import read_study

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "config/schemas/study.schema.json").read_text())
MINI = yaml.safe_load((ROOT / "config/studies/mini.yaml").read_text())


@pytest.fixture
def changed(tmp_path):
    """Reads the mini study after a change to its content."""

    def read(change):
        content = json.loads(json.dumps(MINI))
        change(content)
        (tmp_path / "test.yaml").write_text(yaml.safe_dump(content))
        return read_study("test", tmp_path, SCHEMA)

    return read


def test_the_mini_study_is_what_the_paper_needs():
    study = read_study("mini", ROOT / "config/studies", SCHEMA)
    assert list(study.models) == ["v3-0324", "r1", "r1-0528"]
    assert {"r1t", "r1t2"} <= set(study.variants)
    assert len(study.sweeps["threshold"]) >= 5
    assert study.published("r1t") and not study.published("full-0.5")


def test_where_inputs_lie_and_what_their_lock_must_be(changed, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    source = "hf://o/n@v2"
    study = changed(lambda c: c["models"]["r1"].update(path="~/r1") or c["models"]["r1-0528"].update(source=source))
    locked = Locked("r1", "models", {"a": {"size": 1, "sha256": "0" * 64}}, "o/n", "v2", "1" * 40)
    assert study.directory("r1", locked, "inputs") == "/home/somebody/r1"
    assert study.directory("r1-0528", locked, "inputs") == "resources/mini/r1-0528"
    del study.models["r1-0528"]["path"]
    assert study.directory("r1-0528", locked, "~/all") == f"/home/somebody/all/o/n/{'1' * 12}"
    for other in (replace(locked, asked="main"), replace(locked, repo="o/m"), Locked("r1", "models", {})):
        with pytest.raises(AoeError, match=r"source of r1-0528 is o/n at v2, but the lock has .*; lock anew"):
            study.directory("r1-0528", other, "inputs")


def test_few_positions_are_no_transition():
    study = read_study("mini", ROOT / "config/studies", SCHEMA)
    assert list(study.positions()) == ["full", "experts", "threshold"]
    assert list(study.positions(over_lambda2=True)) == ["full", "experts"]


def test_the_ends_of_a_sweep_are_the_models_themselves():
    study = read_study("mini", ROOT / "config/studies", SCHEMA)
    full, experts = study.sweeps["full"], study.sweeps["experts"]
    assert (full[0].variant, full[-1].variant) == ("v3-0324", "r1")
    assert (experts[0].variant, experts[-1].variant) == ("v3-0324", "r1t")
    recipes = [recipe.canonical() for recipe in study.variants.values()]
    assert len(recipes) == len(set(recipes))


def test_a_value_that_a_sweep_has_twice_is_one_point(changed):
    study = changed(lambda c: c["sweeps"]["full"].update(lambda2=[0.5, 1, 1.0, 0.5]))
    assert [point.lambda2 for point in study.sweeps["full"]] == [0.5, 1]
    study = changed(lambda c: c["sweeps"]["threshold"].update(delta=[0, 5, 5.0]))
    assert [point.delta for point in study.sweeps["threshold"]] == [0, 5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("models"), "at the top level: 'models' is a required property"),
        (lambda c: c.update(model={}), "Additional properties are not allowed"),
        (lambda c: c["models"]["r1"].pop("path"), "r1 says neither where it lies"),
        (lambda c: c["sweeps"]["full"].update(lambda2=[2]), r"at sweeps\.full\.lambda2\.0: 2 is greater"),
        (lambda c: c["sweeps"]["threshold"].pop("space"), "'space' is a dependency of 'delta'"),
        (lambda c: c["variants"]["r1t"]["weights"].update(r1=0.9), "variant r1t has weights λ that sum to 0.9"),
        (lambda c: c["variants"]["r1t"].update(base="r2"), "variant r1t names the parent 'r2'"),
        (lambda c: c["variants"].update(r1=c["variants"]["r1t"]), "The variant r1 has the name of a model"),
        (lambda c: c["scores"].update(reference="r9"), r"scores\.reference names 'r9'"),
        (lambda c: c["scores"].update(intelligence=["aime"]), r"scores\.intelligence names 'aime'"),
        (lambda c: c["sweeps"]["threshold"].update(lambda2=[0.5, 0.6]), r"sweeps\.threshold would give two recipes"),
        (lambda c: c["variants"].update({"full-0.3": c["variants"]["r1t"]}), r"sweeps\.full would give .* full-0\.3"),
        (lambda c: c.update(claims={"r1t": "r9"}), r"claims\.r1t names 'r9'"),
        (lambda c: c["figures"].update(threshold="none"), r"figures\.threshold names 'none'"),
        (lambda c: c["figures"].update(threshold="full"), "a sweep without delta"),
        (lambda c: c["sweeps"]["full"].update(other="zz"), "full-0 of the sweep full names the parent 'zz'"),
        (lambda c: c["variants"]["r1t"].update(weights={"r1": float("nan")}), "test.yaml: .* not a finite number"),
        (lambda c: c["figures"].update(base="r1"), "no variant combines"),
        (lambda c: c["serving"].update(gpus=3, nodes=2), r"serving\.gpus: 3 GPUs cannot be spread evenly over 2 nodes"),
        (lambda c: c["serving"].update(flavour="tpu"), r"at serving\.flavour: 'tpu' is not one of"),
        (lambda c: c["serving"]["options"].update(port=8000), r"serving\.options: port is what the workflow"),
        (lambda c: c["serving"]["options"].update(max_num_seqs=8), r"at serving\.options: 'max_num_seqs' does"),
        (lambda c: c["serving"].pop("flavour"), "at serving: 'flavour' is a required property"),
        (
            lambda c: c.update(cost={"tokens": {"aime": 1}, "tokens_per_second": 1, "start_minutes": 1}),
            "'aime' is not one",
        ),
        (lambda c: c["benchmarks"].update(aime={"questions": 1, "seed": 1}), "at benchmarks: 'aime' is not one of"),
    ],
)
def test_mistakes_are_named_by_their_place(changed, change, message):
    with pytest.raises(AoeError, match=message):
        changed(change)


def test_a_study_extends_another(tmp_path):
    mini = (ROOT / "config/studies/mini.yaml").read_text()
    (tmp_path / "mini.yaml").write_text(mini)
    (tmp_path / "more.yaml").write_text("extends: mini\ntitle: More\naudits: {}\n")
    (tmp_path / "most.yaml").write_text("extends: more\ntitle: Most\n")
    base, most = (read_study(name, tmp_path, SCHEMA) for name in ("mini", "most"))
    assert (most.content["title"], most.audits, most.sweeps) == ("Most", {}, base.sweeps)
    (tmp_path / "more.yaml").write_text("extends: most\n")
    with pytest.raises(AoeError, match="extends: most is extended by itself"):
        read_study("most", tmp_path, SCHEMA)
    (tmp_path / "more.yaml").write_text("extends: nothing\n")
    with pytest.raises(AoeError, match="no study 'nothing'"):
        read_study("most", tmp_path, SCHEMA)


def test_unknown_and_unreadable_studies(tmp_path):
    with pytest.raises(AoeError, match="There is no study 'maxi'"):
        read_study("maxi", tmp_path, SCHEMA)
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(AoeError, match="not valid YAML"):
        read_study("bad", tmp_path, SCHEMA)
