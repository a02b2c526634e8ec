"""The scripts of the rules that measure realized λ, in this process, on the mini family."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.files.tables import read_levels, read_table
from aoe.merging.plan import make_plan
from aoe.merging.recipe import read_recipe
from aoe.merging.rounding.realized import COLUMNS

ROOT = Path(__file__).parents[4]
PARENTS = {name: str(ROOT / f"resources/mini/{name}") for name in ("v3-0324", "r1")}
SHARD = "model-00002-of-000005.safetensors"


def run(script, output, paths=(), **params):
    """Run a rule's script; its log is beside its output."""
    rule = SimpleNamespace(
        input=list(map(str, paths)),
        output=[str(output)],
        params=SimpleNamespace(**params),
        log=[str(output.with_suffix(".log"))],
        threads=1,
    )
    runpy.run_path(str(ROOT / f"scripts/{script}.py"), init_globals={"snakemake": rule})
    return output.with_suffix(".log").read_text(encoding="utf-8")


@pytest.fixture
def plans(tmp_path):
    """variant -> path of its plan: one that rounding spoils, and one that copies."""
    checkpoints = {name: Checkpoint(folder, name) for name, folder in PARENTS.items()}
    entries = {"half": {"weights": {"v3-0324": 0.525, "r1": 0.475}}, "copy": {"weights": {"r1": 1}}}
    for variant, entry in entries.items():
        recipe = read_recipe(variant, {"base": "v3-0324"} | entry, checkpoints)
        make_plan(recipe, checkpoints).save(tmp_path / f"{variant}.json")
    return {variant: str(tmp_path / f"{variant}.json") for variant in entries}


def test_shards_are_joined_to_the_table(plans, tmp_path):
    sums, other = tmp_path / "sums.parquet", tmp_path / "none.parquet"
    assert " combined weights of 2 variants" in run("realized", sums, plans=plans, checkpoints=PARENTS, file=SHARD)
    # a shard of which nothing is combined
    run("realized", other, plans={"copy": plans["copy"]}, checkpoints=PARENTS, file=SHARD)
    assert len(read_table(other)) == 0
    said = run("realized_lambda", tmp_path / "realized.parquet", [other, sums])
    assert "rows from 2 files" in said and "half asks for 0.475 r1 and will have 0.02 in attention" in said
    table = read_table(tmp_path / "realized.parquet")
    assert {name: str(table[name].dtype) for name in table} == COLUMNS
    assert list(table.columns) == list(COLUMNS) and set(table.variant) == {"half"}
    assert set(table.level) == {"weight", "layer", "group", "model"}
    assert table[table.level != "weight"].tensor.isna().all() and table[table.level == "weight"].tensor.notna().all()
    (model,) = read_levels(tmp_path / "realized.parquet", ["model"]).query("parent == 'r1'").itertuples()
    assert model.asked == 0.475 and 0.02 < model.realized < 0.475


def test_variants_that_only_copy_make_an_empty_table(plans, tmp_path):
    run("realized", tmp_path / "sums.parquet", plans={"copy": plans["copy"]}, checkpoints=PARENTS, file=SHARD)
    said = run("realized_lambda", tmp_path / "realized.parquet", [tmp_path / "sums.parquet"])
    assert len(read_table(tmp_path / "realized.parquet")) == 0 and "All λ are about as asked." in said


def test_the_estimate_warns_on_the_screen_once(plans, tmp_path, capfd):
    said = run("expected_lambda", tmp_path / "expected.csv", plans=plans, checkpoints=PARENTS)
    assert said.startswith("Warning: half asks for 0.475 r1 and will have 0.0")
    told = capfd.readouterr().err
    assert told == said and told.count("Warning") == 1 and "`rounding: balanced`" in told
    table = read_table(tmp_path / "expected.csv").set_index(["variant", "group", "parent"])
    assert table.realized["half", "attention", "r1"] < 0.05 and table.asked["half", "attention", "r1"] == 0.475
