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
ANCHOR = np.uint32((22 << 23) | (1 << 22))
DOUBLED = np.uint32(0xC8643210)  # twice the magnitudes of the codes 0 to 7, from the lowest digit on


@inlined
def _float(bits):
    return np.uint32(bits).view(np.float32)


@inlined
def _from_e2m1(code):
    """The value of the low four bits: a digit of a word is twice the magnitude; shifts are faster than a table."""
    twice = (DOUBLED >> ((code & np.uint32(7)) << np.uint32(2))) & np.uint32(15)
    magnitude = np.float32(np.int32(twice)) * np.float32(0.5)
    return _float(np.float32(magnitude).view(np.uint32) | ((code & np.uint32(8)) << np.uint32(28)))


@inlined
def _to_e2m1(value):
    """Rounded to nearest even, saturating.  Near 1.5 * 2**(e + 22) float32's are as far apart as codes near 2**e."""
    bits = np.float32(value).view(np.uint32)
    magnitude = min(bits & MAGNITUDE, SIX)
    exponent = max(magnitude & INFINITY, ONE)
    anchor = exponent + ANCHOR
    # there are two codes for every exponent above 1's, and what comes to an anchor counts them from there
    steps = np.float32(_float(magnitude) + _float(anchor)).view(np.uint32) - anchor
    return (steps + (exponent >> np.uint32(22)) - np.uint32(254)) | ((bits >> np.uint32(28)) & np.uint32(8))


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


@exact
def add_pairs(codes: Codes, factors: Floats, weight: float, first: bool, low: Floats, high: Floats) -> None:
    """Add weight times codes' values times factors to ``low`` and ``high``, of a byte's halves; all arrays (n,).

    The first summand replaces what is there.  Every operation is rounded on its own.
    """
    share = np.float32(weight)
    if first:
        for j in range(codes.size):
            low[j] = _from_e2m1(np.uint32(codes[j])) * factors[j] * share
        for j in range(codes.size):
            high[j] = _from_e2m1(np.uint32(codes[j]) >> np.uint32(4)) * factors[j] * share
    else:
        for j in range(codes.size):
            low[j] = low[j] + _from_e2m1(np.uint32(codes[j])) * factors[j] * share
        for j in range(codes.size):
            high[j] = high[j] + _from_e2m1(np.uint32(codes[j]) >> np.uint32(4)) * factors[j] * share


@exact
def encode_pairs(low: Floats, high: Floats, factors: Floats, out: Codes) -> None:
    """Fill ``out`` with the codes nearest to ``low`` and ``high`` divided by factors, of a byte's halves; all (n,)."""
    for j in range(out.size):
        out[j] = _to_e2m1(low[j] / factors[j]) | (_to_e2m1(high[j] / factors[j]) << np.uint32(4))


@exact
def encode_pairs_by_inverses(low: Floats, high: Floats, inverses: Floats, out: Codes) -> None:
    """Do the same with the inverses of factors that are powers of two."""
    for j in range(out.size):
        out[j] = _to_e2m1(low[j] * inverses[j]) | (_to_e2m1(high[j] * inverses[j]) << np.uint32(4))
