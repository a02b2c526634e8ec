"""Scales as they are stored, and as kernels want them: float32, which holds all of them exactly."""

import numpy as np
from numpy.typing import NDArray
from aoe.numerics.packed import scales


def widened(numbers: NDArray[np.uint8], dtype: str) -> NDArray[np.float32]:
    """Return the float32 values of the bytes (n,) of scales of a storage format; U8 are E8M0 by another name."""
    dtype = "F8_E8M0" if dtype == "U8" else dtype
    return scales.widen(numbers.view(scales.STORAGE[dtype]), dtype)


def narrowed(values: NDArray[np.float32], dtype: str) -> np.ndarray:
    """Return scales as they are stored, in their shape: unsigned integers of the width of a storage format, or float32.

    values: float32, numbers of that format.  Raises NotFiniteError if one is not finite.
    """
    if dtype in ("F8_E8M0", "U8"):
        return (values.view(np.uint32) >> 23).astype(np.uint8)
    return scales.narrow(values, dtype)
