"""Where a published model holds what its parents hold: other shards, other names, experts in one piece.

A published weight is found by its name; then by the name that its part of a fused tensor has, or that other programs
give it; then by the longest end of its name that only one weight of the parents has, which finds layers that were
renamed and models that were put into a larger one.  What is found has the parents' names from then on.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from aoe import AoeError
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.formats import BLOCK, COMBINABLE, FORMATS, SCALED, scale_of, scale_shape, weight_of
from aoe.checkpoints.layout import SCALE, Layout
from aoe.checkpoints.naming.names import GATED, OF_EXPERTS, SPELLINGS, STACKS, spelled
from aoe.checkpoints.shard import StoredTensor

Shape = tuple[int, ...]

# what is stored in one piece by other programs: the end of the name, and the ends of the names of its parts in order
PARTS_OF_EXPERTS = {f"experts.{stack}": parts for stack, parts in OF_EXPERTS.items()}
PARTS_OF_EXPERTS |= {"experts.w13_weight": GATED, "experts.w2_weight": ("down_proj",)}
BOTH_WAYS = (SPELLINGS, {other: word for word, other in SPELLINGS.items()})


@dataclass(frozen=True)
class Part:
    """A range of rows of a published tensor, or of elements, that is one weight of the parents.

    ``tensor``: the published name; ``begin``: the first element; ``shape``: as the parents have it; ``scale``: the same
    of its scale, or None; ``problem``: why its values cannot be known, or None; ``layout``: of a whole tensor, None of
    a part of one.
    """

    tensor: str
    begin: int
    shape: Shape
    dtype: str
    scale: "Part | None" = None
    problem: str | None = None
    layout: Layout | None = None

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


class Published:
    """A published Checkpoint, with the names of its parents' weights; what aoe.numerics.slabs reads from.

    shapes: of the parents' weights, by their names.  ``parts``: weight -> Part; ``missing``: the parents' weights that
    it lacks; ``additional``: its tensors that the parents lack.
    """

    def __init__(self, checkpoint: Checkpoint, shapes: Mapping[str, Shape]) -> None:
        self.checkpoint, self.name = checkpoint, checkpoint.name
        self.parts, unknown = _matches(shapes, _parts(checkpoint, shapes))
        self.missing = [weight for weight in shapes if weight not in self.parts]
        self.additional = sorted({part.tensor for part in unknown} - {part.tensor for part in self.parts.values()})

    def weights_in(self, file: str) -> list[str]:
        """Return the parents' weights that a published shard holds."""
        return [weight for weight, part in self.parts.items() if self.checkpoint.files[part.tensor] == file]

    def stored(self, name: str) -> StoredTensor:
        """Return the StoredTensor of a weight or its scale, in the parents' shape."""
        part = self._part(name)
        begin = self.checkpoint.stored(part.tensor).begin + part.begin * FORMATS[part.dtype].bytes
        return StoredTensor(name, part.dtype, part.shape, begin, begin + part.elements * FORMATS[part.dtype].bytes)

    def scale(self, weight: str) -> str | None:
        """Return the name of the scale of an FP8 weight, or None."""
        return scale_of(weight) if self.parts[weight].scale else None

    def read(self, name: str, begin: int, out: np.ndarray) -> np.ndarray:
        """Fill ``out``, uint8, with bytes of a weight or scale from ``begin`` on; see Shard.read."""
        part = self._part(name)
        width = FORMATS[part.dtype].bytes
        if begin + len(out) > part.elements * width:
            raise ValueError(f"{name} has {part.elements * width} bytes, not {begin + len(out)}")
        return self.checkpoint.read(part.tensor, part.begin * width + begin, out)

    def _part(self, name):
        return self.parts[name] if name in self.parts else self.parts[weight_of(name)].scale


def _parts(checkpoint, shapes):
    """[(name, Part)] of all published weights: whole tensors, or the parts of fused ones."""
    found = []
    for tensor in checkpoint.files:
        if checkpoint.is_scale(tensor):
            continue
        stored = checkpoint.stored(tensor)
        names = {} if tensor in shapes else _names_of_parts(tensor, stored.shape, shapes)
        if not names:
            found.append((_known_as(tensor, shapes), _part(checkpoint, stored, 0, stored.shape)))
        for name, (row, rows) in names.items():
            found.append((_known_as(name, shapes), _part(checkpoint, stored, row, (rows, stored.shape[-1]))))
    return found


def _known_as(name, shapes):
    """The name as the parents spell it, if they have a weight of it."""
    if name in shapes:
        return name
    return next((other for spelling in BOTH_WAYS if (other := spelled(name, spelling)) in shapes), name)


