"""Plans: equation 1 of the paper, tensor by tensor."""

import json
import math

import pytest
from aoe import AoeError
from aoe.checkpoints.checkpoint import INDEX
from aoe.merging.plan import Plan, copy_plan, make_plan
from aoe.merging.recipe import read_recipe
from support.checkpoints import stored, weights, write_checkpoint

EXPERT = "model.layers.1.mlp.experts.0.up_proj.weight"
DENSE = "model.layers.0.mlp.up_proj.weight"
SHARED = "model.layers.1.mlp.shared_experts.up_proj.weight"
MTP_EXPERT = "model.layers.2.mlp.experts.0.up_proj.weight"


def plan_of(family, norms=None, cosines=None, **entry):
    recipe = read_recipe("test", {"base": "v3", "weights": {"v3": 0.5, "r1": 0.5}} | entry, family)
    return make_plan(recipe, family, norms, cosines)


def test_r1t_is_copies_alone(family):
    plan = plan_of(family, weights={"r1": 1}, subset={"groups": ["routed_experts"]})
    sources = {tensor: plan.source(tensor) for tensor in plan.tensors}
    assert set(plan.tensors) == set(family["v3"].files)
    assert {tensor for tensor, source in sources.items() if source == "r1"} == {
        name for name in family["v3"].files if ".layers.1.mlp.experts." in name
    }
    assert set(sources.values()) == {"v3", "r1"}


def test_scales_follow_their_weights(family):
    plan = plan_of(family, subset={"names": [DENSE]})
    assert plan.weights(f"{DENSE}_scale_inv") == plan.weights(DENSE) == {"v3": 0.5, "r1": 0.5}
    assert plan.source(f"{EXPERT}_scale_inv") == "v3"


def test_the_mtp_layer_is_a_group_of_its_own(family):
    assert plan_of(family, subset={"groups": ["routed_experts"]}).source(MTP_EXPERT) == "v3"
    assert plan_of(family, subset={"groups": ["mtp"]}).source(MTP_EXPERT) is None
    assert plan_of(family).source(MTP_EXPERT) is None


def test_delta_lets_in_what_exceeds_it_from_any_parent(family):
    norms = {parent: dict.fromkeys(family["v3"].weights, 1.0) for parent in ("r1", "r1-0528")}
    norms["r1"][EXPERT] = 2.0
    norms["r1-0528"][DENSE] = 2.5
    weights = {"v3": 0.5, "r1": 0.25, "r1-0528": 0.25}
    plan = plan_of(family, norms, weights=weights, threshold={"delta": 2.0, "space": "normalized"})
    assert plan.source(EXPERT) == "v3"  # equal to δ does not exceed it
    assert plan.weights(DENSE) == weights
    assert plan.source("lm_head.weight") == "v3"


def test_delta_needs_the_norms(family):
    with pytest.raises(AoeError, match="has not been computed"):
        plan_of(family, threshold={"delta": 1.0, "space": "codes"})


def test_a_saved_plan_is_the_same(family, tmp_path):
    plan = plan_of(family, weights={"v3": 0.2, "r1": 0.3, "r1-0528": 0.5})
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan
    assert plan.parents == ["v3", "r1", "r1-0528"]
    assert plan.describe() == [f"{len(plan.tensors)} tensors = 0.2 v3 + 0.3 r1 + 0.5 r1-0528"]


def test_a_copy_plan_copies_everything(family):
    plan = copy_plan(family["r1"])
    assert {plan.source(tensor) for tensor in plan.tensors} == {"r1"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("lm_head.weight"), r"r1 lacks tensor lm_head\.weight, compared with v3"),
        (lambda t: t.update({"model.extra_norm.weight": t["model.norm.weight"].clone()}), "has the additional tensor"),
        (
            lambda t: t.update({"model.norm.weight": t["model.norm.weight"][:80].clone()}),
            r"model\.norm\.weight is BF16 \[160\] in v3, but BF16 \[80\] in r1",
        ),
    ],
)
def test_parents_that_do_not_match_are_refused(family, tmp_path, change, message):
    tensors = stored(weights(1))
    change(tensors)
    odd = {"v3": family["v3"], "r1": write_checkpoint(tmp_path / "odd", tensors, "r1")}
    with pytest.raises(AoeError, match=message):
        plan_of(odd)


def test_what_the_index_does_not_name_is_not_there(family, tmp_path):
    """Though a shard holds it: programs that read by the index do not find it."""
    odd = write_checkpoint(tmp_path / "odd", stored(weights(1)), "r1")
    index = json.loads((odd.directory / INDEX).read_text(encoding="utf-8"))
    del index["weight_map"]["model.norm.weight"]
    (odd.directory / INDEX).write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(AoeError, match=r"r1 lacks tensor model\.norm\.weight, compared with v3"):
        plan_of({"v3": family["v3"], "r1": odd})


def test_slerp_gives_every_tensor_the_weights_of_its_angle(family):
    cosines = dict.fromkeys(family["v3"].weights, 0.9999) | {EXPERT: 0.0, DENSE: 0.5}
    plan = plan_of(family, cosines={"r1": cosines}, weights={"v3": 0.7, "r1": 0.3}, interpolation="slerp")
    assert plan.weights(EXPERT) == pytest.approx({"v3": math.sin(0.7 * math.pi / 2), "r1": math.sin(0.3 * math.pi / 2)})
    third = math.pi / 3
    assert plan.weights(DENSE) == pytest.approx(
        {"v3": math.sin(0.7 * third) / math.sin(third), "r1": math.sin(0.3 * third) / math.sin(third)}
    )
    assert plan.weights("lm_head.weight") == {"v3": 0.7, "r1": 0.3}, "nearly parallel weights are summed"


def test_slerp_copies_at_both_ends_and_outside_of_its_subset(family):
    cosines = {"r1": dict.fromkeys(family["v3"].weights, 0.5)}
    overrides = [{"subset": {"names": [EXPERT]}, "weights": {"r1": 1}}]
    subset = {"groups": ["routed_experts", "shared_experts"]}
    plan = plan_of(family, cosines=cosines, overrides=overrides, subset=subset, interpolation="slerp")
    assert (plan.source(EXPERT), plan.source(DENSE)) == ("r1", "v3")
    assert plan.source(SHARED) is None


def test_slerp_needs_the_angles(family):
    with pytest.raises(AoeError, match=r"SLERP needs the angle between v3 and r1 of .*, which is not known"):
        plan_of(family, interpolation="slerp")


def test_very_many_mixtures_are_described_by_their_ranges():
    mixtures = [{"v3": 1.0}, *({"v3": 0.5 + number / 1000, "r1": 0.5} for number in range(100))]
    tensors = {f"{number}": number for number in range(101)}
    assert Plan("v3", tuple(mixtures), tensors).describe() == [
        "1 tensors = 1 v3",
        "100 tensors = (0.5 to 0.599) v3 + 0.5 r1",
    ]


def test_the_base_of_summed_differences_is_read_whatever_its_weight(family):
    plan = plan_of(family, weights={"r1": 0.4, "r1-0528": 0.6}, subset={"names": [DENSE]}, arithmetic="deltas")
    assert [*plan.weights(DENSE).items()] == [("v3", 0.0), ("r1", 0.4), ("r1-0528", 0.6)]
    assert plan.source(EXPERT) == "v3"
    plan = plan_of(family, weights={"r1": 1}, arithmetic="deltas")
    assert plan.source(DENSE) is None, "the base plus its difference to r1 is rounded"
