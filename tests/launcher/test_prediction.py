"""Which shards stand for a model, and which sweeps are predicted."""

from aoe.acquiring.lock import Locked
from launcher.prediction.inputs import Prediction, merged_weights
from launcher.prediction.shards import chosen_shards, counterparts
from support.runs import flat, wildcards

EXPERTS, BOTH = {"routed_experts": [1]}, {"routed_experts": [2], "attention": [2]}


def locked(holds, name="a"):
    """A model whose shards hold these groups and layers."""
    files = {f"{number}.safetensors": {"size": 1, "holds": held} for number, held in enumerate(holds)}
    return Locked(name, "models", {"config.json": {"size": 1}, **files})


def test_shards_with_the_most_of_the_main_groups_are_chosen_evenly():
    model = locked([BOTH, EXPERTS, EXPERTS, BOTH, EXPERTS, EXPERTS, BOTH])
    assert chosen_shards(model, 1) == ["3.safetensors"]
    assert chosen_shards(model, 2) == ["0.safetensors", "6.safetensors"]
    assert chosen_shards(model, 4) == ["0.safetensors", "3.safetensors", "5.safetensors", "6.safetensors"]
    assert chosen_shards(model, 99) == model.shards


def test_a_parent_that_is_cut_otherwise_gives_all_that_holds_the_same():
    base, other = locked([BOTH, EXPERTS]), locked([{"attention": [1, 2]}, EXPERTS, {"routed_experts": [2, 3]}])
    assert counterparts(base, base, ["1.safetensors"]) == ["1.safetensors"]
    assert counterparts(other, base, ["0.safetensors"]) == ["0.safetensors", "2.safetensors"]
    assert counterparts(other, base, ["1.safetensors"]) == ["1.safetensors"]


def test_sweeps_that_merge_the_same_weights_are_one():
    full = {"base": "a", "other": "b", "lambda2": [0.4, 0.5]}
    found = merged_weights(
        {
            "full": full,
            "full-none": {**full, "lambda2": [0.5, 0.6], "rounding": "none"},
            "part": {**full, "subset": {"groups": ["attention"]}},
            "others": {**full, "other": "c"},
        },
        "a",
        "b",
    )
    assert found == {
        "full": {"lambda2": [0.4, 0.5, 0.6]},
        "part": {"subset": {"groups": ["attention"]}, "lambda2": [0.4, 0.5]},
    }


def test_two_shards_of_the_papers_parents(paper):
    paper.run.config["prediction_shards"] = 2
    prediction = Prediction(paper.run, paper.inputs)
    assert (prediction.base, prediction.other) == ("v3-0324", "r1")
    assert [*prediction.sweeps] == ["full", "experts", "threshold"]
    files = prediction.chosen()
    assert files["v3-0324"] == files["r1"] and len(files["r1"]) == 2
    r1 = wildcards(name="r1")
    needed = prediction.needed(r1)
    assert {file for file in needed if file.endswith(".safetensors")} == set(files["r1"]) and "config.json" in needed
    assert len(prediction.records(r1)) == len(needed)
    assert [str(file) for file in prediction.verified()] == [
        "results/paper/verified_for_prediction/v3-0324.json",
        "results/paper/verified_for_prediction/r1.json",
    ]
    assert flat(prediction.sweeps) == prediction.sweeps


def test_whole_parents_are_verified_as_for_everything_else(paper):
    prediction = Prediction(paper.run, paper.inputs)
    assert [str(file) for file in prediction.verified()] == [
        "results/paper/verified/v3-0324.json",
        "results/paper/verified/r1.json",
    ]
    assert len(prediction.tables("realized")(None)) == 163 == prediction.total()
