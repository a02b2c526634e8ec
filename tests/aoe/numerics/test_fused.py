"""Weights that are combined at once have the bytes of those that are decoded, summed and encoded in steps."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from aoe import AoeError
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.merging.merge import Merge
from aoe.merging.plan import make_plan
from aoe.merging.recipe import read_recipe
from aoe.numerics import fused
from support.checkpoints import CONFIG

WEIGHT = "model.layers.0.mlp.experts.0.gate_proj.weight"
ROWS, COLUMNS = 70, 4352  # more than a tile of a row, and no whole number of them


def codes(random, *shape):
    return random.integers(0, 256, shape, np.uint8)


def e4m3(random, *shape):
    found = codes(random, *shape)
    return np.where(found & 0x7F == 0x7F, found - 1, found)


def floats(random, *shape):
    """Scales of very different sizes, some of them subnormal, and some 0."""
    found = np.ldexp(random.uniform(1, 2, shape), random.integers(-140, 20, shape)).astype(np.float32)
    return np.where(random.random(shape) < 0.05, np.float32(0), found)


def bf16(random, *shape):
    return (floats(random, *shape).view(np.uint32) >> 16).astype(np.uint16)


def fp8(height, width):
    def made(random):
        grid = -(-ROWS // height), -(-COLUMNS // width)
        return {"": e4m3(random, ROWS, COLUMNS), "_scale": floats(random, *grid)}

    return made


def mxfp4(random):
    scale = random.integers(0, 252, (ROWS, COLUMNS // 32), np.uint8)
    return {"_packed": codes(random, ROWS, COLUMNS // 2), "_scale": scale}


def fused_mxfp4(random):
    groups = random.integers(100, 140, (2, ROWS, COLUMNS // 32), np.uint8)
    return {"_blocks": codes(random, 2, ROWS, COLUMNS // 32, 16), "_scales": groups}


def int4(size, scale):
    def made(random):
        packed = codes(random, ROWS, COLUMNS // 2).view(np.int32)
        return {"_packed": packed, "_scale": scale(random, ROWS, COLUMNS // size)}

    return made


def nvfp4(end):
    def made(random):
        scale = np.where(random.random((ROWS, COLUMNS // 16)) < 0.1, 0, e4m3(random, ROWS, COLUMNS // 16) & 0x7F)
        names = ("_packed", "_scale") if end == "_global_scale" else ("", "_scale")
        weight = codes(random, ROWS, COLUMNS // 2)
        return {names[0]: weight, names[1]: scale.astype(np.uint8), end: random.uniform(0.5, 9, 1).astype(np.float32)}

    return made


# of numpy's arrays, what safetensors has to call them
DTYPES = {"mxfp4": {}, "nvfp4": {"_scale": "F8_E4M3"}, "fp8": {"": "F8_E4M3"}, "bf16": {"_scale": "BF16"}}
FORMATS = {
    "rows": (fp8(1, COLUMNS), DTYPES["fp8"], None),
    "columns": (fp8(ROWS, 1), DTYPES["fp8"], None),
    "tensor": (fp8(ROWS, COLUMNS), DTYPES["fp8"], None),
    "blocks of 64 x 96": (fp8(64, 96), DTYPES["fp8"], [64, 96]),
    "mxfp4": (mxfp4, {}, None),
    "mxfp4 of gpt-oss": (fused_mxfp4, {}, None),
    "int4 in 32": (int4(32, bf16), DTYPES["bf16"], None),
    "int4 in 128": (int4(128, floats), {}, None),
    "int4 in 34": (int4(34, floats), {}, None),
    "int4 a row": (int4(COLUMNS, bf16), DTYPES["bf16"], None),
    "nvfp4": (nvfp4("_global_scale"), DTYPES["nvfp4"], None),
    "nvfp4 of ModelOpt": (nvfp4("_scale_2"), DTYPES["nvfp4"], None),
}


def name_of(end):
    experts = "model.layers.0.mlp.experts.gate_up_proj"
    return experts + end if end in ("_blocks", "_scales") else WEIGHT + end


def checkpoint(folder, kind, seed, change=lambda tensors: None):
    make, dtypes, block = FORMATS[kind]
    tensors = make(np.random.default_rng(seed))
    change(tensors)
    folder.mkdir()
    path = folder / "model.safetensors"
    save_file({name_of(end): np.ascontiguousarray(array) for end, array in tensors.items()}, path)
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    for end, dtype in dtypes.items():
        header[name_of(end)]["dtype"] = dtype
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + size :])
    quantized = {"quant_method": "fp8", "weight_block_size": block} if block else {"quant_method": "compressed-tensors"}
    (folder / "config.json").write_text(json.dumps(CONFIG | {"quantization_config": quantized}), encoding="utf-8")
    return Checkpoint(folder, folder.name)


def merge_of(parents, **weights):
    recipe = read_recipe("x", {"base": next(iter(parents)), "weights": weights, "convex": False}, parents)
    return Merge(make_plan(recipe, parents), parents, "cpu")


def encoded(merge):
    weight = next(iter(merge.base.weights))
    assert merge.source(weight) is None
    found = {}
    for begin, end in merge.pieces(weight):
        for role, numbers in merge.encoded(weight, begin, end).items():
            found.setdefault(role, []).append(np.ascontiguousarray(numbers).reshape(-1).view(np.uint8))
    return {role: np.concatenate(parts) for role, parts in found.items()}


@pytest.mark.parametrize(("kind", "count"), [*((kind, 2) for kind in FORMATS), ("rows", 3), ("mxfp4", 3)])
def test_the_bytes_are_those_of_one_step_after_the_other(tmp_path, monkeypatch, kind, count):
    parents = {name: checkpoint(tmp_path / name, kind, seed) for seed, name in enumerate("abc"[:count])}
    merge = merge_of(parents, **dict(zip(parents, (0.3, 0.9, -0.2), strict=False)))
    calls = []
    whole = fused.combine
    monkeypatch.setattr(fused, "combine", lambda *words: calls.append(words) or whole(*words))
    at_once = encoded(merge)
    assert calls
    monkeypatch.setattr(fused, "is_known", lambda *words: False)
    in_steps = encoded(merge)
    assert at_once.keys() == in_steps.keys()
    for role, numbers in at_once.items():
        np.testing.assert_array_equal(numbers, in_steps[role], err_msg=role)


@pytest.mark.parametrize("kind", ["rows", "mxfp4", "int4 in 128", "nvfp4"])
def test_a_parent_with_nan_is_named(tmp_path, kind):
    def spoil(tensors):
        scale = tensors["_scale"]
        scale[3, 0] = np.nan if scale.dtype == np.float32 else {"mxfp4": 255, "nvfp4": 0x7F}[kind]

    parents = {"a": checkpoint(tmp_path / "a", kind, 0), "b": checkpoint(tmp_path / "b", kind, 1, spoil)}
    with pytest.raises(AoeError, match=r"b: the tensor .* holds NaN or Inf"):
        encoded(merge_of(parents, a=0.5, b=0.5))
