"""How much two checkpoints differ, tensor by tensor, in every norm of aoe.norms and in steps between stored numbers.

Sums are taken in float64, slab by slab, of values that are not rounded in between.
"""

import math
from collections.abc import Sequence
from typing import Any

from aoe import AoeError, norms
from aoe.checkpoints.architecture import Architecture, Place
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.formats import COMBINABLE
from aoe.checkpoints.shard import StoredTensor
from aoe.merging.merge import alike, check_finite
from aoe.numerics import kernels
from aoe.numerics.kernels import Engine, Sums
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
    **dict.fromkeys(norms.names(), "float64"),
    **dict.fromkeys(STEPS, "int64"),
}


def shard_differences(
    base: Checkpoint, other: Checkpoint, file: str, threads: int = 1, device: str | None = None
) -> list[dict[str, Any]]:
    """Return one row a weight of the base's shard ``file``: a list of dicts, ready for a data frame.

    base, other: Checkpoints that share names, shapes and dtypes.  threads: how many slabs are in work at a time;
    device: "cpu" or "cuda", None for the GPU if there is one.  Raises AoeError for NaN, Inf and a missing counterpart.
    """
    architecture, engine = Architecture(base.config), kernels.for_device(device)
    weights = [weight for weight in base.shard(file).tensors if not base.is_scale(weight)]
    for weight in weights:
        check_counterpart(base, other, weight)
    with kernels.threads(engine, threads) as pool:
        pieces = [(weight, slab) for weight in weights for slab in slabs(base.stored(weight), engine)]
        measured = pool.map(lambda piece: slab_difference(engine, base, other, piece[1]), pieces)
        found = {weight: [] for weight in weights}
        for (weight, _), result in zip(pieces, measured, strict=True):
            found[weight].append(result)
    return [row(base.stored(weight), architecture.place(weight), found[weight]) for weight in weights]


def check_counterpart(base: Checkpoint, other: Checkpoint, weight: str) -> None:
    """Raise AoeError unless ``other`` has the weight in the same shape and dtype, and both have the scale it needs."""
    ours = base.stored(weight)
    theirs = other.stored(weight) if weight in other else None
    if theirs is None or (theirs.shape, theirs.dtype) != (ours.shape, ours.dtype):
        raise AoeError(f"The tensor {weight} of {base.name} has no counterpart of its shape and dtype in {other.name}.")
    if ours.dtype not in COMBINABLE:
        raise AoeError(f"The tensor {weight} has the dtype {ours.dtype}, whose differences cannot be measured.")
    for checkpoint in (base, other):
        checkpoint.check_scale(weight)


def slab_difference(engine: Engine, base: Checkpoint, other: Checkpoint, slab: Slab) -> tuple[bool, Sums]:
    """Return (whether the slab's bytes agree, its Sums)."""
    try:
        parts = [slab.read(base, engine, 0), slab.read(other, engine, 1)]
        return alike(*parts), engine.difference(parts, slab.stored.dtype)
    except kernels.NotFiniteError as error:
        for checkpoint in (base, other):
            check_finite(engine, checkpoint, slab)
        raise AoeError(f"The tensor {slab.stored.name} holds values too large to be squared.") from error


def row(stored: StoredTensor, place: Place, found: Sequence[tuple[bool, Sums]]) -> dict[str, Any]:
    """Return the row of one weight: its place, shape, dtype, whether all bytes are equal, norms, counts of steps."""
    columns = zip(*(sums for _, sums in found), strict=True) if found else [()] * len(Sums._fields)  # an empty tensor
    sums = Sums(*map(math.fsum, columns))
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
        **norms.measured(sums, stored.elements),
        **{name: int(getattr(sums, name)) for name in STEPS},
    }
