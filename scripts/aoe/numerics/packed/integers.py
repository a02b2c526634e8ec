"""Kernels for unsigned integers of 1 to 8 bits in bytes and words, with a scale and a zero a group of a row's columns.

A value is (integer - zero) * scale: of integers up to 8 bits and scales of BF16 or F16, float32 holds it exactly.
"""

import numpy as np
from numpy.typing import NDArray
from aoe.numerics.kernels.jit import exact, inlined

Codes = NDArray[np.uint8]
Words = NDArray[np.uint32]
Floats = NDArray[np.float32]
Zeros = NDArray[np.int32]

MAGNITUDE = np.uint32(0x7FFFFFFF)
INFINITY = np.uint32(0x7F800000)  # float32; larger magnitudes are NaN
INTEGERS = np.float32(1.5 * 2.0**23)  # near it, float32's are 1 apart
TILE = 64


@exact
def decode_nibbles(pairs: Codes, scales: Floats, zeros: Zeros, out: Floats) -> None:
    """Fill ``out`` (rows, columns) with values of 4-bit integers, two to a byte, the first in its low half.

    pairs: (rows, columns / 2 or more); scales, zeros: (rows, groups).  A group has an even number of columns.
    """
    half = out.shape[1] // scales.shape[1] // 2
    for i in range(scales.shape[0]):
        for group in range(scales.shape[1]):
            source = pairs[i, group * half : group * half + half]
            target = out[i, 2 * group * half : 2 * group * half + 2 * half]
            scale, zero = scales[i, group], zeros[i, group]
            for j in range(half):
                pair = np.int32(source[j])
                target[2 * j] = np.float32((pair & np.int32(15)) - zero) * scale
                target[2 * j + 1] = np.float32((pair >> np.int32(4)) - zero) * scale


@exact
def decode_bytes(codes: Codes, scales: Floats, zeros: Zeros, out: Floats) -> None:
    """Fill ``out`` (rows, columns) with values of integers, one to a byte; scales, zeros: (rows, groups)."""
    size = out.shape[1] // scales.shape[1]
    for i in range(scales.shape[0]):
        for group in range(scales.shape[1]):
            source = codes[i, group * size : group * size + size]
            target = out[i, group * size : group * size + size]
            scale, zero = scales[i, group], zeros[i, group]
            for j in range(size):
                target[j] = np.float32(np.int32(source[j]) - zero) * scale


@exact
def decode_by_index(codes: Codes, scales: Floats, zeros: Zeros, groups: NDArray[np.int32], out: Floats) -> None:
    """Fill ``out`` as ``decode_bytes`` does, where ``groups`` (columns,) says which group each column is of."""
    for i in range(scales.shape[0]):
        source, target, scale, zero = codes[i], out[i], scales[i], zeros[i]
        for j in range(groups.size):
            target[j] = np.float32(np.int32(source[j]) - zero[groups[j]]) * scale[groups[j]]


