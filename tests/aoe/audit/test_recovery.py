"""Recipes that are recovered from a model's weights."""

import pytest
import torch
from aoe.audit.verdict import check
from aoe.checkpoints.architecture import Architecture
from support.published import FULL, R1T, THREE, THRESHOLD, assembled, converted


def test_a_threshold_is_recovered(audited, family):
    found = audited(assembled(THRESHOLD, family))
    assert not found.deviating
    entry = found.recovered.entry
    low, high = found.recovered.thresholds["codes"]
    assert low <= 5 < high and entry["threshold"]["space"] == "codes" and low <= entry["threshold"]["delta"] < high
    assert entry["weights"] == {"v3-0324": 0.5, "r1": 0.5} and "overrides" not in entry


@pytest.mark.parametrize("entry", [R1T, FULL, THREE, THRESHOLD], ids=["copies", "full", "three", "threshold"])
def test_a_recovered_recipe_builds_the_same_bytes(audited, family, entry):
    tensors = assembled(entry, family)
    rebuilt = assembled(audited(tensors).recovered.entry, family)
    assert all(torch.equal(rebuilt[name].view(torch.uint8), tensors[name].view(torch.uint8)) for name in tensors)


@pytest.mark.parametrize(
    "entry",
    [
        {"base": "v3-0324", "weights": {"r1": 1}, "subset": {"names": ["model.norm.weight"]}},
        {"base": "v3-0324", "weights": {"v3-0324": 0.41, "r1": 0.259, "r1-0528": 0.331}, "subset": {"layers": ["0-2"]}},
        {"base": "v3-0324", "weights": {"r1-0528": 0.5, "r1": 0.3, "v3-0324": 0.2}},
        {**THRESHOLD, "threshold": {"delta": 0.01, "space": "normalized"}},
        {"base": "r1-0528", "weights": {"r1": 1}, "subset": {"layers": ["2-3"]}},
        {"base": "v3-0324", "weights": {"v3-0324": 0.7, "r1": 0.5}, "convex": False},
        {"base": "v3-0324", "weights": {"v3-0324": 2 / 3, "r1": 1 / 3}},
    ],
    ids=["outside", "layers", "order", "normalized", "other base", "not convex", "thirds"],
)
@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["fp8", "bf16"])
def test_any_recipe_is_had_back(audited, family, entry, dtype):
    tensors = assembled(entry, family)
    found = audited(converted(tensors, dtype) if dtype else tensors)
    assert not found.deviating
    rebuilt = assembled(found.recovered.entry, family)
    assert all(torch.equal(rebuilt[name].view(torch.uint8), tensors[name].view(torch.uint8)) for name in tensors)


def test_a_layer_of_the_wrong_parent_is_found(audited, family, r1t):
    wrong = [name for name in r1t if ".layers.2." in name and ".experts." not in name]
    found = audited(dict(r1t) | {name: family["r1"].tensor(name) for name in wrong}, R1T)
    expected = sorted(name for name in wrong if not name.endswith("_scale_inv"))
    assert found.deviating == expected
    assert all(found.rows[name]["sources"] == ["r1"] for name in expected)
    entry = found.recovered.entry  # the whole of layer 2 is R1's
    assert {"subset": {"layers": [2]}, "weights": {"r1": 1.0}} in entry["overrides"]
    assert len(found.recovered.mixtures) == 221


def with_experts(family, chosen):
    """The base's tensors, and R1's experts where ``chosen`` says so of (layer, expert, kind)."""
    base, r1 = family["v3-0324"], family["r1"]
    place = Architecture(base.config).place
    tensors = {}
    for name in base.files:
        at = place(name)
        is_chosen = at.group == "routed_experts" and chosen(at.layer, at.expert, at.kind)
        tensors[name] = (r1 if is_chosen else base).tensor(name)
    return tensors


@pytest.mark.parametrize(
    ("chosen", "subset"),
    [
        (lambda layer, expert, kind: expert < 6, {"experts": ["0-5"]}),
        (lambda layer, expert, kind: expert % 2 == 1, {"experts": [1, 3, 5, 7, 9, 11]}),
        (lambda layer, expert, kind: layer == 2 and expert < 6, {"layers": [2], "experts": ["0-5"]}),
        (lambda layer, expert, kind: layer > 1 and expert in (3, 4, 9), {"layers": ["2-3"], "experts": ["3-4", 9]}),
        (lambda layer, expert, kind: expert < 6 and kind != "up_proj", {"experts": ["0-5"], "names": "down and gate"}),
    ],
    ids=["half", "every other", "of a layer", "of some layers", "of some kinds"],
)
def test_experts_of_another_parent_are_told_by_their_numbers(audited, family, chosen, subset):
    if "names" in subset:
        subset = subset | {"names": ["*.down_proj.*", "*.gate_proj.*"]}
    tensors = with_experts(family, chosen)
    found = audited(tensors)
    assert not found.deviating
    entry = found.recovered.entry
    assert entry == {
        "base": "v3-0324",
        "weights": {"r1": 1.0},
        "subset": {"groups": ["routed_experts"], **subset},
    }
    rebuilt = assembled(entry, family)
    assert all(torch.equal(rebuilt[name].view(torch.uint8), tensors[name].view(torch.uint8)) for name in tensors)


def test_other_experts_in_every_layer_are_told_layer_by_layer(audited, family):
    halves = {1: range(6), 2: range(6, 12), 3: (0, 11)}
    tensors = with_experts(family, lambda layer, expert, kind: expert in halves[layer])
    found = audited(tensors, names=["v3-0324", "r1"])
    assert not found.deviating
    parts = [override["subset"] for override in found.recovered.entry["overrides"]]
    assert sorted(parts, key=lambda part: part["layers"]) == [
        {"groups": ["routed_experts"], "layers": [1], "experts": ["0-5"]},
        {"groups": ["routed_experts"], "layers": [2], "experts": ["6-11"]},
        {"groups": ["routed_experts"], "layers": [3], "experts": [0, 11]},
    ]
    rebuilt = assembled(found.recovered.entry, family)
    assert all(torch.equal(rebuilt[name].view(torch.uint8), tensors[name].view(torch.uint8)) for name in tensors)


def test_a_check_speaks_of_experts_too(audited, family):
    rows = audited(with_experts(family, lambda layer, expert, kind: expert < 6)).list
    verdicts = [check(rows, {"experts": [part], "groups": ["routed_experts"], "from": "r1"}) for part in ("0-5", "4-7")]
    assert [found["verdict"] for found in verdicts] == ["verified", "deviates"]
    assert verdicts[0]["weights"] == 6 * 3 * 3
