"""The same function in wider layers: a small DeepSeek-V3 checkpoint that can be spread over more GPUs.

vLLM spreads attention heads and the inner dimension of MLPs, and with FP8 weights whole blocks of them.  Heads and
inner numbers are added whose outgoing weights are zero, so that the model computes what it did before.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from aoe.checkpoints.formats import BLOCK, SCALE_SUFFIX, weight_of


def widened_config(config: Mapping[str, Any], ranks: int, expert_parallel: bool) -> dict[str, Any]:
    """Return a config whose layers can be spread over so many ranks.

    expert_parallel: routed experts stay whole, and as they are; else their inner dimension grows.
    """
    heads = -(-BLOCK // config["v_head_dim"]) * ranks
    changed = {"num_attention_heads": heads, "num_key_value_heads": heads}
    changed["intermediate_size"] = max(config["intermediate_size"], BLOCK * ranks)
    grown = "n_shared_experts" if expert_parallel else "moe_intermediate_size"
    changed[grown] = max(config[grown], ranks if expert_parallel else BLOCK * ranks)
    return {**config, **changed}


def widen(folder: Path | str, target: Path | str, ranks: int, expert_parallel: bool) -> None:
    """Write the checkpoint ``folder`` into the folder ``target``, wide enough for so many ranks."""
    folder, target = Path(folder), Path(target)
    target.mkdir(parents=True)
    for file in folder.glob("*.json"):
        if not file.name.endswith(".index.json"):
            shutil.copyfile(file, target / file.name)
    config = widened_config(json.loads((folder / "config.json").read_text(encoding="utf-8")), ranks, expert_parallel)
    (target / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    tensors = {}
    for shard in sorted(folder.glob("*.safetensors")):
        with safe_open(shard, framework="pt") as file:
            tensors |= {name: _widened(name, file.get_tensor(name), config) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})


def _widened(name, tensor, config):
    """A weight, or the scales of one, with zeros (scales: ones) where there was nothing."""
    weight, is_scale = weight_of(name), name.endswith(SCALE_SUFFIX)
    rows, columns = _shape(weight, config)
    size = [rows or tensor.shape[0], columns or tensor.shape[-1]] if tensor.dim() == 2 else list(tensor.shape)
    if is_scale:
        given = (rows, columns)
        size = [-(-whole // BLOCK) if whole else old for whole, old in zip(given, tensor.shape, strict=True)]
    if size == list(tensor.shape):
        return tensor
    wide = torch.ones(size, dtype=tensor.dtype) if is_scale else torch.zeros(size).to(tensor.dtype)
    wide.view(_integers(tensor))[: tensor.shape[0], : tensor.shape[1]] = tensor.view(_integers(tensor))
    return wide


def _integers(tensor):
    """Of the same width: not every operation knows FP8."""
    return {1: torch.uint8, 2: torch.int16, 4: torch.int32}[tensor.element_size()]


def _shape(weight, config):
    """(rows, columns) of a weight; None for what stays."""
    heads, nope = config["num_attention_heads"], config["qk_nope_head_dim"]
    value, expert = config["v_head_dim"], config["moe_intermediate_size"]
    if "self_attn" in weight:
        rows = {"q_b_proj": heads * (nope + config["qk_rope_head_dim"]), "kv_b_proj": heads * (nope + value)}
        columns = {"o_proj": heads * value}
    else:
        inner = config["intermediate_size"]
        inner = expert if ".experts." in weight else inner
        inner = config["n_shared_experts"] * expert if ".shared_experts." in weight else inner
        rows, columns = {"gate_proj": inner, "up_proj": inner}, {"down_proj": inner}
    kind = weight.split(".")[-2] if weight.endswith(".weight") else ""
    return rows.get(kind), columns.get(kind)
