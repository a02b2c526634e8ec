"""Plain least squares over the parents' differences: where the search for λ starts, and what it is compared with.

In numba and not in BLAS, whose threads get into the way of ours.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from aoe.numerics.kernels.jit import exact

DEGENERATE = 1e-10  # eigenvalues below this share of the largest: a direction that the parents do not span


@dataclass(frozen=True)
class LeastSquares:
    """{parent: λ} that sum to 1, of any sign (``free``) and of none below 0 (``convex``), and whether the parents'
    differences span so much (``decidable``)."""

    free: dict
    convex: dict
    decidable: bool


def least_squares(values, published, parents):
    """The LeastSquares of float64 (n,) published values by those of the ``parents``, rows of float64 (parents, n)."""
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


def solve(values, published, chosen):
    """(λ of the chosen parents that sum to 1, the sum of squares that they leave)."""
    directions, target = values[list(chosen[1:])] - values[chosen[0]], published - values[chosen[0]]
    shares = project(directions, target, np.ones(target.size, bool))
    left = remainder(target, directions, shares)
    return np.array([1 - shares.sum(), *shares]), sum_of_squares(left)


def project(directions, target, chosen):
    """Shares (k,) of ``directions`` (k, n) whose sum comes nearest to ``target`` (n,) where ``chosen`` (n,) is true."""
    gram, right = normal_equations(directions, target, chosen)
    return pseudo_inverse(gram) @ right


def pseudo_inverse(gram):
    return np.linalg.pinv(gram, rcond=DEGENERATE, hermitian=True)


@exact
def normal_equations(directions, target, chosen):
    """(directions times themselves (k, k), directions times target (k,)), float64, where ``chosen`` is true."""
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
def remainder(target, directions, shares):
    """target (n,) minus the sum of shares (k,) times directions (k, n)."""
    left = target.copy()
    for i in range(shares.size):
        for n in range(left.size):
            left[n] -= shares[i] * directions[i, n]
    return left


@exact
def sum_of_squares(left):
    total = 0.0
    for n in range(left.size):
        total += left[n] * left[n]
    return total


def _by_parent(parents, weights):
    return dict(zip(parents, map(float, weights), strict=True))
