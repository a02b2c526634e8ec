"""NVFP4: e2m1 numbers, an e4m3 scale for every 16 of them along the columns, and one float32 scale for the weight.

Codes are uint8 (rows, columns / 2), the first of two numbers in the low half of a byte; scales are the bytes of e4m3,
uint8 (rows, columns / 16).  Two conventions exist for the weight's scale:

* compressed-tensors divides by it: ``weight_packed``, ``weight_scale``, ``weight_global_scale``;
* ModelOpt multiplies with it: ``weight``, ``weight_scale``, ``weight_scale_2``.

Rows can be decoded by themselves.  They can be encoded by themselves once the weight's scale is known, which needs the
largest magnitude of the whole weight.
"""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from aoe.numerics.kernels import NotFiniteError
from aoe.numerics.packed import checks, e2m1, scales

GROUP = 16  # numbers that share an e4m3 scale
LARGEST, LARGEST_SCALE = np.float32(6), np.float32(448)  # of e2m1 and of e4m3
SMALLEST_SCALE = np.float32(2.0**-9)  # of e4m3, above 0

Codes = NDArray[np.uint8]
Floats = NDArray[np.float32]


class GlobalScale(StrEnum):
    """What the scale of the whole weight does to the scales of its groups."""

    DIVIDES = "compressed-tensors"
    MULTIPLIES = "modelopt"


def decode(
    codes: Codes, scale: Codes, global_scale: float, convention: GlobalScale, out: Floats | None = None
) -> Floats:
    """Return the float32 values (rows, columns) of NVFP4 codes.

    codes: uint8 (rows, columns / 2); scale: uint8 (rows, columns / 16); global_scale: a float32 number.  out: float32
    to fill instead of a new array.  The group's scale is combined with the weight's first, which is rounded to float32,
    and the product with the number is rounded again, as both libraries do.  Raises ValueError for other shapes and
    dtypes.
    """
    rows, groups = scale.shape if scale.ndim == 2 else (None, 0)
    scale = checks.checked("an NVFP4 scale", scale, np.uint8, (rows, groups if scale.ndim == 2 else None))
    codes = checks.checked("NVFP4 codes", codes, np.uint8, (rows, groups * GROUP // 2))
    out = checks.result(out, (scale.shape[0], groups * GROUP))
    if codes.size:
        e2m1.decode_groups(codes, _combined(scales.widen(scale, "F8_E4M3"), global_scale, convention), out)
    return out


def global_scale_of(largest: float, convention: GlobalScale) -> np.float32:
    """Return the scale of a weight by its largest magnitude: the largest group gets the e4m3 scale 448.

    A weight of zeros gets 1, also where the scale would not be a normal float32.
    """
    product = LARGEST * LARGEST_SCALE
    with np.errstate(all="ignore"):
        found = np.float32(largest) / product
        if convention == GlobalScale.DIVIDES:
            # as torch divides a number by a tensor: rounded twice
            found = product * (np.float32(1) / np.maximum(np.float32(largest), np.finfo(np.float32).tiny))
    return np.float32(found if np.isfinite(found) and found >= np.finfo(np.float32).tiny else 1)


def encode(values: Floats, global_scale: float, convention: GlobalScale) -> tuple[Codes, Codes]:
    """Return the NVFP4 codes (rows, columns / 2) and scales (rows, columns / 16), uint8, of float32 (rows, columns).

    A group's scale is its largest magnitude / 6, combined with the weight's scale and rounded to e4m3 as the
    convention's library does; of zeros, compressed-tensors' 0.125 or ModelOpt's 1.  Numbers are rounded to nearest,
    ties to even; the sign of -0.0 is kept, which both libraries drop.  Raises NotFiniteError for NaN and Inf, and
    ValueError if the columns are no multiple of 16.
    """
    values = checks.checked("a weight", values, np.float32, (None, None))
    rows, columns = values.shape
    if columns % GROUP:
        raise ValueError(f"NVFP4 has {GROUP} columns in a group, and {columns} columns are no multiple of it")
    largest = np.empty((rows, columns // GROUP), np.float32)
    codes = np.empty((rows, columns // 2), np.uint8)
    if not values.size:
        return codes, np.empty(largest.shape, np.uint8)
    if not e2m1.largest_of_groups(values, largest):
        raise NotFiniteError
    scale = _scales(largest, np.float32(global_scale), convention)
    e2m1.encode_groups(values, _combined(scales.widen(scale, "F8_E4M3"), global_scale, convention), codes)
    return codes, scale


def _combined(scale, global_scale, convention):
    factor = np.float32(global_scale)
    with np.errstate(all="ignore"):
        return scale / factor if convention == GlobalScale.DIVIDES else scale * factor


def _scales(largest, global_scale, convention):
    with np.errstate(over="ignore"):
        if convention == GlobalScale.DIVIDES:
            scale = scales.narrow(np.minimum(largest / LARGEST * global_scale, LARGEST_SCALE), "F8_E4M3")
            return np.where(scale == 0, np.uint8(0x20), scale)  # 0x20: 0.125
        scale = largest / (LARGEST * global_scale)
    scale[scale == 0] = 1
    return scales.narrow(np.clip(scale, SMALLEST_SCALE, LARGEST_SCALE), "F8_E4M3")
