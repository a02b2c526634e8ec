"""A parent under the names of a base: its weights renamed, cut out of stacks, or stacked.

What lies in whole rows of the parent's tensors is seen as one tensor, whose bytes are read from where they are.  Where
that is impossible, such as for scales of whole tensors that are to be stacked, a weight has values only.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.layout import Layout, Piece
from aoe.checkpoints.naming.cutting import MEMBER, Cut, Run, joined
from aoe.checkpoints.naming.names import PACKED_STACK, Names, expert_of, is_stack, key_of
from aoe.checkpoints.naming.view import View
from aoe.checkpoints.shard import Shard, StoredTensor
from aoe.checkpoints.storage import may_own


def named_as(base: Checkpoint, other: Checkpoint, stacks_only: bool = False) -> Checkpoint:
    """Return another Checkpoint under the names of a base; itself if it has these.

    stacks_only: whether to see only those weights otherwise that are stacks in the base, and not in the other one.
    """
    seen = other
    while isinstance(seen, View):
        if isinstance(seen, RenamedCheckpoint) and seen.base.directory == base.directory:
            return other
        seen = seen.model
    lacking = base.files.keys() - other.files.keys()
    lacking = {name for name in lacking if is_stack(name)} if stacks_only else lacking
    if all(any(owner in base.files for owner in may_own(name)) for name in lacking):
        return other  # but for scales and the like
    return RenamedCheckpoint(other, base, stacks_only)


class RenamedCheckpoint(View):
    """A Checkpoint under the names of a base, as far as its weights are found by them; see ``named_as``."""

    def __init__(self, model: Checkpoint, base: Checkpoint, stacks_only: bool = False) -> None:
        super().__init__(model)
        self.base, self._stacks_only = base, stacks_only
        self._pieces: dict[str, tuple[Piece, ...]] = {}
        self._runs: dict[str, tuple[StoredTensor, list[Run]]] = {}

    @cached_property
    def files(self) -> dict[str, str]:
        """The file name of every weight of the base that is found, and of everything that none of these is."""
        found = {weight: self.model.files[self._first(weight)] for weight in self._found}
        files = self.model.files.items()
        return found | {name: file for name, file in files if self.model.weight(name) in self._unused}

    @property
    def weights(self) -> list[str]:
        """The names of the base's weights that are found, and of the other ones."""
        return [*self._found, *(weight for weight in self.model.weights if weight in self._unused)]

    @cached_property
    def _found(self):
        return [weight for weight in self.base.weights if weight in self]

    @cached_property
    def _unused(self):
        """The weights of the parent that are none of the base's."""
        used = {piece.layout.weight for weight in self._found for piece in self.pieces(weight)} | {*self._found}
        return {weight for weight in self.model.weights if weight not in used}

    def __contains__(self, tensor: str) -> bool:
        return tensor in self.model or bool(self.pieces(tensor))

    def pieces(self, weight: str) -> tuple[Piece, ...]:
        """Return the rows of the parent's weights that a weight of the base is made of; none where names are the same.

        There are none either for a weight that is not found.
        """
        if weight not in self._pieces:
            there = weight in self.model or weight not in self.base
            self._pieces[weight] = () if there else self._find(weight)
        return self._pieces[weight]

    def _find(self, weight):
        (ours, theirs), key = self._names, key_of(weight)
        if ours.find(key) != weight:
            return ()  # another weight of the base may be meant
        own = ours.stacks_differ or theirs.stacks_differ
        found = None if self._stacks_only else theirs.find(key)
        if found is not None and found not in self.base:
            transposed = own and found.endswith(PACKED_STACK) != weight.endswith(PACKED_STACK)
            layout = self.model.layout(found)
            return () if transposed else (Piece(layout, 0, layout.shape[0]),)
        parts = ours.parts(weight)
        if own or not parts or (self._stacks_only and len(parts) < 2):
            return ()
        pieces = [self._piece(part) for part in parts]
        if None in pieces or len({piece.layout.shape[1] for piece in pieces}) > 1:
            return ()
        return joined(pieces)

    @cached_property
    def _names(self):
        return Names(self.base), Names(self.model)

    def _piece(self, part):
        """The Piece that is a part of one of the base's weights; None if it is not found."""
        ours, theirs = self._names
        place = theirs.locate(part)
        if place is None or place.weight in self.base:
            return None
        layout = self.model.layout(place.weight)
        rows = layout.shape[0]
        if place.experts:
            size, left = divmod(rows, place.parts)
            fits = not left and ours.locate(expert_of(part, place.experts - 1))
            return Piece(layout, place.place * size, (place.place + 1) * size) if fits else None
        names = [ours.find(sibling) for sibling in theirs.parts(place.weight)] if place.parts > 1 else []
        sizes = [rows] if not names else [self.base.layout(name).shape[0] for name in names if name is not None]
        if len(sizes) != place.parts or sum(sizes) != rows:
            return None
        begin = sum(sizes[: place.place])
        return Piece(layout, begin, begin + sizes[place.place])

    def _first(self, weight):
        """The name of the tensor of the parent in which a weight begins."""
        pieces = self.pieces(weight)
        return pieces[0].layout.weight if pieces else weight

    def layout(self, weight: str) -> Layout:
        """Return how a weight is stored, under the base's name; see Checkpoint.layout."""
        if weight not in self._layouts:
            self._layouts[weight] = self._layout(weight, self.pieces(weight))
        return self._layouts[weight]

    def _layout(self, weight, pieces):
        if not pieces:
            return self.model.layout(weight)
        if len(pieces) == 1 and pieces[0].is_whole:
            return replace(pieces[0].layout, weight=weight)
        cut = Cut(self.base.layout(weight), pieces)
        self._runs |= cut.tensors()
        return cut.layout()

    def stored(self, tensor: str) -> StoredTensor:
        """Return how a tensor is stored; the byte range of those that are rearranged has their size, and no meaning."""
        if tensor in self.model:
            return self.model.stored(tensor)
        weight = tensor.partition(MEMBER)[0]
        if not self.pieces(weight):
            return self.model.stored(tensor)
        layout = self.layout(weight)
        return self._runs[tensor][0] if tensor in self._runs else layout.codes

    def rearranges(self, tensor: str) -> bool:
        """Return whether a tensor is put together out of rows of others."""
        if tensor in self.model:
            return self.model.rearranges(tensor)
        self.stored(tensor)
        return tensor in self._runs

    def renames(self, weight: str) -> bool:
        """Return whether a weight has another name in its file, or lies there in other pieces."""
        return bool(self.pieces(weight))

    def shard_of(self, tensor: str) -> Shard:
        """Return the Shard that holds ``tensor``, or its first bytes."""
        known = tensor in self.model
        return self.model.shard_of(tensor if known else self._first(tensor.partition(MEMBER)[0]))

    def files_of(self, weight: str) -> set[str]:
        """Return the file names of the shards that hold a weight with all its members."""
        pieces = self.pieces(weight)
        if not pieces:
            return self.model.files_of(weight)
        return {self.model.files[name] for piece in pieces for name in piece.layout.names}

    def read(self, tensor: str, begin: int = 0, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Return bytes of a tensor as it is seen; see Shard.read."""
        if tensor in self.model:
            return self.model.read(tensor, begin, out)
        stored = self.stored(tensor)
        if tensor not in self._runs:
            return self.model.read(stored.name, begin, out)
        out = np.empty(stored.size - begin, np.uint8) if out is None else out
        for name, first, place, size in self._spans(tensor, begin, begin + len(out)):
            self.model.read(name, first, out[place - begin : place - begin + size])
        return out

    def prefetch(self, tensor: str, begin: int, end: int) -> None:
        """Ask the system to read bytes of a tensor ahead."""
        if tensor in self.model:
            return self.model.prefetch(tensor, begin, end)
        stored = self.stored(tensor)
        if tensor not in self._runs:
            return self.model.prefetch(stored.name, begin, end)
        for name, first, _, size in self._spans(tensor, begin, end):
            self.model.prefetch(name, first, first + size)

    def _spans(self, tensor, begin, end):
        """Yield (tensor of the parent, its first byte, that byte's place in the view's tensor, size)."""
        top = 0
        for name, first, size in self._runs[tensor][1]:
            start, stop = max(begin, top), min(end, top + size)
            if start < stop:
                yield name, first + start - top, start, stop - start
            top += size

    def weight(self, tensor: str) -> str:
        """Return the weight that ``tensor`` is, or is a member of."""
        return tensor if self.pieces(tensor) else self.model.weight(tensor)

    def is_scale(self, tensor: str) -> bool:
        """Return whether ``tensor`` is a member of a quantized weight, and not one of its own."""
        return not self.pieces(tensor) and self.model.is_scale(tensor)
