"""Execute plans: the output tensors of a variant, slab by slab, for aoe.merging.shard_writer and
aoe.serving.vllm_loader.

Numerics: what is copied is copied as bytes.  What is combined is dequantized to float32, combined in float32 in the
order of the plan, and rounded once into the stored format (FP8 blocks get new scales; see aoe.numerics.fp8), unless the
plan has another arithmetic or rounding.  So the same recipe gives the same bytes on CPU and GPU, with any number of
threads, written to files or served.  Of an unrounded plan, all FP8 weights become BF16, and there are no scales.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from aoe import AoeError
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.formats import FORMATS, SCALED, scale_shape, size_of
from aoe.checkpoints.shard import StoredTensor
from aoe.merging.plan import Plan
from aoe.numerics import kernels
from aoe.numerics.kernels import FP8, Array, Engine, Part, cpu
from aoe.numerics.slabs import Slab, slabs

if TYPE_CHECKING:
    import torch

UNROUNDED = "BF16"  # what FP8 weights become in an unrounded plan
COMPARED_FIRST_BYTES = 4096  # of a weight, before all of them
BYTES_AHEAD = 256 << 20  # of output weights that are in work before they are asked for


class Merge:
    """A plan with the checkpoints to execute it on (model name -> Checkpoint).

    device: "cpu" or "cuda"; by itself it takes the GPU if there is one.  threads: how many slabs are in work at a time.
    Combining raises AoeError for NaN or Inf in a parent or in the result, naming the tensor.
    """

    def __init__(
        self, plan: Plan, checkpoints: Mapping[str, Checkpoint], device: str | None = None, threads: int = 1
    ) -> None:
        for parent in plan.parents:
            if parent not in checkpoints:
                raise AoeError(f"The plan reads the parent {parent!r}, whose checkpoint was not given.")
        self.plan = plan
        self.checkpoints = plan.aligned(checkpoints)
        self.base = checkpoints[plan.base]
        self.threads = threads
        self._device = device
        self._origins: dict[str, Checkpoint | None] = {}

    @cached_property
    def engine(self) -> Engine:
        """The module of aoe.numerics.kernels that does the arithmetic."""
        return kernels.for_device(self._device)

    def stored(self, weight: str) -> StoredTensor:
        """Return how an output weight is stored: as the base's, or FP8 as BF16; its byte range means nothing then."""
        stored = self.base.stored(weight)
        if self.plan.unrounded and stored.dtype == FP8:
            return stored._replace(dtype=UNROUNDED, end=stored.begin + size_of(UNROUNDED, stored.shape))
        return stored

    def source(self, weight: str) -> Checkpoint | None:
        """Return the checkpoint that a weight's bytes are copied from, or None if it is combined, or converted.

        Parents that agree in every byte are copied: their difference is 0, which exceeds no δ [paper, equation 1].
        """
        origin = self._origin(weight)
        return origin if self.stored(weight).dtype == self.base.stored(weight).dtype else None

    def _origin(self, weight):
        """The checkpoint that a weight is taken from, or None if it is combined."""
        if weight not in self._origins:
            copied = self.plan.source(weight)
            mixture = self.plan.weights(weight)
            first, *others = self.parents(weight)
            self._check_form(weight)
            if copied is not None:
                self._origins[weight] = self.checkpoints[copied]
            elif math.isclose(math.fsum(mixture.values()), 1) and all(agree(first, other, weight) for other in others):
                self._origins[weight] = first
            else:
                self._origins[weight] = None
        return self._origins[weight]

    def _check_form(self, weight):
        """Raises AoeError if a parent is no longer what the plan was made for, or a scale does not fit."""
        self.base.check_scale(weight)
        for name in filter(None, (weight, self.base.scale(weight))):
            ours = self.base.stored(name)
            for parent in self.parents(weight):
                theirs = parent.stored(name)
                if (theirs.dtype, theirs.shape) != (ours.dtype, ours.shape):
                    raise AoeError(
                        f"The tensor {name} has another dtype or shape in {parent.name} than in {self.base.name}; the "
                        "plan was made for other files."
                    )

    def parents(self, weight: str) -> list[Checkpoint]:
        """Return the checkpoints that a combined weight is made of, in the order of the plan."""
        return [self.checkpoints[parent] for parent in self.plan.weights(weight)]

    def combine(self, slab: Slab, out: Array, out_scale: Array | None = None) -> None:
        """Combine a slab's parents into arrays of the engine: ``out``, of the slab's shape, and ``out_scale``.

        slab: of the base's weight.  Without ``out_scale``, what is FP8 becomes BF16.
        """
        weight, dtype = slab.stored.name, slab.stored.dtype
        parents, mixture = self.parents(weight), [*self.plan.weights(weight).values()]
        origin = self._origin(weight) if self.plan.unrounded else None
        if origin:
            parents, mixture = [origin], [1.0]
        try:
            parts = [slab.read(parent, self.engine, place) for place, parent in enumerate(parents)]
            self.engine.combine(parts, dtype, mixture, out, out_scale, self.plan.method(weight), slab.begin)
        except kernels.NotFiniteError as error:
            for parent in parents:
                check_finite(self.engine, parent, slab)
            raise AoeError(f"The combination of {weight} exceeds the range of {dtype}; lower its weights λ.") from error

    def outputs(self, weights: Iterable[str]) -> Iterator[tuple[str, torch.Tensor, torch.Tensor | None]]:
        """Yield (weight, tensor, scale or None) of output weights, torch's, while later ones are in work.

        tensor: dtype and shape as ``stored`` says; scale: float32, that of FP8 codes.  What is copied comes on the
        CPU, what is combined on the merge's device.
        """
        yield from self._pipeline(weights, self._begin)

    def values(self, weights: Iterable[str]) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield (weight, tensor) as a server without FP8 computes with them: FP8 as float32, others as stored; CPU."""
        for weight, tensor, _ in self._pipeline(weights, self._begin_value):
            yield weight, tensor

    def _pipeline(self, weights, begin):
        """Yield what ``begin`` makes: it starts a weight's tasks and returns (futures, a function for their result)."""
        pending, ahead = deque(), 0

        def finish():
            weight, futures, result = pending.popleft()
            for future in futures:
                future.result()
            return weight, *result()

        with kernels.threads(self.engine, self.threads) as pool:
            try:
                for weight in weights:
                    size = self.base.stored(weight).size
                    while pending and ahead + size > BYTES_AHEAD:
                        ahead -= self.base.stored(pending[0][0]).size
                        yield finish()
                    pending.append((weight, *begin(weight, pool)))
                    ahead += size
                while pending:
                    yield finish()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _begin(self, weight, pool):
        source, stored = self.source(weight), self.base.stored(weight)
        if source is not None:
            copies = [pool.submit(source.tensor, name) for name in (weight, source.scale(weight)) if name]
            return [], lambda: ([copy.result() for copy in copies] + [None])[:2]
        if stored.dtype != self.stored(weight).dtype:
            out = self.engine.empty(stored.shape, UNROUNDED)
            futures = [
                pool.submit(self.combine, slab, out[slab.begin : slab.end]) for slab in slabs(stored, self.engine)
            ]
            return futures, lambda: (_tensor(out, self.stored(weight)), None)
        if stored.dtype != FP8:
            out = self.engine.empty(stored.elements, stored.dtype)
            futures = [
                pool.submit(self.combine, slab, out[slab.begin : slab.end]) for slab in slabs(stored, self.engine)
            ]
            return futures, lambda: (_tensor(out, stored), None)
        out, scale = self.engine.empty(stored.shape, FP8), self.engine.empty(scale_shape(*stored.shape), "F32")
        futures = [
            pool.submit(self.combine, slab, out[slab.begin : slab.end], scale[slab.block_rows])
            for slab in slabs(stored, self.engine)
        ]
        return futures, lambda: (_tensor(out, stored), _tensor(scale))

    def _begin_value(self, weight, pool):
        stored = self.base.stored(weight)
        if stored.dtype in SCALED and stored.dtype != FP8:
            raise AoeError(f"The tensor {weight} has the dtype {stored.dtype}, which cannot be dequantized.")
        if self.stored(weight).dtype != FP8:
            futures, result = self._begin(weight, pool)
            return futures, lambda: (result()[0].cpu(), None)
        self.source(weight)  # found out once, for all slabs
        out = np.empty(stored.shape, np.float32)
        futures = [
            pool.submit(self._dequantize, slab, out[slab.begin : slab.end]) for slab in slabs(stored, self.engine)
        ]
        return futures, lambda: (_tensor(out), None)

    def _dequantize(self, slab, out):
        """Fill ``out`` with the float32 values of a slab of an FP8 output."""
        source = self.source(slab.stored.name)
        if source is not None:
            codes, scale = slab.read(source)
        else:
            codes, scale = self.engine.empty(slab.shape, FP8), self.engine.empty(scale_shape(*slab.shape), "F32")
            self.combine(slab, codes, scale)
            codes, scale = self.engine.host(codes), self.engine.host(scale)
        cpu.dequantize(codes, scale, out)

    def run(self, tasks: Iterable[Callable[[], object]]) -> None:
        """Run the callables of an iterable, ``threads`` at a time; it is not read much ahead of them."""
        pending = deque()
        with kernels.threads(self.engine, self.threads) as pool:
            try:
                for task in tasks:
                    pending.append(pool.submit(task))
                    if len(pending) > 2 * self.threads:
                        pending.popleft().result()
                while pending:
                    pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()


