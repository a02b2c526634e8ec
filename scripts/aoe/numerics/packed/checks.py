"""What is handed in, checked."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def checked(name: str, array: np.ndarray, dtype: Any, shape: Sequence[int | None]) -> np.ndarray:
    """Return a contiguous ``array``.  shape: its lengths, None where any will do.

    Raises ValueError if the dtype or the shape is another.
    """
    fits = len(array.shape) == len(shape) and all(
        want in (None, have) for want, have in zip(shape, array.shape, strict=True)
    )
    if array.dtype != np.dtype(dtype) or not fits:
        lengths = ", ".join("any" if length is None else str(length) for length in shape)
        raise ValueError(f"{name} is {array.dtype} {array.shape}, but has to be {np.dtype(dtype)} ({lengths})")
    return np.ascontiguousarray(array)


def words(name: str, array: np.ndarray, shape: Sequence[int | None]) -> np.ndarray:
    """Return contiguous int32 words as uint32, which shifts fill with zeros.  Raises as ``checked``."""
    return checked(name, array, np.int32, shape).view(np.uint32)


def divided(name: str, length: int, parts: int) -> int:
    """Return how much of a ``length`` each of its ``parts`` has.  Raises ValueError if it cannot be divided so."""
    if not parts or length % parts:
        raise ValueError(f"{name}: {length} columns cannot be divided into {parts} groups of the same size")
    return length // parts


def result(out: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """Return ``out``, or a new float32 array if it is None.  Raises ValueError if it is another than asked for."""
    if out is None:
        return np.empty(shape, np.float32)
    if out.dtype != np.float32 or out.shape != shape or not out.flags.c_contiguous:
        raise ValueError(f"the result is {out.dtype} {out.shape}, but has to be contiguous float32 {shape}")
    return out
