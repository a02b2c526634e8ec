"""Checkpoints of DeepSeek-V3's names in every layout that a weight may be stored in, written by torch alone."""

import json

import numpy as np
import torch
from safetensors.torch import save_file
from aoe.checkpoints.checkpoint import Checkpoint
from support.checkpoints import CONFIG, weights

LARGEST = 448.0


def is_projection(name):
    return name.endswith("_proj.weight") and "eh_proj" not in name


def up(scale, dtype):
    """A scale rounded up to a dtype, by torch: to nearest, and one number further where that was down."""
    if dtype == "powers":
        return torch.exp2(torch.ceil(torch.log2(scale.double()))).float()
    near = scale.to(dtype)
    if dtype == torch.float32:
        return near
    return torch.where(near.float() < scale, torch.nextafter(near, torch.full_like(near, torch.inf)), near)


def blocks_of(value, block):
    """The largest magnitude of every block, and a function that spreads what is of blocks over the matrix."""
    rows, columns = value.shape
    height, width = block
    padded = torch.zeros(-(-rows // height) * height, -(-columns // width) * width)
    padded[:rows, :columns] = value
    largest = padded.reshape(-(-rows // height), height, -(-columns // width), width).abs().amax((1, 3))

    def spread(scale):
        return scale.repeat_interleave(height, 0)[:rows].repeat_interleave(width, 1)[:, :columns]

    return largest, spread


def quantized(value, block=(128, 128), dtype=torch.float32):
    """(codes, scales rounded up to a dtype or "powers", in float32) of a matrix, in blocks."""
    largest, spread = blocks_of(value, block)
    scale = largest / LARGEST
    scale = torch.where(scale > 0, up(scale, dtype).float(), torch.ones_like(scale))
    codes = (value / spread(scale)).clamp(-LARGEST, LARGEST).to(torch.float8_e4m3fn)
    return codes, scale


def dequantized(codes, scale, block):
    """float32 values of codes and scales in blocks."""
    _, spread = blocks_of(codes.float(), block)
    return codes.float() * spread(scale.float())


def write(folder, tensors, name, quantization=None):
    """A checkpoint of one shard."""
    folder.mkdir(parents=True)
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / "model.safetensors")
    config = CONFIG | ({"quantization_config": quantization} if quantization else {})
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return Checkpoint(folder, name)


class Kind:
    """A layout of FP8: blocks (None for a whole side), scales' dtype (or "powers"), their name's end, the config."""

    def __init__(self, block, dtype, end="_scale_inv", shape=None, stored=None, **config):
        self.block, self.dtype, self.end, self.shape = block, dtype, end, shape
        self.stored = stored or (torch.float32 if dtype == "powers" else dtype)
        self.config = {"quant_method": "fp8", "weight_block_size": [*block] if None not in block else None} | config

    def blocks(self, value):
        return tuple(size or whole for size, whole in zip(self.block, value.shape, strict=True))

    def encode(self, value):
        """{end of the name: tensor} of a matrix."""
        codes, scale = quantized(value, self.blocks(value), self.dtype)
        scale = scale.to(self.stored)
        return {"": codes, self.end: scale.reshape(self.shape) if self.shape is not None else scale}

    def decode(self, tensors):
        """The float32 matrix of what ``encode`` gives."""
        codes = tensors[""]
        block = self.blocks(codes)
        grid = [-(-whole // size) for whole, size in zip(codes.shape, block, strict=True)]
        return dequantized(codes, tensors[self.end].reshape(grid), block)

    def name(self, weight, end):
        return weight.removesuffix(".weight") + end if end.startswith(".") else weight + end


class Plain:
    """Numbers of a dtype."""

    config = None

    def __init__(self, dtype):
        self.dtype = dtype

    def encode(self, value):
        return {"": value.to(self.dtype)}

    def decode(self, tensors):
        return tensors[""].float()

    def name(self, weight, end):
        return weight


E8M0 = torch.float8_e8m0fnu
KINDS = {
    "f32": Kind((128, 128), torch.float32),
    "bf16": Kind((128, 128), torch.bfloat16),
    "f16": Kind((128, 128), torch.float16),
    "powers": Kind((128, 128), "powers", scale_fmt="ue8m0"),
    "e8m0": Kind((128, 128), "powers", ".scale", stored=E8M0, scale_fmt="ue8m0"),
    "blocks": Kind((64, 32), torch.float32),
    "rows": Kind((1, None), torch.float32, "_scale"),
    "rows in bf16": Kind((1, None), torch.bfloat16, "_scale"),
    "columns": Kind((None, 1), torch.float32, "_scale"),
    "tensor": Kind((None, None), torch.float32, "_scale", shape=()),
    "tensor in a list": Kind((None, None), torch.bfloat16, "_scale", shape=(1,)),
    "plain bf16": Plain(torch.bfloat16),
    "plain f32": Plain(torch.float32),
    "plain f16": Plain(torch.float16),
}


def model(folder, kind, seed, name):
    """A checkpoint whose projections are of a kind, from random numbers of a seed; and its values {weight: float32}."""
    tensors, values = {}, {}
    for weight, value in weights(seed).items():
        if is_projection(weight):
            parts = KINDS[kind].encode(value)
            tensors |= {KINDS[kind].name(weight, end): part for end, part in parts.items()}
            values[weight] = KINDS[kind].decode(parts)
        else:
            tensors[weight] = value if weight.endswith("bias") else value.bfloat16()
            values[weight] = tensors[weight].float()
    return write(folder, tensors, name, KINDS[kind].config), values


PACKED = "model.layers.0.mlp.up_proj.weight"


def packed_of(seed):
    """{format: the tensors of one weight} of the formats that are packed; the numbers are any."""
    draw = np.random.default_rng(seed)

    def whole(dtype, *shape):
        return torch.from_numpy(draw.integers(-(2**31), 2**31 - 1, shape, np.int32)).to(dtype)

    def byte(low, high, *shape):
        return torch.from_numpy(draw.integers(low, high, shape, np.uint8))

    def scale(*shape):
        return torch.from_numpy(draw.random(shape, np.float32)).half()

    base = PACKED.removesuffix("weight")
    int4 = {f"{base}weight_packed": whole(torch.int32, 64, 16), f"{base}weight_scale": scale(64, 4).bfloat16()}
    awq = {f"{base}qweight": whole(torch.int32, 128, 8), f"{base}qzeros": whole(torch.int32, 4, 8)}
    gptq = {f"{base}qweight": whole(torch.int32, 16, 64), f"{base}qzeros": whole(torch.int32, 4, 8)}
    nvfp4 = {
        f"{base}weight_packed": byte(0, 255, 64, 64),
        f"{base}weight_scale": byte(8, 100, 64, 8).view(torch.float8_e4m3fn),
    }
    modelopt = {PACKED: nvfp4[f"{base}weight_packed"], f"{base}weight_scale": nvfp4[f"{base}weight_scale"]}
    return {
        "int4": int4 | {f"{base}weight_shape": torch.tensor([64, 128])},
        "awq": awq | {f"{base}scales": scale(4, 64)},
        "gptq": gptq | {f"{base}scales": scale(4, 64), f"{base}g_idx": torch.arange(128, dtype=torch.int32) // 32},
        "nvfp4": nvfp4 | {f"{base}weight_global_scale": torch.tensor([3.0])},
        "nvfp4 of ModelOpt": modelopt | {f"{base}weight_scale_2": torch.tensor(0.3)},
        "mxfp4": {
            "model.layers.1.mlp.experts.e_blocks": byte(0, 255, 2, 32, 4, 16),
            "model.layers.1.mlp.experts.e_scales": byte(100, 130, 2, 32, 4),
        },
        "mxfp4 of DeepSeek-V4": {PACKED: byte(0, 255, 64, 64), f"{base}scale": byte(99, 130, 64, 4).view(E8M0)},
    }
