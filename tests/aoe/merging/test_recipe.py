"""Recipes: what they select, and which ones make no sense."""

import pytest
from aoe import AoeError
from aoe.checkpoints.architecture import Architecture
from aoe.merging.recipe import read_recipe

MODELS = ["v3", "r1", "r1-0528"]
PLACE = Architecture({"model_type": "deepseek_v3", "num_hidden_layers": 4}).place
EXPERT = "model.layers.2.mlp.experts.1.up_proj.weight"
ATTENTION = "model.layers.2.self_attn.o_proj.weight"


def recipe(**entry):
    return read_recipe("test", {"base": "v3", "weights": {"v3": 0.4, "r1": 0.6}} | entry, MODELS)


def weights(made, tensor):
    return made.weights_for(tensor, PLACE(tensor))


@pytest.mark.parametrize(
    ("subset", "expert", "attention"),
    [
        ({}, True, True),
        ({"groups": ["routed_experts"]}, True, False),
        ({"groups": ["routed_experts", "attention"]}, True, True),
        ({"layers": [0, "1-2"]}, True, True),
        ({"layers": ["3-3"]}, False, False),
        ({"names": ["*.experts.1.*", "*.experts.3.*"]}, True, False),
        ({"groups": ["attention"], "layers": [1]}, False, False),
        ({"experts": [1]}, True, False),
        ({"experts": ["0-3"], "layers": ["1-2"]}, True, False),
        ({"experts": [0, "2-9"]}, False, False),
        ({"experts": [1], "layers": [3]}, False, False),
        ({"experts": [1], "names": ["*.down_proj.*"]}, False, False),
    ],
)
def test_the_subset_selects(subset, expert, attention):
    made = recipe(subset=subset)
    assert weights(made, EXPERT) == ({"v3": 0.4, "r1": 0.6} if expert else {"v3": 1.0})
    assert weights(made, ATTENTION) == ({"v3": 0.4, "r1": 0.6} if attention else {"v3": 1.0})


def test_the_first_matching_override_wins():
    overrides = [
        {"subset": {"groups": ["routed_experts"]}, "weights": {"r1-0528": 1}},
        {"subset": {"layers": [2]}, "weights": {"r1": 1}},
    ]
    made = recipe(overrides=overrides)
    assert weights(made, EXPERT) == {"r1-0528": 1}
    assert weights(made, ATTENTION) == {"r1": 1}
    assert made.parents == ["v3", "r1", "r1-0528"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"base": "v4"}, r"The variant test names the parent 'v4', which the study does not have \(v3, r1, r1-0528\)"),
        ({"weights": {"r2": 1}}, "names the parent 'r2'"),
        ({"weights": {"v3": 0.5, "r1": 0.6}}, "λ that sum to 1.1 instead of 1"),
        ({"weights": {"v3": 1.5, "r1": -0.5}}, "negative weight"),
        ({"overrides": [{"subset": {}, "weights": {"r1": 0.9}}]}, "sum to 0.9"),
        ({"subset": {"groups": ["experts"]}}, "unknown group 'experts'"),
        ({"subset": {"layers": ["5-3"]}}, "layer selection '5-3'"),
        ({"subset": {"layers": ["x"]}}, "layer selection 'x'"),
        ({"subset": {"layers": ["3-"]}}, "layer selection '3-'"),
        ({"subset": {"layers": [-1]}}, "layer selection -1"),
        ({"subset": {"layers": ["²"]}}, "layer selection '²'"),
        ({"subset": {"layers": ["0-99999999999"]}}, "no model has so many layers"),
        ({"subset": {"experts": ["5-3"]}}, "expert selection '5-3'"),
        ({"subset": {"experts": [-1]}}, "expert selection -1"),
        ({"subset": {"experts": ["0-99999999999"]}}, "no model has so many experts"),
        ({"weights": {"v3": float("inf"), "r1": 1}, "convex": False}, "not a finite number"),
        ({"weights": {"v3": 1e7, "r1": 1}, "convex": False}, "λ beyond ±1,000,000"),
        ({"threshold": {"delta": float("nan"), "space": "codes"}}, "the threshold δ nan; write a number from 0 on"),
        ({"threshold": {"delta": float("inf"), "space": "codes"}}, "the threshold δ inf"),
        ({"threshold": {"delta": 1, "space": "fp8"}}, "unknown space 'fp8'"),
        (
            {"weights": {"v3": 0.4, "r1": 0.3, "r1-0528": 0.3}, "interpolation": "slerp"},
            "on the sphere between v3 and r1 and r1-0528; SLERP takes the base and one other parent",
        ),
        ({"weights": {"v3": 0.4, "r1": 0.7}, "interpolation": "slerp", "convex": False}, "shares of an angle"),
        ({"weights": {"v3": 0.4, "r1": 0.7}, "arithmetic": "deltas", "convex": False}, "the base has 1 less"),
    ],
)
def test_senseless_recipes_are_refused(entry, message):
    with pytest.raises(AoeError, match=message):
        recipe(**entry)