def _names_of_parts(tensor, shape, shapes):
    """{name of a weight: (first row, rows)} of the weights that a fused tensor is a stack of; of another, none.

    Rows are counted through all experts.
    """
    plain = tensor.removesuffix(".weight")
    if len(shape) == 3:
        for end, parts in PARTS_OF_EXPERTS.items():
            if plain.endswith(f".{end}") and shape[1] % len(parts) == 0:
                prefix, rows = plain.removesuffix(end.removeprefix("experts")), shape[1] // len(parts)
                places = [(expert, part) for expert in range(shape[0]) for part in parts]
                return {f"{prefix}.{e}.{part}.weight": (i * rows, rows) for i, (e, part) in enumerate(places)}
    if len(shape) == 2:
        for end, parts in STACKS.items():
            names = [f"{plain.removesuffix(end)}{part}.weight" for part in parts]
            if plain.endswith(f".{end}") and all(name in shapes for name in names):
                rows = [shapes[name][0] for name in names]
                if sum(rows) == shape[0]:
                    return {name: (sum(rows[:i]), rows[i]) for i, name in enumerate(names)}
    return {}


def _part(checkpoint, stored, row, shape):
    """The Part of a published tensor from a row on, with its scale, or with what stands in the way."""
    begin = row * stored.shape[-1] if stored.shape else 0
    layout = _layout(checkpoint, stored.name) if shape == stored.shape else None
    if stored.dtype in COMBINABLE and stored.dtype not in SCALED:
        return Part(stored.name, begin, shape, stored.dtype, layout=layout)
    if layout and not layout.native:
        known = layout.decodes and not layout.pieces
        problem = None if known else f"is stored as {layout.words()}"
        return Part(stored.name, begin, shape, stored.dtype, problem=problem, layout=layout)
    if stored.dtype not in COMBINABLE:
        return Part(stored.name, begin, shape, stored.dtype, problem=f"is stored as {stored.dtype}")
    name = layout.members[SCALE].stored.name if layout else scale_of(stored.name)
    scale = checkpoint.stored(name) if name in checkpoint else None
    # blocks do not reach from one part of a fused tensor into the next, or else its scales are no part's own
    whole = shape == stored.shape or (row % BLOCK == 0 and shape[0] % BLOCK == 0)
    rows = math.prod(stored.shape[:-1]) if whole else 0
    if scale is None or len(shape) != 2 or not whole:
        return Part(stored.name, begin, shape, stored.dtype, problem="has no scales of blocks of its own")
    if scale.dtype != "F32" and not layout:
        return Part(stored.name, begin, shape, stored.dtype, problem=f"has scales of the dtype {scale.dtype}")
    expected = scale_shape(rows, stored.shape[-1])
    if math.prod(scale.shape) != math.prod(expected):
        return Part(stored.name, begin, shape, stored.dtype, problem=f"has scales of the shape {list(scale.shape)}")
    first = row // BLOCK * expected[1]
    return Part(
        stored.name, begin, shape, stored.dtype, Part(name, first, scale_shape(*shape), scale.dtype), layout=layout
    )


def _layout(checkpoint, tensor):
    """The Layout of a published tensor; None if its members do not fit one another."""
    try:
        return checkpoint.layout(tensor)
    except AoeError:
        return None


def _matches(shapes, found):
    """({weight: Part}, the Parts of no weight)."""
    matched = {name: part for name, part in found if name in shapes}
    ends = defaultdict(list)
    for weight in shapes.keys() - matched.keys():
        words = weight.split(".")
        for first in range(len(words) - 1):
            ends[".".join(words[first:])].append(weight)
    candidates, unknown = defaultdict(list), []
    for name, part in found:
        if name in shapes:
            continue
        words = name.split(".")
        known = next((ends[end] for first in range(len(words) - 1) if (end := ".".join(words[first:])) in ends), [])
        fitting = [weight for weight in known if shapes[weight] == part.shape]
        if len(fitting) == 1:
            candidates[fitting[0]].append(part)
        else:
            unknown.append(part)
    for weight, parts in candidates.items():
        if len(parts) == 1:
            matched[weight] = parts[0]
        else:
            unknown += parts
    for weight, part in matched.items():
        if part.shape != shapes[weight]:
            problem = f"has the shape {list(part.shape)} instead of {list(shapes[weight])}"
            matched[weight] = replace(part, problem=problem)
    return {weight: matched[weight] for weight in shapes if weight in matched}, unknown
