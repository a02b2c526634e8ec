"""Small checkpoints in DeepSeek-V3's layout, written by the safetensors library."""

import json

import torch
from safetensors.torch import save_file
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.numerics import fp8

CONFIG = {"model_type": "deepseek_v3", "num_hidden_layers": 2, "first_k_dense_replace": 1}


def weights(seed):
    """Named f32 weights: a dense layer, an expert layer with a partial edge block, and an MTP layer (number 2)."""
    torch.manual_seed(seed)
    shapes = {
        "model.embed_tokens.weight": (32, 160),
        "model.layers.0.self_attn.o_proj.weight": (160, 130),
        "model.layers.0.input_layernorm.weight": (160,),
        "model.layers.0.mlp.up_proj.weight": (128, 160),
        "model.layers.1.mlp.gate.weight": (2, 160),
        "model.layers.1.mlp.gate.e_score_correction_bias": (2,),
        "model.layers.1.mlp.experts.0.up_proj.weight": (128, 160),
        "model.layers.1.mlp.experts.1.up_proj.weight": (128, 160),
        "model.layers.1.mlp.shared_experts.up_proj.weight": (128, 160),
        "model.layers.2.mlp.experts.0.up_proj.weight": (128, 160),
        "model.layers.2.eh_proj.weight": (160, 320),
        "model.norm.weight": (160,),
        "lm_head.weight": (32, 160),
    }
    return {name: torch.randn(shape) * 0.02 for name, shape in shapes.items()}


def stored(values):
    """f32 weights as stored: FP8 with scales for projections, F32 for the router's bias, BF16 for the rest."""
    tensors = {}
    for name, value in values.items():
        if name.endswith("_proj.weight") and "eh_proj" not in name:
            tensors[name], tensors[f"{name}_scale_inv"] = fp8.quantize(value)
        else:
            tensors[name] = value if name.endswith("bias") else value.bfloat16()
    return tensors


def write_checkpoint(folder, tensors, name=None):
    """Two shards; the scale of the last weight of the first lies in the second."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder, tensors)
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    return Checkpoint(folder, name)


def write_tensors(folder, tensors):
    """Shards and index; the other parts of the last weight of the first shard lie in the second."""
    names = list(tensors)
    cut = next(place for place, name in enumerate(names, 1) if "layers.1.mlp.experts.0.up_proj.weight" in name)
    weight_map = {}
    for number, part in enumerate((names[:cut], names[cut:]), start=1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file({key: tensors[key] for key in part}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map}), encoding="utf-8"
    )
