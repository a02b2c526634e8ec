"""Weights that are put together out of rows of others: as one layout where bytes allow it, else as values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from aoe.checkpoints.formats import size_of
from aoe.checkpoints.layout import CODES, INPUT_SCALE, ORDER, PIECES, SHAPE, Layout, Member, Piece
from aoe.checkpoints.shard import StoredTensor

MEMBER = ":"  # between the name of a weight and the role of one of its members


class Run(NamedTuple):
    """Bytes of a tensor, which follow those of the Run before in what is put together."""

    tensor: str
    begin: int
    size: int


def joined(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    """Return Pieces of which those that follow each other in one weight are one."""
    found: list[Piece] = []
    for piece in pieces:
        if found and (found[-1].layout.weight, found[-1].end) == (piece.layout.weight, piece.begin):
            found[-1] = found[-1]._replace(end=piece.end)
        else:
            found.append(piece)
    return tuple(found)


class Cut:
    """A weight out of Pieces of a parent's.

    ours: the Layout of the base's weight, whose name and shapes it has as far as they fit; pieces: of equal columns.
    """

    def __init__(self, ours: Layout, pieces: tuple[Piece, ...]) -> None:
        self.ours, self.pieces, self.first = ours, pieces, pieces[0].layout
        self.shape = sum(piece.end - piece.begin for piece in pieces), self.first.shape[1]
        self.members = self._members() if self._is_alike() else None

    def layout(self) -> Layout:
        """Return the Layout of the whole: as its pieces are stored, or one that has values only."""
        if self.members is not None:
            members = {role: Member(stored, rows) for role, (stored, rows, _) in self.members.items()}
            block = self.shape if self.first.block == self.first.shape else self.first.block
            return replace(self.first, weight=self.ours.weight, shape=self.shape, members=members, block=block)
        dtype, decodes = self.first.codes.dtype, all(piece.layout.decodes for piece in self.pieces)
        codes = StoredTensor(self.ours.weight, dtype, self._shaped(CODES, self.shape), 0, size_of(dtype, self.shape))
        title = " and ".join(dict.fromkeys(piece.layout.words() for piece in self.pieces))
        known = {CODES: Member(codes, 1)}
        return Layout(self.ours.weight, PIECES, title, self.shape, known, decodes=decodes, pieces=self.pieces)

    def tensors(self) -> dict[str, tuple[StoredTensor, list[Run]]]:
        """Return {name: (StoredTensor, its Runs)} of the tensors of the whole; none if it has values only."""
        return {stored.name: (stored, runs) for stored, _, runs in (self.members or {}).values()}

    def _is_alike(self):
        """Whether all pieces are stored in the same way, so that rows of one can follow those of another."""
        kinds = [
            (
                one.storage,
                one.block if one.block != one.shape else None,
                one.scales,
                one.other,
                {role: (member.stored.dtype, member.rows) for role, member in one.members.items()},
            )
            for one in (piece.layout for piece in self.pieces)
        ]
        return all(kind == kinds[0] for kind in kinds)

    def _members(self):
        """{role: (StoredTensor, rows, Runs)}; None if a member cannot be cut where the pieces end."""
        found = {}
        for role in self.first.members:
            if role == SHAPE or (role == INPUT_SCALE and len(self.pieces) > 1):
                continue  # the base's are kept
            runs = self._runs(role)
            if runs is None:
                return None
            member, size = self.first.members[role], sum(run.size for run in runs)
            elements = size // size_of(member.stored.dtype, ())
            shape = self._shaped(role, member.stored.shape) if member.rows else member.stored.shape
            if math.prod(shape) != elements:
                shape = self._rows_of(elements, member.rows)
            name = self.ours.weight if role == CODES else f"{self.ours.weight}{MEMBER}{role}"
            found[role] = StoredTensor(name, member.stored.dtype, shape, 0, size), member.rows, runs
        return found

    def _rows_of(self, elements, rows):
        """The shape of a member as a matrix."""
        count = -(-self.shape[0] // rows) if rows else 1
        return count, elements // count

    def _shaped(self, role, shape):
        """The shape that the base's member has, if there is one; else this one."""
        if role == CODES and math.prod(self.ours.values_shape) == math.prod(self.shape):
            return self.ours.values_shape if self.first.storage in ("plain", "fp8") else shape
        return self.ours.members[role].stored.shape if role in self.ours.members else shape

    def _runs(self, role):
        runs = []
        for layout, begin, end in self.pieces:
            member, total = layout.members[role], layout.shape[0]
            whole_blocks = member.rows and not begin % member.rows and (not end % member.rows or end == total)
            alone = len(self.pieces) == 1 and not member.rows and (member.stored.elements == 1 or role == ORDER)
            last = (begin, end) == self.pieces[-1][1:] and layout is self.pieces[-1].layout
            if not alone and not (whole_blocks and (not end % member.rows or last)):
                return None
            first, stop = member.span(begin, end, total)
            runs.append(Run(member.stored.name, first, stop - first))
        return runs
