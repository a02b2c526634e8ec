"""MXFP4: e2m1 numbers, and one power of two for every 32 of them along the columns.

A scale is a byte of E8M0: its value is 2**(byte - 127), and 255 is NaN.  The first of two numbers is in the low half of
their byte.

gpt-oss stores the experts of a layer in one tensor: ``_blocks`` uint8 (experts, rows, groups, 16) and ``_scales`` uint8
(experts, rows, groups).  Rows are the outputs of the matrix and columns its inputs, as in torch's Linear; transformers'
parameters (experts, columns, rows) are the transpose of what is decoded here.  Rows of ``gate_up_proj`` alternate
between gate and up.  Others (compressed-tensors, DeepSeek-V4) store (rows, columns / 2) and (rows, groups).

Every row, and every expert, can be decoded and encoded by itself.
"""

import math
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from aoe.numerics.kernels import NotFiniteError
from aoe.numerics.packed import checks, e2m1, scales

GROUP = 32  # numbers that share a scale
LARGEST_EXPONENT = 2  # of e2m1: 6 is 1.5 * 2**2
LARGEST_SCALE = 252  # with a larger one, 6 times the scale would be Inf in float32

Codes = NDArray[np.uint8]


class SharedExponent(StrEnum):
    """How a group's exponent follows from its largest magnitude; larger numbers than 6 times the scale become 6 times.

    floor: the exponent of the largest magnitude, less 2 (OCP's specification, section 6.3).
    even: the same, after the magnitude was rounded to e2m1's two digits, so that 1.75 * 2**n counts as 2**(n + 1)
    (compressed-tensors, and ``even`` of AMD Quark).
    """

    FLOOR = "floor"
    EVEN = "even"


# added to the bits of a largest magnitude before its exponent is taken
CARRIES = {SharedExponent.FLOOR: 0, SharedExponent.EVEN: 1 << 21}


def decode(codes: Codes, scale: Codes, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Return the float32 values (…, rows, columns) of MXFP4 codes.

    codes: uint8 (…, rows, groups, 16) or (…, rows, columns / 2); scale: uint8 (…, rows, groups).  out: float32 to fill
    instead of a new array.  All values are exact; those from 2**128 on are Inf.  A scale of 255 gives NaN, where
    transformers gives Inf.  Raises ValueError for other shapes and dtypes.
    """
    *rows, groups = scale.shape
    blocks = (*scale.shape, GROUP // 2)
    shape = blocks if codes.shape == blocks else (*rows, groups * GROUP // 2)
    codes = checks.checked("MXFP4 codes", codes, np.uint8, shape)
    exponents = checks.checked("an MXFP4 scale", scale, np.uint8, scale.shape)
    out = checks.result(out, (*rows, groups * GROUP))
    lines = math.prod(rows)
    if codes.size:
        factors = scales.widen(exponents.reshape(lines, groups), "F8_E8M0")
        e2m1.decode_groups(codes.reshape(lines, -1), factors, out.reshape(lines, -1))
    return out


def encode(values: NDArray[np.float32], rule: SharedExponent = SharedExponent.FLOOR) -> tuple[Codes, Codes]:
    """Return the MXFP4 codes (…, rows, groups, 16) and scales (…, rows, groups), uint8, of float32 (…, rows, columns).

    Numbers are rounded to nearest, ties to even, and signs of zeros are kept.  A group of zeros gets the smallest
    scale, the byte 0.  Decoded values are encoded without a change of any of them; the bytes are the same, too, where
    the largest code of each group was 4 or 6.  Raises NotFiniteError for NaN and Inf, and ValueError if the columns are
    no multiple of 32.
    """
    values = checks.checked("a weight", values, np.float32, values.shape)
    *rows, columns = values.shape
    groups, lines = columns // GROUP, math.prod(rows)
    if columns % GROUP:
        raise ValueError(f"MXFP4 has {GROUP} columns in a group, and {columns} columns are no multiple of it")
    flat, largest = values.reshape(lines, columns), np.empty((lines, groups), np.float32)
    codes = np.empty((lines, columns // 2), np.uint8)
    if not values.size:
        return codes.reshape(*rows, groups, GROUP // 2), np.empty((*rows, groups), np.uint8)
    if not e2m1.largest_of_groups(flat, largest):
        raise NotFiniteError
    exponents = _exponents(largest, rule)
    e2m1.encode_groups(flat, scales.widen(exponents, "F8_E8M0"), codes)
    return codes.reshape(*rows, groups, GROUP // 2), exponents.reshape(*rows, groups)


def _exponents(largest, rule):
    biased = (largest.view(np.int32) + CARRIES[rule]) >> 23
    return np.clip(biased - LARGEST_EXPONENT, 0, LARGEST_SCALE).astype(np.uint8)