@exact
def unpack(words: Words, bits: int, out: Codes) -> None:
    """Fill ``out`` (rows, columns) with integers of words (rows, ceil(columns / (32 // bits))), the lowest bits first.

    No integer is spread over two words: bits that are left over at a word's end are not used.
    """
    count = 32 // bits
    mask = np.uint32((1 << bits) - 1)
    for i in range(out.shape[0]):
        for k in range(count):
            shift = np.uint32(k * bits)
            target = out[i, k:]
            for j in range((target.size + count - 1) // count):
                target[j * count] = (words[i, j] >> shift) & mask


@exact
def unpack_stream(words: Words, bits: int, out: Codes) -> None:
    """Fill ``out`` (rows, columns) with integers that stand in words (rows, …) without a gap, the lowest bits first."""
    mask = np.uint64((1 << bits) - 1)
    for i in range(out.shape[0]):
        target = out[i]
        for j in range(target.size):
            first, shift = (j * bits) >> 5, np.uint64((j * bits) & 31)
            both = np.uint64(words[i, first])
            if first + 1 < words.shape[1]:
                both |= np.uint64(words[i, first + 1]) << np.uint64(32)
            target[j] = (both >> shift) & mask


@exact
def pack(codes: Codes, bits: int, out: Words) -> None:
    """Fill ``out`` (rows, ceil(columns / (32 // bits))) with words that ``unpack`` takes apart; others' bits are 0."""
    count = 32 // bits
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            source = codes[i, j * count : j * count + count]
            word = np.uint32(0)
            for k in range(source.size):
                word |= np.uint32(source[k]) << np.uint32(k * bits)
            out[i, j] = word


@exact
def transpose(words: Words, out: Words) -> None:
    """Fill ``out`` (n, m) with words (m, n)."""
    for top in range(0, words.shape[0], TILE):
        for left in range(0, words.shape[1], TILE):
            for j in range(left, min(left + TILE, words.shape[1])):
                for i in range(top, min(top + TILE, words.shape[0])):
                    out[j, i] = words[i, j]


@exact
def encode(values: Floats, scales: Floats, zeros: Floats, bits: int, out: Codes) -> None:
    """Fill ``out`` (rows, columns) with values / scales + zeros, clamped and rounded to nearest, ties to even.

    scales, zeros: (rows, groups); zeros: of signed integers.  Each operation is float32.  Codes are unsigned: the
    smallest signed integer, -(2**(bits - 1)), is 0.
    """
    size = values.shape[1] // scales.shape[1]
    offset = np.float32(1 << (bits - 1))
    for i in range(scales.shape[0]):
        for group in range(scales.shape[1]):
            source = values[i, group * size : group * size + size]
            target = out[i, group * size : group * size + size]
            scale, zero = scales[i, group], zeros[i, group]
            for j in range(size):
                moved = min(max(source[j] / scale + zero, -offset), offset - np.float32(1))
                target[j] = np.int32((moved + INTEGERS) - INTEGERS) + np.int32(offset)


@exact
def ranges(values: Floats, smallest: Floats, largest: Floats) -> bool:
    """Fill both (rows, groups) with the range of each group and of 0; return whether all values are finite."""
    size = values.shape[1] // largest.shape[1]
    worst = np.uint32(0)
    for i in range(largest.shape[0]):
        for group in range(largest.shape[1]):
            source = values[i, group * size : group * size + size]
            low, high, found = np.float32(0), np.float32(0), np.uint32(0)
            for j in range(size):
                low, high = min(low, source[j]), max(high, source[j])
                found = max(found, np.float32(source[j]).view(np.uint32) & MAGNITUDE)
            smallest[i, group], largest[i, group], worst = low, high, max(worst, found)
    return bool(worst < INFINITY)


@exact
def add_nibbles(pairs: Codes, factors: Floats, weight: float, first: bool, low: Floats, high: Floats) -> None:
    """Add weight times the values of 4-bit integers less 8, times factors, to a byte's halves; all arrays (n,).

    The first summand replaces what is there.  Every operation is rounded on its own.
    """
    share = np.float32(weight)
    if first:
        for j in range(pairs.size):
            low[j] = np.float32((np.int32(pairs[j]) & np.int32(15)) - np.int32(8)) * factors[j] * share
        for j in range(pairs.size):
            high[j] = np.float32((np.int32(pairs[j]) >> np.int32(4)) - np.int32(8)) * factors[j] * share
    else:
        for j in range(pairs.size):
            value = np.float32((np.int32(pairs[j]) & np.int32(15)) - np.int32(8)) * factors[j] * share
            low[j] = low[j] + value
        for j in range(pairs.size):
            value = np.float32((np.int32(pairs[j]) >> np.int32(4)) - np.int32(8)) * factors[j] * share
            high[j] = high[j] + value


@inlined
def _nibble(value):
    """A quotient rounded to nearest even and clamped to -8 to 7, plus 8."""
    moved = min(max(value, np.float32(-8)), np.float32(7))
    return np.uint32(np.int32((moved + INTEGERS) - INTEGERS) + np.int32(8))


@exact
def encode_nibbles(low: Floats, high: Floats, factors: Floats, out: Codes) -> None:
    """Fill ``out`` with 4-bit integers, those nearest to ``low`` and ``high`` divided by factors, plus 8; all (n,)."""
    for j in range(out.size):
        out[j] = _nibble(low[j] / factors[j]) | (_nibble(high[j] / factors[j]) << np.uint32(4))
