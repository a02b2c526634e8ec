"""Kernels for CPUs that compare arrays without decoding them."""

import numpy as np
from numpy.typing import NDArray
from aoe.numerics.kernels.jit import exact

STEPS = 5  # counts of steps: 0, 1, 2, 3, and more
TILE = 4096  # elements that are looked at together: they stay in the first-level cache

Unsigned = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.uint32]


@exact
def alike(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Return whether two arrays of bytes are equal; the rest is not read once they differ."""
    for start in range(0, one.size, TILE):
        ours, theirs = one[start : start + TILE], other[start : start + TILE]
        differ = False
        for i in range(ours.size):
            differ |= ours[i] != theirs[i]
        if differ:
            return False
    return True


@exact
def has_nan(codes: NDArray[np.uint8]) -> bool:
    """Return whether any of the e4m3 codes, uint8 of one dimension, is NaN (e4m3 has no Inf)."""
    found = False
    for i in range(codes.size):
        found |= (codes[i] & np.uint8(0x7F)) == np.uint8(0x7F)
    return found


@exact
def steps_apart(ones: Unsigned, others: Unsigned) -> NDArray[np.int64]:
    """Return how many pairs of numbers (n,) lie 0, 1, 2, 3 and more steps of their format apart, int64 (5,).

    ones, others: floating-point numbers of one format, none of them NaN, as unsigned bits; both zeros are one number.
    """
    half = 1 << (8 * ones.itemsize - 1)  # where zero stands if all numbers are put in order
    here, there = np.empty(TILE, ones.dtype), np.empty(TILE, ones.dtype)
    counts = np.zeros(STEPS, np.int64)
    for start in range(0, ones.size, TILE):
        our, their = ones[start : start + TILE], others[start : start + TILE]
        apart, place = here[: our.size], there[: our.size]
        for i in range(our.size):
            apart[i] = half + our[i] if our[i] < half else 0 - our[i]
        for i in range(our.size):
            place[i] = half + their[i] if their[i] < half else 0 - their[i]
        for i in range(our.size):
            apart[i] = max(apart[i], place[i]) - min(apart[i], place[i])
        rest = our.size
        for steps in range(STEPS - 1):
            found = np.int32(0)
            for i in range(our.size):
                found += np.int32(apart[i] == steps)
            counts[steps] += found
            rest -= found
        counts[STEPS - 1] += rest
    return counts


@exact
def deviation(
    ones: NDArray[np.float32], others: NDArray[np.float32], steps: NDArray[np.float32], within: float
) -> tuple[int, float, float, int]:
    """Return how far float32 (n,) values are from one another, in units of ``steps``.

    Returns (how many differ, the largest deviation, the sum of the squares, how many deviate by more than ``within``);
    a NaN deviates infinitely.
    """
    differing, largest, squares, outside = 0, 0.0, 0.0, 0
    for j in range(ones.size):
        if ones[j] != others[j]:
            apart = abs(np.float64(ones[j]) - np.float64(others[j])) / np.float64(steps[j])
            apart = apart if apart == apart else np.inf
            differing += 1
            largest = max(largest, apart)
            squares += apart * apart
            outside += apart > within
    return differing, largest, squares, outside
