"""Random recipes over tiny models of several families, rebuilt tensor by tensor by a slow reference in float64."""

import random
from fnmatch import fnmatchcase

import pytest
import torch
from safetensors.torch import load_file
from aoe import AoeError
from aoe.checkpoints.architecture import Architecture
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.merging.merge import Merge
from support.families import PARENTS, write_parents
from support.family_flow import BASE, FLOAT32_ERROR, OTHER, _rounded
from support.published import plan_of

FAMILIES = ["deepseek_v3", "qwen3_moe", "gpt_oss", "llama", "granitemoehybrid", "falcon_mamba", "gpt2", "kimi_k25"]
RECIPES = 125  # of each family: 1,000 of all


def subset(choice, places):
    """A random subset as a study writes it, every part of which selects something; places: {tensor: Place}."""
    tensor = choice.choice([*places])
    place, found = places[tensor], {}
    if choice.random() < 0.6:
        found["groups"] = sorted({str(place.group), str(choice.choice([*places.values()]).group)})
    if place.layer is not None and choice.random() < 0.4:
        found["layers"] = [place.layer]
    if choice.random() < 0.3:
        found["names"] = [tensor, f"*{tensor[len(tensor) // 2 :]}"][: choice.randint(1, 2)]
    return found


def weights(choice):
    """Random λ: of one parent alone, often enough, else of both."""
    share = choice.choice([0, 1, 0.5, round(choice.random(), 3), round(choice.random(), 3)])
    return {BASE: 1 - share, OTHER: share}


def selects(part, tensor, place):
    """Whether a subset selects a tensor, by what config/README.md says of its keys."""
    return (
        ("groups" not in part or str(place.group) in part["groups"])
        and ("layers" not in part or place.layer in part["layers"])
        and ("names" not in part or any(fnmatchcase(tensor, pattern) for pattern in part["names"]))
    )


def mixture(entry, tensor, place):
    """{parent: λ} of a tensor."""
    if not selects(entry["subset"], tensor, place):
        return {BASE: 1}
    for override in entry["overrides"]:
        if selects(override["subset"], tensor, place):
            return override["weights"]
    return entry["weights"]


def check(tensor, ours, parts, shares):
    """Assert that a merged tensor is the rounded sum, but where the sum lies between two numbers."""
    shares = {name: share for name, share in shares.items() if share}
    if len(shares) == 1 and [*shares.values()] == [1]:
        assert torch.equal(ours, parts[next(iter(shares))]), tensor
        return
    total = sum(share * parts[name].double() for name, share in shares.items())
    size = sum(abs(share * parts[name].double()) for name, share in shares.items())
    expected = _rounded(total, ours.dtype == torch.bfloat16)
    farther = (ours.double() - total).abs() > (expected.double() - total).abs() + FLOAT32_ERROR * size
    assert not farther.any(), f"{tensor}: {shares}"
    if ours.dtype == torch.bfloat16:
        assert (ours.float() != expected).sum() <= max(4, ours.numel() / 50), f"{tensor}: {shares}"


@pytest.mark.parametrize("model_type", FAMILIES)
def test_random_recipes_are_what_a_slow_reference_makes(model_type, tmp_path):
    folders, _ = write_parents(model_type, tmp_path)
    parents = {name: Checkpoint(folder, name) for name, folder in folders.items()}
    stored = {name: {} for name in PARENTS}
    for name, folder in folders.items():
        for file in folder.glob("*.safetensors"):
            stored[name] |= load_file(file)
    place = Architecture(parents[BASE].config).place
    places, done = {tensor: place(tensor) for tensor in parents[BASE].files}, 0
    choice = random.Random(model_type)
    while done < RECIPES:
        overrides = [
            {"subset": subset(choice, places), "weights": weights(choice)} for _ in range(choice.randint(0, 2))
        ]
        entry = {"base": BASE, "weights": weights(choice), "subset": subset(choice, places)}
        entry["overrides"] = [override for override in overrides if override["subset"]]
        try:
            plan = plan_of(entry, parents)
        except AoeError as error:  # a part of a subset selects nothing together with the others
            assert "select" in str(error) or "overrides before it" in str(error), error
            continue
        merge = Merge(plan, parents, "cpu", threads=1)
        for tensor, ours, _ in merge.outputs(merge.base.weights):
            parts = {name: stored[name][tensor] for name in PARENTS}
            check(tensor, ours, parts, mixture(entry, tensor, places[tensor]))
        done += 1
