"""Kernels for groups of e2m1 numbers that share a scale, two to a byte, the first in its low half.

e2m1 is 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives: the codes 0 to 7, and with the sign 8 to 15.
"""

import numpy as np
from numpy.typing import NDArray
from aoe.numerics.kernels.jit import exact, inlined

Codes = NDArray[np.uint8]
Floats = NDArray[np.float32]

MAGNITUDE = np.uint32(0x7FFFFFFF)
INFINITY = np.uint32(0x7F800000)  # float32; larger magnitudes are NaN
ONE = np.uint32(0x3F800000)
SIX = np.uint32(0x40C00000)


@inlined
def _float(bits):
    return np.uint32(bits).view(np.float32)


@inlined
def _from_e2m1(code):
    """The value of the low four bits: exponent and mantissa become float32's; below 1, by a subtraction."""
    digits = (code & np.uint32(7)) << np.uint32(22)
    normal = _float(digits + np.uint32(126 << 23))
    small = _float(digits | ONE) - np.float32(1)
    magnitude = np.float32(small if digits < np.uint32(1 << 23) else normal)
    return _float(magnitude.view(np.uint32) | ((code & np.uint32(8)) << np.uint32(28)))


@inlined
def _to_e2m1(value):
    """Rounded to nearest even, saturating.  Near 1.5 * 2**(e + 22) float32's are as far apart as codes near 2**e."""
    bits = np.float32(value).view(np.uint32)
    magnitude = min(bits & MAGNITUDE, SIX)
    anchor = _float(max(magnitude & INFINITY, ONE) + np.uint32((22 << 23) | (1 << 22)))
    rounded = np.float32((_float(magnitude) + anchor) - anchor)
    normal = (rounded.view(np.uint32) >> np.uint32(22)) - np.uint32(126 << 1)
    small = np.uint32(np.int32(rounded + rounded))
    return (small if rounded < np.float32(1) else normal) | ((bits >> np.uint32(28)) & np.uint32(8))


@exact
def decode_groups(codes: Codes, scales: Floats, out: Floats) -> None:
    """Fill ``out`` (rows, columns) with the values of codes (rows, columns / 2) times their scales (rows, groups).

    Each is one product rounded once, and columns are a multiple of twice the groups.
    """
    half = codes.shape[1] // scales.shape[1]
    for i in range(scales.shape[0]):
        for group in range(scales.shape[1]):
            source = codes[i, group * half : group * half + half]
            target = out[i, 2 * group * half : 2 * group * half + 2 * half]
            scale = scales[i, group]
            for j in range(half):
                pair = np.uint32(source[j])
                target[2 * j] = _from_e2m1(pair) * scale
                target[2 * j + 1] = _from_e2m1(pair >> np.uint32(4)) * scale


@exact
def encode_groups(values: Floats, scales: Floats, out: Codes) -> None:
    """Fill ``out`` (rows, columns / 2) with the codes nearest to values (rows, columns) / scales (rows, groups).

    Quotients are float32; ties go to the even code, and what is larger than 6 becomes 6.
    """
    half = out.shape[1] // scales.shape[1]
    for i in range(scales.shape[0]):
        for group in range(scales.shape[1]):
            source = values[i, 2 * group * half : 2 * group * half + 2 * half]
            target = out[i, group * half : group * half + half]
            scale = scales[i, group]
            for j in range(half):
                target[j] = _to_e2m1(source[2 * j] / scale) | (_to_e2m1(source[2 * j + 1] / scale) << np.uint32(4))


@exact
def largest_of_groups(values: Floats, out: Floats) -> bool:
    """Fill ``out`` (rows, groups) with the groups' largest magnitudes; return whether all values are finite."""
    size = values.shape[1] // out.shape[1]
    worst = np.uint32(0)
    for i in range(out.shape[0]):
        for group in range(out.shape[1]):
            source = values[i, group * size : group * size + size]
            found = np.uint32(0)
            for j in range(source.size):
                found = max(found, np.float32(source[j]).view(np.uint32) & MAGNITUDE)
            worst = max(worst, found)
            out[i, group] = _float(found)
    return bool(worst < INFINITY)
