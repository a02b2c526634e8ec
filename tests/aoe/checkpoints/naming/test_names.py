"""Names of the same weights in different checkpoints."""

import json

import pytest
import torch
from safetensors.torch import save_file
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.naming.names import Located, Names, is_stack, key_of
from aoe.checkpoints.naming.renamed import named_as

SAME = [
    ["model.layers.3.input_layernorm.weight", "model.language_model.layers.3.input_layernorm.weight"],
    ["language_model.model.layers.3.mlp.up_proj.weight", "layers.3.mlp.up_proj.weight"],
    ["language_model.lm_head.weight", "lm_head.weight", "embed_out.weight", "head.weight"],
    ["model.layers.1.block_sparse_moe.experts.7.w1.weight", "model.layers.1.mlp.experts.7.gate_proj.weight_packed"],
    ["model.layers.1.block_sparse_moe.experts.7.w3.weight", "model.layers.1.mlp.experts.7.up_proj.qweight"],
    ["model.layers.1.mlp.experts.w2_weight", "model.layers.1.mlp.experts.down_proj", "layers.1.moe.down_proj.weight"],
    ["model.layers.1.mlp.experts.w13_weight", "model.layers.1.mlp.experts.gate_up_proj_blocks"],
    ["model.layers.1.block_sparse_moe.gate.weight", "model.layers.1.mlp.router.weight"],
    ["model.layers.1.block_sparse_moe.input_linear.weight", "model.layers.1.mlp.experts.gate_up_proj"],
    [
        "model.layers.1.mlp.gate.e_score_correction_bias",
        "model.layers.1.mlp.moe_statics.e_score_correction_bias",
        "model.layers.1.block_sparse_moe.e_score_correction_bias",
        "model.layers.1.mlp.expert_bias",
    ],
    ["model.layers.1.mlp.shared_expert.up_proj.weight", "model.layers.1.mlp.shared_mlp.up_proj.weight"],
    ["vision_tower.blocks.0.attn.qkv.weight", "model.vision_tower.blocks.0.attn.qkv.weight"],
]


@pytest.mark.parametrize("names", SAME, ids=lambda names: names[0])
def test_names_of_one_weight_have_one_key(names):
    assert len({key_of(name) for name in names}) == 1


def test_other_weights_have_other_keys():
    names = [group[0] for group in SAME if "input_linear" not in group[0]] + [
        "model.layers.1.mlp.shared_expert_gate.weight",
        "model.norm.weight",
    ]
    names += ["model.layers.1.mlp.gate_proj.weight", "model.layers.1.mlp.gate_proj.bias", "model.layers.1.norm.weight"]
    assert len({key_of(name) for name in names}) == len(names)


def test_stacks():
    stacks = [
        "model.layers.1.mlp.experts.gate_up_proj",
        "a.experts.w13_weight",
        "a.experts.down_proj",
        "a.qkv_proj.weight",
    ]
    assert all(map(is_stack, stacks))
    others = ["a.experts.3.down_proj.weight", "a.mlp.down_proj.weight", "a.experts.gate.weight", "a.q_proj.weight"]
    assert not any(map(is_stack, others))


def written(folder, shapes, **config):
    folder.mkdir()
    save_file({name: torch.randn(shape) for name, shape in shapes.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"num_hidden_layers": 1} | config), encoding="utf-8")
    return Checkpoint(folder, folder.name)


def test_parts_and_their_places(tmp_path):
    names = Names(written(tmp_path / "a", {"l.experts.gate_up_proj": (3, 8, 2), "l.attn.qkv_proj.weight": (6, 2)}))
    assert names.parts("l.experts.gate_up_proj")[:3] == [
        "l.experts.0.gate_proj",
        "l.experts.0.up_proj",
        "l.experts.1.gate_proj",
    ]
    assert names.locate("l.experts.2.up_proj") == Located("l.experts.gate_up_proj", 5, 6, 3)
    assert names.locate("l.attn.v_proj") == Located("l.attn.qkv_proj.weight", 2, 3)
    assert names.locate("l.experts.3.up_proj") is None and names.locate("l.experts.0.down_proj") is None


QKV = {"q_proj": (6, 4), "k_proj": (2, 4), "v_proj": (2, 4)}


def test_matrices_of_other_sizes_are_cut_out_of_a_stack_and_stacked(tmp_path):
    single = written(tmp_path / "a", {f"model.layers.0.{part}.weight": shape for part, shape in QKV.items()})
    stack = written(tmp_path / "b", {"layers.0.qkv_proj.weight": (10, 4)})
    seen = named_as(single, stack)
    assert sorted(seen.weights) == sorted(single.files) and seen.files.keys() == single.files.keys()
    assert torch.cat([seen.tensor(name) for name in single.files]).equal(
        torch.cat([stack.tensor("layers.0.qkv_proj.weight")[rows] for rows in (slice(6, 8), slice(0, 6), slice(8, 10))])
    )
    seen = named_as(stack, single)
    parts = [single.tensor(f"model.layers.0.{part}.weight") for part in QKV]
    assert seen.weights == ["layers.0.qkv_proj.weight"] and seen.tensor(*seen.weights).equal(torch.cat(parts))
    assert (
        seen.read("layers.0.qkv_proj.weight", 90, torch.zeros(20, dtype=torch.uint8).numpy()).tobytes()
        == (torch.cat(parts).numpy().tobytes()[90:110])
    )
    assert named_as(stack, seen) is seen


def test_of_two_weights_that_may_be_meant_none_is_taken(tmp_path):
    base = written(tmp_path / "a", {"l.mlp.gate.weight": (2, 2), "l.mlp.router.weight": (2, 2)})
    seen = named_as(base, written(tmp_path / "b", {"l.mlp.gate.weight": (2, 2)}))
    assert seen.weights == ["l.mlp.gate.weight"] and "l.mlp.router.weight" not in seen
    seen = named_as(written(tmp_path / "c", {"l.mlp.moe.weight": (2, 2)}), base)
    assert "l.mlp.moe.weight" not in seen and sorted(seen.weights) == sorted(base.files)
