"""A part of a weight that is large enough to find its λ with, and small enough to be looked at many times."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from aoe.audit.fitting.bounds import NEIGHBOURS, SMALLEST, TIE, Bounds, bounds_of
from aoe.audit.storage import SlabPart, rebuild, summands
from aoe.checkpoints.formats import BLOCK
from aoe.checkpoints.layout import Scales
from aoe.numerics.kernels import FP8, PLAIN, Arithmetic, Method, cpu

ROWS, COLUMNS = BLOCK, 4 * BLOCK  # of an FP8 weight that a sample takes of a slab
UNIT = 8  # last digits of a scale that count as a step
ENOUGH = 65_536  # elements of a sample, where the parents differ


class Sample:
    """Parts of a weight where its parents differ: what they and the published model store there.

    dtype: of the parents; parents: the indices of those that are not alike, the base first; scales: what the published
    model's are rounded to.
    """

    def __init__(self, dtype: str, published_dtype: str, parents: Sequence[int], scales: Scales = Scales.F32) -> None:
        self.dtype, self.published_dtype, self.scales = dtype, published_dtype, scales
        self.pieces: list[tuple[list[SlabPart], SlabPart]] = []  # ([every parent's part], the published part)
        self.steps: list[NDArray[np.float32]] = []  # of the published parts' format, where values are compared
        self.base, *others = parents
        self.elements = dict.fromkeys(others, 0)  # parent -> those of pieces where it is not like the base

    def add(self, parts: Sequence[SlabPart], published: SlabPart, steps: NDArray[np.float32] | None = None) -> None:
        """Take some of a slab if parents differ there of whose differences there are not enough yet.

        parts: of all parents; steps: of the published part's format (n,), if the parts are values.
        """
        shape = next((part[0].shape for part in [*parts, published] if part[1] is not None), None)
        *taken, published = (_cut(part, shape) for part in [*parts, published])
        values = [cpu.values(part, self.dtype) for part in taken]
        differ = [parent for parent in self.elements if not np.array_equal(values[parent], values[self.base])]
        if any(self.elements[parent] < ENOUGH for parent in differ):
            self.pieces.append((taken, published))
            self.steps += [] if steps is None else [steps[: ROWS * COLUMNS]]
            for parent in differ:
                self.elements[parent] += published[0].size

    @property
    def enough(self) -> bool:
        """Whether every parent differs from the base in enough elements of the sample."""
        return all(elements >= ENOUGH for elements in self.elements.values())

    @property
    def is_scaled(self) -> bool:
        """Whether parents and the published model have codes and scales."""
        return self.dtype == self.published_dtype == FP8

    def values(self, method: Method = PLAIN) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (the parents' values, float64 (parents, n), the published ones (n,)): what a method sums.

        Of the arithmetic ``stored``, these are codes and scales, the latter in units of UNIT last digits.
        """
        if self.is_scaled and method.arithmetic == Arithmetic.STORED:
            units = [UNIT * np.spacing(scale) for _, (_, scale) in self.pieces if scale is not None]
            taken = zip(*([*parts, published] for parts, published in self.pieces), strict=True)
            *parents, stored = (_codes_and_scales(column, units) for column in taken)
            return np.stack(parents), stored
        columns = zip(*(parts for parts, _ in self.pieces), strict=True)
        published = _joined([published for _, published in self.pieces], self.published_dtype)
        return np.stack([_joined(column, self.dtype) for column in columns]), published

    def bounds(self, way: str, method: Method = PLAIN) -> Bounds:
        """Return the Bounds within which the published numbers have the mixture; way: see aoe.audit.storage."""
        if self.is_scaled and method.arithmetic == Arithmetic.STORED:
            bounds = self._bounds_as_stored(method)
        elif self.steps:
            values = self.values(method)[1]
            steps = np.maximum(np.concatenate(self.steps).astype(np.float64), SMALLEST)
            bounds = Bounds(values, steps, np.zeros(values.shape), None, TIE)
        else:
            pieces = [(published, parts[0][0].shape) for parts, published in self.pieces]
            bounds = bounds_of(pieces, self.dtype, self.published_dtype, way)
        if self.scales != Scales.F32:  # the largest number of a block was rounded like all others
            bounds = replace(bounds, anchors=None)
        return replace(bounds, near=NEIGHBOURS) if method.rounding.by_chance else bounds

    def _bounds_as_stored(self, method):
        values = self.values(method)[1]
        steps: list[np.ndarray] = []
        for _, (codes, scale) in self.pieces:
            assert scale is not None  # FP8 has one
            steps += [cpu.steps((codes, np.ones_like(scale)), FP8, None).reshape(-1), np.ones(scale.size)]
        return Bounds(values, np.concatenate(steps).astype(np.float64), np.zeros(values.shape), None, TIE)

    def differing(self, chosen: Sequence[int], weights: Sequence[float], way: str, method: Method = PLAIN) -> int:
        """Count the stored numbers and scales that a mixture of ``chosen`` parents gets wrong.

        Of a rounding by chance, only the scales count.
        """
        if self.steps:  # what is stored follows from whole rows, and is looked at later
            return 0
        differing, nearest = 0, Method(method.arithmetic, scales=self.scales)
        mixture = summands(dict(zip(chosen, weights, strict=True)), self.base, method.arithmetic)
        chosen, weights = list(mixture), list(mixture.values())
        for parts, published in self.pieces:
            chosen_parts, shape = [parts[i] for i in chosen], published[0].shape
            made = rebuild(chosen_parts, self.dtype, weights, self.published_dtype, shape, way, nearest)
            pairs = list(zip(made, published, strict=True))[method.rounding.by_chance :]
            differing += sum(int((a != b).sum()) for a, b in pairs if a is not None)
        return differing


def _codes_and_scales(parts, units):
    """float64 (n,): piece by piece, the numbers without their scales, and the scales in ``units``."""
    found = []
    for (codes, scale), unit in zip(parts, units, strict=True):
        found.append(cpu.values((codes, np.ones_like(scale)), FP8).reshape(-1).astype(np.float64))
        found.append((scale.astype(np.float64) / unit).reshape(-1))
    return np.concatenate(found)


def _cut(part, shape):
    """A copy of the first rows and columns of a part, whose numbers get the ``shape`` of blocks if there is one."""
    numbers, scale = part
    if shape is None:
        return numbers[: ROWS * COLUMNS].copy(), None
    scale = None if scale is None else np.ascontiguousarray(scale[: ROWS // BLOCK, : COLUMNS // BLOCK])
    return np.ascontiguousarray(numbers.reshape(shape)[:ROWS, :COLUMNS]), scale


def _joined(parts, dtype):
    return np.concatenate([cpu.values(part, dtype).reshape(-1) for part in parts]).astype(np.float64)
