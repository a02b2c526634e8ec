"""Weights of the parents that are not where they belong: experts that were swapped, layers in another's place."""

import threading
from collections.abc import Mapping

import numpy as np
from aoe.audit.comparison import Comparison
from aoe.audit.storage import SlabPart
from aoe.checkpoints.architecture import Architecture
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.layout import Layout
from aoe.merging.equality import agree
from aoe.merging.merge import alike

KEY_BYTES = 4096  # of a weight, by which it is looked for


class Elsewhere:
    """The weights of an audit's parents by their beginning, as the published model would store them.

    parents: name -> Checkpoint, the base first; architecture: of the base.  Threads may share an instance.
    """

    def __init__(self, parents: Mapping[str, Checkpoint], architecture: Architecture) -> None:
        self.parents, self.architecture = parents, architecture
        self.base = next(iter(parents.values()))
        self.lock, self.heads, self.kinds = threading.Lock(), {}, {}

    def find(self, weight: Comparison) -> tuple[str, str] | None:
        """Return (parent, name) of the weight that a published weight is a copy of; None if there is none."""
        with self.lock:
            known = self._heads(weight)
        published, _ = next(weight.copies_of(next(iter(self.parents)), weight.name))
        for parent, other in known.get(_head(published), []):
            copies = weight.copies_of(parent, other)
            if other != weight.name and all(made is not None and alike(ours, made) for ours, made in copies):
                return parent, other
        return None

    def find_bytes(self, weight: Comparison) -> tuple[str, str] | None:
        """Return (parent, name) of the weight whose stored bytes a published weight has; None if there is none."""
        part, published, key = weight.part, weight.published.checkpoint, (self._kind(weight.name), "bytes")
        if not part or not part.layout or part.layout.pieces:
            return None
        with self.lock:
            if key not in self.heads:
                self.heads[key] = self._stored_heads(key[0])
        for parent, other in self.heads[key].get(_stored_head(published, part.layout), []):
            if other != weight.name and agree(self.parents[parent], published, other, part.tensor):
                return parent, other
        return None

    def _stored_heads(self, kind):
        """{first stored bytes: [(parent, name)]} of what a weight may be confused with."""
        found = {}
        for name in self._names(kind):
            for parent, checkpoint in self.parents.items():
                layout = checkpoint.layout(name)
                if not layout.pieces:  # what is put together has no bytes of its own
                    found.setdefault(_stored_head(checkpoint, layout), []).append((parent, name))
        return found

    def _heads(self, weight):
        """{beginning: [(parent, name)]} of what a weight may be confused with."""
        kind, compared = self._kind(weight.name), (weight.ours.dtype, weight.ours.shape)
        key = kind, *compared, weight.theirs.dtype, bool(weight.by_values)
        if key not in self.heads:
            self.heads[key] = {}
            for name in self._names(kind):
                if weight.stored_of(name) == compared:
                    for parent in self.parents:
                        _, made = next(weight.copies_of(parent, name))
                        if made is not None:
                            self.heads[key].setdefault(_head(made), []).append((parent, name))
        return self.heads[key]

    def _names(self, kind):
        if not self.kinds:
            for name in self.base.weights:
                self.kinds.setdefault(self._kind(name), []).append(name)
        return self.kinds[kind]

    def _kind(self, name):
        """Other experts of its layer, or its like in other layers."""
        place = self.architecture.place(name)
        return place.group, place.kind, place.layer if place.expert is not None else None


def _head(part: SlabPart) -> bytes:
    return part[0].reshape(-1).view(np.uint8)[:KEY_BYTES].tobytes()


def _stored_head(checkpoint: Checkpoint, layout: Layout) -> bytes:
    codes = layout.codes
    return checkpoint.read(codes.name, 0, np.empty(min(KEY_BYTES, codes.size), np.uint8)).tobytes()
