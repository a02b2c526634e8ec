"""Bounds of the values that stored numbers were rounded from.

A number that was rounded to nearest was within half a step.  The largest of an FP8 block was not rounded at all: the
block's scale was made of it, and has all of float32's digits.  And of FP8 that was converted to a longer format, the
scales can be had back: each of a block's thousands of values, a known code times the scale, says between what it lies.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from aoe.audit.storage import CONVERTED, SlabPart
from aoe.checkpoints.formats import BLOCK
from aoe.numerics.kernels import FP8, cpu

Doubles = NDArray[np.float64]

TIE = 0.501  # steps that a value which was rounded to nearest may be from what it was
NEIGHBOURS = 1.001  # the same of a value that was rounded by chance
CONVERSION = 1 / 16  # steps that a conversion to BF16 takes FP8, if it is not known of which scales
ULPS = 4.0  # the same of float32, whose sums differ in their last bits with their order
LAST_DIGITS = 2.0**-20  # how far, relatively, the largest value of a block may be from what it was
BF16 = 2.0**-7  # what BF16 can do to a sum, in shares of the largest parent: four roundings of a 512th
LARGEST = 0x7E  # the FP8 code of 448
SMALLEST = 1e-60  # instead of a step of 0


@dataclass(frozen=True)
class Bounds:
    """Stored numbers, and how far the values that they were rounded from may be from them.

    float64 (n,) each: ``values`` that were stored; ``steps`` of their format; ``slack``: how far values may be off
    because a scale is not known exactly.  ``anchors``: bool (n,), the numbers that were not rounded, or None if that is
    not known; ``near``: the most steps that rounding takes a value.
    """

    values: Doubles
    steps: Doubles
    slack: Doubles
    anchors: NDArray[np.bool_] | None
    near: float

    def choices(self, parents: Doubles) -> Iterator[Doubles]:
        """Yield how far the mixture may be from each value, float64 (n,), from the strictest assumption on.

        The assumptions: it was computed in float32, or in BF16; its scales were made of the largest values, or not.
        parents: the largest of the parents' magnitudes, float64 (n,).
        """
        for share in (0.0, BF16):
            slack = self.slack + share * parents
            loose = self.near * self.steps + slack
            if self.anchors is not None:
                tight = LAST_DIGITS * np.abs(self.values) + slack
                yield np.where(self.anchors, np.minimum(tight, loose), loose)
            yield loose


def bounds_of(pieces: Sequence[tuple[SlabPart, tuple[int, ...]]], dtype: str, published_dtype: str, way: str) -> Bounds:
    """Return the Bounds of pieces of a weight, joined.

    pieces: published parts with the shape of the parents' numbers; dtype: the parents'; way: see aoe.audit.storage.
    """
    found = [_bounds(published, shape, dtype, published_dtype, way) for published, shape in pieces]
    values, steps, slack, anchors = zip(*found, strict=True)
    known = all(part is not None for part in anchors)
    return Bounds(
        values=_joined(values),
        steps=np.maximum(_joined(steps), SMALLEST),  # a scale may be 0
        slack=_joined(slack),
        anchors=_joined(anchors) if known else None,
        near=ULPS if published_dtype == "F32" and way != CONVERTED else TIE,
    )


def _joined(parts):
    return np.concatenate([part.reshape(-1) for part in parts])


def _bounds(published, shape, dtype, published_dtype, way):
    values = cpu.values(published, published_dtype)
    if published_dtype == FP8:
        codes, scale = published
        return _of_blocks(codes, scale, 0.0)
    if way != CONVERTED:
        steps = cpu.steps(published, published_dtype, values).astype(np.float64)
        return values.astype(np.float64), steps, np.zeros(values.shape), None
    before = cpu.rounded(values.reshape(shape), dtype)
    if dtype == FP8:
        codes, scale, slack = _scales_before(before, values.reshape(shape), published_dtype)
        if (slack >= 0).all():
            return _of_blocks(codes, scale, slack)
    steps = cpu.steps(before, dtype, values).reshape(-1).astype(np.float64)
    return values.astype(np.float64), steps, CONVERSION * steps, None


def _of_blocks(codes, scale, slack):
    """The bounds of FP8 numbers whose scales are known up to a share ``slack`` of them."""
    rows, columns = (np.arange(size) // BLOCK for size in codes.shape)

    def spread(blocks):
        return np.broadcast_to(blocks, scale.shape)[rows[:, None], columns[None, :]]

    ones = np.ones(scale.shape, np.float32)
    values = cpu.values((codes, ones), FP8).astype(np.float64) * spread(scale)
    steps = cpu.steps((codes, ones), FP8, None).astype(np.float64) * spread(scale)
    magnitudes = codes & 0x7F
    largest = magnitudes == LARGEST
    anchors = None
    if np.isin(_by_block(np.maximum, magnitudes), (0, LARGEST)).all():
        anchors = largest & (spread(_by_block(np.add, largest.astype(int))) == 1)
    return values, np.abs(steps), spread(slack) * np.abs(values), anchors


def _scales_before(before, values, dtype):
    """(codes, scales, the share by which each may be off) of FP8 that became ``values`` of a longer ``dtype``.

    before: what values give if they are quantized: the codes, as no conversion takes a value so far, but only nearly
    the scales.  The share is negative where no scale gives the values.
    """
    codes, scale = before
    numbers = np.abs(cpu.values((codes, np.ones_like(scale)), FP8).astype(np.float64))
    half = 0.5 * cpu.steps((values, None), dtype, np.abs(values)).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        low = np.where(numbers > 0, (np.abs(values) - half) / numbers, -np.inf)
        high = np.where(numbers > 0, (np.abs(values) + half) / numbers, np.inf)
    low, high = _by_block(np.maximum, low), _by_block(np.minimum, high)
    known = np.isfinite(low) & np.isfinite(high)  # a block of zeros has any scale
    middle = np.where(known, (low + high) / 2, 1.0)
    return codes, middle, np.where(known, (high - low) / 2 / middle, 0.0)


def _by_block(function, numbers):
    """A reduction of (m, n) numbers block by block."""
    starts = [np.arange(0, size, BLOCK) for size in numbers.shape]
    return function.reduceat(function.reduceat(numbers, starts[0], axis=0), starts[1], axis=1)
