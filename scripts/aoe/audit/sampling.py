"""A part of a weight that is large enough to find its λ with, and small enough to be looked at many times."""

import numpy as np
from aoe.audit.storage import CONVERTED, rebuild
from aoe.checkpoint import BLOCK
from aoe.kernels import cpu

ROWS, COLUMNS = BLOCK, 4 * BLOCK  # of an FP8 weight that a sample takes of a slab
ENOUGH = 65_536  # elements of a sample, where the parents differ
LARGEST = 0x7E  # the FP8 code of 448


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

    def differing(self, chosen, weights, way):
        """How many stored numbers and scales a mixture of ``chosen`` parents gets wrong."""
        differing = 0
        for parts, published in self.pieces:
            chosen_parts, shape = [parts[i] for i in chosen], published[0].shape
            made = rebuild(chosen_parts, self.dtype, weights, self.published_dtype, shape, way)
            differing += sum(int((a != b).sum()) for a, b in zip(made, published, strict=True) if a is not None)
        return differing


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
