"""Kernels for CPUs that decode, combine, encode and compare numbers as they are stored.

One thread a call, vectorized and without Python's lock, so that callers use many.  What is combined is float32 and
every operation is rounded on its own (no fused multiply-add), so that the results are those of aoe.numerics.fp8 and of
the GPU, byte for byte.

All kernels that decode or encode stand in this file: numba inlines the conversions, and compiles what it has kept of a
kernel anew only if the kernel's own file has changed.
"""

import numpy as np
from numpy.typing import NDArray
from aoe.checkpoints.formats import BLOCK
from aoe.numerics.kernels.jit import exact, inlined, summing

STRIP = 512  # columns of a block row that are combined at a time: their sums stay in the second-level cache
TILE = 4096  # elements without blocks, for the same reason in the first-level cache
BF16, F16, F32, E4M3 = 0, 1, 2, 3  # how the numbers of an array are stored

Codes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Bits = NDArray[np.uint16] | NDArray[np.uint32]

INFINITY = np.uint32(0x7F800000)  # float32; larger magnitudes are NaN
MAGNITUDE = np.uint32(0x7FFFFFFF)
E4M3_IN_F32 = np.int32(-0x78100000)  # sign, and the seven bits from the twentieth on: 0x87F00000
HUGE_RATIO = 2.0**20  # of two scales


@inlined
def _bits(value):
    return np.float32(value).view(np.uint32)


@inlined
def _float(bits):
    return np.uint32(bits).view(np.float32)


@inlined
def _from_e4m3(code):
    """A code's exponent and mantissa, moved to float32's, are its value times 2**-120; its sign comes along."""
    bits = (np.int32(np.int8(code)) << np.int32(20)) & E4M3_IN_F32
    return np.int32(bits).view(np.float32) * np.float32(2.0**120)


@inlined
def _to_e4m3(value):
    """Rounded to nearest even, saturating.  Near 1.5 * 2**(e + 20) float32's are as far apart as codes near 2**e."""
    bits = _bits(value)
    magnitude = min(bits & MAGNITUDE, _bits(np.float32(448)))
    exponent = max(magnitude & INFINITY, np.uint32(121 << 23))  # codes below 2**-6 are subnormal
    anchor = _float(exponent + np.uint32((20 << 23) | (1 << 22)))
    rounded = (_float(magnitude) + anchor) - anchor
    return (_bits(rounded * np.float32(2.0**-120)) >> np.uint32(20)) | ((bits >> np.uint32(24)) & np.uint32(0x80))


@inlined
def _from_f16(code):
    bits = ((code & np.uint32(0x8000)) << np.uint32(16)) | ((code & np.uint32(0x7FFF)) << np.uint32(13))
    value = _float(bits) * np.float32(2.0**112)
    return value if (code & np.uint32(0x7C00)) != np.uint32(0x7C00) else np.float32(np.nan)  # Inf is refused alike


@inlined
def _to_f16(value):
    """Rounded to nearest even; whatever does not fit has the magnitude of Inf or more."""
    bits = _bits(value)
    magnitude = min(bits & MAGNITUDE, _bits(np.float32(2.0**17)))
    exponent = max(magnitude & INFINITY, np.uint32(113 << 23))
    anchor = _float(exponent + np.uint32((13 << 23) | (1 << 22)))
    rounded = (_float(magnitude) + anchor) - anchor
    return (_bits(rounded * np.float32(2.0**-112)) >> np.uint32(13)) | ((bits >> np.uint32(16)) & np.uint32(0x8000))


@inlined
def _to_bf16(value):
    bits = _bits(value)
    return (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)


