"""Every tensor finds its place."""

import pytest
from aoe.checkpoints.architecture import Architecture, TensorGroup

DEEPSEEK = Architecture({"model_type": "deepseek_v3", "num_hidden_layers": 61})


@pytest.mark.parametrize(
    ("tensor", "group", "layer", "expert", "kind"),
    [
        ("model.embed_tokens.weight", "embeddings", None, None, "embed_tokens"),
        ("lm_head.weight", "lm_head", None, None, "lm_head"),
        ("model.norm.weight", "norms", None, None, "norm"),
        ("model.layers.3.self_attn.kv_a_layernorm.weight", "norms", 3, None, "kv_a_layernorm"),
        ("model.layers.3.self_attn.kv_a_proj_with_mqa.weight", "attention", 3, None, "kv_a_proj_with_mqa"),
        ("model.layers.3.self_attn.o_proj.weight_scale_inv", "attention", 3, None, "o_proj"),
        ("model.layers.0.mlp.down_proj.weight", "dense_mlp", 0, None, "down_proj"),
        ("model.layers.60.mlp.experts.255.up_proj.weight", "routed_experts", 60, 255, "up_proj"),
        ("model.layers.60.mlp.experts.255.up_proj.weight_scale_inv", "routed_experts", 60, 255, "up_proj"),
        ("model.layers.5.mlp.shared_experts.gate_proj.weight", "shared_experts", 5, None, "gate_proj"),
        ("model.layers.5.mlp.gate.weight", "router_gate", 5, None, "gate"),
        ("model.layers.5.mlp.gate.e_score_correction_bias", "router_gate", 5, None, "e_score_correction_bias"),
        ("model.layers.61.mlp.experts.0.up_proj.weight", "mtp", 61, 0, "up_proj"),
        ("model.layers.61.embed_tokens.weight", "mtp", 61, None, "embed_tokens"),
        ("model.layers.61.shared_head.norm.weight", "mtp", 61, None, "norm"),
    ],
)
def test_places_of_deepseek_v3(tensor, group, layer, expert, kind):
    place = DEEPSEEK.place(tensor)
    assert (place.group, place.layer, place.expert, place.kind) == (group, layer, expert, kind)


@pytest.mark.parametrize(
    ("model_type", "tensor", "group"),
    [
        ("mixtral", "model.layers.0.block_sparse_moe.experts.7.w1.weight", TensorGroup.ROUTED_EXPERTS),
        ("mixtral", "model.layers.0.block_sparse_moe.gate.weight", TensorGroup.ROUTER_GATE),
        ("qwen3_moe", "model.layers.0.mlp.experts.7.gate_proj.weight", TensorGroup.ROUTED_EXPERTS),
        ("qwen3_moe", "model.layers.0.self_attn.q_norm.weight", TensorGroup.NORMS),
        ("glm4_moe", "model.layers.1.mlp.gate.e_score_correction_bias", TensorGroup.ROUTER_GATE),
        ("glm4_moe", "model.layers.1.self_attn.q_proj.bias", TensorGroup.ATTENTION),
        ("kimi_k2", "model.layers.1.mlp.shared_experts.up_proj.weight", TensorGroup.SHARED_EXPERTS),
    ],
)
def test_other_architectures(model_type, tensor, group):
    assert Architecture({"model_type": model_type, "num_hidden_layers": 4}).place(tensor).group == group
