"""Merging one shard of each storage format from two parents, beside reading both and writing as much."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from aoe.checkpoints.formats import scale_shape, size_of
from performance import inputs, job
from performance.measure import Row, side_by_side
from performance.weights import shards
from performance.weights.merging import LIMIT, limit

BYTES = 800_000_000  # of a shard
ROWS, COLUMNS = 2048, 7168  # of a weight: a projection of DeepSeek-V3's experts
EXPERTS, FUSED_ROWS, GROUPS = 32, 5760, 90  # of gpt-oss' fused experts
COUNT = 1 << 22  # random numbers, which fill a file again and again
GPT_OSS: dict[str, Any] = {
    "architectures": ["GptOssForCausalLM"],
    "model_type": "gpt_oss",
    "num_hidden_layers": 36,
    "num_local_experts": EXPERTS,
    "hidden_size": GROUPS * 32,
    "quantization_config": {"quant_method": "mxfp4"},
}

Numbers = Callable[[np.random.Generator], np.ndarray]
Stored = tuple[str, tuple[int, ...], Numbers]  # dtype, shape, what it is filled with


class Format(NamedTuple):
    """How a weight is stored: the ends of its tensors' names, and what they hold; quantization: of the config."""

    tensors: Mapping[str, Stored]
    quantization: Mapping[str, Any]


def _bytes(low: int, high: int) -> Numbers:
    return lambda random: random.integers(low, high, COUNT, np.uint8, endpoint=True)


def _bf16(random: np.random.Generator) -> np.ndarray:
    return np.frombuffer(inputs.random_numbers("BF16", random), np.uint16)


def _e4m3(random: np.random.Generator) -> np.ndarray:
    return np.frombuffer(inputs.random_numbers("F8_E4M3", random), np.uint8)


def _scales(random: np.random.Generator) -> np.ndarray:
    return np.frombuffer(inputs.random_numbers("F32", random), np.float32)


def _scales_bf16(random: np.random.Generator) -> np.ndarray:
    return (_scales(random).view(np.uint32) >> 16).astype(np.uint16)


def _powers(random: np.random.Generator) -> np.ndarray:
    return (_scales(random).view(np.uint32) & np.uint32(0x7F800000)).view(np.float32)


def _global_scales(random: np.random.Generator) -> np.ndarray:
    return random.uniform(2000, 4000, 64).astype(np.float32)


def _shapes(random: np.random.Generator) -> np.ndarray:
    return np.array([ROWS, COLUMNS])


SQUARES = scale_shape(ROWS, COLUMNS)
CODES: Stored = ("F8_E4M3", (ROWS, COLUMNS), _e4m3)
BLOCKS = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}
PACKED = {"quant_method": "compressed-tensors"}
FORMATS = {
    "bf16_shard": Format({"weight": ("BF16", (ROWS, COLUMNS), _bf16)}, {}),
    "fp8_blocks": Format({"weight": CODES, "weight_scale_inv": ("F32", SQUARES, _scales)}, BLOCKS),
    "fp8_ue8m0": Format(
        {"weight": CODES, "weight_scale_inv": ("F32", SQUARES, _powers)}, BLOCKS | {"scale_fmt": "ue8m0"}
    ),
    "fp8_bf16_scales": Format({"weight": CODES, "weight_scale_inv": ("BF16", SQUARES, _scales_bf16)}, BLOCKS),
    "fp8_rows": Format({"weight": CODES, "weight_scale": ("F32", (ROWS, 1), _scales)}, PACKED),
    "fp8_tensors": Format({"weight": CODES, "weight_scale": ("F32", (1,), _scales)}, PACKED),
    "mxfp4": Format(
        {
            "blocks": ("U8", (EXPERTS, FUSED_ROWS, GROUPS, 16), _bytes(0, 255)),
            "scales": ("U8", (EXPERTS, FUSED_ROWS, GROUPS), _bytes(116, 122)),
        },
        {},
    ),
    "int4": Format(
        {
            "weight_packed": ("I32", (ROWS, COLUMNS // 8), _bytes(0, 255)),
            "weight_scale": ("BF16", (ROWS, COLUMNS // 32), _scales_bf16),
            "weight_shape": ("I64", (2,), _shapes),
        },
        PACKED,
    ),
    "nvfp4": Format(
        {
            "weight_packed": ("U8", (ROWS, COLUMNS // 2), _bytes(0, 255)),
            "weight_scale": ("F8_E4M3", (ROWS, COLUMNS // 16), _bytes(0x30, 0x70)),
            "weight_global_scale": ("F32", (1,), _global_scales),
        },
        PACKED,
    ),
}

TARGETS = {f"merge_{name}_vs_limit": 2 for name in FORMATS}


def merge_formats(work: Path, runs: int, size: int = BYTES) -> list[Row]:
    """Merge one shard of every format, of ``size`` bytes, from two parents, λ 0.5, against the limit."""
    return [merge_format(name, work, runs, size) for name in FORMATS]


def merge_format(name: str, work: Path, runs: int, size: int) -> Row:
    """Do so with one format; the merge is measured in this process, which has its kernels."""
    out, threads = work / "out", len(os.sched_getaffinity(0))
    parents = [work / f"{name}-{seed}" for seed in range(2)]
    for seed, folder in enumerate(parents):
        shard(name, folder, size, seed)

    def clear():
        shutil.rmtree(out, ignore_errors=True)
        os.sync()

    written = sum(file.stat().st_size for file in parents[0].glob("*.safetensors")) / 1e9
    note = f"one {written:.2g} GB shard from two parents, {threads} threads, without the start of Python; {LIMIT}"
    ours, reference = partial(job.merge_with, threads, out, *parents), partial(limit, parents, out)
    found = side_by_side(f"merge_{name}_vs_limit", runs, ours, reference, note, clear)
    clear()
    for folder in parents:
        shutil.rmtree(folder)
    return found


def shard(name: str, folder: Path, size: int, seed: int) -> None:
    """Write a checkpoint of one shard of about ``size`` bytes, of a format's weights: experts' projections."""
    one = FORMATS[name]
    config = GPT_OSS if name == "mxfp4" else _deepseek(one)
    stored: dict[str, tuple[str, tuple[int, ...]]] = {}
    filled = number = 0
    while filled < size:
        for end, (dtype, shape, _) in one.tensors.items():
            tensor = f"{_name(name, number)}{end}"
            stored[tensor] = dtype, shape
            filled += size_of(dtype, shape)
        number += 1
    makers = {end: made for end, (_, _, made) in one.tensors.items()}

    def numbers(tensor: str, random: np.random.Generator) -> bytes:
        end = next(end for end in makers if tensor.endswith((f".{end}", f"_proj_{end}")))
        return makers[end](random).tobytes()

    inputs.write(folder, config, [stored], seed, numbers)


def _name(name, number):
    """A weight's name but for its end."""
    if name == "mxfp4":
        return f"model.layers.{number}.mlp.experts.gate_up_proj_"
    return f"model.layers.{3 + number // 256}.mlp.experts.{number % 256}.gate_proj."


def _deepseek(one):
    config = json.loads(json.dumps(shards.DEEPSEEK))
    config.pop("quantization_config", None)
    return config | ({"quantization_config": dict(one.quantization)} if one.quantization else {})
