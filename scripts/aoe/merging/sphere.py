"""SLERP: the λ of a weight out of the angle between two parents, which the differences measure."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from aoe import AoeError
from aoe.merging.recipe import Recipe
from aoe.numerics.kernels import Arithmetic

NEARLY_PARALLEL = 0.9995  # cosine from which SLERP is linear, as mergekit has it
DOWN = ("down_proj", "w2")  # kinds of experts' last projection


def resolved(
    recipe: Recipe, cosines: Mapping[str, Mapping[str, float]] | None, weight: str, mixture: Mapping[str, float]
) -> dict[str, float]:
    """Return {parent: λ}, without zeros, of a recipe's {parent: weight} for one weight.

    cosines: {parent: {weight: cosine}} of the angles from the base.  Of sums of differences, the base comes first, even
    with 0.  Raises AoeError if an angle is missing.
    """
    mixture = {parent: float(value) for parent, value in mixture.items() if value != 0}
    if recipe.interpolation.by_angle and len(mixture) > 1:
        (other,) = mixture.keys() - {recipe.base}
        cosine = (cosines or {}).get(other, {}).get(weight)
        if cosine is None:
            raise AoeError(f"SLERP needs the angle between {recipe.base} and {other} of {weight}, which is not known.")
        ours, theirs = on_sphere(mixture[other], cosine)
        mixture = {recipe.base: ours, other: theirs}
    if recipe.arithmetic == Arithmetic.DELTAS and mixture != {recipe.base: 1.0}:
        mixture = {recipe.base: mixture.pop(recipe.base, 0.0), **mixture}
    return mixture


def on_sphere(share: float, cosine: float) -> tuple[float, float]:
    """Return (the first's, the second's λ) of spherical linear interpolation between two weights.

    share: of the angle that the result is away from the first; cosine: of the angle.  Nearly parallel ones are
    interpolated linearly.
    """
    if abs(cosine) > NEARLY_PARALLEL:
        return 1 - share, share
    angle = math.acos(cosine)
    return math.sin((1 - share) * angle) / math.sin(angle), math.sin(share * angle) / math.sin(angle)


def fused_cosines(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return {weight: cosine} with one angle for what transformers fuses, from rows of a table of differences.

    It fuses the gates and ups of a layer's routed experts, and their downs; other weights keep their own angle.
    """
    rows = list(rows)
    fused: defaultdict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["expert"] is not None and row["expert"] == row["expert"]:  # a data frame's missing number is NaN
            fused[row["group"], row["layer"], row["kind"] in DOWN].append(row)
    found = {row["tensor"]: float(row["cosine"]) for row in rows}
    for parts in (parts for parts in fused.values() if len(parts) > 1):
        lengths = [math.sqrt(math.fsum(part[key] ** 2 for part in parts)) for key in ("norm", "other_norm")]
        product = math.fsum(part["cosine"] * part["norm"] * part["other_norm"] for part in parts)
        cosine = product / math.prod(lengths) if math.prod(lengths) else 0.0
        found |= {part["tensor"]: cosine for part in parts}
    return found
