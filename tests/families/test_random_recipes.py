"""Random recipes over tiny models of several families, rebuilt tensor by tensor by a slow reference in float64."""

import random

import pytest
import torch
from safetensors.torch import load_file
from aoe import AoeError
from aoe.checkpoints.architecture import Architecture
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.merging.merge import Merge
from support.families import PARENTS, write_parents
from support.family_flow import BASE, FLOAT32_ERROR, _rounded
from support.published import plan_of
from support.random_recipes import entry, is_meant, mixture

FAMILIES = ["deepseek_v3", "qwen3_moe", "gpt_oss", "llama", "granitemoehybrid", "falcon_mamba", "gpt2", "kimi_k25"]
RECIPES = 125  # of each family: 1,000 of all


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
        recipe = entry(choice, PARENTS, places)
        try:
            plan = plan_of(recipe, parents)
        except AoeError as error:
            assert is_meant(error), error
            continue
        merge = Merge(plan, parents, "cpu", threads=1)
        for tensor, ours, _ in merge.outputs(merge.base.weights):
            parts = {name: stored[name][tensor] for name in PARENTS}
            check(tensor, ours, parts, mixture(recipe, tensor, places[tensor]))
        done += 1
