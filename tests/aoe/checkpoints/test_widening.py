"""Wider models: they can be spread over more GPUs, and compute what they did before."""

import json

import pytest
import torch
from safetensors.torch import load_file
from aoe.checkpoints.widening import widen
from aoe.nodes.trial import most_ranks
from aoe.numerics import fp8
from support.clones import ROOT
from support.reference import transformers_model

MINI = ROOT / "resources/mini/r1"


def values(folder):
    """f32 weights by name, of what a checkpoint stores."""
    stored = {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}
    return {
        name: fp8.dequantize(tensor, stored[f"{name}_scale_inv"]) if tensor.dtype == torch.float8_e4m3fn else tensor
        for name, tensor in stored.items()
        if not name.endswith("_scale_inv")
    }


@pytest.mark.parametrize(("ranks", "expert_parallel"), [(2, True), (8, True), (2, False)])
def test_a_wider_model_fits_and_computes_the_same(tmp_path, ranks, expert_parallel):
    widen(MINI, tmp_path / "wide", ranks, expert_parallel)
    config = json.loads((tmp_path / "wide/config.json").read_text(encoding="utf-8"))
    assert most_ranks(config, ranks, fp8=True, expert_parallel=expert_parallel) == ranks
    ids = torch.tensor([[1, 7, 20, 33, 5, 9, 60, 41]])
    with torch.no_grad():
        one, other = (transformers_model(folder, values(folder))(ids).logits for folder in (MINI, tmp_path / "wide"))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_what_is_not_spread_keeps_its_bytes(tmp_path):
    widen(MINI, tmp_path / "wide", 2, True)
    wide = load_file(tmp_path / "wide/model.safetensors")
    for file in MINI.glob("*.safetensors"):
        for name, tensor in load_file(file).items():
            assert wide[name].dtype == tensor.dtype
            if wide[name].shape == tensor.shape:
                assert torch.equal(wide[name].view(torch.uint8), tensor.view(torch.uint8)), name
    assert wide["model.layers.0.self_attn.o_proj.weight"].shape == (256, 256)
