"""Predictions of a shard: λ2 as merges have them, weights that a sweep merges, and parents of which a part is there."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from aoe.checkpoints.checkpoint import INDEX, Checkpoint
from aoe.checkpoints.formats import BLOCK
from aoe.checkpoints.shard import StoredTensor
from aoe.merging.merge import Merge
from aoe.merging.plan import make_plan
from aoe.merging.recipe import read_recipe
from aoe.merging.rounding.measuring import shard_projections
from aoe.merging.rounding.prediction import BESIDE_HALF, Pair, sampled, selections, shard_prediction
from aoe.scores.predicted import ALL, codes_table, passed, realized_table, steps_table, threshold_table
from support.clones import ROOT

MINI = ROOT / "resources/mini"
SHARD = "model-00003-of-000005.safetensors"
SWEEPS = {
    "full": {"lambda2": [0, 0.3, 0.7, 1]},
    "experts": {"lambda2": [0.3], "subset": {"groups": ["routed_experts"]}},
    "threshold": {"lambda2": [0.5], "delta": [0, 5], "space": "codes"},
}


def parents(folder=MINI):
    return [Checkpoint(folder / name, name) for name in ("v3-0324", "r1")]


def pair(base, other, files):
    return Pair(base, other, {base.name: files, other.name: files})


@pytest.fixture(scope="module")
def predicted():
    """(realized λ2, codes) of one shard of the mini family."""
    base, other = parents()
    realized, codes = shard_prediction(pair(base, other, base.shard_names), SHARD, selections(SWEEPS, "v3-0324", "r1"))
    return realized_table(pd.DataFrame(realized)), codes_table(pd.DataFrame(codes))


def test_sweeps_over_lambda2_are_looked_at_beside_a_half():
    full, experts, *threshold = selections(SWEEPS, "v3-0324", "r1")
    assert full.lambdas == (0.3, *BESIDE_HALF, 0.7)  # 0 and 1 only copy
    assert experts.lambdas == (0.3,)
    assert [chosen.recipe.threshold.delta for chosen in threshold] == [0, 5]


def test_what_is_predicted_is_what_a_merge_has(predicted):
    """Attention of the mini family has so few block rows that all are looked at."""
    base, other = parents()
    recipe = read_recipe("v", {"base": "v3-0324", "weights": {"v3-0324": 0.7, "r1": 0.3}}, ["v3-0324", "r1"])
    checkpoints = {"v3-0324": base, "r1": other}
    rows = shard_projections({"v": Merge(make_plan(recipe, checkpoints), checkpoints, device="cpu")}, SHARD)
    merged = {}
    for row in rows:
        product, gram = merged.get(row["group"], (0.0, 0.0))
        merged[row["group"]] = product + row["product"][0], gram + row["gram"][0]
    table, _ = predicted
    found = table[(table.level == "group") & (table.sweep == "full") & (table.rounded == "nearest")]
    found = found[found.lambda2 == 0.3].set_index("group").realized
    assert set(found.index) >= {"attention", "routed_experts", "shared_experts"}
    for group, value in found.items():
        product, gram = merged[group]
        assert value == pytest.approx(product / gram, abs=0.02), group
    assert found["attention"] < 0.03 < 0.2 < found["routed_experts"]


def test_balanced_rounding_keeps_the_asked_lambda(predicted):
    table, _ = predicted
    fp8 = table[(table.rounded == "balanced") & table.group.isin(["attention", "routed_experts", "shared_experts"])]
    assert len(fp8) and (fp8.realized - fp8.lambda2).abs().max() < 0.01


def test_steps_lie_where_a_half_is_passed(predicted):
    table, _ = predicted
    steps = steps_table(table).set_index(["sweep", "rounded", "group"])
    assert {sweep for sweep, _, _ in steps.index} == {"full"}  # the others have too few λ2
    stored = steps.loc["full", "nearest, stored", "attention"]
    assert stored.below < 0.1 and stored.above > 0.9 and stored.width < 0.02
    assert 0.499 <= stored.midpoint <= 0.501
    assert steps.loc["full", "balanced", ALL].width == pytest.approx(0.8, abs=0.02)


def test_where_a_curve_passes_a_value():
    asked, realized = np.array([0.25, 0.5, 0.75]), np.array([0.0, 0.5, 1.0])
    assert passed(asked, realized, 0.5) == pytest.approx(0.5)
    assert passed(asked, realized, 0.25) == pytest.approx(0.375)
    assert passed(asked, np.array([0.1, 0.05, 0.05]), 0.9) == pytest.approx(
        0.75 + 0.25 * 0.8 / 0.9
    )  # a curve that falls


def test_codes_and_ties_are_counted(predicted):
    _, codes = predicted
    attention = codes.set_index("group").loc["attention"]
    shares = attention[["equal", "one_step", "two_steps", "three_steps", "more_steps"]]
    assert shares.sum() == pytest.approx(1) and attention.equal > 0.5 and attention.left_out == 0
    assert attention.tie_base + attention.tie_other == pytest.approx(1, abs=0.01)
    assert 0 <= attention.tie_even <= 1


def test_only_weights_beyond_the_threshold_count(predicted):
    table, codes = predicted
    rows = threshold_table(table, codes).set_index(["delta", "group"]).merged
    assert rows[0, ALL] > 0.95  # nearly all weights differ
    assert rows[0, "attention"] > 0.95 and (5, "attention") not in rows  # none differs by so much
    assert rows[5, "routed_experts"] == pytest.approx(1)


def test_of_parents_with_one_shard_each_that_shard_is_predicted(tmp_path, predicted):
    """As it is after a download of a part: headers stand for the other shards, whose bytes nothing may read."""
    for name in ("v3-0324", "r1"):
        folder = tmp_path / name
        (folder / ".outline").mkdir(parents=True)
        for file in ("config.json", INDEX, SHARD):
            shutil.copy(MINI / name / file, folder)
        for path in (MINI / name).glob("*.safetensors"):
            content = path.read_bytes()
            (folder / ".outline" / path.name).write_bytes(content[: 8 + int.from_bytes(content[:8], "little")])
    base, other = parents(tmp_path)
    realized, codes = shard_prediction(pair(base, other, [SHARD]), SHARD, selections(SWEEPS, "v3-0324", "r1"))
    index = json.loads((tmp_path / "r1" / INDEX).read_text(encoding="utf-8"))["weight_map"]
    apart = [name for name, file in index.items() if file == SHARD and index.get(f"{name}_scale_inv", SHARD) != SHARD]
    assert sum(row["left_out"] for row in codes) == len(apart)
    whole, table = predicted[0], realized_table(pd.DataFrame(realized))
    one, part = (t[(t.level == "group") & (t.group == "attention")].realized for t in (whole, table))
    assert list(one) == pytest.approx(list(part), abs=1e-9)


@pytest.mark.parametrize(("rows", "begins"), [(100, [0]), (256, [0, 128]), (1024, [256, 768]), (1100, [256, 768])])
def test_sampled_block_rows_are_spread(rows, begins):
    stored = StoredTensor("w", "F8_E4M3", (rows, 64), 0, rows * 64)
    found = sampled(stored)
    assert [slab.begin for slab in found] == begins
    assert all(slab.end - slab.begin <= BLOCK and slab.end <= rows for slab in found)
