"""The arithmetic on NVIDIA's and AMD's GPUs: Triton for what is combined, torch for what is compared.

Every thread that calls has a stream of its own, and ``memory`` is page-locked, so that the copies of one slab overlap
with the work on another.  Results are complete when a function returns.
"""

import math
import threading
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
import triton
import triton.language as tl
from aoe.checkpoints.formats import BLOCK
from aoe.checkpoints.layout import Scales
from aoe.numerics.kernels import FP8, PLAIN, Method, NotFiniteError, Part, Sums, composed_cuda, cpu
from aoe.numerics.kernels.arithmetic import BF16, E4M3, F16, F32
from aoe.numerics.kernels.conversions_cuda import decode, encode

SLAB = 32 << 20  # bytes; smaller pieces do not fill the way to the GPU
TILE = 4096  # elements without blocks that a program combines
STORAGE = {FP8: torch.uint8, "BF16": torch.uint16, "F16": torch.uint16, "F32": torch.float32}
VALUES = {FP8: torch.float8_e4m3fn, "BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
KINDS = {FP8: E4M3, "BF16": BF16, "F16": F16, "F32": F32}
INFINITY = 0x7F800000  # float32; larger magnitudes are NaN

_thread = threading.local()


@triton.jit(do_not_specialize=["rows", "columns", "block_columns"])
def _combine_fp8(
    codes,
    scales,
    weights,
    out,
    out_scales,
    worst,
    rows,
    columns,
    block_columns,
    parents: tl.constexpr,
    block: tl.constexpr,
    native: tl.constexpr,
):
    """One block a program.  codes: uint8 (parents, rows, columns); scales: float32 (parents, block rows, columns)."""
    top, left = tl.program_id(0), tl.program_id(1)
    i = top * block + tl.arange(0, block)[:, None]
    j = left * block + tl.arange(0, block)[None, :]
    inside = (i < rows) & (j < columns)
    place = i.to(tl.int64) * columns + j
    total = tl.zeros((block, block), tl.float32)
    for parent in tl.static_range(parents):
        code = tl.load(codes + parent * rows.to(tl.int64) * columns + place, mask=inside, other=0)
        scale = tl.load(scales + (parent * tl.num_programs(0) + top) * block_columns + left)
        part = decode(code, native) * scale * tl.load(weights + parent)
        total = part if parent == 0 else total + part
    magnitude = total.to(tl.int32, bitcast=True) & 0x7FFFFFFF
    largest = tl.max(tl.max(magnitude, axis=1), axis=0)
    tl.atomic_max(worst, largest)
    scale = tl.div_rn(largest.to(tl.float32, bitcast=True), 448.0)
    scale = tl.where(scale > 0, scale, 1.0)
    tl.store(out_scales + top * block_columns + left, scale)
    quotient = tl.div_rn(total, tl.broadcast_to(scale, (block, block)))
    quotient = tl.minimum(tl.maximum(quotient, -448.0), 448.0)
    tl.store(out + place, encode(quotient, native), mask=inside)


@triton.jit(do_not_specialize=["size"])
def _combine(values, weights, out, worst, size, parents: tl.constexpr, tile: tl.constexpr):
    """values: (parents, size) of a floating-point dtype, as out (size,)."""
    place = tl.program_id(0).to(tl.int64) * tile + tl.arange(0, tile)
    inside = place < size
    total = tl.zeros((tile,), tl.float32)
    for parent in tl.static_range(parents):
        value = tl.load(values + parent * size.to(tl.int64) + place, mask=inside, other=0.0)
        part = value.to(tl.float32) * tl.load(weights + parent)
        total = part if parent == 0 else total + part
    result = total.to(out.dtype.element_ty)
    magnitude = result.to(tl.float32).to(tl.int32, bitcast=True) & 0x7FFFFFFF
    tl.atomic_max(worst, tl.max(magnitude, axis=0))
    tl.store(out + place, result, mask=inside)


@cache
def converts_fp8() -> bool:
    """Return whether the GPU converts e4m3 itself.

    NVIDIA's GPUs since Ada and Hopper do; AMD's MI300 has another dialect.
    """
    return torch.version.hip is None and torch.cuda.get_device_capability() >= (8, 9)


def here() -> int:
    return torch.cuda.current_device()


def enter(device: int) -> None:
    torch.cuda.set_device(device)


def memory(size: int) -> np.ndarray:
    return torch.empty(size, dtype=torch.uint8, pin_memory=True).numpy()


def empty(shape: int | tuple[int, ...], dtype: str) -> torch.Tensor:
    # the memory may have been another tensor's, which work in the caller's stream still reads; ours is in other streams
    torch.cuda.current_stream().synchronize()
    return torch.empty(shape, dtype=STORAGE[dtype], device="cuda")


def host(array: torch.Tensor) -> np.ndarray:
    return array.cpu().numpy()


def combine(
    parts: Sequence[Part],
    dtype: str,
    weights: Sequence[float],
    out: torch.Tensor,
    out_scale: torch.Tensor | None = None,
    method: Method = PLAIN,
    begin: int = 0,
) -> None:
    if out_scale is not None and method.scales != Scales.F32:
        _combine_on_processor(parts, dtype, weights, out, out_scale, method, begin)
        return
    with torch.cuda.stream(_stream()):
        numbers, scales = _on_device(parts)
        parents = len(parts)
        weights = torch.tensor(weights, dtype=torch.float32, device="cuda")
        worst = torch.zeros(1, dtype=torch.int32, device="cuda")
        options = {"enable_fp_fusion": False}
        if not method.is_plain:
            given = numbers if dtype == FP8 else numbers.view(VALUES[dtype])
            result = (
                out.view(VALUES[dtype]) if dtype != FP8 else out if out_scale is not None else out.view(torch.bfloat16)
            )
            native, kind = converts_fp8(), KINDS[dtype]
            composed_cuda.combine(given, scales, weights, result, out_scale, worst, method, begin, kind, native)
        elif dtype == FP8:
            _, rows, columns = numbers.shape
            _, block_rows, block_columns = scales.shape
            arguments = (numbers, scales, weights, out, out_scale, worst, rows, columns, block_columns)
            grid = (block_rows, block_columns)
            _combine_fp8[grid](*arguments, parents, BLOCK, converts_fp8(), num_warps=8, **options)
        else:
            size = numbers.shape[1]
            values = numbers.view(VALUES[dtype])
            _combine[(triton.cdiv(size, TILE),)](
                values, weights, out.view(VALUES[dtype]), worst, size, parents, TILE, **options
            )
        if worst.item() >= INFINITY:
            raise NotFiniteError


def _combine_on_processor(parts, dtype, weights, out, out_scale, method, begin):
    """Combine FP8 whose scales are not any float32 on the processor, whose kernels know how they are rounded."""
    numbers, scale = (np.empty(array.shape, kind) for array, kind in ((out, np.uint8), (out_scale, np.float32)))
    cpu.combine(parts, dtype, weights, numbers, scale, method, begin)
    with torch.cuda.stream(_stream()):
        out.copy_(torch.from_numpy(numbers))
        out_scale.copy_(torch.from_numpy(scale))
    _stream().synchronize()


def difference(parts: Sequence[Part], dtype: str) -> Sums:
    with torch.cuda.stream(_stream()):
        numbers, scales = _on_device(parts)
        codes = numbers.view(VALUES[dtype]).double()
        if dtype == FP8:
            ours, theirs = (_values(*part, torch.float64) for part in zip(numbers, scales, strict=True))
        else:
            ours, theirs = codes
        squares = [torch.sum(x * x).item() for x in (ours, ours - theirs, codes[0] - codes[1], theirs)]
        sums = Sums(*squares[:3], *_steps(numbers))._replace(other_size=squares[3])
    if not all(map(math.isfinite, sums)):
        raise NotFiniteError
    return sums


def _steps(numbers):
    """How many of two parents' numbers, stacked, lie 0, 1, 2, 3 and more steps of their format apart."""
    width = numbers.element_size()
    bits = numbers.view({1: torch.uint8, 2: torch.int16, 4: torch.int32}[width])
    bits = bits.long() if width == 4 else bits.int()  # room for the sign
    magnitude = bits & ((1 << (8 * width - 1)) - 1)
    # the sign is the highest bit, which widening has copied to all higher ones where the type has a sign
    places = torch.where((bits >> (8 * width - 1)) & 1 == 1, -magnitude, magnitude)
    apart = (places[0] - places[1]).abs()
    counts = torch.stack([torch.count_nonzero(apart == steps) for steps in range(4)]).tolist()
    return *counts, apart.numel() - sum(counts)


def _values(codes, scale, dtype):
    """FP8 codes, uint8 (m, n), times their scales, rounded once to ``dtype``."""
    rows, columns = codes.shape
    spread = scale.to(dtype).repeat_interleave(BLOCK, dim=0)[:rows].repeat_interleave(BLOCK, dim=1)[:, :columns]
    return codes.view(torch.float8_e4m3fn).to(dtype) * spread


def _stream():
    if not hasattr(_thread, "stream"):
        _thread.stream = torch.cuda.Stream()
    return _thread.stream


def _on_device(parts):
    """The parts' numbers and scales, each stacked on the GPU: (parents, …); None for scales that there are not.

    The copies may still be under way: the stream must have ended its work before the parts are overwritten.
    """
    stacked = []
    for arrays in zip(*parts, strict=True):
        if arrays[0] is None:
            stacked.append(None)
            continue
        stored = getattr(torch, str(arrays[0].dtype))
        there = torch.empty((len(parts), *arrays[0].shape), dtype=stored, device="cuda")
        for place, array in zip(there, arrays, strict=True):
            place.copy_(torch.from_numpy(array), non_blocking=True)
        stacked.append(there)
    return stacked
