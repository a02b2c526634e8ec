"""How the kernels for CPUs are compiled: without Python's lock, and kept for the next process."""

from collections.abc import Callable
from typing import Any

from numba import njit

inlined = njit(inline="always", error_model="numpy")


def exact(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Compile, and keep what was compiled beside this file or in the user's cache, if either can be written to."""
    try:
        return njit(nogil=True, error_model="numpy", cache=True, **options)(function)
    except RuntimeError:
        return njit(nogil=True, error_model="numpy", **options)(function)


def summing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile sums whose order does not matter, as ``exact`` does otherwise."""
    return exact(function, fastmath={"reassoc", "contract", "nsz"})
