"""Combine parents on GPUs by any method, as aoe.numerics.kernels.composed does on processors, byte for byte.

What the steps are, the modules ``sums`` and ``rounding`` say.  A program does a block of FP8, or a piece of a dtype
without blocks; where it needs the parents a second time, it reads them again.
"""

import numpy as np
import torch
import triton
import triton.language as tl
from aoe.checkpoints.formats import BLOCK
from aoe.numerics.kernels import Arithmetic, Method, Rounding
from aoe.numerics.kernels.composed import BEYOND, GRIDS, PIECE, Grid
from aoe.numerics.kernels.conversions_cuda import decode, encode
from aoe.numerics.kernels.rounding import (
    CHANGE_BITS,
    DIRECTION_BITS,
    DITHER_BITS,
    FARTHEST,
    LANES,
    LINE,
    PASSES,
    ROUNDS,
    TICKS,
)

INFINITY = 0x7F800000
NO_GRID = Grid(0, 0.0, 0.0)  # of float32, which is not rounded

# of kernels, which take no names from outside but these
_CHANGE_BITS, _DIRECTION_BITS, _DITHER_BITS = map(tl.constexpr, (CHANGE_BITS, DIRECTION_BITS, DITHER_BITS))
_LINE, _WIDTH, _ROUNDS, _TICKS, _PASSES = map(tl.constexpr, (LINE, LINE // LANES, ROUNDS, TICKS, PASSES))
_FARTHEST, _INFINITY = tl.constexpr(float(FARTHEST)), tl.constexpr(INFINITY)
_BEYOND = tl.constexpr(int(np.float32(BEYOND).view(np.int32)))


@triton.jit
def _in_bf16(value):
    return value.to(tl.bfloat16).to(tl.float32)


@triton.jit
def _random(key, line, column):
    """int32 bits of Philox4x32-10; key: two words, int32; line: int64; column: of the line's 128 numbers, int32."""
    counter = line * _WIDTH + column % _WIDTH
    x, y = (counter & 0xFFFFFFFF).to(tl.uint32), (counter >> 32).to(tl.uint32)
    z, w = x * 0, x * 0
    k = tl.load(key).to(tl.uint32, bitcast=True) + x * 0
    m = tl.load(key + 1).to(tl.uint32, bitcast=True) + x * 0
    for _ in tl.static_range(_ROUNDS):
        one, other = x, z
        x = tl.umulhi(other, z * 0 + 0xCD9E8D57) ^ y ^ k
        z = tl.umulhi(one, z * 0 + 0xD2511F53) ^ w ^ m
        y, w = other * 0xCD9E8D57, one * 0xD2511F53
        k, m = k + 0x9E3779B9, m + 0xBB67AE85
    lane = column // _WIDTH
    chosen = tl.where(lane < 2, tl.where(lane == 0, x, y), tl.where(lane == 2, z, w))
    return chosen.to(tl.int32, bitcast=True)


@triton.jit
def _rounded(value, offset, dropped: tl.constexpr, smallest: tl.constexpr, largest: tl.constexpr):
    bits = value.to(tl.int32, bitcast=True)
    magnitude = (bits & 0x7FFFFFFF).to(tl.float32, bitcast=True)
    below = tl.where(magnitude < smallest, smallest, 0.0)
    cut = ((magnitude + below).to(tl.int32, bitcast=True) + offset) & -(1 << dropped)
    cut = tl.minimum(cut.to(tl.float32, bitcast=True) - below, largest)
    return (cut.to(tl.int32, bitcast=True) | (bits & -2147483648)).to(tl.float32, bitcast=True)


@triton.jit
def _power(exponent):
    return ((tl.minimum(tl.maximum(exponent, -126), 127) + 127) << 23).to(tl.float32, bitcast=True)


@triton.jit
def _exponent(values):
    return (tl.max(values.to(tl.int32, bitcast=True) & 0x7FFFFFFF) >> 23) - 127


@triton.jit
def _limited(direction, scale):
    far = _FARTHEST * _power(-scale)
    return tl.minimum(tl.maximum(direction, -far), far)


@triton.jit
def _shift(values, moved, move, offset, scale, dropped: tl.constexpr, smallest: tl.constexpr, largest: tl.constexpr):
    """The shift along one direction, for what has moved along the others; see rounding.balance."""
    unit = _power(scale + _CHANGE_BITS)
    weight = (move * _power(_DIRECTION_BITS - _exponent(move))).to(tl.int32).to(tl.int64)
    low, high = tl.full((), -(1 << _TICKS), tl.int32), tl.full((), 1 << _TICKS, tl.int32)
    below, above = tl.full((), -(1 << 62), tl.int64), tl.full((), 1 << 62, tl.int64)
    for _ in range(_TICKS + 1):
        middle = (low + high) >> 1
        there = moved + (middle.to(tl.float32) * _power(-_TICKS)) * move
        change = _rounded(there, offset, dropped, smallest, largest) - values
        found = tl.sum((change * unit).to(tl.int32).to(tl.int64) * weight)
        low, below = tl.where(found < 0, middle, low), tl.where(found < 0, found, below)
        high, above = tl.where(found < 0, high, middle), tl.where(found < 0, above, found)
    return tl.where(-below < above, low, high).to(tl.float32) * _power(-_TICKS)


@triton.jit
def _of(shifts, number: tl.constexpr, most: tl.constexpr):
    return tl.sum(tl.where(tl.arange(0, most) == number, shifts, 0.0))


@triton.jit
def _value(
    codes, scales, parent, place, inside, size, scale_place, scale_size, fp8: tl.constexpr, native: tl.constexpr
):
    """A parent's float32 values."""
    if fp8:
        scale = tl.load(scales + parent * scale_size + scale_place)
        return decode(tl.load(codes + parent * size + place, mask=inside, other=0), native) * scale
    else:
        return tl.load(codes + parent * size + place, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _combined(
    codes, scales, weights, key, out, out_scales, worst, place, line, column, inside, size, scale_place, scale_size,
    parents: tl.constexpr, most: tl.constexpr, fp8: tl.constexpr, native: tl.constexpr, stored: tl.constexpr,
    bf16: tl.constexpr, deltas: tl.constexpr, stochastic: tl.constexpr, balanced: tl.constexpr,
    unrounded: tl.constexpr, dropped: tl.constexpr, smallest: tl.constexpr, largest: tl.constexpr,
):  # fmt: skip
    """Combine one block or piece, whose numbers stand at ``place``."""
    total, total_scale = tl.zeros(place.shape, tl.float32), tl.zeros((), tl.float32)
    origin = total
    for parent in tl.static_range(parents):
        weight = tl.load(weights + parent)
        if stored:
            value = decode(tl.load(codes + parent * size + place, mask=inside, other=0), native)
            part_scale = tl.load(scales + parent * scale_size + scale_place) * weight
            total_scale = part_scale if parent == 0 else total_scale + part_scale
        else:
            value = _value(codes, scales, parent, place, inside, size, scale_place, scale_size, fp8, native)
        if deltas:
            if parent == 0:
                origin = _in_bf16(value)
            else:
                total = total + _in_bf16(_in_bf16(_in_bf16(value) - origin) * _in_bf16(weight))
        else:
            part = _in_bf16(_in_bf16(value) * weight) if bf16 else value * weight
            total = part if parent == 0 else total + part
    if deltas:
        total = _in_bf16(origin + _in_bf16(total))
    if bf16:
        total = _in_bf16(total)
    found = tl.max(total.to(tl.int32, bitcast=True) & 0x7FFFFFFF)
    scale = tl.full((), 1.0, tl.float32)
    if stored:
        scale = total_scale
        tl.atomic_max(worst, tl.where(found >= _BEYOND, _INFINITY, 0))
    elif fp8 and not unrounded:
        scale = tl.div_rn(found.to(tl.float32, bitcast=True), 448.0)
        scale = tl.where(scale > 0, scale, 1.0)
        total = tl.div_rn(total, tl.broadcast_to(scale, total.shape))
    if fp8 and not unrounded:
        tl.store(out_scales + scale_place, scale)
    tl.atomic_max(worst, found)
    if stochastic:
        total = _rounded(total, _random(key, line, column) & ((1 << dropped) - 1), dropped, smallest, largest)
    if balanced and parents > 1:
        offset = (_random(key, line, column) & ((1 << (dropped - _DITHER_BITS)) - 1)) + (
            (1 << (dropped - 1)) - (1 << (dropped - 1 - _DITHER_BITS))
        )
        power = 8 - _exponent(total)
        shifts = tl.zeros((most,), tl.float32)
        first = _value(codes, scales, 0, place, inside, size, scale_place, scale_size, fp8, native)
        for number in tl.static_range((parents - 1) * (_PASSES if parents > 2 else 1)):
            moved = total
            for other in tl.static_range(parents - 1):
                if other != number % (parents - 1):
                    value = _value(codes, scales, other + 1, place, inside, size, scale_place, scale_size, fp8, native)
                    move = value - first
                    if fp8:
                        move = tl.div_rn(move, tl.broadcast_to(scale, move.shape))
                    moved = moved + _of(shifts, other, most) * _limited(move, power)
            value = _value(
                codes, scales, number % (parents - 1) + 1, place, inside, size, scale_place, scale_size, fp8, native
            )
            move = value - first
            if fp8:
                move = tl.div_rn(move, tl.broadcast_to(scale, move.shape))
            shift = _shift(total, moved, _limited(move, power), offset, power, dropped, smallest, largest)
            shifts = tl.where(tl.arange(0, most) == number % (parents - 1), shift, shifts)
        moved = total
        for other in tl.static_range(parents - 1):
            value = _value(codes, scales, other + 1, place, inside, size, scale_place, scale_size, fp8, native)
            move = value - first
            if fp8:
                move = tl.div_rn(move, tl.broadcast_to(scale, move.shape))
            moved = moved + _of(shifts, other, most) * _limited(move, power)
        total = _rounded(moved, offset, dropped, smallest, largest)
    if fp8 and not unrounded:
        tl.store(out + place, encode(tl.minimum(tl.maximum(total, -448.0), 448.0), native), mask=inside)
    else:
        result = total.to(out.dtype.element_ty)
        tl.atomic_max(worst, tl.max(result.to(tl.float32).to(tl.int32, bitcast=True) & 0x7FFFFFFF))
        tl.store(out + place, result, mask=inside)


@triton.jit(do_not_specialize=["rows", "columns", "blocks", "begin"])
def _blocks(
    codes, scales, weights, key, out, out_scales, worst, rows, columns, blocks, begin,
    block: tl.constexpr, parents: tl.constexpr, most: tl.constexpr, native: tl.constexpr, stored: tl.constexpr,
    bf16: tl.constexpr, deltas: tl.constexpr, stochastic: tl.constexpr, balanced: tl.constexpr,
    unrounded: tl.constexpr, dropped: tl.constexpr, smallest: tl.constexpr, largest: tl.constexpr,
):  # fmt: skip
    """One FP8 block a program.  codes: uint8 (parents, rows, columns); scales: float32 (parents, rows, columns)."""
    top, left = tl.program_id(0), tl.program_id(1)
    i = top * block + tl.arange(0, block)[:, None]
    j = left * block + tl.arange(0, block)[None, :]
    place = i.to(tl.int64) * columns + j
    line = (begin + i).to(tl.int64) * blocks + left + j * 0
    _combined(
        codes, scales, weights, key, out, out_scales, worst, place, line, j % block + i * 0, (i < rows) & (j < columns),
        rows.to(tl.int64) * columns, top * blocks + left, tl.num_programs(0) * blocks,
        parents, most, True, native, stored, bf16, deltas, stochastic, balanced, unrounded, dropped, smallest, largest,
    )  # fmt: skip


@triton.jit(do_not_specialize=["size", "begin"])
def _pieces(
    values, weights, key, out, worst, size, begin,
    piece: tl.constexpr, parents: tl.constexpr, most: tl.constexpr, bf16: tl.constexpr, deltas: tl.constexpr,
    stochastic: tl.constexpr, balanced: tl.constexpr, dropped: tl.constexpr, smallest: tl.constexpr,
    largest: tl.constexpr,
):  # fmt: skip
    """One piece a program.  values: (parents, size) of a floating-point dtype, as out (size,)."""
    place = tl.program_id(0).to(tl.int64) * piece + tl.arange(0, piece)
    number = begin.to(tl.int64) + place
    _combined(
        values, values, weights, key, out, out, worst, place, number // _LINE, (number % _LINE).to(tl.int32),
        place < size, size.to(tl.int64), 0, 0,
        parents, most, False, False, False, bf16, deltas, stochastic, balanced, True, dropped, smallest, largest,
    )  # fmt: skip


def combine(
    numbers: torch.Tensor,
    scales: torch.Tensor | None,
    weights: torch.Tensor,
    out: torch.Tensor,
    out_scale: torch.Tensor | None,
    worst: torch.Tensor,
    method: Method,
    begin: int,
    kind: int,
    native: bool,
) -> None:
    """Combine what is on the GPU; see aoe.numerics.kernels.Engine.

    numbers: (parents, m, n) codes as uint8, or (parents, n) of a floating-point dtype; scales: of codes; out: of the
    result's dtype; worst: int32 (1,), to which the largest magnitude's bits are added by maximum; kind: the format that
    is rounded to, of arithmetic's; native: whether the GPU converts FP8.
    """
    parents, grid = len(numbers), GRIDS.get(kind, NO_GRID)
    halves = [method.key & 0xFFFFFFFF, method.key >> 32]
    key = torch.tensor([half - (half >> 31 << 32) for half in halves], dtype=torch.int32, device="cuda")
    rounded = kind in GRIDS
    how = (
        method.arithmetic == Arithmetic.BFLOAT16,
        method.arithmetic == Arithmetic.DELTAS,
        rounded and method.rounding == Rounding.STOCHASTIC,
        rounded and method.rounding == Rounding.BALANCED,
    )
    most, options = triton.next_power_of_2(max(parents - 1, 2)), {"enable_fp_fusion": False, "num_warps": 8}
    if scales is None:
        size = numbers.shape[1]
        _pieces[(triton.cdiv(size, PIECE),)](
            numbers, weights, key, out, worst, size, begin, PIECE, parents, most, *how, *grid, **options
        )
        return
    _, rows, columns = numbers.shape
    _, block_rows, blocks = scales.shape
    stored, unrounded = method.arithmetic == Arithmetic.STORED, method.rounding == Rounding.NONE
    place = out if out_scale is None else out_scale
    options["num_warps"] = 16 if method.rounding == Rounding.BALANCED else 8
    _blocks[(block_rows, blocks)](
        numbers, scales, weights, key, out, place, worst, rows, columns, blocks, begin,
        BLOCK, parents, most, native, stored, *how, unrounded, *grid, **options,
    )  # fmt: skip
