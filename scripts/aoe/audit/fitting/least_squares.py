"""Plain least squares over the parents' differences: where the search for λ starts, and what it is compared with.

In numba and not in BLAS, whose threads get into the way of ours.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from aoe.numerics.kernels.jit import exact

Doubles = NDArray[np.float64]
Mask = NDArray[np.bool_]

DEGENERATE = 1e-10  # eigenvalues below this share of the largest: a direction that the parents do not span


@dataclass(frozen=True)
class LeastSquares:
    """{parent: λ} that sum to 1: of any sign (``free``), and of none below 0 (``convex``).

    ``decidable``: whether the parents' differences are linearly independent, so that λ are unique.
    """

    free: dict[int, float]
    convex: dict[int, float]
    decidable: bool


def least_squares(values: Doubles, published: Doubles, parents: Sequence[int]) -> LeastSquares:
    """Fit published values, float64 (n,), by those of the ``parents``, which are rows of float64 (parents, n)."""
    best, convex = math.inf, {}
    for size in range(1, len(parents) + 1):
        for chosen in itertools.combinations(parents, size):
            weights, squares = solve(values, published, chosen)
            if squares < best and weights.min() >= 0:
                best, convex = squares, _by_parent(chosen, weights)
    gram, _ = normal_equations(values[parents[1:]] - values[parents[0]], published, np.ones(published.size, bool))
    spectrum = np.linalg.eigvalsh(gram)
    free = _by_parent(parents, solve(values, published, parents)[0])
    return LeastSquares(free, convex, bool(spectrum[0] > DEGENERATE * spectrum[-1]))


def solve(values: Doubles, published: Doubles, chosen: Sequence[int]) -> tuple[Doubles, float]:
    """Return (λ of the chosen parents that sum to 1, the sum of squares that they leave)."""
    directions, target = values[list(chosen[1:])] - values[chosen[0]], published - values[chosen[0]]
    shares = project(directions, target, np.ones(target.size, bool))
    left = remainder(target, directions, shares)
    return np.array([1 - shares.sum(), *shares], np.float64), sum_of_squares(left)


def project(directions: Doubles, target: Doubles, chosen: Mask) -> Doubles:
    """Return shares (k,) of ``directions`` (k, n) whose sum is nearest to ``target`` (n,).

    chosen: bool (n,), the numbers that count.
    """
    gram, right = normal_equations(directions, target, chosen)
    return np.asarray(pseudo_inverse(gram) @ right, np.float64)


def pseudo_inverse(gram: Doubles) -> NDArray[np.floating]:
    """Invert a symmetric (k, k) matrix where its eigenvalues are not negligible."""
    return np.linalg.pinv(gram, rcond=DEGENERATE, hermitian=True)


@exact
def normal_equations(directions: Doubles, target: Doubles, chosen: Mask) -> tuple[Doubles, Doubles]:
    """Return (directions times themselves (k, k), directions times target (k,)), where ``chosen`` (n,) is true."""
    count, size = directions.shape
    gram, right = np.zeros((count, count)), np.zeros(count)
    for i in range(count):
        for j in range(i + 1):
            total = 0.0
            for n in range(size):
                if chosen[n]:
                    total += directions[i, n] * directions[j, n]
            gram[i, j] = gram[j, i] = total
        total = 0.0
        for n in range(size):
            if chosen[n]:
                total += directions[i, n] * target[n]
        right[i] = total
    return gram, right


@exact
def remainder(target: Doubles, directions: Doubles, shares: Doubles) -> Doubles:
    """Return target (n,) minus the sum of shares (k,) times directions (k, n)."""
    left = target.copy()
    for i in range(shares.size):
        for n in range(left.size):
            left[n] -= shares[i] * directions[i, n]
    return left


@exact
def sum_of_squares(left: Doubles) -> float:
    """Sum the squares of float64 (n,), one after another."""
    total = 0.0
    for n in range(left.size):
        total += left[n] * left[n]
    return total


def _by_parent(parents, weights):
    return dict(zip(parents, map(float, weights), strict=True))