@exact
def combine_fp8(
    codes: tuple[Codes, ...], scales: tuple[Floats, ...], weights: Floats, out: Codes, out_scales: Floats
) -> bool:
    """Dequantize, sum weights times values in order, requantize.

    codes: a tuple of uint8 (m, n), none of them NaN; scales: of float32 (ceil(m / 128), ceil(n / 128)); weights: one
    float32 a parent; out, out_scales: the result, in the same shapes.  Returns whether all sums are finite.
    """
    rows, columns = codes[0].shape
    sums = np.empty((BLOCK, STRIP), np.float32)
    worst = np.uint32(0)
    for top in range(0, rows, BLOCK):
        height = min(BLOCK, rows - top)
        for left in range(0, columns, STRIP):
            width = min(STRIP, columns - left)
            for parent in range(len(codes)):
                for i in range(height):
                    for begin in range(0, width, BLOCK):
                        end = min(begin + BLOCK, width)
                        source = codes[parent][top + i, left + begin : left + end]
                        target = sums[i, begin:end]
                        scale = scales[parent][top // BLOCK, (left + begin) // BLOCK]
                        weight = weights[parent]
                        if parent == 0:
                            for j in range(end - begin):
                                target[j] = _from_e4m3(source[j]) * scale * weight
                        else:
                            for j in range(end - begin):
                                target[j] = target[j] + _from_e4m3(source[j]) * scale * weight
            for begin in range(0, width, BLOCK):
                end = min(begin + BLOCK, width)
                largest = np.uint32(0)
                for i in range(height):
                    source = sums[i, begin:end]
                    for j in range(end - begin):
                        largest = max(largest, _bits(source[j]) & MAGNITUDE)
                worst = max(worst, largest)
                scale = _float(largest) / np.float32(448)
                out_scales[top // BLOCK, (left + begin) // BLOCK] = scale if scale > 0 else np.float32(1)
            for i in range(height):
                for begin in range(0, width, BLOCK):
                    end = min(begin + BLOCK, width)
                    source = sums[i, begin:end]
                    target = out[top + i, left + begin : left + end]
                    scale = out_scales[top // BLOCK, (left + begin) // BLOCK]
                    for j in range(end - begin):
                        target[j] = _to_e4m3(source[j] / scale)
    return worst < INFINITY


@exact
def dequantize(codes: Codes, scale: Floats, out: Floats) -> None:
    """Fill ``out`` (float32) with the values that uint8 (m, n) codes and their scale stand for."""
    rows, columns = codes.shape
    for i in range(rows):
        for begin in range(0, columns, BLOCK):
            end = min(begin + BLOCK, columns)
            factor = scale[i // BLOCK, begin // BLOCK]
            source = codes[i, begin:end]
            target = out[i, begin:end]
            for j in range(end - begin):
                target[j] = _from_e4m3(source[j]) * factor


@exact
def widen(source: Bits, kind: int, out: Floats) -> None:
    """Fill ``out`` (n,) with the float32 values of numbers of a ``kind``, whose bits ``source`` holds."""
    if kind == BF16:
        for j in range(source.size):
            out[j] = _float(np.uint32(source[j]) << np.uint32(16))
    elif kind == F16:
        for j in range(source.size):
            out[j] = _from_f16(np.uint32(source[j]))
    else:
        for j in range(source.size):
            out[j] = _float(np.uint32(source[j]))


@exact
def narrow(source: Floats, kind: int, out: Bits | Codes) -> bool:
    """Round float32 sums, of E4M3 scaled ones; return whether all results are finite."""
    worst = np.uint32(0)
    for j in range(source.size):
        worst = max(worst, _bits(source[j]) & MAGNITUDE)
    if worst >= INFINITY:
        return False
    if kind == BF16:
        for j in range(source.size):
            out[j] = _to_bf16(source[j])
        return _to_bf16(_float(worst)) < np.uint32(0x7F80)
    if kind == F16:
        for j in range(source.size):
            out[j] = _to_f16(source[j])
        return _to_f16(_float(worst)) < np.uint32(0x7C00)
    if kind == E4M3:
        for j in range(source.size):
            out[j] = _to_e4m3(source[j])
        return True
    for j in range(source.size):
        out[j] = _bits(source[j])
    return True


@exact
def quantize(values: Floats, out: Codes, out_scales: Floats) -> bool:
    """Make FP8 codes (uint8) and scales of float32 (m, n) values; return whether all are finite."""
    rows, columns = values.shape
    worst = np.uint32(0)
    for top in range(0, rows, BLOCK):
        for begin in range(0, columns, BLOCK):
            largest = np.uint32(0)
            for i in range(top, min(top + BLOCK, rows)):
                for j in range(begin, min(begin + BLOCK, columns)):
                    largest = max(largest, _bits(values[i, j]) & MAGNITUDE)
            worst = max(worst, largest)
            scale = _float(largest) / np.float32(448)
            scale = scale if scale > 0 else np.float32(1)
            out_scales[top // BLOCK, begin // BLOCK] = scale
            for i in range(top, min(top + BLOCK, rows)):
                for j in range(begin, min(begin + BLOCK, columns)):
                    out[i, j] = _to_e4m3(values[i, j] / scale)
    return worst < INFINITY


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
        exponent = max(np.int32(_bits(values[j]) >> np.uint32(23)) & np.int32(255), np.int32(smallest))
        out[j] = _float(np.uint32(max(exponent - digits, np.int32(1))) << np.uint32(23))


@exact
def combine(values: tuple[Bits, ...], kind: int, weights: Floats, out: Bits) -> bool:
    """Sum weights times values in float32, in order, and round once.

    values: a tuple of uint16 or uint32 (n,), the bits of numbers of a ``kind``; weights: one float32 a parent; out: the
    result's bits.  Returns whether all of it is finite.
    """
    part = np.empty(TILE, np.float32)
    sums = np.empty(TILE, np.float32)
    finite = True
    for start in range(0, out.size, TILE):
        size = min(TILE, out.size - start)
        for parent in range(len(values)):
            weight = weights[parent]
            widen(values[parent][start : start + size], kind, part[:size])
            if parent == 0:
                for j in range(size):
                    sums[j] = part[j] * weight
            else:
                for j in range(size):
                    sums[j] = sums[j] + part[j] * weight
        finite &= narrow(sums[:size], kind, out[start : start + size])
    return finite


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
    high = _float(_bits(whole) & np.uint32(0xFFFFF000))
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
def difference(values: tuple[Bits, ...], kind: int) -> tuple[float, float, float]:
    """Sums of squares, in float64, of two tensors without blocks: (ours, ours - theirs, theirs).

    values: two uint16 or uint32 (n,), the bits of numbers of a ``kind``.
    """
    ours, theirs = np.empty(TILE, np.float32), np.empty(TILE, np.float32)
    size = change = other_size = 0.0
    for start in range(0, values[0].size, TILE):
        count = min(TILE, values[0].size - start)
        widen(values[0][start : start + count], kind, ours[:count])
        widen(values[1][start : start + count], kind, theirs[:count])
        for j in range(count):
            one, other = np.float64(ours[j]), np.float64(theirs[j])
            size += one * one
            change += (one - other) * (one - other)
            other_size += other * other
    return size, change, other_size
