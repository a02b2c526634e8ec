"""Kernels that decode, sum and encode rows of packed 4-bit weights at once, in pieces that stay in the caches.

The results are those of decoding, of aoe.numerics.kernels.sums, and of encoding, one after the other.  Of a byte's two
numbers, the first ones are kept apart from the second ones; and what groups have in common is spread before numbers are
looked at: so all long loops are over neighbours, which the compiler makes vectors of.

codes: a tuple of one array a parent, uint8 (rows, bytes), two numbers a byte; scales: one array a parent (rows,
groups); weights: one float32 a parent.
"""

import numpy as np
from numpy.typing import NDArray
from aoe.numerics.kernels import arithmetic
from aoe.numerics.kernels.jit import exact
from aoe.numerics.packed import e2m1, integers

TILE = 2048  # bytes of a row, about, that are combined at a time: their sums stay in the first-level cache
MAGNITUDE = np.uint32(0x7FFFFFFF)
INFINITY = np.uint32(0x7F800000)  # float32; larger magnitudes are NaN
LARGEST_EXPONENT = 252  # of MXFP4's scales, as stored
MORE = np.float32(1 + 2.0**-20)  # what a bound is raised by, since sums are rounded
E4M3 = arithmetic.E4M3

Codes = NDArray[np.uint8]
Floats = NDArray[np.float32]
ManyCodes = tuple[Codes, ...]
ManyFloats = tuple[Floats, ...]


@exact
def _spread(values, half, out):
    """Fill ``out`` (n,) with values, one for every ``half`` bytes."""
    for group in range(values.size):
        value = values[group]
        for j in range(half):
            out[group * half + j] = value


@exact
def _largest(low, high, half, one, other, out):
    """Fill ``out`` (groups,) with the largest magnitudes of groups of both (n,); return the bits of the largest.

    one, other: float32 (n,) to work in.
    """
    size, here, there = low.size, one.view(np.uint32), other.view(np.uint32)
    for j in range(size):
        first = np.float32(low[j]).view(np.uint32) & MAGNITUDE
        here[j] = max(first, np.float32(high[j]).view(np.uint32) & MAGNITUDE)
    while half % 2 == 0:
        half, size = half // 2, size // 2
        for j in range(size):
            there[j] = max(here[2 * j], here[2 * j + 1])
        here, there = there, here
    worst = np.uint32(0)
    for group in range(out.size):
        found = here[group * half]
        for j in range(1, half):
            found = max(found, here[group * half + j])
        out[group] = np.uint32(found).view(np.float32)
        worst = max(worst, found)
    return worst


