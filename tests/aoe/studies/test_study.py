"""Studies: the shipped one is valid, sweeps become variants, and mistakes are named by their place."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from aoe import AoeError
from aoe.acquiring.lock import Locked
from aoe.studies.study import read_study
from launcher.schemas import read_schema

ROOT = Path(__file__).parents[3]
SCHEMA = read_schema("study")
MINI = yaml.safe_load((ROOT / "config/studies/mini.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def changed(tmp_path):
    """Reads the mini study after a change to its content."""

    def read(change):
        content = json.loads(json.dumps(MINI))
        change(content)
        (tmp_path / "test.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        return read_study("test", tmp_path, SCHEMA)

    return read


def test_the_mini_study_is_what_the_paper_needs():
    study = read_study("mini", ROOT / "config/studies", SCHEMA)
    assert list(study.models) == ["v3-0324", "r1", "r1-0528"]
    assert {"r1t", "r1t2"} <= set(study.variants)
    assert len(study.sweeps["threshold"]) >= 5
    assert study.is_exported("r1t") and not study.is_exported("full-0.5")


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
    mini = (ROOT / "config/studies/mini.yaml").read_text(encoding="utf-8")
    (tmp_path / "mini.yaml").write_text(mini, encoding="utf-8")
    (tmp_path / "more.yaml").write_text("extends: mini\ntitle: More\naudits: {}\n", encoding="utf-8")
    (tmp_path / "most.yaml").write_text("extends: more\ntitle: Most\n", encoding="utf-8")
    base, most = (read_study(name, tmp_path, SCHEMA) for name in ("mini", "most"))
    assert (most.content["title"], most.audits, most.sweeps) == ("Most", {}, base.sweeps)
    (tmp_path / "more.yaml").write_text("extends: most\n", encoding="utf-8")
    with pytest.raises(AoeError, match="extends: most is extended by itself"):
        read_study("most", tmp_path, SCHEMA)
    (tmp_path / "more.yaml").write_text("extends: nothing\n", encoding="utf-8")
    with pytest.raises(AoeError, match="no study 'nothing'"):
        read_study("most", tmp_path, SCHEMA)


@pytest.fixture
def extended(tmp_path):
    """Reads a study of a few lines that extends the mini study."""
    (tmp_path / "mini.yaml").write_text(
        (ROOT / "config/studies/mini.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )

    def read(text, encoding="utf-8"):
        (tmp_path / "test.yaml").write_text(f"extends: mini\naudits: {{}}\n{text}", encoding=encoding)
        return read_study("test", tmp_path, SCHEMA)

    return read


RECIPE = "{base: v3-0324, weights: {r1: 1}, subset: {groups: [routed_experts]}}"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("no", "true or false"),
        ("off", "true or false"),
        ("2025-01-20", "a date"),
        ("null", "nothing"),
        ("~", "nothing"),
        ("0x10", "the number 16"),
        ("1_0", "the number 10"),
        ("1.50", "the number 1.5"),
        ("528", "a number"),
        ("0527", "the octal number 343"),
        ("12:30", "750, a number to the base 60"),
    ],
)
def test_what_yaml_makes_something_else_of_is_told_as_written(extended, name, kind):
    sentence = re.escape(f"{name} as {kind}") + r".*in quotes, " + re.escape(f"'{name}'")
    for text in (f"variants:\n  {name}: {RECIPE}\n", f"variants: {{r1t: {{base: v3-0324, weights: {{{name}: 1}}}}}}\n"):
        with pytest.raises(
            AoeError, match=rf"test\.yaml.*line \d.*{sentence}|test\.yaml: at .*{sentence}.*\(line \d\)"
        ):
            extended(text)
    if kind != "nothing":
        with pytest.raises(AoeError, match=sentence):
            extended(f"title: {name}\n")
    study = extended(f"variants: {{'{name}': {RECIPE}, r1t: {RECIPE}}}\n") if re.fullmatch(r"[\w.-]+", name) else None
    assert study is None or name in study.variants


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("title:\n", r"at title: .*there is no value; write one, or leave the key out \(line 3\)"),
        ("sweeps:\n", r"at sweeps: .*there is no value"),
        ("titel: x\n", "'titel' was unexpected.*perhaps you mean 'title'"),
        ("sweeps: {s: {base: v3-0324, oter: r1, lambda2: [1]}}\n", "'oter' was unexpected.*perhaps you mean 'other'"),
        ("benchmarks: {arithmetc: {seed: 1}}\n", "perhaps you mean 'arithmetic'"),
        ("benchmarks: {arithmetic: {questions: 12.0, seed: 1}}\n", "12.0 is not of type 'integer': write 12 "),
        ("benchmarks: {arithmetic: {questions: 1e1, seed: 1}}\n", "'1e1' is not of type 'integer': write 10 "),
        ("benchmarks: {arithmetic: {questions: true, seed: 1}}\n", "True is not of type 'integer'"),
        ("benchmarks: {arithmetic: {questions: 012, seed: 1}}\n", "012 as the octal number 10"),
        ("benchmarks: {arithmetic: {questions: 1, seed: 1, temperature: .nan}}\n", "temperature: nan is not a finite"),
        ("scores: {intelligence: [arithmetic], reference: r1, resamples: 9223372036854775808, seed: 1}\n", "too large"),
        ("variants: {m: {base: v3-0324, weights: {r1: 1}, threshold: {delta: .nan, space: codes}}}\n", "delta: nan is"),
        ("variants: {m: {base: v3-0324, weights: {r1: 1}, threshold: {delta: .inf, space: codes}}}\n", "delta: inf is"),
        ("variants: {m: {base: v3-0324, weights: {v3-0324: 1e-1, r1: 9e-1}}}\n", "'9e-1' is not .*: write 0.9"),
        ("variants: {m: {base: v3-0324, weights: {r1: true}}}\n", "True is not of type 'number'"),
        ("variants: {m: {base: v3-0324, weights: {r1: 1, r1: 0}}}\n", "line 3: the key 'r1' is given twice"),
        ('variants: {"m\\n": {base: v3-0324, weights: {r1: 1}}}\n', "does not match .*: Letters, digits, dots"),
        (f"variants: {{{'m' * 243}: {RECIPE}, r1t: {RECIPE}}}\n", "has 243 characters; .* at most 242 long"),
        ("extends: mini\n", "line 3: the key 'extends' is given twice, first in line 1"),
        (
            "audits: {a: {model: r1, parents: [v3-0324], checks: {c: {from: v3-0324, groups: [experts]}}}}\n",
            "the key 'audits' is given twice",
        ),
    ],
)
def test_a_value_that_does_not_mean_what_it_says_is_refused_with_its_line(extended, text, sentence):
    with pytest.raises(AoeError, match=rf"test\.yaml.*{sentence}") as told:
        extended(text)
    assert "\n" not in str(told.value)


def test_the_longest_name_is_taken_and_options_keep_their_keys(extended):
    serving = "serving: {threads: 1, mem_mb: 1, flavour: cpu, gpus: 0, connections: 1, options: {moe-backend: x, "
    serving += "attention-backend: x, compilation-config: {1: a}}}\n"
    study = extended(f"variants: {{{'m' * 242}: {RECIPE}, r1t: {RECIPE}}}\n")
    assert "m" * 242 in study.variants
    assert extended(serving).content["serving"]["options"]["compilation-config"] == {1: "a"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("extends: 2025\n", r"test\.yaml: at extends: YAML reads 2025 as a number"),
        ("extends:\n", r"test\.yaml: at extends: .*there is no value"),
        ("extends: [mini]\n", r"at extends: \['mini'\] is not of type 'string'"),
        ("extends: ../mini\n", "'../mini' is no name of a study"),
        ("extends: mini.yaml\n", "no study 'mini.yaml' .* Write mini, without the ending"),
        ("extends: minni\n", "Perhaps you mean mini"),
        ("extends: other\n", r"Rename other\.yml to other\.yaml"),
        ("extends: twice\n", r"twice\.yaml, line 2: the key 'title' is given twice"),
        ("extends: wrong\n", r"wrong\.yaml: at title: .*\(line 2\)"),
        ("extends: empty\n", r"empty\.yaml is empty"),
        ("extends: none\n", r"none\.yaml is empty"),
        ("extends: list\n", r"extends: list is no study"),
    ],
)
def test_what_cannot_be_extended(tmp_path, content, sentence):
    mini = (ROOT / "config/studies/mini.yaml").read_text(encoding="utf-8")
    files = {"mini": mini, "twice": "title: a\ntitle: b\n", "wrong": "extends: mini\ntitle: 5\n", "empty": ""}
    files |= {"none": "# nothing\n", "list": "[a]\n", "test": content}
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "other.yml").write_text(mini, encoding="utf-8")
    with pytest.raises(AoeError, match=sentence):
        read_study("test", tmp_path, SCHEMA)


def test_unknown_and_unreadable_studies(tmp_path):
    with pytest.raises(AoeError, match="There is no study 'maxi'"):
        read_study("maxi", tmp_path, SCHEMA)
    (tmp_path / "bad.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(AoeError, match="not valid YAML"):
        read_study("bad", tmp_path, SCHEMA)
