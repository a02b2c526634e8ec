"""The λ that explain one weight, from a sample of it.

Least squares over the parents' differences alone is off where a published weight was rounded: FP8's steps are as large
as the differences, or larger, and what lies between two parents is pulled to the nearer one.  But every stored number
says within which half step above and below it the mixture was; and the largest of an FP8 block even says what it was,
as the scale was made of it and has all of float32's digits.  So λ is sought that violates none of these bounds (a convex
problem), and of those that do not, the simplest that rebuilds the stored bytes.  The interval is no statistical one: it
holds every λ within all bounds (the base's giving way).  Only where there are none, it is least squares' 95 % interval.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from aoe.audit.storage import CONVERTED, rebuild
from aoe.checkpoint import BLOCK
from aoe.kernels import NotFiniteError, cpu

ROWS, COLUMNS = BLOCK, 4 * BLOCK  # of an FP8 weight that a sample takes of a slab
ENOUGH = 65_536  # elements of a sample, where the parents differ
STEPS = 50  # of the search, at most
ROUNDS = 3  # of coming to the middle of what the bounds leave
INWARD = 0.999  # share of the bounds that the search aims at, so that it ends within them
FAR = 2.0  # steps; whoever is further out of bounds is an altered number, and pulls no more than this
SIGMA_95 = 1.959964
DEGENERATE = 1e-10  # eigenvalues below this share of the largest: a direction that the parents do not span
HOPELESS = 1.5  # how much worse than all parents' a smaller set's residual may be, for it to be looked at
SIMPLE = [10, 100, *range(3, 10), 11, 12, 1000, 10_000, 100_000, 1_000_000]  # denominators of λ, the likeliest first
NEAR = 0.01  # how far a simple λ may be from the fitted one
FEW = 0.01  # share of stored numbers that may differ, for the published model's arithmetic to be taken for ours
TIE = 0.501  # steps that a value which was rounded to nearest may be from what it was
LOOSE = 0.56  # the same where sums were rounded to BF16 before they became FP8: a 16th of a step
ANCHOR = 2.0**-20  # how far, relatively, the largest value of a block may be from what it was: float32's last digits
BF16_ANCHOR = 2.0**-8  # the same after a conversion to BF16
LARGEST = 0x7E  # the code of 448
ULPS = 4.0  # the same of float32, whose sums differ in their last bits with their order


class Sample:
    """Parts of a weight where its parents differ: what they and the published model store there."""

    def __init__(self, dtype, published_dtype):
        self.dtype, self.published_dtype = dtype, published_dtype
        self.pieces = []  # ([every parent's part], the published part)
        self.elements = 0

    def add(self, parts, published):
        """Take some of a slab, all parents' parts and the published one, if the parents differ there."""
        shape = next((part[0].shape for part in [*parts, published] if part[1] is not None), None)
        *parts, published = (_cut(part, shape) for part in [*parts, published])
        first, *others = (cpu.values(part, self.dtype) for part in parts)
        if any(not np.array_equal(first, other) for other in others):
            self.elements += published[0].size
            self.pieces.append((parts, published))

    @property
    def enough(self):
        return self.elements >= ENOUGH

    def values(self):
        """(the parents' values, float64 (parents, n), the published ones (n,))."""
        columns = zip(*(parts for parts, _ in self.pieces), strict=True)
        published = _joined([published for _, published in self.pieces], self.published_dtype)
        return np.stack([_joined(column, self.dtype) for column in columns]), published

    def steps(self, way):
        """The steps, float64 (n,), of the format that the published values were last rounded to with a loss."""
        steps = []
        for parts, published in self.pieces:
            dtype, values = self.published_dtype, cpu.values(published, self.published_dtype)
            if way == CONVERTED:  # which format's scales are not known, but each block's largest value is
                dtype = self.dtype
                published = cpu.rounded(values.reshape(parts[0][0].shape), dtype)
            steps.append(cpu.steps(published, dtype, values).reshape(-1))
        return np.concatenate(steps).astype(np.float64)

    def anchors(self, way):
        """Whether each published value, of (n,), is the largest of its FP8 block, and so was not rounded.

        None, if the scales were evidently not made of the largest values.
        """
        found = []
        for parts, published in self.pieces:
            if way == CONVERTED and parts[0][1] is not None:
                values = cpu.values(published, self.published_dtype).reshape(parts[0][0].shape)
                published = cpu.rounded(values, self.dtype)
            if published[1] is None:
                return None
            magnitudes = published[0] & 0x7F
            largest = magnitudes == LARGEST
            rows, columns = (np.arange(size) // BLOCK for size in largest.shape)
            if not np.isin(_by_block(np.maximum, magnitudes), (0, LARGEST)).all():
                return None
            alone = _by_block(np.add, largest.astype(int)) == 1
            found.append((largest & alone[rows[:, None], columns[None, :]]).reshape(-1))
        return np.concatenate(found)

    def rebuilt(self, chosen, weights, way):
        """(values of the mixture of ``chosen`` parents as stored, how many stored numbers and scales it gets wrong)."""
        made, differing = [], 0
        for parts, published in self.pieces:
            chosen_parts, shape = [parts[i] for i in chosen], published[0].shape
            made.append(rebuild(chosen_parts, self.dtype, weights, self.published_dtype, shape, way))
            differing += sum(int((a != b).sum()) for a, b in zip(made[-1], published, strict=True) if a is not None)
        return _joined(made, self.published_dtype), differing


def _by_block(function, numbers):
    """A reduction of (m, n) numbers block by block."""
    starts = [np.arange(0, size, BLOCK) for size in numbers.shape]
    return function.reduceat(function.reduceat(numbers, starts[0], axis=0), starts[1], axis=1)


def _cut(part, shape):
    """A copy of the first rows and columns of a part, whose numbers get the ``shape`` of blocks if there is one."""
    numbers, scale = part
    if shape is None:
        return numbers[: ROWS * COLUMNS].copy(), None
    scale = None if scale is None else np.ascontiguousarray(scale[: ROWS // BLOCK, : COLUMNS // BLOCK])
    return np.ascontiguousarray(numbers.reshape(shape)[:ROWS, :COLUMNS]), scale


def _joined(parts, dtype):
    return np.concatenate([cpu.values(part, dtype).reshape(-1) for part in parts]).astype(np.float64)


@dataclass(frozen=True)
class Fit:
    """A mixture, by indices of parents, and what it says of the sample.

    ``weights``: {parent: λ}; ``low`` and ``high``: the ends of its intervals; ``way``: of the storage; ``differing``:
    stored numbers that it gets wrong, of ``elements``; ``outside``: those that no rounding to nearest explains;
    ``residual``: RMS of (published - mixture), before any rounding, in the published format's steps.
    """

    weights: dict
    low: dict
    high: dict
    way: str
    elements: int
    differing: int
    outside: int
    residual: float

    @property
    def within(self):
        """Steps that a value may be off: fewer if the arithmetic is ours, with its ties alone falling otherwise."""
        return TIE if self.differing <= max(FEW * self.elements, 1) else LOOSE

    @property
    def explains(self):
        return self.outside == 0 or self.differing <= max(FEW * self.elements, 1)


@dataclass(frozen=True)
class LeastSquares:
    """Plain least squares: {parent: λ} that sum to 1, of any sign and (``constrained``) of none below 0, and whether
    the parents' differences span so much (``decidable``)."""

    weights: dict
    constrained: dict
    decidable: bool


def explain(sample, parents, ways):
    """(LeastSquares, the Fit of the fewest parents that explain a sample, else the best one; None without values).

    parents: indices of those to choose from, the base first, of which no two store the same.
    """
    values, published = sample.values()
    if not (np.isfinite(values).all() and np.isfinite(published).all()):
        return None, None
    plain = _least_squares(values, published, parents)
    squares = _solve(values, published, parents)[1]
    best = []
    for way in ways:
        bounds, fits = _Bounds(sample, way, published), []
        for size in range(2, len(parents) + 1):
            for chosen in itertools.combinations(parents, size):
                if _solve(values, published, chosen)[1] <= HOPELESS * squares or size == len(parents):
                    fits.append(_fit(sample, values, published, bounds, chosen))
            if any(not fit.outside or not fit.differing for fit in fits):
                break
        if not any(fit.explains for fit in fits):  # perhaps λ that do not sum to 1
            fits.append(_fit(sample, values, published, bounds, parents, free=True))
        best.append(min([fit for fit in fits if fit.explains] or fits, key=_merit))
    return plain, min([fit for fit in best if fit.explains] or best, key=_merit)


class _Bounds:
    """How far the published values, of (n,), may be from the mixture: ``steps``, and two sets of bounds to try."""

    def __init__(self, sample, way, published):
        self.way, self.steps = way, sample.steps(way)
        loose = self.steps * (ULPS if sample.published_dtype == "F32" else LOOSE if way == CONVERTED else TIE)
        anchors = sample.anchors(way)
        self.choices = [loose]
        if anchors is not None and anchors.any():
            near = BF16_ANCHOR if way == CONVERTED else ANCHOR
            self.choices.insert(0, np.where(anchors, np.minimum(near * np.abs(published), loose), loose))


def _fit(sample, values, published, bounds, chosen, free=False):
    """The better Fit of those within tight and within wide bounds."""
    fits = []
    for choice in bounds.choices:
        fits.append(_Fitting(sample, values, published, bounds.steps, choice, chosen, bounds.way, free).run())
        if not fits[-1].outside:
            break
    return min(fits, key=lambda fit: (fit.differing, fit.outside))


def _merit(fit):
    return fit.differing, fit.residual


def _solve(values, published, chosen):
    """(λ of the chosen parents that sum to 1, the sum of squares that they leave), by least squares."""
    directions = values[list(chosen[1:])] - values[chosen[0]]
    target = published - values[chosen[0]]
    shares = np.linalg.pinv(directions @ directions.T, rcond=DEGENERATE, hermitian=True) @ (directions @ target)
    left = target - shares @ directions
    return np.array([1 - shares.sum(), *shares]), float(left @ left)


def _least_squares(values, published, parents):
    best, constrained = math.inf, {}
    for size in range(1, len(parents) + 1):
        for chosen in itertools.combinations(parents, size):
            weights, squares = _solve(values, published, chosen)
            if squares < best and weights.min() >= 0:
                best, constrained = squares, dict(zip(chosen, map(float, weights), strict=True))
    directions = values[parents[1:]] - values[parents[0]]
    spectrum = np.linalg.eigvalsh(directions @ directions.T)
    free = dict(zip(parents, map(float, _solve(values, published, parents)[0]), strict=True))
    return LeastSquares(free, constrained, bool(spectrum[0] > DEGENERATE * spectrum[-1]))


@cpu.exact
def _ends(left, bounds, direction):
    """The interval of t for which |left - t * direction| <= bounds, float64 (n,) each, everywhere."""
    low, high = -np.inf, np.inf
    for i in range(left.size):
        if direction[i] != 0:
            one, other = (left[i] - bounds[i]) / direction[i], (left[i] + bounds[i]) / direction[i]
            low, high = max(low, min(one, other)), min(high, max(one, other))
    return low, high


class _Fitting:
    """One set of parents' λ: their mixture is ``start`` + ``shares`` @ ``directions``.

    free: whether λ need not sum to 1.
    """

    def __init__(self, sample, values, published, steps, bounds, chosen, way, free):
        self.sample, self.published, self.steps = sample, published, steps
        self.chosen, self.way, self.free = chosen, way, free
        self.start = 0.0 if free else values[chosen[0]]
        self.directions = values[list(chosen)] if free else values[list(chosen[1:])] - values[chosen[0]]
        self.bounds = bounds

    def run(self):
        everywhere = np.ones(self.published.size, bool)
        shares = self._search(self._project(self.published - self.start, everywhere))
        for _ in range(ROUNDS):
            low, high = self._interval(shares)
            shares = shares + np.where(low <= high, (low + high) / 2, 0) / len(shares)
        low, high = self._interval(shares)
        return self._fit(*self._simplified(shares, np.maximum(NEAR, (high - low) / 2)))

    def _project(self, target, chosen):
        directions = self.directions[:, chosen]
        inverse = np.linalg.pinv(directions @ directions.T, rcond=DEGENERATE, hermitian=True)
        return inverse @ (directions @ target[chosen])

    def _search(self, shares):
        """Newton's method on the squares of how far values are out of bounds."""
        left = self._left(shares)
        for _ in range(STEPS):
            out = self._out(left)
            if not out.any():
                break
            change, size = self._project(out, out != 0), np.dot(out, out)
            for factor in (1.0, 0.5, 0.25, 0.1, 0.01):
                moved = self._left(shares + factor * change)
                now = self._out(moved)
                if np.dot(now, now) < size:
                    shares, left = shares + factor * change, moved
                    break
            else:
                break
        return shares

    def _left(self, shares):
        return self.published - self.start - shares @ self.directions

    def _out(self, left):
        bounds, far = INWARD * self.bounds, FAR * self.steps
        return np.clip(left - np.clip(left, -bounds, bounds), -far, far)

    def _interval(self, shares):
        """How far each share may go down (a negative number) and up within the bounds."""
        left = self._left(shares)
        low, high = np.empty(len(shares)), np.empty(len(shares))
        for i, direction in enumerate(self.directions):
            low[i], high[i] = _ends(left, self.bounds, direction)
        return low, high

    def _rebuilt(self, shares):
        try:
            return self.sample.rebuilt(self.chosen, self._weights(shares), self.way)
        except NotFiniteError:
            return self.published, math.inf

    def _weights(self, shares):
        """λ of the chosen parents; what is simple stays simple."""
        return [*shares] if self.free else [round(1 - math.fsum(shares), 12), *shares]

    def _simplified(self, shares, near):
        """(stored numbers that they get wrong, λ): the best nearby, and of several, the simplest."""
        candidates = [np.round(shares * denominator) / denominator for denominator in SIMPLE] + [shares]
        found = []
        for order, simple in enumerate(candidates):
            if (np.abs(simple - shares) <= near).all():
                outside = int((np.abs(self._left(simple)) > self.bounds).sum())
                found.append((outside, self._rebuilt(simple)[1], order))
                if found[-1][:2] == (0, 0):
                    break
        _, differing, order = min(found)
        return differing, candidates[order]

    def _fit(self, differing, shares):
        left = self._left(shares)
        low, high = self._interval(shares)
        if not ((low <= 0) & (high >= 0)).all():
            spread = np.diag(np.linalg.pinv(self.directions @ self.directions.T, rcond=DEGENERATE, hermitian=True))
            high = SIGMA_95 * np.sqrt(np.maximum(spread, 0) * np.mean(left**2))
            low = -high
        weights = self._weights(shares)
        ends = shares + low, shares + high
        if not self.free:  # the base gives way to the others
            ends = [weights[0] - high.sum(), *ends[0]], [weights[0] - low.sum(), *ends[1]]
        columns = [dict(zip(self.chosen, map(float, column), strict=True)) for column in (weights, *ends)]
        outside = int((np.abs(left) > self.bounds).sum())
        residual = math.sqrt(np.mean((left / self.steps) ** 2))
        return Fit(*columns, self.way, left.size, differing, outside, residual)
