"""Numbers that were rounded by chance, with random numbers that nobody knows.

Each is one of the two neighbours of what the mixture has in its place, the farther one as often as it should be, and
all of them together lie to neither side of the mixture.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from aoe.audit import Weights
from aoe.audit.comparison import Comparison
from aoe.audit.storage import Floats, SlabPart, mixture, rebuild
from aoe.checkpoints.formats import BLOCK
from aoe.numerics.kernels import FP8, Arithmetic, Method, NotFiniteError, cpu

Doubles = NDArray[np.float64]

DIGITS = {FP8: 3, "BF16": 7, "F16": 10, "F32": 23}  # binary, of the formats that numbers are published in
GRIDS = {FP8: (3, -6), "BF16": (7, -126), "F16": (10, -14)}  # binary digits, exponent of the smallest normal number
NEARLY = 2.0**-20  # what other programs' sums may differ by
FEWEST = 4.0  # variance of the count of farther neighbours, below which there was no chance to speak of
MOST_SIGMAS = 5.0  # of a sum of random numbers


class _Sums:
    """A sum of random numbers, and its variance."""

    def __init__(self) -> None:
        self.total, self.variance = 0.0, 0.0

    def add(self, deviations: Doubles, variances: Doubles) -> None:
        self.total += float(deviations.sum())
        self.variance += float(variances.sum())

    @property
    def is_plausible(self) -> bool:
        return abs(self.total) <= MOST_SIGMAS * math.sqrt(self.variance)


def was_by_chance(weight: Comparison, weights: Weights, arithmetic: Arithmetic) -> bool:
    """Tell whether a published weight can be a mixture {parent: λ} that was rounded by chance, without a bias."""
    ours, theirs = weight.ours.dtype, weight.theirs.dtype
    if ours not in GRIDS or (ours != theirs and ours != FP8):
        return False
    farther, along = _Sums(), [_Sums() for _ in range(len(weights) - 1)]
    try:
        for slab, published in weight.ranges():
            parts = [weight.read(parent, slab) for parent in weights]
            found = _places(parts, ours, list(weights.values()), arithmetic, weight.read_published(published), theirs)
            if found is None:
                return False
            _add(*found, farther, along)
    except NotFiniteError:
        return False
    return farther.variance >= FEWEST and all(sums.is_plausible for sums in (farther, *along))


def steps_in(ours: str, theirs: str) -> float:
    """Return how many steps of a published format one of the parents' is, 1 at least."""
    return 2.0 ** max(0, DIGITS.get(theirs, 0) - DIGITS.get(ours, 0))


def _add(wanted, stored, directions, dtype, farther, along):
    size, step = np.abs(wanted), _steps(wanted, dtype)
    below = np.floor(size / step) * step
    share = (size - below) / step  # the probability of the upper neighbour
    up = (np.abs(stored) > below).astype(np.float64)
    likelier = np.minimum(share, 1 - share)
    farther.add(np.abs(up - np.round(share)) - likelier, likelier * (1 - likelier))
    signed = np.sign(wanted) * step
    for sums, direction in zip(along, directions, strict=True):
        sums.add((up - share) * signed * direction, share * (1 - share) * (step * direction) ** 2)


def _places(
    parts: Sequence[SlabPart],
    dtype: str,
    weights: Sequence[float],
    arithmetic: Arithmetic,
    published: SlabPart,
    published_dtype: str,
) -> tuple[Doubles, Doubles, list[Doubles], str] | None:
    """(what was wanted, what is stored, the parents' differences, dtype), in units of scales, float64 (n,) each.

    None if the scales are others, or a stored number is no neighbour of what was wanted.
    """
    total, scale = _unrounded(parts, dtype, weights, arithmetic)
    values = [_divided(cpu.values(part, dtype), None if scale is None else scale) for part in parts]
    stored = cpu.values(published, published_dtype).reshape(total.shape)
    if scale is not None:
        total = total if arithmetic == Arithmetic.STORED else _divided(total, scale)
        if published_dtype == FP8:
            codes, given = published
            if given is None or not np.array_equal(given.view(np.uint32), scale.view(np.uint32)):
                return None
            stored = cpu.values((codes, np.ones_like(given)), FP8)
        else:
            exact = stored
            stored = _nearest(_divided(stored, scale), dtype)
            again = cpu.rounded((stored.astype(np.float32) * _spread(scale, stored.shape)), published_dtype)
            if not np.array_equal(cpu.values(again, published_dtype), exact):
                return None
    wanted, stored = total.reshape(-1).astype(np.float64), stored.reshape(-1).astype(np.float64)
    if not _are_neighbours(wanted, stored, dtype):
        return None
    directions = [(value - values[0]).reshape(-1).astype(np.float64) for value in values[1:]]
    return wanted, stored, directions, dtype


def _unrounded(parts, dtype, weights, arithmetic):
    """(the sum of an arithmetic before it is rounded, float32, the scales that it gets or None)."""
    if dtype != FP8:
        parts = [(numbers.reshape(-1), None) for numbers, _ in parts]
    scale = None
    if dtype == FP8:
        scale = rebuild(parts, dtype, weights, dtype, parts[0][0].shape, method=Method(arithmetic))[1]
    if arithmetic == Arithmetic.STORED and scale is not None:
        return mixture([(codes, np.ones_like(given)) for codes, given in parts], dtype, weights), scale
    total: Floats = mixture(parts, dtype, weights)
    if arithmetic == Arithmetic.BFLOAT16:
        out_dtype = "BF16" if dtype == FP8 else dtype
        out = cpu.empty(parts[0][0].shape, out_dtype)
        cpu.combine(parts, dtype, weights, out, None, Method(arithmetic))
        total = cpu.values((out, None), out_dtype)
    return total, scale


def _are_neighbours(wanted, stored, dtype):
    low, high = np.abs(wanted) * (1 - NEARLY), np.abs(wanted) * (1 + NEARLY)
    low_step, high_step, size = _steps(low, dtype), _steps(high, dtype), np.abs(stored)
    between = (np.floor(low / low_step) * low_step <= size) & (size <= np.ceil(high / high_step) * high_step)
    return bool((between & ((np.sign(wanted) == np.sign(stored)) | (stored == 0))).all())


def _steps(values, dtype):
    """How far the numbers around values are apart; float64."""
    digits, smallest = GRIDS[dtype]
    exponents = np.frexp(values)[1] - 1
    return np.ldexp(1.0, np.maximum(exponents, smallest) - digits)


def _nearest(values, dtype):
    step = _steps(values, dtype)
    return np.rint(values / step) * step


def _spread(scale, shape):
    rows, columns = (np.arange(size) // BLOCK for size in shape)
    return scale[rows[:, None], columns[None, :]]


def _divided(values, scale):
    return values if scale is None else values / _spread(scale, values.shape)