@exact
def combine_mxfp4(
    codes: ManyCodes, scales: ManyCodes, values: Floats, weights: Floats, carry: int, out: Codes, out_scales: Codes
) -> bool:
    """Combine rows of MXFP4; see aoe.numerics.packed.mxfp4.

    scales: E8M0, and ``values``: what its bytes stand for, float32 (256,); carry: what is added to the bits of a
    largest magnitude before its exponent is taken; out, out_scales: the result.  Returns whether all sums are finite.
    """
    rows, total = out_scales.shape
    half = out.shape[1] // total
    tile, worst = max(TILE // half, 1), np.uint32(0)
    space, shared = np.empty((4, tile * half), np.float32), np.empty(tile, np.float32)
    for i in range(rows):
        for first in range(0, total, tile):
            groups = min(tile, total - first)
            begin, size = first * half, groups * half
            line, low, high, factors = space[0, :size], space[1, :size], space[2, :size], shared[:groups]
            for parent in range(len(codes)):
                stored = scales[parent][i, first : first + groups]
                for group in range(groups):
                    factors[group] = values[stored[group]]
                _spread(factors, half, line)
                source = codes[parent][i, begin : begin + size]
                e2m1.add_pairs(source, line, weights[parent], parent == 0, low, high)
            worst = max(worst, _largest(low, high, half, line, space[3, :size], factors))
            made = out_scales[i, first : first + groups]
            for group in range(groups):
                biased = np.int32((np.float32(factors[group]).view(np.uint32) + np.uint32(carry)) >> np.uint32(23))
                made[group] = min(max(biased - np.int32(2), np.int32(0)), np.int32(LARGEST_EXPONENT))
            for group in range(groups):  # 1 / scale
                factors[group] = np.uint32((np.uint32(254) - np.uint32(made[group])) << np.uint32(23)).view(np.float32)
            _spread(factors, half, line)
            e2m1.encode_pairs_by_inverses(low, high, line, out[i, begin : begin + size])
    return bool(worst < INFINITY)


@exact
def _factors(stored, values, factor, divides, out):
    """Fill ``out`` with the factors of numbers by stored e4m3 scales and the weight's; as in nvfp4."""
    for group in range(out.size):
        value = values[stored[group]]
        out[group] = value / factor if divides else value * factor


@exact
def largest_nvfp4(
    codes: ManyCodes, scales: ManyCodes, factors: Floats, divides: bool, values: Floats, weights: Floats
) -> float:
    """Return the largest magnitude of the sums that combine_nvfp4 makes; Inf or NaN if there is one.

    Only groups are looked at whose scales say that they may hold a larger number than what was found.
    """
    rows, total = scales[0].shape
    half, worst = codes[0].shape[1] // total, np.uint32(0)
    line, low, high = np.empty(half, np.float32), np.empty(half, np.float32), np.empty(half, np.float32)
    found, bounds = np.empty((len(codes), total), np.float32), np.empty(total, np.float32)
    for i in range(rows):
        bounds[:] = 0
        for parent in range(len(codes)):
            _factors(scales[parent][i], values, factors[parent], divides, found[parent])
            weight = abs(weights[parent]) * np.float32(6) * MORE
            for group in range(total):
                bounds[group] = bounds[group] + abs(found[parent, group]) * weight
        for group in range(total):
            if bounds[group] <= np.uint32(worst).view(np.float32):
                continue
            for parent in range(len(codes)):
                line[:] = found[parent, group]
                source = codes[parent][i, group * half : group * half + half]
                e2m1.add_pairs(source, line, weights[parent], parent == 0, low, high)
            for j in range(half):
                one = np.float32(low[j]).view(np.uint32) & MAGNITUDE
                worst = max(worst, max(one, np.float32(high[j]).view(np.uint32) & MAGNITUDE))
        if worst >= INFINITY:
            break
    return float(np.uint32(worst).view(np.float32))


@exact
def combine_nvfp4(
    codes: ManyCodes,
    scales: ManyCodes,
    factors: Floats,
    divides: bool,
    values: Floats,
    weights: Floats,
    out: Codes,
    out_scales: Codes,
) -> None:
    """Combine rows of NVFP4 into codes and e4m3 scales; see aoe.numerics.packed.nvfp4.

    scales: e4m3, and ``values``: what its bytes stand for, float32 (256,); factors: the scales of the parents' weights
    and, last, of the result, float32; divides: whether groups' scales are divided by them.
    """
    rows, total = out_scales.shape
    half, share = out.shape[1] // total, factors[len(codes)]
    tile = max(TILE // half, 1)
    space, shared = np.empty((4, tile * half), np.float32), np.empty(tile, np.float32)
    for i in range(rows):
        for first in range(0, total, tile):
            groups = min(tile, total - first)
            begin, size = first * half, groups * half
            line, low, high, found = space[0, :size], space[1, :size], space[2, :size], shared[:groups]
            for parent in range(len(codes)):
                _factors(scales[parent][i, first : first + groups], values, factors[parent], divides, found)
                _spread(found, half, line)
                source = codes[parent][i, begin : begin + size]
                e2m1.add_pairs(source, line, weights[parent], parent == 0, low, high)
            _largest(low, high, half, line, space[3, :size], found)
            made = out_scales[i, first : first + groups]
            if divides:
                for group in range(groups):
                    found[group] = min(found[group] / np.float32(6) * share, np.float32(448))
            else:
                for group in range(groups):
                    scale = found[group] / (np.float32(6) * share)
                    scale = scale if scale != 0 else np.float32(1)
                    found[group] = min(max(scale, np.float32(2.0**-9)), np.float32(448))
            arithmetic.narrow(found, E4M3, made)
            if divides:
                for group in range(groups):
                    made[group] = made[group] if made[group] != 0 else np.uint8(0x20)  # 0.125
            _factors(made, values, share, divides, found)
            _spread(found, half, line)
            e2m1.encode_pairs(low, high, line, out[i, begin : begin + size])


@exact
def combine_int4(
    codes: ManyCodes,
    scales: ManyFloats,
    weights: Floats,
    kind: int,
    epsilon: float,
    out: Codes,
    out_scales: NDArray[np.uint16] | NDArray[np.uint32],
) -> bool:
    """Combine rows of packed 4-bit integers without zero points; see aoe.numerics.packed.int4.

    scales: float32; kind: of the new scales, whose bits ``out_scales`` takes; epsilon: the scale of zeros.  Returns
    whether all of it is finite.
    """
    rows, total = out_scales.shape
    half, finite = out.shape[1] // total, True
    tile, worst = max(TILE // half, 1), np.uint32(0)
    space, shared = np.empty((4, tile * half), np.float32), np.empty(tile, np.float32)
    for i in range(rows):
        for first in range(0, total, tile):
            groups = min(tile, total - first)
            begin, size = first * half, groups * half
            line, low, high, found = space[0, :size], space[1, :size], space[2, :size], shared[:groups]
            for parent in range(len(codes)):
                _spread(scales[parent][i, first : first + groups], half, line)
                source = codes[parent][i, begin : begin + size]
                integers.add_nibbles(source, line, weights[parent], parent == 0, low, high)
            worst = max(worst, _largest(low, high, half, line, space[3, :size], found))
            made = out_scales[i, first : first + groups]
            for group in range(groups):
                found[group] = found[group] / np.float32(7)
            finite &= arithmetic.narrow(found, kind, made)
            arithmetic.widen(made, kind, found)
            for group in range(groups):
                found[group] = found[group] if found[group] != 0 else np.float32(epsilon)
            arithmetic.narrow(found, kind, made)
            _spread(found, half, line)
            integers.encode_nibbles(low, high, line, out[i, begin : begin + size])
    return bool(finite and worst < INFINITY)
