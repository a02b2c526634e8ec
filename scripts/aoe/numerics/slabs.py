"""Slabs: the pieces that weights are read and worked on in, so that memory does not grow with a tensor's size."""

import threading
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.formats import BLOCK, FORMATS
from aoe.checkpoints.shard import StoredTensor
from aoe.numerics.kernels import FP8, Engine, Part, cpu
from aoe.numerics.stored_scales import widened


class Source(Protocol):
    """What slabs are read from: a Checkpoint, or what gives its tensors under the names and in the form of one's."""

    def read(self, tensor: str, begin: int, out: NDArray[np.uint8], /) -> NDArray[np.uint8]:
        """Fill ``out`` with bytes of a tensor from ``begin`` on, and return it."""

    def scale(self, weight: str) -> str | None:
        """Return the name of the scale of an FP8 weight, or None for another dtype."""

    def stored(self, tensor: str) -> StoredTensor:
        """Return where and how a tensor is stored."""


@dataclass(frozen=True)
class Slab:
    """Part of a weight: rows ``begin`` to ``end`` of FP8 blocks, whole block rows; elements of other dtypes."""

    stored: StoredTensor
    begin: int
    end: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the numbers: (m, n) for FP8, (n,) for others."""
        count = self.end - self.begin
        return (count, self.stored.shape[1]) if self.stored.dtype == FP8 else (count,)

    @property
    def block_rows(self) -> slice:
        """The rows of the scale tensor that belong to the slab."""
        return slice(self.begin // BLOCK, -(-self.end // BLOCK))

    @property
    def bytes(self) -> tuple[int, int]:
        """The byte range of the numbers in their tensor."""
        width = self.stored.shape[1] if self.stored.dtype == FP8 else 1
        width *= FORMATS[self.stored.dtype].bytes
        return self.begin * width, self.end * width

    def scale_bytes(self, dtype: str) -> tuple[int, int]:
        """Return the byte range of the scales, of a storage format, in their tensor."""
        width = -(-self.stored.shape[1] // BLOCK) * FORMATS[dtype].bytes
        return self.block_rows.start * width, self.block_rows.stop * width

    def read(self, checkpoint: Source, engine: Engine = cpu, place: int = 0) -> Part:
        """Return a parent's part of the slab, as aoe.numerics.kernels wants it: (numbers, scale or None).

        Scales of other formats become float32, which holds them exactly.  The arrays are the thread's own and hold
        until it reads into the same ``place`` again, a small number.
        """
        weight, (begin, end) = self.stored.name, self.bytes
        numbers = checkpoint.read(weight, begin, memory(engine, place, "numbers", size=end - begin))
        if self.stored.dtype != FP8:
            unsigned = f"u{FORMATS[self.stored.dtype].bytes}"
            return numbers.view(np.float32 if self.stored.dtype == "F32" else unsigned), None
        scale_name = checkpoint.scale(weight)
        assert scale_name is not None  # FP8 has one
        dtype = checkpoint.stored(scale_name).dtype
        begin, end = self.scale_bytes(dtype)
        scale = checkpoint.read(scale_name, begin, memory(engine, place, "scale", size=end - begin))
        return numbers.reshape(self.shape), widened(scale, dtype).reshape(-1, -(-self.stored.shape[1] // BLOCK))

    def prefetch(self, checkpoint: Checkpoint) -> None:
        """Ask the system to read a parent's part of the slab ahead."""
        checkpoint.prefetch(self.stored.name, *self.bytes)


def slabs(stored: StoredTensor, engine: Engine = cpu, rows: int = 0) -> list[Slab]:
    """Return the Slabs of a weight, in order, about ``engine.SLAB`` bytes of numbers each.

    rows: how many rows of a weight that is no FP8 stay together; 0 if none do.
    """
    if rows:
        unit, total = rows * stored.shape[-1], stored.elements
        step = max(engine.SLAB // FORMATS[stored.dtype].bytes // unit, 1) * unit if unit else 1
    elif stored.dtype == FP8:
        total, columns = stored.shape
        step = max(engine.SLAB // max(columns, 1) // BLOCK, 1) * BLOCK
    else:
        total, step = stored.elements, max(engine.SLAB // FORMATS[stored.dtype].bytes, 1)
    return [Slab(stored, begin, min(begin + step, total)) for begin in range(0, total, step) if stored.elements]


class _Memories(threading.local):
    """What a thread reads into, again and again: fresh memory costs more than what is done in it."""

    def __init__(self) -> None:
        self.held = {}

    def __call__(self, engine: Engine, *place: int | str, size: int) -> np.ndarray:
        key = (engine.__name__, *place)
        if key not in self.held or len(self.held[key]) < size:
            self.held[key] = engine.memory(size)
        return self.held[key][:size]


memory = _Memories()
