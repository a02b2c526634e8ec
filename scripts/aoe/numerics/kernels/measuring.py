"""Kernels for CPUs that measure float32 values against those that they were made of; sums are of float64."""

import numpy as np
from numpy.typing import NDArray
from aoe.numerics.kernels.jit import exact, summing

TILE = 2048  # elements whose sums stay in the first-level cache

Floats = NDArray[np.float32]


@summing
def product(ones: Floats, share: float, origin: Floats, others: Floats) -> float:
    """Sum (ones - share * origin) * (others - origin) over float32 (n,)."""
    total = 0.0
    for j in range(ones.size):
        start = np.float64(origin[j])
        total += (np.float64(ones[j]) - share * start) * (np.float64(others[j]) - start)
    return total


@exact
def _add(sums, values, weight):
    for j in range(values.size):
        sums[j] += weight * np.float64(values[j])


@summing
def _squares(sums, values):
    total = 0.0
    for j in range(values.size):
        total += (sums[j] - np.float64(values[j])) * (sums[j] - np.float64(values[j]))
    return total


@exact
def squared_distance(result: Floats, parents: tuple[Floats, ...], weights: NDArray[np.float64]) -> float:
    """Sum (result - Σ weights * parents)² over float32 (n,); parents: a tuple of them; weights: one a parent."""
    sums, total = np.empty(TILE, np.float64), 0.0
    for start in range(0, result.size, TILE):
        end = min(start + TILE, result.size)
        part = sums[: end - start]
        part[:] = 0.0
        for parent in range(len(parents)):
            _add(part, parents[parent][start:end], weights[parent])
        total += _squares(part, result[start:end])
    return total
