"""Measure which λ2 the points of sweeps will have, and how many codes their parents lie apart, before any is merged.

A pair of parents is read once, shard by shard.  Differences are measured of whole weights; mixtures are made of some
block rows of every weight, in memory, and what they amount to is counted for the whole weight.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from aoe import AoeError
from aoe.checkpoints.architecture import Architecture, Place
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.formats import BLOCK, scale_shape
from aoe.checkpoints.layout import Scales
from aoe.checkpoints.shard import StoredTensor
from aoe.merging.difference import STEPS, check_counterpart, pieces_of, row, slab_difference
from aoe.merging.plan import Plan
from aoe.merging.recipe import Recipe, read_recipe
from aoe.merging.rounding.measuring import Origin
from aoe.numerics import kernels
from aoe.numerics.kernels import FP8, Arithmetic, Part, Rounding, cpu
from aoe.numerics.slabs import Slab

NEAREST = "nearest"
WAYS = {  # in words, as families of sweeps are called -> how mixtures are summed and rounded
    NEAREST: (Arithmetic.FLOAT32, Rounding.NEAREST),
    "nearest, bfloat16": (Arithmetic.BFLOAT16, Rounding.NEAREST),
    "nearest, stored": (Arithmetic.STORED, Rounding.NEAREST),
    "balanced": (Arithmetic.FLOAT32, Rounding.BALANCED),
}
HALF = 0.5  # the λ2 at which parents one step apart tie
BESIDE_HALF = (0.499, HALF, 0.501)  # where arithmetics differ most
SAMPLED = 2  # block rows of a weight that mixtures are made of
ELEMENTS = 16 * 4096  # of a weight without blocks, that count as a block row
# of a shard's tables; all but the first are sums, of which realized λ and shares are made
REALIZED = {
    "sweep": "str",
    "delta": "float64",
    "rounded": "str",
    "group": "str",
    "layer": "Int64",
    "lambda2": "float64",
}
REALIZED_SUMS = ["size", "product", "squared_noise", "base_codes", "other_codes", "differing", "elements"]
CODES = {"group": "str", "layer": "Int64", "dtype": "str"}
TIES = ["one_step", "one_step_base", "one_step_other", "one_step_even"]
CODES_SUMS = ["compared", "left_out", "identical", "elements", "squared_codes", *STEPS, *TIES]

Row = dict[str, Any]
Point = tuple[str, float]  # a way in words, and λ2
Sums = dict[str, float]


class Selection(NamedTuple):
    """The weights that the points of a sweep merge at one δ, and the λ2 of these points."""

    sweep: str
    recipe: Recipe
    lambdas: tuple[float, ...]

    def has(self, weight: str, place: Place, norms: Mapping[str, float]) -> bool:
        """Return whether a weight is merged; norms: {norm: value} of its difference."""
        threshold = self.recipe.threshold
        exceeds = threshold.delta == 0 or norms[str(threshold.space)] > threshold.delta
        return exceeds and len(self.recipe.weights_for(weight, place)) > 1


def selections(sweeps: Mapping[str, Mapping[str, Any]], base: str, other: str) -> list[Selection]:
    """Return the Selections of sweeps, as a study writes them; all merge this pair.

    λ2 that only copy are left out; sweeps over λ2 have those right beside a half as well.
    """
    found = []
    for sweep, entry in sweeps.items():
        lambdas = {float(value) for value in entry["lambda2"] if 0 < value < 1}
        lambdas |= set(BESIDE_HALF) if len(lambdas) > 1 else set()
        for delta in dict.fromkeys(entry.get("delta", [0])):
            recipe: dict[str, Any] = {"base": base, "weights": {base: HALF, other: HALF}}
            recipe |= {"subset": entry.get("subset", {})}
            if delta:
                recipe["threshold"] = {"delta": delta, "space": entry["space"]}
            found.append(Selection(sweep, read_recipe(sweep, recipe, [base, other]), tuple(sorted(lambdas))))
    return found


@dataclass(frozen=True)
class Pair:
    """The parents, and the files of each that were verified: {model: file names}."""

    base: Checkpoint
    other: Checkpoint
    files: Mapping[str, Collection[str]]

    def has(self, weight: str) -> bool:
        """Return whether both parents have a weight, and its scale, in files that were verified."""
        return all(self._has(parent, weight) for parent in (self.base, self.other))

    def is_native(self, weight: str) -> bool:
        """Return whether kernels mix a weight as both parents store it; others are not predicted."""
        ours, theirs = (parent.layout(weight) for parent in (self.base, self.other))
        # what cannot be compared at all is refused where it is compared
        return not ours.combines or not theirs.combines or "" != ours.native == theirs.native

    def _has(self, parent: Checkpoint, weight: str) -> bool:
        if weight not in parent:
            return False
        return parent.files_of(weight) <= {*self.files[parent.name]}


def shard_prediction(
    pair: Pair, file: str, wanted: Sequence[Selection], threads: int = 1
) -> tuple[list[Row], list[Row]]:
    """Return the rows of the base's shard ``file``: (REALIZED and REALIZED_SUMS, CODES and CODES_SUMS).

    Sums are taken over a layer's weights of a group that are merged at a point, or that are stored in a dtype.  What
    is merged is counted in numbers of whole weights.  Weights that are not wholly in the pair's files are counted as
    left out.  Raises AoeError as a comparison does.
    """
    architecture = Architecture(pair.base.config)
    weights = pair.base.weights_in(file)
    there = [weight for weight in weights if pair.has(weight) and pair.is_native(weight)]
    for weight in there:
        check_counterpart(pair.base, pair.other, weight)
    realized: dict[tuple[Any, ...], Sums] = {}
    codes: dict[tuple[Any, ...], Sums] = {}
    for weight in sorted(set(weights) - set(there)):
        place = architecture.place(weight)
        key = (str(place.group), place.layer, pair.base.stored(weight).dtype)
        _add(codes.setdefault(key, dict.fromkeys(CODES_SUMS, 0.0)), {"left_out": 1})
    with kernels.threads(cpu, threads) as pool:
        measured = pool.map(lambda weight: _weight(pair, weight, architecture.place(weight), wanted), there)
        for weight, (difference, points) in zip(there, measured, strict=True):
            place = architecture.place(weight)
            key = (difference["group"], place.layer, difference["dtype"])
            _add(codes.setdefault(key, dict.fromkeys(CODES_SUMS, 0.0)), difference)
            for selection in wanted:
                if points and selection.has(weight, place, difference):
                    delta = selection.recipe.threshold.delta
                    for way in WAYS:
                        for lambda2 in selection.lambdas:
                            at = (selection.sweep, float(delta), way, difference["group"], place.layer, lambda2)
                            _add(realized.setdefault(at, dict.fromkeys(REALIZED_SUMS, 0.0)), points[way, lambda2])
    return _rows(realized, REALIZED), _rows(codes, CODES)


def _add(sums: Sums, more: Mapping[str, Any]) -> None:
    for name in sums.keys() & more.keys():
        sums[name] += more[name]


def _rows(sums: Mapping[tuple[Any, ...], Sums], columns: Iterable[str]) -> list[Row]:
    return [{**dict(zip(columns, place, strict=True)), **found} for place, found in sums.items()]


def _weight(pair: Pair, weight: str, place: Place, wanted: Sequence[Selection]) -> tuple[Row, dict[Point, Sums]]:
    """One weight's differences, with CODES_SUMS, and the REALIZED_SUMS of its mixtures; none if it does not differ."""
    stored, scales = pair.base.stored(weight), pair.base.layout(weight).scales
    compared = pieces_of(pair.base, pair.other, weight)
    difference = row(stored, place, [slab_difference(cpu, pair.base, pair.other, slab) for slab in compared])
    difference |= {"compared": 1, "squared_codes": difference["codes"] ** 2 * stored.elements}
    lambdas = {lambda2 for chosen in wanted if chosen.has(weight, place, difference) for lambda2 in chosen.lambdas}
    points: dict[Point, Sums] = {}
    if difference["identical"] or not lambdas:
        return difference, points
    pieces = sampled(stored)
    share = sum(int(np.prod(slab.shape)) for slab in pieces) / stored.elements
    for slab in pieces:
        parts = [slab.read(parent, place=number) for number, parent in enumerate((pair.base, pair.other))]
        _mixtures(slab, parts, sorted(lambdas), share, points, scales)
        if stored.dtype == FP8:
            for name, count in _ties(slab, parts, scales).items():
                difference[name] = difference.get(name, 0) + count
    return difference, points


