"""The trial of families finds what is wrong: another parent's tensor, a wrong rounding, a tensor in a wrong group."""

import numpy as np
import pytest
import torch
from aoe.checkpoints.architecture import Architecture
from aoe.checkpoints.parts import TensorGroup
from aoe.merging.merge import Merge
from support.family_flow import BASE, FULL, OTHER, Flow, _rounded


@pytest.fixture
def flow(tmp_path):
    return Flow("qwen3_moe", tmp_path)


def test_numbers_are_rounded_once():
    """A sum just above a tie is rounded up, although float32 has the tie itself; torch rounds it twice, to even."""
    tie = 1 + 2.0**-8
    total = torch.tensor([tie, tie + 2.0**-40, tie - 2.0**-40, -tie - 2.0**-40], dtype=torch.float64)
    assert _rounded(total, True).tolist() == [1, 1 + 2.0**-7, 1, -1 - 2.0**-7]
    assert total.bfloat16().tolist() == [1, 1, 1, -1]
    assert _rounded(total, False).tolist() == total.float().tolist()


def test_another_parents_tensor_is_found(flow, monkeypatch):
    right = Merge.source
    monkeypatch.setattr(
        Merge,
        "source",
        lambda self, w: self.checkpoints[OTHER] if w.endswith("1.input_layernorm.weight") else right(self, w),
    )
    flow.merged("full", FULL)
    with pytest.raises(AssertionError, match=r"numbers of model\.layers\.1\.input_layernorm\.weight are not as in"):
        flow.loaded("full", FULL)


def test_another_rounding_is_found(flow, monkeypatch):
    flow.merged("full", FULL)
    folder = flow.folder / "full"
    for shard in folder.glob("*.safetensors"):
        content = np.fromfile(shard, np.uint8)
        content[-2] ^= 1  # the last bit of the last number
        content.tofile(shard)
    with pytest.raises(AssertionError, match=r"1 of \d+ numbers of"):
        flow.loaded("full", FULL)


def test_a_tensor_in_a_wrong_group_is_found(flow, monkeypatch):
    right = Architecture.place

    def wrong(self, tensor):
        place = right(self, tensor)
        odd = tensor.endswith("layers.0.mlp.gate.weight")
        return place.__class__(TensorGroup.ROUTED_EXPERTS, place.layer, None, place.kind) if odd else place

    monkeypatch.setattr(Architecture, "place", wrong)
    entry = flow.recipes["routed_experts"]
    flow.merged("routed_experts", entry)
    with pytest.raises(AssertionError, match=r"numbers of model\.layers\.0\.mlp\.gate\.weight are not as in"):
        flow.loaded("routed_experts", entry)


def test_a_model_that_is_its_base_is_found(flow):
    entry = {"base": BASE, "weights": {BASE: 1}}
    flow.merged("full", entry)
    with pytest.raises(AssertionError, match="computes as its base"):
        flow.loaded("full", entry)
