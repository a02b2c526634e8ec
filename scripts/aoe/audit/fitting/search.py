"""The λ that explain one weight, from a sample of it.

Least squares over the parents' differences alone is wrong where a published weight was rounded: FP8's steps are as
large as the differences, or larger, and a value between two parents is pulled to the nearer one.  But every stored
number bounds the mixture's value there (aoe.audit.fitting.bounds).  So the search looks for λ that violate none of
these bounds, which is a convex problem, and of those, for the simplest λ that rebuild the stored bytes.  The interval
is no statistical one: it holds every λ within all bounds (the base's giving way).  Only where no λ is within all
bounds, it is least squares' 95 % interval.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from aoe.audit.fitting.bounds import Bounds
from aoe.audit.fitting.least_squares import (
    Doubles,
    LeastSquares,
    least_squares,
    normal_equations,
    project,
    pseudo_inverse,
    remainder,
    solve,
    sum_of_squares,
)
from aoe.audit.fitting.sampling import Sample
from aoe.numerics.kernels import PLAIN, Method, NotFiniteError
from aoe.numerics.kernels.jit import exact

Parent = TypeVar("Parent")

STEPS = 50  # of the search, at most
ROUNDS = 3  # of coming to the middle of what the bounds leave
INWARD = 0.999  # share of the bounds that the search aims at, so that it ends within them
FAR = 2.0  # steps; whoever is further out of bounds is an altered number, and pulls no more than this
SIGMA_95 = 1.959964
WORST_RESIDUAL_RATIO = 1.5  # of a smaller set's squared residual to all parents'; worse sets are not looked at
SIMPLE = [10, 100, *range(3, 10), 11, 12, 1000, 10_000, 100_000, 1_000_000]  # denominators of λ, the likeliest first
SIMPLE_LAMBDA = 0.01  # largest difference between a simple λ and the fitted one
MOST_ORDERED = 4  # parents whose sums are tried in every order
FEW = 0.01  # share of stored numbers that may differ, for the published model's arithmetic to be taken for ours


@dataclass(frozen=True)
class Fit:
    """A mixture, by indices of parents, and what it says of the sample.

    ``weights``: {parent: λ}, in the order of the sum; ``low`` and ``high``: the ends of its intervals; ``way``: of the
    storage; ``differing``: stored numbers that it gets wrong, of ``elements``; ``outside``: those that no rounding to
    nearest explains; ``residual``: RMS of (published - mixture), before any rounding, in the published format's steps.
    """

    weights: dict[int, float]
    low: dict[int, float]
    high: dict[int, float]
    way: str
    elements: int
    differing: int
    outside: int
    residual: float

    @property
    def explains(self) -> bool:
        """Whether the mixture gets at most few stored numbers wrong, or rounding explains all of them."""
        return self.outside == 0 or self.differing <= max(FEW * self.elements, 1)


def explain(
    sample: Sample, parents: Sequence[int], ways: Sequence[str], method: Method = PLAIN
) -> tuple[LeastSquares, Fit] | tuple[None, None]:
    """Return the LeastSquares of a sample, and the Fit of the fewest parents that explain it, else the best Fit.

    parents: indices of those to choose from, the base first, of which no two store the same; ways: of the storage;
    method: how the parents were combined; of a rounding by chance, the random numbers do not matter.  Returns
    (None, None) for values that are not finite.
    """
    values, published = sample.values(method)
    if not (np.isfinite(values).all() and np.isfinite(published).all()):
        return None, None
    plain = least_squares(values, published, parents)
    squares = solve(values, published, parents)[1]
    promising = [
        chosen
        for size in range(2, len(parents) + 1)
        for chosen in itertools.combinations(parents, size)
        if size == len(parents) or solve(values, published, chosen)[1] <= WORST_RESIDUAL_RATIO * squares
    ]
    best = [_fit_one_way(sample, values, promising, way, method) for way in ways]
    return plain, min([fit for fit in best if fit.explains] or best, key=_merit)


def _fit_one_way(sample, values, promising, way, method):
    """The Fit of the fewest parents within the strictest bounds; of λ that do not sum to 1, if none do that explain."""
    bounds, fits = sample.bounds(way, method), []
    largest = np.abs(values[list(promising[-1])]).max(axis=0)
    for choice in bounds.choices(largest):
        for chosen in promising:
            fits.append(_Fitting(sample, values, bounds, choice, chosen, way, method).run())
            if not fits[-1].outside or not (fits[-1].differing or method.rounding.by_chance):
                return fits[-1]
    if not any(fit.explains for fit in fits):
        choice = next(bounds.choices(largest))
        fits.append(_Fitting(sample, values, bounds, choice, promising[-1], way, method, free=True).run())
    return min([fit for fit in fits if fit.explains] or fits, key=_merit)


def orders(parents: Sequence[Parent]) -> list[tuple[Parent, ...]]:
    """Return the orders in which float32 sums of parents may differ; the first two can change places."""
    if len(parents) > MOST_ORDERED:
        return [tuple(parents)]
    return [order for order in itertools.permutations(parents) if parents.index(order[0]) < parents.index(order[1])]


def _merit(fit):
    return fit.differing, fit.residual


@exact
def _ends(left, bounds, direction):
    """The interval of t for which |left - t * direction| <= bounds, float64 (n,) each, everywhere."""
    low, high = -np.inf, np.inf
    for i in range(left.size):
        if direction[i] != 0:
            one, other = (left[i] - bounds[i]) / direction[i], (left[i] + bounds[i]) / direction[i]
            low, high = max(low, min(one, other)), min(high, max(one, other))
    return low, high


@exact
def _out(left, bounds, steps):
    """How far ``left`` is out of bounds, nowhere by more than FAR steps; (n,) each."""
    out = np.zeros(left.size)
    for i in range(left.size):
        bound, far = INWARD * bounds[i], FAR * steps[i]
        if left[i] > bound:
            out[i] = min(left[i] - bound, far)
        elif left[i] < -bound:
            out[i] = max(left[i] + bound, -far)
    return out


class _Fitting:
    """One set of parents' λ: ``target`` is to be the sum of shares of ``directions``.

    free: whether λ need not sum to 1.
    """

    def __init__(
        self,
        sample: Sample,
        values: Doubles,
        bounds: Bounds,
        choice: Doubles,
        chosen: tuple[int, ...],
        way: str,
        method: Method,
        free: bool = False,
    ) -> None:
        self.sample, self.steps, self.bounds = sample, bounds.steps, choice
        published = bounds.values
        self.chosen, self.way, self.method, self.free = chosen, way, method, free
        self.target = published if free else published - values[chosen[0]]
        self.directions = values[list(chosen)] if free else values[list(chosen[1:])] - values[chosen[0]]
        self.everywhere = np.ones(published.size, bool)

    def run(self) -> Fit:
        """Search λ within the bounds, and make them simple."""
        shares = self._search(project(self.directions, self.target, self.everywhere))
        for _ in range(ROUNDS):
            low, high = self._interval(shares)
            bounded = np.isfinite(low) & np.isfinite(high) & (low <= high)
            middle = np.where(bounded, low, 0.0) + np.where(bounded, high, 0.0)
            shares = shares + middle / 2 / len(shares)
        low, high = self._interval(shares)
        return self._fit(*self._simplified(shares, np.maximum(SIMPLE_LAMBDA, (high - low) / 2)))

    def _search(self, shares):
        """Newton's method on the squares of how far values are out of bounds."""
        out = self._out(shares)
        for _ in range(STEPS):
            size = sum_of_squares(out)
            if not size:
                break
            change = project(self.directions, out, out != 0)
            for factor in (1.0, 0.5, 0.25, 0.1, 0.01):
                now = self._out(shares + factor * change)
                if sum_of_squares(now) < size:
                    shares, out = shares + factor * change, now
                    break
            else:
                break
        return shares

    def _left(self, shares: Doubles) -> Doubles:
        return remainder(self.target, self.directions, shares)

    def _out(self, shares):
        return _out(self._left(shares), self.bounds, self.steps)

    def _interval(self, shares):
        """How far each share may go down (a negative number) and up within the bounds."""
        left = self._left(shares)
        return np.array([_ends(left, self.bounds, direction) for direction in self.directions]).T

    def _differing(self, shares):
        """(stored numbers that they get wrong, the order of the sum that gets the fewest wrong)."""
        weights = dict(zip(self.chosen, self._weights(shares), strict=True))
        best = math.inf, self.chosen
        for order in orders(self.chosen):
            try:
                differing = self.sample.differing(order, [weights[parent] for parent in order], self.way, self.method)
            except NotFiniteError:
                continue
            if differing < best[0]:
                best = differing, order
            if not differing:
                break
        return best

    def _weights(self, shares):
        """λ of the chosen parents; what is simple stays simple."""
        return [*shares] if self.free else [round(1 - math.fsum(shares), 12), *shares]

    def _simplified(self, shares, near):
        """(stored numbers that they get wrong, order, λ): the best nearby, and of several, the simplest."""
        candidates = [np.round(shares * denominator) / denominator for denominator in SIMPLE] + [shares]
        found = []
        for number, simple in enumerate(candidates):
            if (np.abs(simple - shares) <= near).all():
                outside = int((np.abs(self._left(simple)) > self.bounds).sum())
                differing, order = self._differing(simple)
                found.append((outside, differing, number, order))
                if not outside and not differing:
                    break
        _, differing, number, order = min(found)
        return differing, order, candidates[number]

    def _fit(self, differing, order, shares):
        left = self._left(shares)
        low, high = self._interval(shares)
        if not ((low <= 0) & (high >= 0)).all():
            gram, _ = normal_equations(self.directions, left, self.everywhere)
            high = SIGMA_95 * np.sqrt(np.maximum(np.diag(pseudo_inverse(gram)), 0) * np.mean(left**2))
            low = -high
        weights = self._weights(shares)
        ends = shares + low, shares + high
        if not self.free:  # the base gives way to the others
            ends = [weights[0] - high.sum(), *ends[0]], [weights[0] - low.sum(), *ends[1]]
        columns = [dict(zip(self.chosen, map(float, column), strict=True)) for column in (weights, *ends)]
        columns[0] = {parent: columns[0][parent] for parent in order}
        outside = int((np.abs(left) > self.bounds).sum())
        residual = math.sqrt(np.mean((left / self.steps) ** 2))
        shares_, low_, high_ = columns
        return Fit(shares_, low_, high_, self.way, left.size, differing, outside, residual)
