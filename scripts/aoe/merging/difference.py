"""How much two checkpoints differ, tensor by tensor, in every norm of aoe.norms and in steps between stored numbers.

Sums are taken in float64, slab by slab, of values that are not rounded in between.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from aoe import AoeError, norms
from aoe.checkpoints.architecture import Architecture, Place
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.formats import scale_shape
from aoe.checkpoints.layout import CODES
from aoe.checkpoints.naming.renamed import named_as
from aoe.checkpoints.shard import StoredTensor
from aoe.merging.equality import agree
from aoe.merging.forms import storage_in_words
from aoe.merging.merge import alike, check_finite
from aoe.numerics import kernels
from aoe.numerics.decoded import Decoded, stored_rows
from aoe.numerics.kernels import FP8, Engine, Part, Sums, cpu
from aoe.numerics.slabs import Slab, slabs

STEPS = [name for name in Sums._fields if name.startswith("steps_")]
COLUMNS = {  # of a table of rows: pandas' dtypes
    "tensor": "str",
    "group": "str",
    "layer": "Int64",
    "expert": "Int64",
    "kind": "str",
    "dtype": "str",
    "rows": "int64",
    "elements": "int64",
    "identical": "bool",
    "norm": "float64",
    "other_norm": "float64",
    "cosine": "float64",
    **dict.fromkeys(norms.names(), "float64"),
    **dict.fromkeys(STEPS, "int64"),
}


def shard_differences(
    base: Checkpoint, other: Checkpoint, file: str, threads: int = 1, device: str | None = None
) -> list[dict[str, Any]]:
    """Return one row a weight of the base's shard ``file``: a list of dicts, ready for a data frame.

    base, other: Checkpoints of the same weights, under names that are known for each other; of weights that they store
    in different formats, the values are compared, and steps are float32's.  threads: how many slabs are in work at a
    time; device: "cpu" or "cuda", None for the GPU if there is one.  Raises AoeError for NaN, Inf and a missing
    counterpart.
    """
    architecture, engine, other = Architecture(base.config), kernels.for_device(device), named_as(base, other)
    weights = base.weights_in(file)
    for weight in weights:
        check_counterpart(base, other, weight)
    with kernels.threads(engine, threads) as pool:
        pieces = [(weight, slab) for weight in weights for slab in pieces_of(base, other, weight, engine)]
        measured = pool.map(lambda piece: slab_difference(engine, base, other, piece[1]), pieces)
        found = {weight: [] for weight in weights}
        for (weight, _), result in zip(pieces, measured, strict=True):
            found[weight].append(result)
    return [row(measured_as(base, weight), architecture.place(weight), found[weight]) for weight in weights]


def pieces_of(base: Checkpoint, other: Checkpoint, weight: str, engine: Engine = cpu) -> list[Slab]:
    """Return the Slabs in which a weight of two checkpoints is compared: of numbers as stored, or of float32 values.

    There are none of a weight whose values are not known: check_counterpart has found its bytes equal.
    """
    layouts = [checkpoint.layout(weight) for checkpoint in (base, other)]
    if not all(layout.decodes for layout in layouts):
        return []
    if layouts[0].native and layouts[0].native == layouts[1].native:
        return slabs(base.stored(weight), engine)
    return slabs(Decoded(base).stored(weight), cpu, rows=1)


def measured_as(base: Checkpoint, weight: str) -> StoredTensor:
    """Return the StoredTensor that a row of a weight is about: as it is stored, in the shape of its numbers."""
    return base.stored(weight)._replace(shape=base.layout(weight).values_shape)


def check_counterpart(base: Checkpoint, other: Checkpoint, weight: str) -> None:
    """Raise AoeError unless ``other`` has the weight in the same shape, and in known values or the same bytes."""
    ours = base.layout(weight)
    theirs = other.layout(weight) if weight in other else None
    if theirs is None or theirs.shape != ours.shape:
        raise AoeError(f"The tensor {weight} of {base.name} has no counterpart of its shape and dtype in {other.name}.")
    unknown = [one for one, layout in ((base, ours), (other, theirs)) if not layout.decodes]
    if unknown and not agree(base, other, weight):
        raise AoeError(
            f"The tensor {weight} {storage_in_words(unknown[0], weight)}, whose differences cannot be measured, and "
            f"differs between {base.name} and {other.name}."
        )


def slab_difference(engine: Engine, base: Checkpoint, other: Checkpoint, slab: Slab) -> tuple[bool, Sums]:
    """Return (whether the slab's bytes, or its values, agree; its Sums)."""
    native, theirs = (checkpoint.layout(slab.stored.name).native for checkpoint in (base, other))
    if not native or native != theirs:
        return _values_difference(base, other, slab)
    try:
        parts = [slab.read(base, engine, 0), slab.read(other, engine, 1)]
        return alike(*parts), engine.difference(parts, slab.stored.dtype)
    except kernels.NotFiniteError as error:
        for checkpoint in (base, other):
            check_finite(engine, checkpoint, slab)
        raise AoeError(f"The tensor {slab.stored.name} holds values too large to be squared.") from error


def _values_difference(base, other, slab):
    """What slab_difference returns, of weights that are compared by their values."""
    weight, found = slab.stored.name, []
    for place, checkpoint in enumerate((base, other)):
        try:
            found.append(slab.read(Decoded(checkpoint), cpu, place))
            cpu.difference([found[-1]] * 2, slab.stored.dtype)
        except kernels.NotFiniteError as error:
            raise AoeError(f"{checkpoint.name}: the tensor {weight} holds NaN or Inf.") from error
    sums = cpu.difference(found, slab.stored.dtype)
    codes = [codes_of(checkpoint, slab) for checkpoint in (base, other)]
    if codes[0] is not None and codes[1] is not None:
        # of FP8 with other scales than a block's, codes are compared, too
        there = cpu.difference([codes[0], codes[1]], FP8)
        sums = sums._replace(code_change=there.code_change, **{name: getattr(there, name) for name in STEPS})
    return alike(*found), sums


def codes_of(checkpoint: Checkpoint, slab: Slab) -> Part | None:
    """Return the codes of an FP8 weight in rows of its values, with scales of 1; None for other formats."""
    layout = checkpoint.layout(slab.stored.name)
    if layout.storage != "fp8":
        return None
    columns = layout.shape[1]
    begin, end = slab.begin // columns, slab.end // columns
    codes = stored_rows(checkpoint, layout, begin, end)[CODES].reshape(end - begin, columns)
    return codes, np.ones(scale_shape(*codes.shape), np.float32)


def row(stored: StoredTensor, place: Place, found: Sequence[tuple[bool, Sums]]) -> dict[str, Any]:
    """Return the row of one weight: its place, shape, dtype, whether all bytes are equal, norms, counts of steps.

    found: of its slabs; nothing of an empty tensor, and of one whose bytes are equal and whose values are not known,
    whose own norm counts as 0.
    """
    sums = Sums(0, 0, 0, steps_0=stored.elements)
    if found:
        sums = Sums(*map(math.fsum, zip(*(sums for _, sums in found), strict=True)))
    return {
        "tensor": stored.name,
        "group": str(place.group),
        "layer": place.layer,
        "expert": place.expert,
        "kind": place.kind,
        "dtype": stored.dtype,
        "rows": stored.shape[0] if stored.shape else 1,
        "elements": stored.elements,
        "identical": all(alike for alike, _ in found),
        "norm": math.sqrt(sums.size),
        "other_norm": math.sqrt(sums.other_size),
        "cosine": cosine(sums),
        **norms.measured(sums, stored.elements),
        **{name: int(getattr(sums, name)) for name in STEPS},
    }


def cosine(sums: Sums) -> float:
    """Return the cosine of the angle between two weights, as vectors of all their numbers; 0 where one is zero."""
    lengths = math.sqrt(sums.size) * math.sqrt(sums.other_size)
    if lengths == 0:
        return 0.0
    # what they differ by tells small angles better than their product does
    return max(-1.0, min(1.0, (sums.size + sums.other_size - sums.change) / 2 / lengths))