def sampled(stored: StoredTensor, number: int = SAMPLED) -> list[Slab]:
    """Return so many block rows of a weight, evenly spread; all of them if it has no more."""
    total, step = (stored.shape[0], BLOCK) if stored.dtype == FP8 else (stored.elements, ELEMENTS)
    count = -(-total // step)
    number = min(number, count)
    begins = [(2 * place + 1) * count // (2 * number) * step for place in range(number)]
    return [Slab(stored, begin, min(begin + step, total)) for begin in begins]


def _mixtures(
    slab: Slab, parts: Sequence[Part], lambdas: Iterable[float], share: float, points: dict[Point, Sums], scales: Scales
) -> None:
    """Add what a slab's mixtures have to ``points``; share: of the weight that is looked at; scales: of the base."""
    dtype = slab.stored.dtype
    named = {"base": parts[0], "other": parts[1]}
    origin = Origin((*named,), named, {name: cpu.values(part, dtype).reshape(-1) for name, part in named.items()})
    for lambda2 in lambdas:
        for way in WAYS:
            result, numbers = _combined(slab, parts, way, lambda2, scales)
            found = origin.projection([1 - lambda2, lambda2], result, numbers)
            sums = dict(zip(REALIZED_SUMS, (*found.gram.flat, *found.product, found.squared_noise), strict=False))
            sums |= {"base_codes": found.same[0], "other_codes": found.same[1]}
            sums |= {"differing": found.differing, "elements": found.elements}
            known = points.setdefault((way, lambda2), dict.fromkeys(REALIZED_SUMS, 0.0))
            _add(known, {name: value / share for name, value in sums.items()})


def _combined(
    slab: Slab, parts: Sequence[Part], way: str, lambda2: float, scales: Scales
) -> tuple[np.ndarray, np.ndarray]:
    """A mixture's (float32 values, numbers as stored), both (n,)."""
    dtype, (arithmetic, rounding) = slab.stored.dtype, WAYS[way]
    method = Plan("", (), {}, {}, arithmetic, rounding, seed=1).method(slab.stored.name)
    method = method._replace(scales=scales)
    out = cpu.empty(slab.shape, dtype)
    scale = cpu.empty(scale_shape(*slab.shape), "F32") if dtype == FP8 else None
    try:
        cpu.combine(parts, dtype, [1 - lambda2, lambda2], out, scale, method, slab.begin)
    except kernels.NotFiniteError as error:
        raise AoeError(f"A mixture of {slab.stored.name} exceeds the range of {dtype} ({way}).") from error
    return cpu.values((out, scale), dtype).reshape(-1), out.reshape(-1)


def _ties(slab: Slab, parts: Sequence[Part], scales: Scales) -> dict[str, int]:
    """Count, of codes one step apart, whose is stored at λ2 = 0.5, and how often it is an even one: TIES."""
    _, stored = _combined(slab, parts, NEAREST, HALF, scales)
    ours, theirs = (numbers.reshape(-1) for numbers, _ in parts)
    apart = np.abs(_in_order(ours) - _in_order(theirs)) == 1
    from_base, from_other = apart & (stored == ours), apart & (stored == theirs)
    even = (from_base | from_other) & (stored & 1 == 0)
    return dict(zip(TIES, map(int, map(np.count_nonzero, (apart, from_base, from_other, even))), strict=True))


def _in_order(codes: np.ndarray) -> np.ndarray:
    """FP8 codes, uint8, as int16 that are in the order of their values; both zeros are 0."""
    magnitude = (codes & 0x7F).astype(np.int16)
    return np.where(codes & 0x80, -magnitude, magnitude)
