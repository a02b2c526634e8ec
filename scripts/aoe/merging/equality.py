"""Do checkpoints store a weight in the same bytes?"""

from collections.abc import Iterable

import numpy as np
from aoe import AoeError
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.merging.forms import storage_in_words
from aoe.numerics.kernels import cpu

COMPARED_FIRST_BYTES = 4096  # of a weight, before all of them


def check_equal(weight: str, parents: Iterable[Checkpoint]) -> None:
    """Raise AoeError unless all parents store a weight that cannot be combined in the same bytes."""
    first, *others = parents
    for other in others:
        if not agree(first, other, weight):
            raise AoeError(
                f"The tensor {weight} {storage_in_words(first, weight)}, which cannot be combined, and differs between "
                f"{first.name} and {other.name}; leave it out of the subset S."
            )


def agree(one: Checkpoint, other: Checkpoint, weight: str, counterpart: str | None = None) -> bool:
    """Return whether two checkpoints store a weight, with its scale, in the same bytes; reads on only while they do.

    counterpart: the weight's name in the other one, if it has another.
    """
    ours, theirs = one.layout(weight), other.layout(counterpart or weight)
    if not (ours.is_stored_as(theirs) and theirs.is_stored_as(ours)):
        return False
    pairs = [(member.stored, theirs.members[role].stored.name) for role, member in ours.decoding.items()]
    # where parents differ, they do so at once: what is combined is not read a second time for it
    codes, counterpart = pairs[0]
    pieces = [(codes.name, counterpart, 0, min(COMPARED_FIRST_BYTES, codes.size))]
    for stored, name in pairs:
        begins = range(0, stored.size, cpu.SLAB)
        pieces += [(stored.name, name, begin, min(cpu.SLAB, stored.size - begin)) for begin in begins]
    return all(_same(one, other, *piece) for piece in pieces)


def _same(one, other, ours, theirs, begin, size):
    """Whether ``size`` bytes of two tensors are equal."""
    return cpu.alike(*(c.read(name, begin, np.empty(size, np.uint8)) for c, name in ((one, ours), (other, theirs))))
