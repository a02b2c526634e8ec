"""How much two checkpoints differ, tensor by tensor, in every space that a threshold δ may be meant in.

The paper divides the Frobenius norm of a difference by the square root of the number of elements, n [paper, section 3];
it does not say what the norm is taken of.  So all are measured:

* ``normalized``: ||ΔW||/√n of the dequantized weights;
* ``frobenius``: ||ΔW|| of the dequantized weights;
* ``codes``: ||Δcodes||/√n of the stored values: FP8 codes without their scales, other dtypes as they are;
* ``relative``: ||ΔW||/||W(1)|| of the dequantized weights (0 where both are 0).

Sums are taken in float64.
"""

import math

import torch
from aoe import AoeError
from aoe.architecture import Architecture
from aoe.merge import value


def shard_differences(base, other, file):
    """One row a weight of the base's shard ``file``: a list of dicts, ready for a data frame.

    base, other: Checkpoints that share names, shapes and dtypes.  Raises AoeError for NaN or Inf.
    """
    architecture = Architecture(base.config)
    return [
        weight_difference(base, other, weight, architecture.place(weight))
        for weight in base.shard(file).tensors
        if not base.is_scale(weight)
    ]


def weight_difference(base, other, weight, place):
    """The row of one weight: its place, shape, dtype, whether all bytes are equal, and the norms."""
    stored = base.stored(weight)
    if weight not in other or other.stored(weight).shape != stored.shape:
        raise AoeError(f"The tensor {weight} of {base.name} has no counterpart of its shape in {other.name}.")
    ours, theirs = value(base, weight), value(other, weight)
    size, difference = _norm(ours), _norm(ours - theirs)
    names = [weight, base.scale(weight)] if base.scale(weight) else [weight]
    return {
        "tensor": weight,
        "group": str(place.group),
        "layer": place.layer,
        "expert": place.expert,
        "kind": place.kind,
        "dtype": stored.dtype,
        "rows": stored.shape[0],
        "elements": stored.elements,
        "identical": all(base.bytes(name) == other.bytes(name) for name in names),
        "norm": size,
        "normalized": difference / math.sqrt(stored.elements),
        "frobenius": difference,
        "codes": _norm(base.tensor(weight).float() - other.tensor(weight).float()) / math.sqrt(stored.elements),
        "relative": difference / size if size else 0.0 if not difference else math.inf,
    }


def _norm(tensor):
    """The Frobenius norm, summed in float64; a Python float."""
    return torch.linalg.vector_norm(tensor.double()).item()
