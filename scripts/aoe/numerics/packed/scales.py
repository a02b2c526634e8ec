"""Numbers of scales: from the dtypes they are stored in to float32, and back.

dtypes are spelled as safetensors does.  Stored numbers are float32; the bits of BF16 and F16 as uint16; the bytes of
F8_E4M3 and F8_E8M0 as uint8.
"""

import numpy as np
from numpy.typing import NDArray
from aoe.numerics.kernels import NotFiniteError, arithmetic
from aoe.numerics.packed.checks import checked

KINDS = {"F32": arithmetic.F32, "BF16": arithmetic.BF16, "F16": arithmetic.F16, "F8_E4M3": arithmetic.E4M3}
STORAGE = {"F32": np.float32, "BF16": np.uint16, "F16": np.uint16, "F8_E4M3": np.uint8, "F8_E8M0": np.uint8}
EPSILON = {"F32": 2.0**-23, "BF16": 2.0**-7, "F16": 2.0**-10, "F8_E4M3": 2.0**-3}  # compressed-tensors' for zeros


def _e4m3_values():
    codes = np.arange(256)
    exponents, mantissas = codes >> 3 & 15, codes & 7
    magnitudes = np.ldexp(mantissas + 8.0 * (exponents > 0), np.maximum(exponents, 1) - 10)
    magnitudes[codes & 127 == 127] = np.nan
    return np.copysign(magnitudes, np.where(codes < 128, 1, -1)).astype(np.float32)


def _e8m0_values():
    bits = np.arange(256, dtype=np.uint32) << 23
    bits[0], bits[255] = 1 << 22, 0x7FC00000  # 2**-127 is subnormal in float32
    return bits.view(np.float32)


E4M3, E8M0 = _e4m3_values(), _e8m0_values()


def widen(numbers: np.ndarray, dtype: str) -> NDArray[np.float32]:
    """Return the float32 values of stored numbers, in their shape.  The byte 255 of F8_E8M0 is NaN.

    Raises ValueError if the numbers are not stored as the dtype is, or if it is no dtype of scales.
    """
    if dtype not in STORAGE:
        raise ValueError(f"scales of {dtype} are not known: they are {', '.join(STORAGE)}")
    numbers = checked(f"a scale of {dtype}", numbers, STORAGE[dtype], numbers.shape)
    if dtype == "F32":
        return numbers
    if dtype.startswith("F8"):
        return np.take(E4M3 if dtype == "F8_E4M3" else E8M0, numbers)
    out = np.empty(numbers.shape, np.float32)
    arithmetic.widen(numbers.reshape(-1), KINDS[dtype], out.reshape(-1))
    return out


def narrow(values: NDArray[np.float32], dtype: str) -> np.ndarray:
    """Round float32 values once to nearest, ties to even, and return them as stored, in their shape.

    F8_E4M3 saturates at 448.  F8_E8M0 is not rounded to: formats have rules of their own.  Raises NotFiniteError for
    NaN and Inf, also in the result, and ValueError if it is no dtype to round to.
    """
    if dtype not in KINDS:
        raise ValueError(f"scales cannot be rounded to {dtype}: they are {', '.join(KINDS)}")
    out = np.empty(values.shape, STORAGE[dtype])
    bits = out.view(f"u{out.itemsize}").reshape(-1)
    if not arithmetic.narrow(np.ascontiguousarray(values).reshape(-1), KINDS[dtype], bits):
        raise NotFiniteError
    return out
