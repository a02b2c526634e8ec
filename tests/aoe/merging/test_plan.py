"""Plans: equation 1 of the paper, tensor by tensor."""

import pytest
from aoe import AoeError
from aoe.merging.plan import Plan, copy_plan, make_plan
from aoe.merging.recipe import read_recipe
from support.checkpoints import stored, weights, write_checkpoint

EXPERT = "model.layers.1.mlp.experts.0.up_proj.weight"
DENSE = "model.layers.0.mlp.up_proj.weight"
MTP_EXPERT = "model.layers.2.mlp.experts.0.up_proj.weight"


def plan_of(family, norms=None, **entry):
    recipe = read_recipe("test", {"base": "v3", "weights": {"v3": 0.5, "r1": 0.5}} | entry, family)
    return make_plan(recipe, family, norms)


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
