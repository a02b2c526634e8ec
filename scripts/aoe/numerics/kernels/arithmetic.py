"""Kernels for CPUs that decode, combine and encode numbers as they are stored.

One thread a call, vectorized and without Python's lock, so that callers use many.  What is combined is float32 and
every operation is rounded on its own (no fused multiply-add), so that the results are those of aoe.numerics.fp8 and of
the GPU, byte for byte.

Kernels that decode and encode stand in this file: numba inlines the conversions, and compiles what it has kept of a
kernel anew only if the kernel's own file has changed.
"""

import numpy as np
from numpy.typing import NDArray
from aoe.checkpoints.formats import BLOCK
from aoe.numerics.kernels.jit import exact, inlined

STRIP = 512  # columns of a block row that are combined at a time: their sums stay in the second-level cache
TILE = 4096  # elements without blocks, for the same reason in the first-level cache
BF16, F16, F32, E4M3 = 0, 1, 2, 3  # how the numbers of an array are stored
POWERS = 4  # how scales are: F32, BF16, F16, or powers of two

Codes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Bits = NDArray[np.uint16] | NDArray[np.uint32]

INFINITY = np.uint32(0x7F800000)  # float32; larger magnitudes are NaN
MAGNITUDE = np.uint32(0x7FFFFFFF)
E4M3_IN_F32 = np.int32(-0x78100000)  # sign, and the seven bits from the twentieth on: 0x87F00000


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


@inlined
def _rounded_up(scale, kind):
    """The next number of a kind of scales; whatever is beyond the largest becomes Inf."""
    bits = _bits(scale)
    if kind == BF16:
        scale = _float((bits + np.uint32(0xFFFF)) & np.uint32(0xFFFF0000))
    elif kind == POWERS:
        scale = _float(max((bits + np.uint32(0x7FFFFF)) & INFINITY, np.uint32(0x00800000)))
    elif kind == F16:
        scale = _float((bits + np.uint32(0x1FFF)) & np.uint32(0xFFFFE000))
        if bits < np.uint32(113 << 23):  # below, numbers are as far apart as above
            scale = np.float32(np.ceil(_float(bits) * np.float32(2.0**24)) * np.float32(2.0**-24))
        if scale > np.float32(65504):
            scale = np.float32(np.inf)
    return scale


@inlined
def _scale_of(largest, kind):
    """The scale of a block by the bits of its largest magnitude, float32: rounded up, so that no code overflows."""
    scale = _float(largest) / np.float32(448)
    return _rounded_up(scale, kind) if scale > 0 else np.float32(1)


@exact
def round_up(scales: Floats, kind: int) -> bool:
    """Round scales (n,), not negative, up to a kind in place; return whether all are finite."""
    finite = True
    for j in range(scales.size):
        scales[j] = _rounded_up(scales[j], kind)
        finite &= _bits(scales[j]) < INFINITY
    return finite


@exact
def combine_fp8(
    codes: tuple[Codes, ...],
    scales: tuple[Floats, ...],
    weights: Floats,
    out: Codes,
    out_scales: Floats,
    kind: int = F32,
) -> bool:
    """Dequantize, sum weights times values in order, requantize.

    codes: a tuple of uint8 (m, n), none of them NaN; scales: of float32 (ceil(m / 128), ceil(n / 128)); weights: one
    float32 a parent; out, out_scales: the result, in the same shapes; kind: what its scales are rounded to.  Returns
    whether all of it is finite.
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
                scale = _scale_of(largest, kind)
                worst = max(worst, largest, _bits(scale))
                out_scales[top // BLOCK, (left + begin) // BLOCK] = scale
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
def quantize(values: Floats, out: Codes, out_scales: Floats, kind: int = F32) -> bool:
    """Make FP8 codes (uint8) and scales of a ``kind`` of float32 (m, n) values; return whether all are finite."""
    rows, columns = values.shape
    worst = np.uint32(0)
    for top in range(0, rows, BLOCK):
        for begin in range(0, columns, BLOCK):
            largest = np.uint32(0)
            for i in range(top, min(top + BLOCK, rows)):
                for j in range(begin, min(begin + BLOCK, columns)):
                    largest = max(largest, _bits(values[i, j]) & MAGNITUDE)
            scale = _scale_of(largest, kind)
            worst = max(worst, largest, _bits(scale))
            out_scales[top // BLOCK, begin // BLOCK] = scale
            for i in range(top, min(top + BLOCK, rows)):
                for j in range(begin, min(begin + BLOCK, columns)):
                    out[i, j] = _to_e4m3(values[i, j] / scale)
    return worst < INFINITY


@exact
def decode_row(codes: Codes, scales: Floats, out: Floats) -> None:
    """Fill ``out`` (n,) with the values of codes (n,), each with a scale of its own."""
    for j in range(codes.size):
        out[j] = _from_e4m3(codes[j]) * scales[j]


@exact
def add_row(codes: Codes, scales: Floats, weight: float, first: bool, total: Floats) -> None:
    """Add weight times what decode_row gives to ``total`` (n,); the first summand replaces what is there."""
    share = np.float32(weight)
    if first:
        for j in range(codes.size):
            total[j] = _from_e4m3(codes[j]) * scales[j] * share
    else:
        for j in range(codes.size):
            total[j] = total[j] + _from_e4m3(codes[j]) * scales[j] * share


@exact
def encode_row(values: Floats, scales: Floats, out: Codes) -> None:
    """Fill ``out`` (n,) with the codes nearest to values (n,) divided by a scale each."""
    for j in range(values.size):
        out[j] = _to_e4m3(values[j] / scales[j])


@exact
def scale_of(largest: int, kind: int) -> float:
    """Return the scale of a ``kind`` of a block by the bits of its largest magnitude."""
    return _scale_of(np.uint32(largest), kind)


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
