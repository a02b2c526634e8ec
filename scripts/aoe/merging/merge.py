"""Execute plans: the output tensors of a variant, slab by slab, for aoe.merging.shard_writer and
aoe.serving.vllm_loader.

Numerics: what is copied is copied as bytes.  What is combined is dequantized to float32, combined in float32 in the
order of the plan, and rounded once into the base's format (FP8 blocks get new scales; see aoe.numerics.fp8), unless the
plan has another arithmetic or rounding.  Weights that all parents store alike, as kernels know it, are combined as they
are stored; others through their float32 values (aoe.numerics.decoded), with the same result.  So the same recipe gives
the same bytes on CPU and GPU, with any number of threads, written to files or served.  Of an unrounded plan, all FP8
weights become BF16, and there are no scales.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from aoe import AoeError
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.formats import FORMATS, scale_shape
from aoe.checkpoints.layout import PLAIN, SCALE, Layout, as_bf16, plain
from aoe.checkpoints.shard import StoredTensor
from aoe.merging.equality import agree
from aoe.merging.plan import Plan
from aoe.numerics import decoded, fused, kernels
from aoe.numerics.kernels import FP8, Arithmetic, Array, Engine, Method, Part, cpu
from aoe.numerics.slabs import Slab, slabs
from aoe.numerics.stored_scales import narrowed

if TYPE_CHECKING:
    import torch

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
        self.checkpoints = plan.seen(checkpoints)
        self.base = checkpoints[plan.base]
        self.threads = threads
        self._device = device
        self._origins: dict[str, Checkpoint | None] = {}

    @cached_property
    def engine(self) -> Engine:
        """The module of aoe.numerics.kernels that does the arithmetic."""
        return kernels.for_device(self._device)

    def layout(self, weight: str) -> Layout:
        """Return the Layout of an output weight: the base's, or that of BF16 numbers."""
        layout = self.base.layout(weight)
        return plain(as_bf16(layout)) if self.plan.unrounded and layout.storage != PLAIN else layout

    def stored(self, weight: str) -> StoredTensor:
        """Return how an output weight is stored: as the base's, or FP8 as BF16; its byte range means nothing then."""
        return self.layout(weight).codes

    def source(self, weight: str) -> Checkpoint | None:
        """Return the checkpoint that a weight's bytes are copied from, or None if it is combined, or converted.

        Parents that agree in every byte are copied: their difference is 0, which exceeds no δ [paper, equation 1].
        """
        origin = self._origin(weight)
        return origin if origin and self.layout(weight).is_stored_as(origin.layout(weight)) else None

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
        ours = self.base.layout(weight)
        for parent in self.parents(weight):
            theirs = parent.layout(weight)
            expected = parent.name in self.plan.converted or ours.is_stored_as(theirs)
            if theirs.shape != ours.shape or not expected:
                raise AoeError(
                    f"The tensor {weight} has another dtype or shape in {parent.name} than in {self.base.name}; the "
                    "plan was made for other files."
                )

    def is_native(self, weight: str) -> bool:
        """Return whether kernels combine a weight as it is stored, in slabs; else it has values alone."""
        found = {one.layout(weight).native for one in (self.base, *self._summands(weight)[0])}
        return len(found) == 1 and bool(*found)

    def member(self, tensor: str) -> tuple[Checkpoint, str]:
        """Return the checkpoint, and the name there, that a member of a copied weight, or one that is kept, is from."""
        weight = self.base.weight(tensor)
        members, source = self.layout(weight).members.items(), self.source(weight)
        role, ours = next((role, one.stored) for role, one in members if one.stored.name == tensor)
        found = source.layout(weight).members.get(role) if source else None
        if source is None or found is None or (found.stored.dtype, found.stored.shape) != (ours.dtype, ours.shape):
            return self.base, tensor
        return source, found.stored.name

    def kept(self, weight: str) -> list[str]:
        """Return the members of a combined weight that no arithmetic makes: they are the base's."""
        layout = self.layout(weight)
        return [one.stored.name for role, one in layout.members.items() if role not in layout.made]

    def parents(self, weight: str) -> list[Checkpoint]:
        """Return the checkpoints that a combined weight is made of, in the order of the plan."""
        return [self.checkpoints[parent] for parent in self.plan.weights(weight)]

    def method(self, weight: str) -> Method:
        """Return how a weight is combined, and what its new scales are rounded to."""
        found = self.plan.method(weight)._replace(scales=self.base.layout(weight).scales)
        # what is taken whole is no sum: its values are converted as they are
        return found._replace(arithmetic=Arithmetic.FLOAT32) if self._origin(weight) else found

    def _summands(self, weight):
        """(parents, their λ) of what is not copied: several, or the one that is converted."""
        origin = self._origin(weight)
        return ([origin], [1.0]) if origin else (self.parents(weight), [*self.plan.weights(weight).values()])

    def combine(self, slab: Slab, out: Array, out_scale: Array | None = None) -> None:
        """Combine a slab's parents into arrays of the engine: ``out``, of the slab's shape, and ``out_scale``.

        slab: of the base's weight, which is_native.  Without ``out_scale``, what is FP8 becomes BF16.
        """
        weight, dtype = slab.stored.name, slab.stored.dtype
        parents, mixture = self._summands(weight)
        try:
            parts = [slab.read(parent, self.engine, place) for place, parent in enumerate(parents)]
            self.engine.combine(parts, dtype, mixture, out, out_scale, self.method(weight), slab.begin)
        except kernels.NotFiniteError as error:
            for parent in parents:
                check_finite(self.engine, parent, slab)
            raise AoeError(f"The combination of {weight} exceeds the range of {dtype}; lower its weights λ.") from error

    def encoded(self, weight: str, begin: int, end: int) -> dict[str, np.ndarray]:
        """Return rows of a weight that is not native, combined: role -> as it is stored; see aoe.numerics.decoded."""
        (parents, mixture), layout, method = self._summands(weight), self.layout(weight), self.method(weight)
        if fused.is_known(layout, parents, method):
            found = fused.combine(layout, parents, mixture, begin, end)
            if found is not None:  # else what follows says what is wrong
                return found
        values = []
        try:
            for parent in parents:
                values.append(decoded.decode(parent, parent.layout(weight), begin, end))
            total = decoded.summed(values, mixture, method)
            return decoded.encode(total, layout, method, begin, values)
        except kernels.NotFiniteError as error:
            for parent, value in itertools.zip_longest(parents, values):
                if value is None or not np.isfinite(value).all():
                    raise AoeError(f"{parent.name}: the tensor {weight} holds NaN or Inf.") from error
            words = layout.words()
            raise AoeError(f"The combination of {weight} exceeds the range of {words}; lower its weights λ.") from error

    def pieces(self, weight: str) -> list[tuple[int, int]]:
        """Return the ranges of rows that ``encoded`` is asked for, in order."""
        known = fused.is_known(self.layout(weight), self._summands(weight)[0], self.method(weight))
        return decoded.rows_of_slabs(self.layout(weight), fused.SLAB if known else decoded.SLAB)

    def encoded_values(self, weight: str, begin: int, end: int, out: NDArray[np.float32] | None = None) -> NDArray[Any]:
        """Return the values of what ``encoded`` gives, float32 (rows, columns), in ``out`` if there is one."""
        layout = self.layout(weight)
        rows = decoded.bytes_of(self.encoded(weight, begin, end)) | decoded.kept_rows(self.base, layout)
        return decoded.values_of(layout, rows, begin, end, out)

    def tensors(self, weights: Iterable[str]) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
        """Yield (weight, {name: tensor}) of output weights with all their members, while later ones are in work.

        dtypes and shapes are those that are stored.  What is copied or converted comes on the CPU, what is combined on
        the merge's device.
        """
        for weight, members in self._pipeline(weights, self._begin):
            yield weight, {name: members[name] for name in self.layout(weight).names}

    def outputs(self, weights: Iterable[str]) -> Iterator[tuple[str, torch.Tensor, torch.Tensor | None]]:
        """Yield (weight, tensor, scale or None) of ``tensors``: the codes or numbers, and the scale that they need."""
        for weight, members in self.tensors(weights):
            scale = self.layout(weight).members.get(SCALE)
            yield weight, members[weight], members[scale.stored.name] if scale else None

    def values(self, weights: Iterable[str]) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield (weight, tensor) as a server without FP8 computes with: quantized as float32, others as stored; CPU."""
        yield from self._pipeline(weights, self._begin_value)

    def _pipeline(self, weights, begin):
        """Yield what ``begin`` makes: it starts a weight's tasks and returns (futures, a function for their result)."""
        pending, ahead = deque(), 0

        def finish():
            weight, futures, result = pending.popleft()
            for future in futures:
                future.result()
            return weight, result()

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
        layout = self.layout(weight)
        if self.source(weight) is not None:
            places = {name: self.member(name) for name in layout.names}
            copies = {name: pool.submit(one.tensor, theirs) for name, (one, theirs) in places.items()}
            return [], lambda: {name: copy.result() for name, copy in copies.items()}
        begin = self._begin_native if self.is_native(weight) else self._begin_encoded
        futures, made = begin(weight, pool)
        kept = {name: self.base.tensor(name) for name in self.kept(weight)}
        return futures, lambda: made() | kept

    def _begin_native(self, weight, pool):
        stored, dtype = self.base.stored(weight), self.stored(weight).dtype
        pieces = slabs(stored, self.engine)
        out = self.engine.empty(stored.shape if stored.dtype == FP8 else stored.elements, dtype)
        if dtype != FP8:
            futures = [pool.submit(self.combine, slab, out[slab.begin : slab.end]) for slab in pieces]
            return futures, lambda: {weight: _tensor(out, self.stored(weight))}
        scale, member = self.engine.empty(scale_shape(*stored.shape), "F32"), self.base.layout(weight).members[SCALE]
        futures = [pool.submit(self.combine, s, out[s.begin : s.end], scale[s.block_rows]) for s in pieces]

        def made():
            if member.stored.dtype == "F32":
                return {weight: _tensor(out, stored), member.stored.name: _tensor(scale)}
            numbers = narrowed(self.engine.host(scale), member.stored.dtype)
            return {weight: _tensor(out, stored), member.stored.name: _tensor(numbers, member.stored)}

        return futures, made

    def _begin_encoded(self, weight, pool):
        layout = self.layout(weight)
        rows, members = layout.shape[0], layout.made
        out = {role: np.empty(one.stored.size, np.uint8) for role, one in members.items()}

        def fill(begin, end):
            for role, numbers in decoded.bytes_of(self.encoded(weight, begin, end)).items():
                first, last = members[role].span(begin, end, rows)
                out[role][first:last] = numbers

        futures = [pool.submit(fill, *piece) for piece in self.pieces(weight)]
        return futures, lambda: {one.stored.name: _tensor(out[role], one.stored) for role, one in members.items()}

    def _begin_value(self, weight, pool):
        layout = self.layout(weight)
        if layout.storage == PLAIN:
            futures, result = self._begin(weight, pool)
            return futures, lambda: result()[weight].cpu()
        if not layout.decodes:
            raise AoeError(f"The tensor {weight} has the dtype {layout.codes.dtype}, which cannot be dequantized.")
        self.source(weight)  # found out once, for all slabs
        out = np.empty(layout.shape, np.float32)
        futures = [pool.submit(self._dequantize, weight, piece, out) for piece in self._pieces(weight)]
        served = layout.served_shape
        if layout.is_transposed:
            return futures, lambda: _tensor(out).reshape(served[0], served[2], served[1]).transpose(1, 2).contiguous()
        return futures, lambda: _tensor(out).reshape(served)

    def _pieces(self, weight):
        """The ranges of rows that a weight's values are computed in."""
        if self.source(weight) is None and self.is_native(weight):
            return [(slab.begin, slab.end) for slab in slabs(self.base.stored(weight), self.engine)]
        return self.pieces(weight)

    def _dequantize(self, weight, piece, out):
        """Fill rows of ``out`` with the float32 values of an output weight."""
        (begin, end), source = piece, self.source(weight)
        if source is not None:
            theirs = source.layout(weight)
            decoded.values_of(theirs, decoded.stored_rows(source, theirs, begin, end), begin, end, out[begin:end])
        elif self.is_native(weight):
            slab = Slab(self.base.stored(weight), begin, end)
            codes, scale = self.engine.empty(slab.shape, FP8), self.engine.empty(scale_shape(*slab.shape), "F32")
            self.combine(slab, codes, scale)
            cpu.dequantize(self.engine.host(codes), self.engine.host(scale), out[begin:end])
        else:
            self.encoded_values(weight, begin, end, out[begin:end])

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
