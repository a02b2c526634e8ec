"""Checkpoints of real shapes with random numbers, for measuring: what merging costs does not depend on the values."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from aoe.checkpoints.checkpoint import INDEX
from aoe.checkpoints.formats import FORMATS, SCALE_SUFFIX, scale_of, scale_shape, size_of
from aoe.checkpoints.inventory import inventory
from aoe.checkpoints.shard import make_header

CHUNK_BYTES = 32 << 20  # of random numbers, which fill a file again and again
QWEN3_MOE: dict[str, Any] = {  # the shapes of Qwen3-30B-A3B, two layers of them
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "moe_intermediate_size": 768,
    "intermediate_size": 6144,
    "num_hidden_layers": 2,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "vocab_size": 8192,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


def qwen3_moe(folder: Path, seed: int) -> None:
    """Write a BF16 checkpoint of 2.6 GB in two shards, one a layer."""
    hidden, heads, keys = (QWEN3_MOE[key] for key in ("hidden_size", "num_attention_heads", "num_key_value_heads"))
    dim, width = QWEN3_MOE["head_dim"], QWEN3_MOE["moe_intermediate_size"]
    outer = (QWEN3_MOE["vocab_size"], hidden)
    shards = []
    for layer in range(QWEN3_MOE["num_hidden_layers"]):
        name = f"model.layers.{layer}"
        shapes = {
            f"{name}.self_attn.q_proj.weight": (heads * dim, hidden),
            f"{name}.self_attn.k_proj.weight": (keys * dim, hidden),
            f"{name}.self_attn.v_proj.weight": (keys * dim, hidden),
            f"{name}.self_attn.o_proj.weight": (hidden, heads * dim),
            f"{name}.self_attn.q_norm.weight": (dim,),
            f"{name}.self_attn.k_norm.weight": (dim,),
            f"{name}.input_layernorm.weight": (hidden,),
            f"{name}.post_attention_layernorm.weight": (hidden,),
            f"{name}.mlp.gate.weight": (QWEN3_MOE["num_experts"], hidden),
        }
        for expert in range(QWEN3_MOE["num_experts"]):
            shapes[f"{name}.mlp.experts.{expert}.gate_proj.weight"] = (width, hidden)
            shapes[f"{name}.mlp.experts.{expert}.up_proj.weight"] = (width, hidden)
            shapes[f"{name}.mlp.experts.{expert}.down_proj.weight"] = (hidden, width)
        shards.append(shapes)
    shards[0] = {"model.embed_tokens.weight": outer} | shards[0]
    shards[-1] |= {"model.norm.weight": (hidden,), "lm_head.weight": outer}
    _write(folder, QWEN3_MOE, [{name: ("BF16", shape) for name, shape in shapes.items()} for shapes in shards], seed)


def deepseek_shard(folder: Path, config: Mapping, size: int, seed: int, shards: int = 1) -> None:
    """Write routed experts of DeepSeek-V3's layers 3 and on in FP8 with their scales.

    config: DeepSeek-V3's config.json; size: in bytes, spread over so many ``shards``.
    """
    experts = {name: entry for name, entry in inventory(config).items() if ".mlp.experts." in name}
    parts, filled = [{}], 0
    for name, (dtype, shape) in experts.items():
        if name.endswith(SCALE_SUFFIX):
            continue
        if filled >= size / shards:
            parts.append({})
            filled = 0
        if len(parts) > shards:
            break
        parts[-1] |= {name: (dtype, shape), scale_of(name): ("F32", scale_shape(*shape))}
        filled += math.prod(shape)
    _write(folder, config, parts[:shards], seed)


Tensors = Mapping[str, tuple[str, Sequence[int]]]  # name -> (dtype, shape)
Filling = Callable[[str, np.random.Generator], bytes]  # (name of a tensor, random) -> numbers that fill it


def write(folder: Path, config: Mapping[str, Any], shards: Sequence[Tensors], seed: int, numbers: Filling) -> None:
    """Write a checkpoint of so many shards.

    numbers: gives what a tensor is filled with, again and again, in whole numbers of 4 bytes; it is called once for all
    tensors whose names end alike.  What fills a tensor exactly is written as it is.
    """
    folder = Path(folder)
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    weight_map: dict[str, str] = {}
    for number, tensors in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        _write_shard(folder / file, tensors, random, numbers)
        weight_map |= dict.fromkeys(tensors, file)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def _write(folder, config, shards, seed):
    dtypes = {name: dtype for tensors in shards for name, (dtype, _) in tensors.items()}
    write(folder, config, shards, seed, lambda tensor, random: random_numbers(dtypes[tensor], random))


def _write_shard(path, tensors, random, numbers):
    made: dict[tuple[str, str], bytes] = {}
    with open(path, "wb") as file:
        file.write(make_header(tensors))
        for name, (dtype, shape) in tensors.items():
            kind = dtype, name.rsplit(".", 1)[-1]
            if kind not in made:
                made[kind] = numbers(name, random)
            left = size_of(dtype, shape)
            while left:
                fits = left == len(made[kind])
                start = 0 if fits else int(random.integers(0, len(made[kind]) // 4)) * 4
                piece = made[kind][start : start + left]
                file.write(piece)
                left -= len(piece)


def random_numbers(dtype: str, random: np.random.Generator) -> bytes:
    """Return CHUNK_BYTES of numbers as trained weights have them: normal, FP8 codes up to 448, positive F32 scales."""
    normal = random.standard_normal(CHUNK_BYTES // FORMATS[dtype].bytes, np.float32)
    if dtype == "F32":
        return (np.abs(normal) * 1e-4 + 1e-5).tobytes()
    if dtype == "BF16":
        return (normal * 0.02).view(np.uint32).__rshift__(16).astype(np.uint16).tobytes()
    import torch

    return (torch.from_numpy(normal) * 110).clamp(-448, 448).to(torch.float8_e4m3fn).view(torch.uint8).numpy().tobytes()