def agree(one: Checkpoint, other: Checkpoint, weight: str) -> bool:
    """Return whether two checkpoints store a weight, and its scale, in the same bytes; reads on only while they do."""
    # where parents differ, they do so at once: what is combined is not read a second time for it
    head = min(COMPARED_FIRST_BYTES, one.stored(weight).size)
    ours, theirs = (parent.read(weight, 0, np.empty(head, np.uint8)) for parent in (one, other))
    if not np.array_equal(ours, theirs):
        return False
    return all(alike(slab.read(one, place=0), slab.read(other, place=1)) for slab in slabs(one.stored(weight)))


def alike(one: Part, other: Part) -> bool:
    """Return whether two parents' parts of a slab are the same bytes."""
    return all(
        ours is None or theirs is None or cpu.alike(ours.reshape(-1).view(np.uint8), theirs.reshape(-1).view(np.uint8))
        for ours, theirs in zip(one, other, strict=True)
    )


def check_finite(engine: Engine, checkpoint: Checkpoint, slab: Slab) -> None:
    """Raise AoeError, naming the tensor, if a checkpoint's part of a slab holds NaN or Inf."""
    part = slab.read(checkpoint, engine)
    try:
        engine.difference([part, part], slab.stored.dtype)
    except kernels.NotFiniteError as error:
        raise AoeError(f"{checkpoint.name}: the tensor {slab.stored.name} holds NaN or Inf.") from error


def _tensor(array, stored=None):
    """An engine's array as torch's, with the dtype and shape of what is stored."""
    import torch  # not needed to write files on the CPU

    tensor = torch.as_tensor(array)
    return tensor if stored is None else tensor.view(getattr(torch, FORMATS[stored.dtype].torch)).reshape(stored.shape)
