"""Checkpoints of random weights in a real model's shapes and format, for what depends on size and not on answers."""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from aoe.checkpoints.checkpoint import INDEX
from aoe.checkpoints.formats import SCALE_SUFFIX, scale_of
from aoe.checkpoints.inventory import inventory
from aoe.numerics import fp8
from aoe.numerics.kernels import FP8

SHARD_BYTES = 4 << 30  # of weights, about
SPREAD = 0.02  # standard deviation of a projection's weights
TOKENIZER = "tokenizer*.json"


def write_random_checkpoint(
    config: Mapping, folder: Path | str, seed: int, tokenizer: Path | str, device: str = "cpu"
) -> None:
    """Write the checkpoint that a config.json (a dict) describes, with scales in a shard of their own.

    seed: of its weights; tokenizer: a folder whose tokenizer it gets; device: where torch draws the weights.
    """
    folder = Path(folder)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for file in Path(tokenizer).glob(TOKENIZER):
        shutil.copy(file, folder)
    generator = torch.Generator(device).manual_seed(seed)
    weight_map, scales, part, size, number = {}, {}, {}, 0, 0
    entries = [(name, dtype, shape) for name, (dtype, shape) in inventory(config).items() if not _is_scale(name)]
    for place, (name, dtype, shape) in enumerate(entries):
        tensor, scale = _drawn(name, dtype, shape, generator)
        part[name], size = tensor.cpu(), size + tensor.nbytes
        if scale is not None:
            scales[scale_of(name)] = scale.cpu()
        if size > SHARD_BYTES or place == len(entries) - 1:
            number += 1
            weight_map |= _save(part, folder / f"model-{number:05}.safetensors")
            part, size = {}, 0
    if scales:
        weight_map |= _save(scales, folder / "model-scales.safetensors")
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}), encoding="utf-8")


def _is_scale(name):
    return name.endswith(SCALE_SUFFIX)


def _drawn(name, dtype, shape, generator):
    """A tensor as it is stored, and the scale of FP8 codes or None; norms are 1, biases small."""
    if len(shape) == 1:
        value = torch.ones(shape) if name.endswith("norm.weight") else torch.zeros(shape)
        return value.to(torch.float32 if dtype == "F32" else torch.bfloat16), None
    value = torch.randn(shape, generator=generator, device=generator.device) * SPREAD
    if dtype == FP8:
        return fp8.quantize(value)
    # embeddings of unit size
    return (value / SPREAD if "embed_tokens" in name else value / math.sqrt(2)).bfloat16(), None


def _save(tensors, path):
    save_file(tensors, path, {"format": "pt"})
    return dict.fromkeys(tensors, path.name)
