"""Layouts: the tensors that one weight is stored in, and what their numbers mean together.

A weight is one matrix.  A checkpoint knows it by the name of the tensor that has its numbers or codes; the tensors that
are read with it (scales, zero points, shapes) are its other members.  aoe.checkpoints.storage finds the layout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from aoe.checkpoints.formats import BLOCK, FORMATS, size_of
from aoe.checkpoints.keys import quantization_of
from aoe.checkpoints.shard import StoredTensor

CODES, SCALE, INPUT_SCALE, SHAPE, ORDER = "codes", "scale", "input_scale", "shape", "order"  # roles of members
KEPT = (INPUT_SCALE, SHAPE, ORDER)  # roles that no arithmetic makes: they stay the base's
PLAIN = "plain"  # the name of the storage of numbers that need no other tensor
PIECES = "pieces"  # and of what has values only, put together out of other weights

UNPACKED = ((".weight_packed", ".weight"), (".qweight", ".weight"), ("_blocks", ""))  # ends of names

Ends = tuple[tuple[str, str], ...]  # (end of the codes' name, end of the member's name instead)


class Scales(StrEnum):
    """What new scales are rounded to before the codes are: a dtype, upwards, or the next power of two."""

    F32 = "F32"
    BF16 = "BF16"
    F16 = "F16"
    POWERS = "powers of two"


class Member(NamedTuple):
    """One tensor of a weight; ``rows``: of the matrix, that a row of it is for; 0 if it is for all of them."""

    stored: StoredTensor
    rows: int

    def span(self, begin: int, end: int, total: int) -> tuple[int, int]:
        """Return the byte range of rows ``begin`` to ``end`` of a matrix of ``total`` rows."""
        if not self.rows or not total:
            return 0, self.stored.size
        width = self.stored.size // -(-total // self.rows)
        return begin // self.rows * width, -(-end // self.rows) * width


@dataclass(frozen=True)
class Storage:
    """A format that a weight is stored in; its file in aoe.checkpoints.storage has it as ``STORAGE``.

    title: in sentences.  dtypes: role -> the dtypes that a member may have; ends: role -> how its name follows from
    that of the codes, the first that is there counts; of the codes themselves, how their names end.  needs: the roles
    without which a weight is of another format.  decodes: whether aoe.numerics knows its values; combines: whether it
    makes such weights, too.
    read: returns the Layout of (members' StoredTensors by role, Settings); raises ValueError, in words, if the
    members do not fit each other.
    """

    name: str
    title: str
    dtypes: Mapping[str, tuple[str, ...]]
    ends: Mapping[str, Ends]
    needs: tuple[str, ...]
    read: Callable[[Mapping[str, StoredTensor], Settings], Layout]
    decodes: bool = True
    combines: bool = True

    def candidates(self, weight: str, role: str) -> list[str]:
        """Return the names that a member of a weight may have, the likeliest first."""
        ends = self.ends.get(role, ())
        return [weight.removesuffix(old) + new for old, new in ends if weight.endswith(old)]

    def owners(self, tensor: str) -> list[str]:
        """Return the names of the weights that a tensor may be a member of, by its name."""
        members = [end for role, ends in self.ends.items() if role != CODES for end in ends]
        return [tensor.removesuffix(new) + old for old, new in members if tensor.endswith(new)]


@dataclass(frozen=True)
class Settings:
    """What a ``quantization_config`` says of the storage.

    block: rows and columns that share a scale, or None; powers: whether scales are powers of two (``scale_fmt``);
    method: ``quant_method`` as it stands, or empty; bits: of packed integers; other_bits: of those of other groups of
    modules; less_one: whether GPTQ's zeros are stored less 1.  shape: what a packed weight's own tensor says of it.
    """

    block: tuple[int, int] | None = None
    powers: bool = False
    method: str = ""
    bits: int = 4
    less_one: bool = True
    other_bits: tuple[int, ...] = ()
    shape: tuple[int, ...] | None = None

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> Settings:
        """Return the Settings of a config.json; what it says in another way than expected counts as not said."""
        quantized = quantization_of(config)
        if not isinstance(quantized, dict):
            return cls()
        method, groups = quantized.get("quant_method"), groups_of(quantized)
        weights = groups[0] if groups else {}
        block: Any = quantized.get("weight_block_size") or weights.get("block_structure")
        bits = next((b for b in (weights.get("num_bits"), quantized.get("bits")) if type(b) is int), 4)
        pair = isinstance(block, list) and len(block) == 2 and all(type(side) is int and side > 0 for side in block)
        powers = quantized.get("scale_fmt") == "ue8m0"
        less_one = quantized.get("checkpoint_format", "gptq") == "gptq"
        sides = (block[0], block[1]) if pair else None
        others = tuple(group["num_bits"] for group in groups[1:] if type(group.get("num_bits")) is int)
        return cls(sides, powers, method if isinstance(method, str) else "", bits, less_one, others)


def groups_of(quantized: Any) -> list[dict[str, Any]]:
    """Return what compressed-tensors says of the weights of each of its groups; nothing where it says nothing."""
    groups = quantized.get("config_groups") if isinstance(quantized, dict) else None
    of_groups = groups.values() if isinstance(groups, dict) else []
    found = [group.get("weights") for group in of_groups if isinstance(group, dict)]
    return [weights for weights in found if isinstance(weights, dict)]


@dataclass(frozen=True)
class Layout:
    """How one weight is stored.

    weight: its name; storage: the format's name; shape: of its numbers, as a matrix (rows, columns); members: role ->
    Member; title: in words; block: rows and columns that share a scale; scales: what new ones are rounded to; combines,
    decodes: see Storage; other: what else a format's arithmetic needs; pieces: what a weight of values only is
    decoded from.
    """

    weight: str
    storage: str
    title: str
    shape: tuple[int, int]
    members: dict[str, Member]
    block: tuple[int, int] = (1, 1)
    scales: Scales = Scales.F32
    combines: bool = False
    decodes: bool = True
    other: dict[str, Any] = field(default_factory=dict)
    pieces: tuple[Piece, ...] = ()

    @property
    def codes(self) -> StoredTensor:
        """The tensor that the weight is known by."""
        return self.members[CODES].stored

    @property
    def values_shape(self) -> tuple[int, ...]:
        """The shape of its numbers as a tensor."""
        return self.codes.shape if self.is_tensor else self.shape

    @property
    def is_tensor(self) -> bool:
        """Whether its numbers or codes are stored one by one, in the shape of the weight."""
        return self.storage in (PLAIN, "fp8")

    @property
    def is_packed_by_rows(self) -> bool:
        """Whether several of its rows share what is read, so that none is decoded without all."""
        return any(not member.rows and member.stored.elements > 1 for member in self.made.values())

    @property
    def served_shape(self) -> tuple[int, ...]:
        """The shape of its numbers as a server computes with them that knows no packed formats.

        gpt-oss' plain experts are the transposes of its packed ones.
        """
        return (self.codes.shape[0], self.shape[1], self.codes.shape[1]) if self.is_transposed else self.values_shape

    @property
    def is_transposed(self) -> bool:
        """Whether its matrices have rows and columns the other way round where they are not packed."""
        return self.storage == "mxfp4" and self.decodes and len(self.codes.shape) == 4

    @property
    def values_name(self) -> str:
        """The name of the weight where it is not packed."""
        for end, plain_end in UNPACKED:
            if not self.is_tensor and self.weight.endswith(end):
                return self.weight.removesuffix(end) + plain_end
        return self.weight

    @property
    def names(self) -> list[str]:
        """The names of all members, the codes first."""
        return [member.stored.name for member in self.members.values()]

    @property
    def made(self) -> dict[str, Member]:
        """The members that encoding makes; the others stay the base's."""
        return {role: one for role, one in self.members.items() if role not in KEPT}

    @property
    def decoding(self) -> dict[str, Member]:
        """The members that values follow from, an order among them."""
        return {role: one for role, one in self.members.items() if role not in (INPUT_SCALE, SHAPE)}

    @property
    def size(self) -> int:
        """In bytes, of all members."""
        return sum(member.stored.size for member in self.members.values())

    @property
    def native(self) -> str:
        """The dtype that kernels combine it as, or empty: plain numbers, and FP8 in blocks of 128 x 128."""
        plain = self.storage == PLAIN and self.combines
        square = self.storage == "fp8" and self.combines and self.block == (BLOCK, BLOCK)
        return self.codes.dtype if plain or (square and len(self.codes.shape) == 2) else ""

    @property
    def strategy(self) -> str:
        """What compressed-tensors calls what shares a scale: tensor, channel (a row), or block."""
        return "tensor" if self.block == self.shape else "channel" if self.block[0] == 1 else "block"

    @property
    def step(self) -> int:
        """How many rows are encoded together; 0 for all of them."""
        rows = [member.rows for member in self.made.values()]
        return 0 if 0 in rows else math.lcm(*rows)

    def is_stored_as(self, other: Layout) -> bool:
        """Return whether a copy of the other layout's bytes is a weight of this one."""
        ours, theirs = ({r: (m.stored.dtype, m.stored.shape) for r, m in one.decoding.items()} for one in (self, other))
        forms = [(one.storage, one.shape, one.block, one.other) for one in (self, other)]
        same = not self.pieces and forms[0] == forms[1]
        return same and ours == theirs and (self.scales != Scales.POWERS or other.scales == Scales.POWERS)

    def words(self) -> str:
        """Return the format in words."""
        dtype = self.codes.dtype
        return dtype if self.storage == PLAIN else self.title


class Piece(NamedTuple):
    """Rows ``begin`` to ``end`` of a weight, by its Layout."""

    layout: Layout
    begin: int
    end: int

    @property
    def is_whole(self) -> bool:
        """Whether these are all rows."""
        return (self.begin, self.end) == (0, self.layout.shape[0])


def plain(stored: StoredTensor) -> Layout:
    """Return the Layout of a tensor that is a weight by itself."""
    columns = stored.shape[-1] if stored.shape else 1
    shape = (stored.elements // columns if columns else 0, columns)
    member, known = Member(stored, 1), FORMATS[stored.dtype].combines
    return Layout(stored.name, PLAIN, stored.dtype, shape, {CODES: member}, combines=known, decodes=known)


def unknown(members: Mapping[str, StoredTensor], storage: str, title: str) -> Layout:
    """Return the Layout of a packed weight whose tensors do not fit each other as known here: it is copied."""
    shapes = ", ".join(f"{role} {stored.dtype} {list(stored.shape)}" for role, stored in members.items())
    found, codes = {role: Member(stored, 0) for role, stored in members.items()}, members[CODES]
    return Layout(codes.name, storage, f"{title} of unknown form ({shapes})", plain(codes).shape, found, decodes=False)


def as_bf16(layout: Layout) -> StoredTensor:
    """Return how a weight is stored that becomes BF16; its byte range means nothing."""
    shape = layout.values_shape
    return StoredTensor(layout.weight, "BF16", shape, 0, size_of("BF16", shape))
