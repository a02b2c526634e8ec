"""The arithmetic on CPUs, by numba; see aoe.numerics.kernels."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from aoe.checkpoints.formats import scale_shape
from aoe.checkpoints.layout import Scales
from aoe.numerics.kernels import FP8, PLAIN, Method, NotFiniteError, Part, Sums, arithmetic, comparing, composed
from aoe.numerics.kernels.arithmetic import BF16, F16, F32, POWERS, dequantize
from aoe.numerics.kernels.comparing import alike, deviation, has_nan, steps_apart

__all__ = [
    "SLAB",
    "alike",
    "combine",
    "dequantize",
    "deviation",
    "difference",
    "empty",
    "enter",
    "here",
    "host",
    "memory",
    "rounded",
    "steps",
    "values",
]

SLAB = 2 << 20  # bytes; what a thread has in work stays in the third-level cache
KINDS = {"BF16": BF16, "F16": F16, "F32": F32}
SCALES = {Scales.F32: F32, Scales.BF16: BF16, Scales.F16: F16, Scales.POWERS: POWERS}
STORAGE = {FP8: np.uint8, "BF16": np.uint16, "F16": np.uint16, "F32": np.float32}

# digits of the mantissa, and the exponent of the smallest normal number, as float32 stores it
MANTISSAS = {"BF16": (7, 1), "F16": (10, 113), "F32": (23, 1)}


def here() -> None:
    """See aoe.numerics.kernels.Engine."""


def enter(_: None) -> None:
    """See aoe.numerics.kernels.Engine."""


def memory(size: int) -> NDArray[np.uint8]:
    """See aoe.numerics.kernels.Engine."""
    return np.empty(size, np.uint8)


def empty(shape: int | tuple[int, ...], dtype: str) -> np.ndarray:
    """See aoe.numerics.kernels.Engine."""
    return np.empty(shape, STORAGE[dtype])


def host(array: np.ndarray) -> np.ndarray:
    """See aoe.numerics.kernels.Engine."""
    return array


def _unsigned(array):
    return array.view(f"u{array.itemsize}")


def combine(
    parts: Sequence[Part],
    dtype: str,
    weights: Sequence[float],
    out: np.ndarray,
    out_scale: np.ndarray | None = None,
    method: Method = PLAIN,
    begin: int = 0,
) -> None:
    """See aoe.numerics.kernels.Engine."""
    numbers, scales = zip(*parts, strict=True)
    if dtype == FP8 and any(has_nan(codes.reshape(-1)) for codes in numbers):
        raise NotFiniteError
    if not method.is_plain:
        if dtype == FP8:
            kind = SCALES[method.scales]
            return composed.combine_fp8(numbers, scales, weights, method, begin, out, out_scale, kind)
        return composed.combine(tuple(map(_unsigned, numbers)), KINDS[dtype], weights, method, begin, _unsigned(out))
    if dtype == FP8:
        shares, kind = np.asarray(weights, np.float32), SCALES[method.scales]
        finite = arithmetic.combine_fp8(numbers, scales, shares, out, out_scale, kind)
    else:
        bits = tuple(map(_unsigned, numbers))
        finite = arithmetic.combine(bits, KINDS[dtype], np.asarray(weights, np.float32), _unsigned(out))
    if not finite:
        raise NotFiniteError


def difference(parts: Sequence[Part], dtype: str) -> Sums:
    """See aoe.numerics.kernels.Engine."""
    numbers, scales = zip(*parts, strict=True)
    if dtype != FP8:
        size, change, other_size = comparing.difference(tuple(map(_unsigned, numbers)), KINDS[dtype])
        squares = (size, change, change)
    elif any(has_nan(codes.reshape(-1)) for codes in numbers):
        raise NotFiniteError
    else:
        *squares, other_size = comparing.difference_fp8(numbers, scales)
    sums = Sums(*squares, *_steps(numbers))._replace(other_size=other_size)
    if not all(map(math.isfinite, sums)):
        raise NotFiniteError
    return sums


def _steps(numbers):
    return map(int, steps_apart(*(_unsigned(array).reshape(-1) for array in numbers)))


def values(part: Part, dtype: str, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Return the float32 values of numbers as stored, in the numbers' shape."""
    numbers, scale = part
    out = np.empty(numbers.shape, np.float32) if out is None else out
    if dtype == FP8:
        dequantize(numbers, scale, out)
    else:
        arithmetic.widen(_unsigned(numbers).reshape(-1), KINDS[dtype], out.reshape(-1))
    return out


def rounded(values: NDArray[np.float32], dtype: str, scales: Scales = Scales.F32) -> Part:
    """Return float32 values as stored, (numbers, scale or None); FP8 wants (m, n), other dtypes (n,).

    scales: what those of FP8 blocks are rounded to; they come in float32.  Raises NotFiniteError for NaN or Inf in the
    values or in the result.
    """
    numbers = empty(values.shape, dtype)
    scale = empty(scale_shape(*values.shape), "F32") if dtype == FP8 else None
    if dtype == FP8:
        finite = arithmetic.quantize(values, numbers, scale, SCALES[scales])
    else:
        finite = arithmetic.narrow(values.reshape(-1), KINDS[dtype], _unsigned(numbers).reshape(-1))
    if not finite:
        raise NotFiniteError
    return numbers, scale


def steps(part: Part, dtype: str, values: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Return the distance from each stored number to the next, float32; ``values``: the numbers' or near them."""
    numbers, scale = part
    out = np.empty(numbers.shape, np.float32)
    if dtype == FP8:
        comparing.steps_fp8(numbers, scale, out)
    elif values is None:
        raise ValueError(f"the steps of {dtype} follow from values, and there are none")
    else:
        comparing.steps(values.reshape(-1), *MANTISSAS[dtype], out.reshape(-1))
    return out
