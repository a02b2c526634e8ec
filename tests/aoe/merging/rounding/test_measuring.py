"""Realized λ of executed plans, against least squares over all numbers in plain float64, and ROUNDING's own table."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from aoe import AoeError
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.merging.merge import Merge
from aoe.merging.plan import make_plan
from aoe.merging.recipe import read_recipe
from aoe.merging.rounding.measuring import sampled_rows, shard_projections
from aoe.merging.rounding.realized import Totals, groups_in_words
from aoe.numerics import fp8
from aoe.numerics.kernels import cpu
from support.checkpoints import stored, weights, write_checkpoint

MINI = Path(__file__).parents[4] / "resources/mini"
EDGES = "model.layers.0.self_attn.o_proj.weight"  # (160, 130): partial blocks at both edges
EXPERT = "model.layers.1.mlp.experts.0.up_proj.weight"
TWO, THREE = {"v3": 0.6, "r1": 0.4}, {"v3": 0.2, "r1": 0.3, "r1-0528": 0.5}


def merge_of(family, mixture=TWO, **entry):
    recipe = read_recipe("test", {"base": "v3", "weights": mixture} | entry, family)
    return Merge(make_plan(recipe, family), family, device="cpu")


def measured(merges, threads=1):
    """(rows of all shards' tables, rows of realized.parquet)."""
    base = next(iter(merges.values())).base
    rows = [row for file in base.shard_names for row in shard_projections(merges, file, threads)]
    totals = Totals()
    return rows, [*totals.add(rows), *totals.rows()]


def at(rows, level, parent, **place):
    """The one row of a place."""
    wanted = {"level": level, "parent": parent, **place}
    (found,) = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return found


def values(checkpoint, weight):
    """float64 values, and the numbers as they are stored, of one dimension."""
    tensor, scale = checkpoint.tensor(weight), checkpoint.scale(weight)
    dense = fp8.dequantize(tensor, checkpoint.tensor(scale)) if scale else tensor
    return dense.double().flatten().numpy(), tensor.flatten().view(torch.uint8).view(len(tensor.flatten()), -1).numpy()


def merged(family, weight, mixture):
    """The merged weight, made in plain torch: (float64 values, as stored)."""
    total = sum(torch.from_numpy(values(family[name], weight)[0]).float() * share for name, share in mixture.items())
    like = family["v3"].tensor(weight)
    if family["v3"].scale(weight):
        codes, scale = fp8.quantize(total.reshape(like.shape))
        return fp8.dequantize(codes, scale).double().flatten().numpy(), codes.view(torch.uint8).reshape(-1, 1).numpy()
    numbers = total.to(like.dtype)
    return numbers.double().numpy(), numbers.view(torch.uint8).view(len(numbers), -1).numpy()


def expected(family, names, mixture):
    """(realized λ, noise, shares of each parent, numbers that differ) of some weights together, by least squares."""
    parents = list(mixture)
    dense = {name: np.concatenate([values(family[name], weight)[0] for weight in names]) for name in parents}
    results = [merged(family, weight, mixture) for weight in names]
    result = np.concatenate([values for values, _ in results])
    origin, total = dense[parents[0]], math.fsum(mixture.values())
    matrix = np.stack([dense[name] - origin for name in parents[1:]], axis=1)
    others, *_ = np.linalg.lstsq(matrix, result - total * origin, rcond=None)
    size = (matrix**2).sum() / (len(parents) - 1)
    noise = np.linalg.norm(result - sum(share * dense[name] for name, share in mixture.items())) / math.sqrt(size)
    same, differing = dict.fromkeys(parents, 0), 0
    for weight, (_, numbers) in zip(names, results, strict=True):
        codes = {name: values(family[name], weight)[1] for name in parents}
        differ = np.any([(codes[name] != codes[parents[0]]).any(axis=1) for name in parents], axis=0)
        differing += differ.sum()
        for name in parents:
            same[name] += ((numbers == codes[name]).all(axis=1) & differ).sum()
    lambdas = dict(zip(parents, [total - others.sum(), *others], strict=True))
    return lambdas, noise, {name: count / differing for name, count in same.items()}, differing


def check(row, expected):
    lambdas, noise, same, differing = expected
    assert row["realized"] == pytest.approx(lambdas[row["parent"]], abs=1e-7)
    assert row["noise"] == pytest.approx(noise, rel=1e-6)
    assert (row["same"], row["differing"]) == (pytest.approx(same[row["parent"]]), differing)


MIXTURES = [TWO, THREE, {"v3": 0.9, "r1": 0.05, "r1-0528": 0.05}]


@pytest.mark.parametrize("mixture", MIXTURES, ids=["two", "three", "far"])
@pytest.mark.parametrize("weight", [EDGES, EXPERT, "lm_head.weight", "model.layers.1.mlp.gate.e_score_correction_bias"])
def test_a_weight_is_projected_as_least_squares_does(family, mixture, weight):
    _, rows = measured({"x": merge_of(family, mixture)})
    for parent, share in mixture.items():
        row = at(rows, "weight", parent, tensor=weight)
        assert row["asked"] == share
        if row["elements"] > len(mixture):  # of two numbers, three parents' differences are any
            check(row, expected(family, [weight], mixture))


@pytest.mark.parametrize("mixture", [TWO, THREE], ids=["two", "three"])
def test_groups_and_models_are_projected_as_all_their_numbers_together(family, mixture):
    _, rows = measured({"x": merge_of(family, mixture)})
    everything = [row["tensor"] for row in rows if row["level"] == "weight" and row["parent"] == "v3"]
    experts = [name for name in everything if ".layers.1.mlp.experts." in name]
    assert len(experts) == 2 and "model.layers.0.input_layernorm.weight" not in everything
    for parent, share in mixture.items():
        group = at(rows, "group", parent, group="routed_experts")
        layer = at(rows, "layer", parent, group="routed_experts", layer=1)
        model = at(rows, "model", parent)
        assert group["asked"] == layer["asked"] == model["asked"] == share
        check(group, expected(family, experts, mixture))
        check(layer, expected(family, experts, mixture))
        check(model, expected(family, everything, mixture))


def test_weights_that_do_not_sum_to_1_and_a_base_that_is_not_mixed(family):
    more = {"v3": 1.0, "r1": 0.5}
    without = {"r1": 0.5, "r1-0528": 0.5}
    merges = {"more": merge_of(family, more, convex=False), "without": merge_of(family, without)}
    _, rows = measured(merges)
    for variant, mixture in (("more", more), ("without", without)):
        found = {parent: at(rows, "weight", parent, tensor=EDGES, variant=variant) for parent in mixture}
        for row in found.values():
            check(row, expected(family, [EDGES], mixture))
        assert sum(row["realized"] for row in found.values()) == pytest.approx(sum(mixture.values()))


def test_where_differences_depend_on_one_another_the_nearest_solution_is_taken(tmp_path, family):
    """Two parents that are the same in all weights but one."""
    odd = write_checkpoint(tmp_path / "odd", stored(weights(1)), "odd")
    _, rows = measured({"x": merge_of(family | {"odd": odd}, {"v3": 0.4, "r1": 0.1, "odd": 0.5})})
    found = {parent: at(rows, "weight", parent, tensor=EXPERT) for parent in ("v3", "r1", "odd")}
    assert found["v3"]["realized"] == pytest.approx(0.4, abs=0.01)
    assert found["odd"]["realized"] - found["r1"]["realized"] == pytest.approx(0.4, abs=1e-9)


def test_parts_with_other_lambdas_are_weighed_by_their_differences(family):
    """Half of the experts with R1-0528 instead, and the head left out of the group's parents."""
    override = {"subset": {"names": [EXPERT]}, "weights": {"v3": 0.5, "r1-0528": 0.5}}
    rows, table = measured({"x": merge_of(family, {"v3": 0.8, "r1": 0.2}, overrides=[override])})
    one = at(table, "weight", "r1-0528", tensor=EXPERT)
    other = at(table, "weight", "r1", tensor=EXPERT.replace("experts.0", "experts.1"))
    sizes = {row["tensor"]: row["gram"][0] for row in rows}
    first, second = sizes[one["tensor"]], sizes[other["tensor"]]
    for key in ("asked", "realized"):
        group = {parent: at(table, "group", parent, group="routed_experts")[key] for parent in THREE}
        assert group["r1-0528"] == pytest.approx(one[key] * first / (first + second))
        assert group["r1"] == pytest.approx(other[key] * second / (first + second))
        assert sum(group.values()) == pytest.approx(1)


def test_what_is_copied_or_agrees_has_no_rows(family):
    copies = merge_of(family, {"r1": 1}, subset={"groups": ["routed_experts"]})
    rows, table = measured(
        {"copies": copies, "mixed": merge_of(family, subset={"groups": ["routed_experts", "norms"]})}
    )
    assert {row["variant"] for row in table} == {"mixed"}
    assert {row["group"] for row in rows} == {"routed_experts", "norms"}
    assert [row["tensor"] for row in rows if row["group"] == "norms"] == ["model.norm.weight"]
    assert measured({"copies": copies}) == ([], [])


def test_slabs_threads_and_other_variants_make_no_difference(family, monkeypatch):
    _, alone = measured({"x": merge_of(family, THREE)})
    monkeypatch.setattr(cpu, "SLAB", 512)
    _, together = measured({"y": merge_of(family, TWO), "x": merge_of(family, THREE)}, threads=3)
    together = [row for row in together if row["variant"] == "x"]
    assert len(together) == len(alone)
    for one, other in zip(alone, together, strict=True):
        assert {key: one[key] for key in ("level", "tensor", "group", "layer", "parent", "same", "differing")} == {
            key: other[key] for key in ("level", "tensor", "group", "layer", "parent", "same", "differing")
        }
        assert one["realized"] == pytest.approx(other["realized"], abs=1e-9)
        assert one["noise"] == pytest.approx(other["noise"], rel=1e-9)


def test_nan_is_named(tmp_path, family):
    tensors = stored(weights(1) | {"lm_head.weight": torch.full((32, 160), math.nan)})
    family["r1"] = write_checkpoint(tmp_path / "odd", tensors, "r1")
    merge = merge_of(family)
    with pytest.raises(AoeError, match=r"r1: the tensor lm_head\.weight holds NaN"):
        shard_projections({"x": merge}, merge.base.files["lm_head.weight"])


# The mini family; the numbers are those that were measured with other code, before this code was written.
FAMILY = {
    0.3: {"attention": 0.018, "shared_experts": 0.012, "routed_experts": 0.285},
    0.475: {"attention": 0.022, "shared_experts": 0.014, "routed_experts": 0.398},
    0.499: {"attention": 0.088, "routed_experts": 0.481},
    0.5: {"attention": 0.354, "shared_experts": 0.512, "routed_experts": 0.491},
    0.51: {"attention": 0.978, "shared_experts": 0.985, "routed_experts": 0.585},
    0.7: {"attention": 0.983, "shared_experts": 0.988, "routed_experts": 0.715},
}


@pytest.fixture(scope="module")
def mini():
    return {name: Checkpoint(MINI / name, name) for name in ("v3-0324", "r1", "r1-0528")}


def mini_merge(mini, **weights):
    recipe = read_recipe(
        "test", {"base": "v3-0324", "weights": {k.replace("_", "-"): v for k, v in weights.items()}}, mini
    )
    return Merge(make_plan(recipe, mini), mini, device="cpu")


def test_the_mini_familys_lambdas_are_those_that_were_found_before(mini):
    _, rows = measured({str(share): mini_merge(mini, v3_0324=1 - share, r1=share) for share in FAMILY})
    for share, groups in FAMILY.items():
        for group, value in groups.items():
            assert at(rows, "group", "r1", variant=str(share), group=group)["realized"] == pytest.approx(
                value, abs=6e-4
            )
    noise = at(rows, "group", "r1", variant="0.475", group="attention")["noise"]
    assert 0.4 < noise < 0.48
    words = groups_in_words([row for row in rows if row["variant"] == "0.475" and row["level"] == "group"])
    assert words == "0.02 in attention, 0.40 in routed experts, 0.01 in shared experts"


def test_three_parents_of_the_mini_family(mini):
    _, rows = measured({"x": mini_merge(mini, v3_0324=0.2, r1=0.3, r1_0528=0.5)})
    found = [at(rows, "group", parent, group="attention")["realized"] for parent in mini]
    assert found == pytest.approx([0.085, 0.282, 0.632], abs=6e-4)


def test_a_few_block_rows_tell_enough_for_a_warning(mini):
    merge = mini_merge(mini, v3_0324=0.525, r1=0.475)
    table = sampled_rows(merge, "x")
    _, everything = measured({"x": merge})
    assert at(table, "model", "r1")["elements"] < at(everything, "model", "r1")["elements"] / 10
    for group in ("attention", "shared_experts", "routed_experts"):
        sampled, whole = (at(found, "group", "r1", group=group)["realized"] for found in (table, everything))
        assert sampled == pytest.approx(whole, abs=0.04)