def test_a_subset_is_told_in_words():
    subset = {"groups": ["routed_experts"], "layers": ["3-5", 7], "experts": ["0-127", 130], "names": ["*.up_proj.*"]}
    assert recipe(subset=subset).subset.describe() == ("routed_experts; layers 3-5, 7; experts 0-127, 130; *.up_proj.*")
    assert recipe(subset={"experts": [3]}).canonical() != recipe(subset={"experts": [4]}).canonical()


def test_weights_beyond_the_convex_hull_must_be_asked_for():
    assert recipe(weights={"v3": -0.5, "r1": 1.5}, convex=False).weights == {"v3": -0.5, "r1": 1.5}


def test_recipes_that_make_the_same_model_are_recognized():
    experts = {"groups": ["routed_experts"]}
    assert recipe(weights={"v3": 1, "r1": 0}).canonical() == "v3"
    assert recipe(weights={"v3": 1.0}, subset=experts).canonical() == "v3"
    assert recipe(weights={"r1": 1}).canonical() == "r1"
    assert recipe(weights={"r1": 1}, subset=experts).canonical() != "r1"
    assert recipe(weights={"v3": 0, "r1": 1.0}, subset=experts) != recipe(weights={"r1": 1}, subset=experts)
    assert (
        recipe(weights={"v3": 0, "r1": 1.0}, subset=experts).canonical()
        == recipe(weights={"r1": 1}, subset=experts, publish=True).canonical()
    )
    delta = {"delta": 2.0, "space": "codes"}
    assert recipe(weights={"r1": 1}, threshold=delta).canonical() != "r1"


def test_slerp_and_sums_of_differences_are_recipes_of_their_own():
    same = [recipe(), recipe(interpolation="slerp"), recipe(interpolation="slerp_fused"), recipe(arithmetic="deltas")]
    assert len({made.canonical() for made in same}) == 4
    assert recipe(weights={"r1": 1}).canonical() == "r1" == recipe(weights={"r1": 1}, interpolation="slerp").canonical()
    assert recipe(weights={"r1": 1}, arithmetic="deltas").canonical() != "r1", "which rounds"
    assert recipe(weights={"v3": 1}, arithmetic="deltas").canonical() == "v3"


def test_slerp_reads_the_differences_of_all_weights():
    overrides = [{"subset": {"layers": [2]}, "weights": {"v3": 0.5, "r1": 0.5}}]
    entry = {"weights": {"v3": 1}, "overrides": overrides}
    assert not recipe(**entry).needs_differences and not recipe(**entry).reads("r1", {"attention": [1]})
    assert recipe(**entry, interpolation="slerp").needs_differences
    assert recipe(**entry, interpolation="slerp").reads("r1", {"attention": [1]})
    assert "on the sphere" in recipe(interpolation="slerp").describe()["weights"]
