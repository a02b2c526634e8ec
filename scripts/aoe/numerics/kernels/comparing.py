"""Kernels for CPUs that compare stored numbers: their bytes, their values, and how many steps they are apart."""

import numpy as np
from numpy.typing import NDArray
from aoe.checkpoints.formats import BLOCK
from aoe.numerics.kernels.arithmetic import BF16, Bits, Codes, widen
from aoe.numerics.kernels.jit import exact, inlined, summing

STEPS = 5  # counts of steps: 0, 1, 2, 3, and more
HUGE_RATIO = 2.0**20  # of two scales
TILE = 4096  # elements that are looked at together: they stay in the first-level cache

Unsigned = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.uint32]
Floats = NDArray[np.float32]


@inlined
def _float(bits):
    return np.uint32(bits).view(np.float32)


@inlined
def _from_e4m3(code):
    """See aoe.numerics.kernels.arithmetic, whose own stays there."""
    bits = (np.int32(np.int8(code)) << np.int32(20)) & np.int32(-0x78100000)
    return np.int32(bits).view(np.float32) * np.float32(2.0**120)


@exact
def alike(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Return whether two arrays of bytes are equal; the rest is not read once they differ."""
    for start in range(0, one.size, TILE):
        ours, theirs = one[start : start + TILE], other[start : start + TILE]
        differ = False
        for i in range(ours.size):
            differ |= ours[i] != theirs[i]
        if differ:
            return False
    return True


@exact
def has_nan(codes: NDArray[np.uint8]) -> bool:
    """Return whether any of the e4m3 codes, uint8 of one dimension, is NaN (e4m3 has no Inf)."""
    found = False
    for i in range(codes.size):
        found |= (codes[i] & np.uint8(0x7F)) == np.uint8(0x7F)
    return found


@exact
def steps_apart(ones: Unsigned, others: Unsigned) -> NDArray[np.int64]:
    """Return how many pairs of numbers (n,) lie 0, 1, 2, 3 and more steps of their format apart, int64 (5,).

    ones, others: floating-point numbers of one format, none of them NaN, as unsigned bits; both zeros are one number.
    """
    half = 1 << (8 * ones.itemsize - 1)  # where zero stands if all numbers are put in order
    here, there = np.empty(TILE, ones.dtype), np.empty(TILE, ones.dtype)
    counts = np.zeros(STEPS, np.int64)
    for start in range(0, ones.size, TILE):
        our, their = ones[start : start + TILE], others[start : start + TILE]
        apart, place = here[: our.size], there[: our.size]
        for i in range(our.size):
            apart[i] = half + our[i] if our[i] < half else 0 - our[i]
        for i in range(our.size):
            place[i] = half + their[i] if their[i] < half else 0 - their[i]
        for i in range(our.size):
            apart[i] = max(apart[i], place[i]) - min(apart[i], place[i])
        rest = our.size
        for steps in range(STEPS - 1):
            found = np.int32(0)
            for i in range(our.size):
                found += np.int32(apart[i] == steps)
            counts[steps] += found
            rest -= found
        counts[STEPS - 1] += rest
    return counts


@exact
def deviation(
    ones: NDArray[np.float32], others: NDArray[np.float32], steps: NDArray[np.float32], within: float
) -> tuple[int, float, float, int]:
    """Return how far float32 (n,) values are from one another, in units of ``steps``.

    Returns (how many differ, the largest deviation, the sum of the squares, how many deviate by more than ``within``);
    a NaN deviates infinitely.
    """
    differing, largest, squares, outside = 0, 0.0, 0.0, 0
    for j in range(ones.size):
        if ones[j] != others[j]:
            apart = abs(np.float64(ones[j]) - np.float64(others[j])) / np.float64(steps[j])
            apart = apart if apart == apart else np.inf
            differing += 1
            largest = max(largest, apart)
            squares += apart * apart
            outside += apart > within
    return differing, largest, squares, outside


@exact
def steps_fp8(codes: Codes, scales: Floats, out: Floats) -> None:
    """Fill ``out`` (float32) with the distance from each code's magnitude to the next one's, times its scale."""
    rows, columns = codes.shape
    for i in range(rows):
        for begin in range(0, columns, BLOCK):
            scale = scales[i // BLOCK, begin // BLOCK]
            for j in range(begin, min(begin + BLOCK, columns)):
                exponent = max((np.int32(codes[i, j]) >> np.int32(3)) & np.int32(15), np.int32(1))
                out[i, j] = _float(np.uint32(exponent + np.int32(117)) << np.uint32(23)) * scale


@exact
def steps(values: Floats, digits: int, smallest: int, out: Floats) -> None:
    """Fill ``out`` (float32) with the distance from each float32 value to the next in a format.

    digits: of its mantissa; smallest: the exponent of its smallest normal number, as float32 stores it.
    """
    for j in range(values.size):
        exponent = max(
            np.int32(np.float32(values[j]).view(np.uint32) >> np.uint32(23)) & np.int32(255), np.int32(smallest)
        )
        out[j] = _float(np.uint32(max(exponent - digits, np.int32(1))) << np.uint32(23))


@summing
def _squares(ones, others, our_scale, their_scale):
    """Sums over a row of a block: ours, the codes' differences, the differences, theirs; all but the third in codes."""
    size = change = code_change = other_size = 0.0
    for j in range(ones.size):
        one, other = np.float64(_from_e4m3(ones[j])), np.float64(_from_e4m3(others[j]))
        size += one * one
        other_size += other * other
        code_change += (one - other) * (one - other)
        difference = one * our_scale - other * their_scale
        change += difference * difference
    return size, code_change, change, other_size


@summing
def _squares_in_f32(ones, others, our_high, our_low, their_high, their_low):
    """The same for scales of similar size, in float32, at one and a half times the speed.

    Scales come as 12 leading bits and the rest: with the 4 bits of a code their products are exact, and so nothing is
    lost where two weights nearly agree.
    """
    size = change = code_change = other_size = np.float32(0)
    for j in range(ones.size):
        one, other = _from_e4m3(ones[j]), _from_e4m3(others[j])
        size += one * one
        other_size += other * other
        code_change += (one - other) * (one - other)
        difference = (one * our_high - other * their_high) + (one * our_low - other * their_low)
        change += difference * difference
    return np.float64(size), np.float64(code_change), np.float64(change), np.float64(other_size)


@exact
def _split(scale, unit):
    """scale / unit as the sum of a number of 12 bits and a rest, float32."""
    whole = np.float32(scale / unit)
    high = _float(whole.view(np.uint32) & np.uint32(0xFFFFF000))
    return high, np.float32(whole - high)


@summing
def difference_fp8(codes: tuple[Codes, ...], scales: tuple[Floats, ...]) -> tuple[float, float, float, float]:
    """Sums of squares, added up in float64, of two weights: (ours, ours - theirs, our codes - their codes, theirs).

    codes: two uint8 (m, n), none of them NaN; scales: two float32 (ceil(m / 128), ceil(n / 128)).  No sum is off by
    more than 2e-6 of itself.
    """
    rows, columns = codes[0].shape
    blocks = (columns + BLOCK - 1) // BLOCK
    unit = np.empty(blocks, np.float64)  # a power of two near the scales; 0 where they are too far from one another
    parts = np.empty((blocks, 4), np.float32)
    size = change = code_change = other_size = 0.0
    for top in range(0, rows, BLOCK):
        for block in range(blocks):
            ours, theirs = np.float64(scales[0][top // BLOCK, block]), np.float64(scales[1][top // BLOCK, block])
            near = 1 / HUGE_RATIO < ours / theirs < HUGE_RATIO
            unit[block] = 2.0 ** np.floor(np.log2(ours)) if near else 0.0
            if near:
                parts[block, 0], parts[block, 1] = _split(ours, unit[block])
                parts[block, 2], parts[block, 3] = _split(theirs, unit[block])
        for i in range(top, min(top + BLOCK, rows)):
            for block in range(blocks):
                ones = codes[0][i, block * BLOCK : min(block * BLOCK + BLOCK, columns)]
                others = codes[1][i, block * BLOCK : min(block * BLOCK + BLOCK, columns)]
                ours, theirs = np.float64(scales[0][top // BLOCK, block]), np.float64(scales[1][top // BLOCK, block])
                if unit[block] > 0:
                    a, b, c, d = parts[block, 0], parts[block, 1], parts[block, 2], parts[block, 3]
                    sums = _squares_in_f32(ones, others, a, b, c, d)
                    change += sums[2] * unit[block] * unit[block]
                else:
                    sums = _squares(ones, others, ours, theirs)
                    change += sums[2]
                size += sums[0] * ours * ours
                code_change += sums[1]
                other_size += sums[3] * theirs * theirs
    return size, change, code_change, other_size


@summing
def _squares_in_f64(ones, others):
    """Sums of squares of float32 (n,): ours, ours - theirs, theirs."""
    size = change = other_size = 0.0
    for j in range(ones.size):
        one, other = np.float64(ones[j]), np.float64(others[j])
        size += one * one
        change += (one - other) * (one - other)
        other_size += other * other
    return size, change, other_size


@summing
def _squares_of_bf16(ones, others):
    """The same of BF16 numbers, uint16 (n,), in one pass, which is half as fast again."""
    size = change = other_size = 0.0
    for j in range(ones.size):
        one = np.float64(_float(np.uint32(ones[j]) << np.uint32(16)))
        other = np.float64(_float(np.uint32(others[j]) << np.uint32(16)))
        size += one * one
        change += (one - other) * (one - other)
        other_size += other * other
    return size, change, other_size


@summing
def difference(values: tuple[Bits, ...], kind: int) -> tuple[float, float, float]:
    """Sums of squares, in float64, of two tensors without blocks: (ours, ours - theirs, theirs).

    values: two uint16 or uint32 (n,), the bits of numbers of a ``kind``.
    """
    if kind == BF16:
        return _squares_of_bf16(values[0], values[1])
    ours, theirs = np.empty(TILE, np.float32), np.empty(TILE, np.float32)
    size = change = other_size = 0.0
    for start in range(0, values[0].size, TILE):
        count = min(TILE, values[0].size - start)
        widen(values[0][start : start + count], kind, ours[:count])
        widen(values[1][start : start + count], kind, theirs[:count])
        sums = _squares_in_f64(ours[:count], theirs[:count])
        size, change, other_size = size + sums[0], change + sums[1], other_size + sums[2]
    return size, change, other_size
