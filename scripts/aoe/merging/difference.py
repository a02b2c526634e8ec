"""How much two checkpoints differ, tensor by tensor, in every norm of aoe.norms and in steps between stored numbers.

Sums are taken in float64, slab by slab, of values that are not rounded in between.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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

DOWN = ("down_proj", "w2")  # kinds of experts' last projection
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


def fused_cosines(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return {weight: cosine} with one angle for what transformers fuses, from rows of a table of differences.

    It fuses the gates and ups of a layer's routed experts, and their downs; other weights keep their own angle.
    """
    rows = list(rows)
    fused: defaultdict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if (
            row["expert"] is not None and row["expert"] == row["expert"]
        ):  # missing numbers of a data frame are no equals
            fused[row["group"], row["layer"], row["kind"] in DOWN].append(row)
    found = {row["tensor"]: float(row["cosine"]) for row in rows}
    for parts in (parts for parts in fused.values() if len(parts) > 1):
        lengths = [math.sqrt(math.fsum(part[key] ** 2 for part in parts)) for key in ("norm", "other_norm")]
        product = math.fsum(part["cosine"] * part["norm"] * part["other_norm"] for part in parts)
        cosine = product / math.prod(lengths) if math.prod(lengths) else 0.0
        found |= {part["tensor"]: cosine for part in parts}
    return found
