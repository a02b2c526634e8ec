"""Simulate which λ a mixture of two FP8 parents has after rounding to nearest, given how far apart the parents are.

The parents are Gaussian weights, quantized in blocks as checkpoints are.  Their distance is stated as the root mean
square of the difference of their codes, without scales: the norm ``codes``, in which the paper's δ of 1.5 to 3 can be
read.  The arithmetic is that of merges: aoe.numerics.kernels.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from aoe import AoeError
from aoe.numerics.kernels import FP8, Part, cpu

SIDE = 512  # rows and columns of a simulated weight: 16 blocks
LARGEST = 60.0  # RMS code difference: at about twice of it two weights have nothing in common
CLOSE = 1e-3  # relative error of the distance that is found
HALVINGS = 40
# λ2 that a curve needs: dense where rounding makes a step
LAMBDAS = (*(percent / 100 for percent in range(24, 50, 2)), 0.49, 0.499, 0.5, 0.501, 0.51)
LAMBDAS = (*LAMBDAS, *(percent / 100 for percent in range(52, 78, 2)))
COLUMNS = ["difference", "lambda2", "realized", "noise", "same"]


@dataclass(frozen=True)
class Pair:
    """Two quantized parents, each (codes, scale), with ``difference``, the RMS difference of their codes."""

    one: Part
    other: Part
    difference: float

    @cached_property
    def values(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The first parent's values, and what the other one's are more; both (rows, columns)."""
        one, other = (cpu.values(part, FP8).astype(np.float64) for part in (self.one, self.other))
        return one, other - one

    @cached_property
    def size(self) -> float:
        """The sum of squares of their difference."""
        return float(np.vdot(self.values[1], self.values[1]))


def pair(difference: float, seed: int = 1, side: int = SIDE) -> Pair:
    """Return two Gaussian weights, quantized to FP8, whose codes differ by ``difference`` (root mean square).

    side: rows and columns of the weights.  The same arguments give the same codes.  Raises AoeError for a difference
    that is not between 0 and 60: independent Gaussian weights are about 150 apart.
    """
    if not 0 < difference <= LARGEST:
        raise AoeError(
            f"Parents cannot be simulated {difference:g} codes apart: choose more than 0, at most {LARGEST:g}."
        )
    rng = np.random.default_rng(seed)
    first, change = (rng.standard_normal((side, side), np.float32) for _ in range(2))
    one = cpu.rounded(first, FP8)
    low, high = 0.0, 1.0  # how much of the change the other parent has
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        other = cpu.rounded(first + np.float32(middle) * change, FP8)
        found = _rms(_codes(other) - _codes(one))
        if abs(found - difference) <= CLOSE * difference:
            break
        low, high = (middle, high) if found < difference else (low, middle)
    return Pair(one, other, found)


def realized(parents: Pair, lambda2: float) -> tuple[float, float, float]:
    """Merge a pair with the weight ``lambda2`` of the other one, rounded to nearest.

    Returns (realized λ2, rounding noise, share): the projection of what is stored on the parents' difference; the
    distance between what is stored and the unrounded mixture, relative to the parents' distance; and, of the codes
    that differ between the parents, the share that is the other parent's.
    """
    codes, scale = np.empty_like(parents.one[0]), np.empty_like(parents.one[1])
    cpu.combine([parents.one, parents.other], FP8, [1 - lambda2, lambda2], codes, scale)
    one, change = parents.values
    moved = cpu.values((codes, scale), FP8) - one
    along = float(np.vdot(moved, change)) / parents.size
    off = moved - lambda2 * change
    differing = parents.one[0] != parents.other[0]
    same = float(np.mean(codes[differing] == parents.other[0][differing]))
    return along, float(np.vdot(off, off) / parents.size) ** 0.5, same


def simulate(differences: Iterable[float], lambdas: Iterable[float] = LAMBDAS, seed: int = 1) -> pd.DataFrame:
    """Return one row a difference and λ2: ``difference`` (RMS, code units), ``lambda2``, realized, noise, same.

    ``realized``, ``noise`` and ``same`` are those of the function ``realized``.
    """
    lambdas = list(lambdas)
    rows = []
    for difference in differences:
        parents = pair(difference, seed)
        rows += [(difference, lambda2, *realized(parents, lambda2)) for lambda2 in lambdas]
    return pd.DataFrame(rows, columns=COLUMNS)


def _codes(part: Part) -> NDArray[np.float32]:
    """The values of codes, without their scales."""
    numbers, scale = part
    return cpu.values((numbers, np.ones_like(scale)), FP8)


def _rms(values: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
