"""Scales as they are stored, and as kernels want them: float32, which holds all of them exactly."""

import numpy as np
from numpy.typing import NDArray
from aoe.numerics.kernels import NotFiniteError, arithmetic
from aoe.numerics.kernels.arithmetic import BF16, F16

BYTES = {"F32": 4, "BF16": 2, "F16": 2, "F8_E8M0": 1, "U8": 1}
KINDS = {"BF16": BF16, "F16": F16}


def widened(numbers: NDArray[np.uint8], dtype: str) -> NDArray[np.float32]:
    """Return the float32 values of the bytes (n,) of scales of a storage format; U8 are E8M0 by another name."""
    if dtype == "F32":
        return numbers.view(np.float32)
    if dtype in KINDS:
        out = np.empty(numbers.size // 2, np.float32)
        arithmetic.widen(numbers.view(np.uint16), KINDS[dtype], out)
        return out
    bits = numbers.astype(np.uint32) << 23
    bits[numbers == 0] = 1 << 22  # 2**-127 is subnormal
    bits[numbers == 0xFF] = 0x7FC00000
    return bits.view(np.float32)


def narrowed(scales: NDArray[np.float32], dtype: str) -> np.ndarray:
    """Return scales as they are stored, in their shape: unsigned integers of the width of a storage format, or float32.

    scales: float32, numbers of that format.  Raises NotFiniteError if one is not finite.
    """
    if not np.isfinite(scales).all():
        raise NotFiniteError
    if dtype == "F32":
        return scales
    if dtype in KINDS:
        out = np.empty(scales.shape, np.uint16)
        arithmetic.narrow(scales.reshape(-1), KINDS[dtype], out.reshape(-1))
        return out
    return (scales.view(np.uint32) >> 23).astype(np.uint8)
