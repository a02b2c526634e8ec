"""Combine parents on CPUs by any method: one step after the other, on pieces that stay in the processor's caches.

A piece is a row of FP8 blocks, or 4,096 numbers of a dtype without blocks; what the steps are, the modules
``arithmetic``, ``sums`` and ``rounding`` say.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from aoe.checkpoints.formats import BLOCK
from aoe.numerics.kernels import Arithmetic, Method, NotFiniteError, Rounding, arithmetic, rounding, sums
from aoe.numerics.kernels.arithmetic import BF16, E4M3, F16, F32

PIECE = 4096  # numbers without blocks
BEYOND = 464.0  # halfway from the largest e4m3 number to where the next one would be
Floats = NDArray[np.float32]


class Grid(NamedTuple):
    """The numbers of a format: digits that float32 has more; its smallest normal number; its largest number."""

    dropped: int
    smallest: float
    largest: float


GRIDS = {E4M3: Grid(20, 2.0**-6, 448.0), BF16: Grid(16, 0.0, np.inf), F16: Grid(13, 2.0**-14, np.inf)}


def combine_fp8(
    numbers: Sequence[np.ndarray],
    all_scales: Sequence[Floats],
    weights: Sequence[float],
    method: Method,
    begin: int,
    out: np.ndarray,
    out_scale: Floats | None,
    kind: int = F32,
) -> None:
    """Combine FP8 codes (m, n) and their scales into codes and scales; or, unrounded, into the bits of BF16.

    See aoe.numerics.kernels.Engine; begin: the row of the weight that they begin with; kind: of the new scales.
    """
    stored = method.arithmetic == Arithmetic.STORED
    for top in range(0, out.shape[0], BLOCK):
        row = slice(top, top + BLOCK)
        codes, scales = [codes[row] for codes in numbers], [scale[top // BLOCK] for scale in all_scales]
        total = _summed_fp8(codes, [np.ones_like(scale) for scale in scales] if stored else scales, weights, method)
        if out_scale is None:
            _narrow(total, BF16, out[row])
            continue
        scale = out_scale[top // BLOCK]
        if not _scaled(total, scales, weights, method, scale):
            raise NotFiniteError
        if kind != F32 and not arithmetic.round_up(scale, kind):
            raise NotFiniteError
        divisor = np.ones_like(scale) if stored else scale
        if method.rounding.by_chance:
            balanced = method.rounding == Rounding.BALANCED
            values = [_decoded(*part) for part in zip(codes, scales, strict=True)] if balanced else []
            encode_by_chance(total, values, divisor, method, begin + top, out[row])
            continue
        sums.divide_blocks(total, divisor)
        _narrow(total, E4M3, out[row])


def encode_by_chance(
    total: Floats, parents: Sequence[Floats], scale: Floats, method: Method, begin: int, out: np.ndarray
) -> None:
    """Make e4m3 codes of a row of blocks, float32 (up to 128, n), which is overwritten.

    parents: the values that were summed, for balanced rounding; scale: of the blocks (ceil(n / 128),); begin: the row
    of the weight that they begin with.
    """
    line = begin * len(scale)
    if method.rounding == Rounding.STOCHASTIC:
        rounding.encode_by_chance(total, scale, np.uint64(method.key), line, out)
        return
    sums.divide_blocks(total, scale)
    _balance_blocks(total, parents, scale, method, line)
    _narrow(total, E4M3, out)


def _scaled(total, scales, weights, method, out):
    """Fill ``out`` with the scales of a row of blocks; whether everything can be encoded."""
    if method.arithmetic != Arithmetic.STORED:
        return sums.scales_of(total, out)
    out[:] = summed(scales, weights, method)
    return sums.largest(total.reshape(-1)) < BEYOND and sums.largest(out) < np.inf


def combine(
    parts: Sequence[np.ndarray], kind: int, weights: Sequence[float], method: Method, begin: int, out: np.ndarray
) -> None:
    """Combine numbers of a ``kind``, unsigned bits (n,); begin: the number of the weight that they begin with."""
    for start in range(0, out.size, PIECE):
        values = []
        for bits in parts:
            values.append(np.empty(min(PIECE, out.size - start), np.float32))
            arithmetic.widen(bits[start : start + PIECE], kind, values[-1])
        total = summed(values, weights, method)
        if kind != F32 and method.rounding.by_chance and sums.largest(total) < np.inf:
            _round_by_chance(total, values, kind, method, begin + start)
        _narrow(total, kind, out[start : start + PIECE])


def round_by_chance(total: Floats, parents: Sequence[Floats], kind: int, method: Method, begin: int) -> None:
    """Round finite sums (n,) in place; parents: the values that were summed; begin: the number they begin with."""
    for start in range(0, total.size, PIECE):
        part = slice(start, start + PIECE)
        _round_by_chance(total[part], [parent[part] for parent in parents], kind, method, begin + start)


def _round_by_chance(total, parents, kind, method, begin):
    line = total.reshape(1, -1)
    random = _random(method, begin // rounding.LINE, -(-total.size // rounding.LINE)).reshape(1, -1)
    if method.rounding == Rounding.STOCHASTIC:
        rounding.round_by_chance(line, random, *GRIDS[kind])
    elif len(parents) > 1:
        directions = np.stack([value - parents[0] for value in parents[1:]])
        rounding.balance(total, directions, random[0], *GRIDS[kind])


def _summed_fp8(codes, scales, weights, method):
    """The sum of weights times values of a row of FP8 blocks, float32."""
    if method.in_bf16:
        return summed([_decoded(*part) for part in zip(codes, scales, strict=True)], weights, method)
    total = np.empty(codes[0].shape, np.float32)
    for number, (part, scale, weight) in enumerate(zip(codes, scales, weights, strict=True)):
        sums.add_fp8(part, scale, np.float32(weight), total, number == 0)
    return total


def _decoded(codes, scale):
    values = np.empty(codes.shape, np.float32)
    sums.add_fp8(codes, scale, np.float32(1), values, True)
    return values


def summed(values: Sequence[Floats], weights: Sequence[float], method: Method) -> Floats:
    """Return the sum of weights times values, float32, in their shape."""
    if method.arithmetic == Arithmetic.DELTAS:
        return _summed_deltas(values, weights)
    total, bf16 = np.empty(values[0].shape, np.float32), method.arithmetic == Arithmetic.BFLOAT16
    for number, (value, weight) in enumerate(zip(values, weights, strict=True)):
        sums.add(value.reshape(-1), np.float32(weight), total.reshape(-1), number == 0, bf16)
    if bf16:
        sums.round_to_bf16(total.reshape(-1))
    return total


def _summed_deltas(values, weights):
    """The first value plus the sum of weights times the others' differences from it, float32, in their shape."""
    total = np.zeros(values[0].shape, np.float32)
    for value, weight in zip(values[1:], weights[1:], strict=True):
        sums.add_delta(value.reshape(-1), values[0].reshape(-1), np.float32(weight), total.reshape(-1))
    sums.add_to_origin(values[0].reshape(-1), total.reshape(-1))
    return total


def _balance_blocks(total, parents, out_scale, method, line):
    """Round scaled sums in place; line: the first of the weight's lines of 128 that stand here."""
    rows = total.shape[0]
    first, *others = parents
    if not others:
        return
    directions = [other - first for other in others]
    for direction in directions:
        sums.divide_blocks(direction, out_scale)
    random = _random(method, line, rows * len(out_scale)).reshape(rows, -1)
    for left in range(0, total.shape[1], BLOCK):
        block = slice(left, left + BLOCK)
        flat = np.ascontiguousarray(total[:, block]).reshape(-1)
        towards = np.stack([np.ascontiguousarray(direction[:, block]).reshape(-1) for direction in directions])
        bits = np.ascontiguousarray(random[:, block][:, : total[:, block].shape[1]]).reshape(-1)
        rounding.balance(flat, towards, bits, *GRIDS[E4M3])
        total[:, block] = flat.reshape(rows, -1)


def _random(method, line, lines):
    out = np.empty((lines, rounding.LINE), np.uint32)
    rounding.random_bits(np.uint64(method.key), line, out)
    return out


def _narrow(total, kind, out):
    if not arithmetic.narrow(total.reshape(-1), kind, out.reshape(-1)):
        raise NotFiniteError
