"""Slabs: the pieces that weights are read and worked on in, so that memory does not grow with a tensor's size."""

from dataclasses import dataclass

import numpy as np
from aoe.checkpoint import BLOCK, DTYPES, StoredTensor
from aoe.kernels import FP8

SLAB = 4 << 20  # bytes of one parent's numbers, about


@dataclass(frozen=True)
class Slab:
    """Part of a weight: rows ``begin`` to ``end`` of FP8 blocks, whole block rows; elements of other dtypes."""

    stored: StoredTensor
    begin: int
    end: int

    @property
    def shape(self):
        """Of the numbers: (m, n) for FP8, (n,) for others."""
        count = self.end - self.begin
        return (count, self.stored.shape[1]) if self.stored.dtype == FP8 else (count,)

    @property
    def block_rows(self):
        """The rows of the scale tensor that belong to the slab."""
        return slice(self.begin // BLOCK, -(-self.end // BLOCK))

    @property
    def bytes(self):
        """The byte range of the numbers in their tensor."""
        width = self.stored.shape[1] if self.stored.dtype == FP8 else 1
        return tuple(place * width * DTYPES[self.stored.dtype][1] for place in (self.begin, self.end))

    @property
    def scale_bytes(self):
        """The byte range of the scales in theirs."""
        width = -(-self.stored.shape[1] // BLOCK) * np.dtype(np.float32).itemsize
        return self.block_rows.start * width, self.block_rows.stop * width

    def read(self, checkpoint):
        """A parent's part of the slab, as aoe.kernels wants it: (numbers, scale or None), read-only."""
        weight = self.stored.name
        if self.stored.dtype != FP8:
            kind = np.float32 if self.stored.dtype == "F32" else f"u{DTYPES[self.stored.dtype][1]}"
            return _numbers(checkpoint.read(weight, *self.bytes), kind), None
        scale = _numbers(checkpoint.read(checkpoint.scale(weight), *self.scale_bytes), np.float32)
        codes = checkpoint.read(weight, *self.bytes).reshape(self.shape)
        return codes, scale.reshape(-1, -(-self.stored.shape[1] // BLOCK))

    def prefetch(self, checkpoint):
        checkpoint.shard_of(self.stored.name).prefetch(self.stored.name, *self.bytes)


def slabs(stored):
    """The Slabs of a weight, in order."""
    if stored.dtype == FP8:
        total, columns = stored.shape
        step = max(SLAB // max(columns, 1) // BLOCK, 1) * BLOCK
    else:
        total, step = stored.elements, max(SLAB // DTYPES[stored.dtype][1], 1)
    return [Slab(stored, begin, min(begin + step, total)) for begin in range(0, total, step) if stored.elements]


def _numbers(array, dtype):
    """Bytes as numbers, copied only if the file has them at an address that processors dislike."""
    if array.ctypes.data % np.dtype(dtype).itemsize:
        array = array.copy()
        array.flags.writeable = False
    return array.view(dtype)
