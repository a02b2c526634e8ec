"""What a weight of the parents becomes in a published model's format, and how far the published one is from it.

There is one way to a weight in its parents' dtype.  To a weight in another dtype there are two: either convert after
merging, which rounds to the parents' format first, or merge the dequantized weights directly.  Copied tensors are the
same both ways, unless they are quantized.  FP8 is quantized as aoe.numerics.fp8 does: DeepSeek's own way, and ours.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.formats import BLOCK
from aoe.checkpoints.shard import StoredTensor
from aoe.merging.merge import alike
from aoe.numerics.decoded import (
    Decoded,
    bytes_of,
    encode,
    kept_rows,
    rows_of_slabs,
    steps_of,
    stored_rows,
    summed,
    values_of,
)
from aoe.numerics.kernels import FP8, PLAIN, Arithmetic, Method, cpu
from aoe.numerics.slabs import Slab, slabs

SlabPart = tuple[np.ndarray, np.ndarray | None]  # (numbers as stored, scales of FP8's blocks), of one slab
Floats = NDArray[np.float32]
Parent = TypeVar("Parent")

FIRST = 65_536  # numbers of another dtype than FP8 that are looked at first
SAME, CONVERTED, DIRECT = "", "merged, then converted", "converted while merging"


def ways(parent_dtype: str, published_dtype: str) -> tuple[str, ...]:
    """Return how a published weight may have come to its dtype, the likelier way first."""
    return (SAME,) if parent_dtype == published_dtype else (CONVERTED, DIRECT)


def ranges(ours: StoredTensor, theirs: StoredTensor) -> list[tuple[Slab, Slab]]:
    """Return pairs (our Slab, their Slab) of the same numbers, all through a weight of two checkpoints.

    The checkpoints may store the weight in different dtypes.

    ours, theirs: StoredTensors of the same shape.
    """
    if theirs.dtype == FP8 != ours.dtype:
        return [(_like(slab, ours), slab) for slab in slabs(theirs)]
    return [(slab, _like(slab, theirs)) for slab in slabs(ours)]


def beginning(ours: StoredTensor, theirs: StoredTensor) -> tuple[Slab, Slab]:
    """Return the pair (our Slab, their Slab) of the first row of FP8 blocks, or the first numbers, of a weight."""
    (ours_first, theirs_first), *_ = ranges(ours, theirs)
    slab = theirs_first if theirs.dtype == FP8 else ours_first
    slab = Slab(slab.stored, 0, min(slab.end, BLOCK if slab.stored.dtype == FP8 else FIRST))
    return (_like(slab, ours), slab) if theirs.dtype == FP8 != ours.dtype else (slab, _like(slab, theirs))


def _like(slab, stored):
    if (slab.stored.dtype == FP8) == (stored.dtype == FP8):
        return Slab(stored, slab.begin, slab.end)
    width = stored.shape[-1] if stored.shape else 1
    if stored.dtype == FP8:
        return Slab(stored, slab.begin // width, slab.end // width)
    return Slab(stored, slab.begin * width, slab.end * width)


class Values:
    """One weight of the parents and the published model by its values, where kernels cannot combine what is stored.

    parents: name -> Checkpoint; published: the Checkpoint; name, tensor: of the weight in both.  What is made is
    encoded as the published weight is stored.
    """

    def __init__(self, parents: Mapping[str, Checkpoint], published: Checkpoint, name: str, tensor: str) -> None:
        self.sources = {parent: Decoded(checkpoint) for parent, checkpoint in parents.items()}
        self.published, self.layout = Decoded(published), published.layout(tensor)
        self.ours = next(iter(self.sources.values())).stored(name)
        self.theirs = self.published.stored(tensor)

    def ranges(self, ours: StoredTensor) -> list[tuple[Slab, Slab]]:
        """Return pairs (our Slab, their Slab) of the rows that are encoded together."""
        columns = self.layout.shape[1]
        pieces = [(begin * columns, end * columns) for begin, end in rows_of_slabs(self.layout)]
        return [(Slab(ours, *piece), Slab(self.theirs, *piece)) for piece in pieces]

    def made(self, parts: Sequence[SlabPart], weights: Sequence[float], method: Method, slab: Slab) -> SlabPart:
        """Return the values that a mixture of parents' values has as the published weight is stored.

        Raises NotFiniteError for NaN or Inf in the mixture, or a number that the format cannot hold.
        """
        begin, end = self.rows(slab)
        values = [part[0].reshape(end - begin, -1) for part in parts]
        total = summed(values, weights, method)
        if not self.layout.combines:
            return total.reshape(-1), None
        rows = bytes_of(encode(total, self.layout, method, begin, values))
        rows |= kept_rows(self.published.checkpoint, self.layout)
        return values_of(self.layout, rows, begin, end).reshape(-1), None

    def steps(self, slab: Slab, published: SlabPart) -> Floats:
        """Return the distance from published numbers to the next in their format, float32 (n,)."""
        begin, end = self.rows(slab)
        rows = stored_rows(self.published.checkpoint, self.layout, begin, end)
        return steps_of(self.layout, rows, published[0].reshape(end - begin, -1)).reshape(-1)

    def rows(self, slab: Slab) -> tuple[int, int]:
        """Return the rows of a slab."""
        columns = self.layout.shape[1]
        return slab.begin // columns, slab.end // columns


def mixture(parts: Sequence[SlabPart], dtype: str, weights: Sequence[float]) -> Floats:
    """Sum weights times values in float32, in order, every operation rounded on its own; the shape of the numbers."""
    total = cpu.values(parts[0], dtype) * np.float32(weights[0])
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        total += cpu.values(part, dtype) * np.float32(weight)
    return total


def summands(mixture: Mapping[Parent, float], origin: Parent, arithmetic: Arithmetic) -> dict[Parent, float]:
    """Return a mixture {parent: λ} as an arithmetic sums it.

    Of ``deltas``, ``origin`` comes first and has what the others' λ leave of 1, even if that is 0.
    """
    others = {parent: share for parent, share in mixture.items() if parent != origin}
    if arithmetic != Arithmetic.DELTAS or not others:
        return dict(mixture)
    return {origin: round(1 - math.fsum(others.values()), 12)} | others


def largest(parts: Sequence[SlabPart], dtype: str) -> Floats:
    """Return the largest magnitude that any parent has in each place, float32, in the shape of the numbers."""
    return np.maximum.reduce([np.abs(cpu.values(part, dtype)) for part in parts])


def rebuild(
    parts: Sequence[SlabPart],
    dtype: str,
    weights: Sequence[float],
    published_dtype: str,
    shape: tuple[int, ...],
    way: str = SAME,
    method: Method = PLAIN,
    begin: int = 0,
) -> SlabPart:
    """Return the published numbers, in their ``shape``, and scale (or None) that a mixture of parents' parts gives.

    parts: what aoe.numerics.slabs reads of every parent, in ``dtype``; weights: their λ.  A single λ of 1 copies.
    method, begin: how they are combined, and where in the weight; see aoe.numerics.kernels.Engine.  Raises
    NotFiniteError for NaN or Inf in a part that is computed with, or in the result.
    """
    copied = len(weights) == 1 and weights[0] == 1
    if copied and dtype == published_dtype:
        return parts[0]
    if way == DIRECT and dtype == FP8 and method.in_bf16 and not copied:
        unrounded = cpu.empty(parts[0][0].shape, "BF16")
        cpu.combine(parts, dtype, weights, unrounded, None, method, begin)
        return cpu.rounded(cpu.values((unrounded, None), "BF16").reshape(shape), published_dtype, method.scales)
    if (way == DIRECT and method.arithmetic == Arithmetic.FLOAT32) or copied:
        return cpu.rounded(mixture(parts, dtype, weights).reshape(shape), published_dtype, method.scales)
    if dtype != FP8:
        parts = [(numbers.reshape(-1), None) for numbers, _ in parts]
    numbers = cpu.empty(parts[0][0].shape, dtype)
    first_scale = parts[0][1]
    scale = None if first_scale is None else cpu.empty(first_scale.shape, "F32")
    cpu.combine(parts, dtype, weights, numbers, scale, method, begin)
    if dtype == published_dtype:
        return numbers.reshape(shape), scale
    return cpu.rounded(cpu.values((numbers, scale), dtype).reshape(shape), published_dtype, method.scales)


@dataclass
class Deviation:
    """The deviation of published numbers from expected ones; grows slab by slab.

    ``elements`` compared; ``stored``: whether all bytes agree, scales included; ``differing``: elements of another
    value; ``scales``: scales of other bytes; ``largest`` and ``rms``: deviations of the values in the published
    format's steps; ``outside``: elements whose mixture, before it was rounded, is further away than rounding takes it.
    """

    elements: int = 0
    stored: bool = True
    differing: int = 0
    scales: int = 0
    largest: float = 0.0
    squares: float = 0.0
    outside: int = 0

    @property
    def rms(self) -> float:
        return math.sqrt(self.squares / self.elements) if self.elements else 0.0

    def add(
        self,
        published: SlabPart,
        expected: SlabPart,
        dtype: str,
        unrounded: Callable[[], tuple[Floats, Floats]] | None = None,
        within: float = 0.0,
    ) -> None:
        """Compare a slab with what is expected of it, numbers and scale in the same dtype and shape.

        unrounded: a function that gives the float32 values before they were rounded, and how far each may have been off
        then; within: how many steps rounding may have taken them.
        """
        self.elements += published[0].size
        if alike(published, expected):
            return
        self.stored = False
        if dtype == FP8:
            self.scales += int((_bits(published[1]) != _bits(expected[1])).sum())
        differing, largest, squares, _ = _measure(published, dtype, cpu.values(expected, dtype))
        self.differing += differing
        self.largest = max(self.largest, largest)
        self.squares += squares
        if unrounded:
            values, slack = unrounded()
            self.outside += _measure(published, dtype, values, slack, within)[3]


def _measure(published, dtype, expected, slack=None, within=1.0):
    """cpu.deviation in steps; or, with ``slack``, in what rounding ``within`` so many steps and slack allow."""
    values, expected = cpu.values(published, dtype).reshape(-1), expected.reshape(-1)
    steps = cpu.steps(published, dtype, np.fmax(np.abs(values), np.abs(expected)).reshape(published[0].shape))
    steps = steps.reshape(-1)
    return cpu.deviation(values, expected, steps if slack is None else within * steps + slack.reshape(-1), 1.0)


def equal_values(published: SlabPart, dtype: str, expected: SlabPart, expected_dtype: str) -> bool:
    """Tell whether two slabs in different dtypes have the same values: one is the other, converted without loss."""
    ours, theirs = cpu.values(published, dtype).reshape(-1), cpu.values(expected, expected_dtype).reshape(-1)
    return bool(np.array_equal(ours, theirs))


def _bits(scale):
    return np.ascontiguousarray(scale).view(np.uint32)
