"""Realized λ: the weights λ that stored mixtures have, which rounding makes others than those that a recipe asks for.

Let W(1) be the origin of a mixture, d(k) = W(k) - W(1) the differences of its other parents, and W* what is stored.
The realized λ are the least-squares solution of W* - s W(1) = Σ λ(k) d(k), where s is the sum of the asked λ: the
origin has what the others leave of it.  Where differences depend on one another, the solution nearest to the asked λ
is taken.  The rounding noise is ‖W* - Σ λ(i) W(i)‖, with the asked λ, relative to the root of the mean ‖d(k)‖².

All sums add up over weights, so that layers, groups and models follow from their weights' sums.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLUMNS = {  # of the table of realized λ: pandas' dtypes
    "variant": "str",
    "level": "str",
    "tensor": "str",
    "group": "str",
    "layer": "Int64",
    "parent": "str",
    "asked": "float64",
    "realized": "float64",
    "noise": "float64",
    "same": "float64",
    "elements": "int64",
    "differing": "int64",
}
LEVELS = ("weight", "layer", "group", "model")
SMALLEST_EIGENVALUE = 1e-12  # of a Gram matrix, relative to the largest; below it, differences depend on one another
NOTICEABLE = 0.01  # difference of a realized λ from the asked one that tables show
MISLEADING = 0.05  # and of which people are warned
CHANCE = 3  # standard errors within which a deviation may be chance
MAIN = ("attention", "linear_attention", "routed_experts", "shared_experts")  # groups that are named first

SUMS = {  # of a shard's table, one row a weight and variant: its columns' dtypes, of lists ``object``
    "variant": "str",
    "tensor": "str",
    "group": "str",
    "layer": "Int64",
    "parents": "object",
    "lambdas": "object",
    "gram": "object",
    "product": "object",
    "squared_noise": "float64",
    "same": "object",
    "elements": "int64",
    "differing": "int64",
}

Row = dict[str, Any]
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Projection:
    """Sums over weights that one mixture of n parents makes, or over weights of several mixtures of the same parents.

    parents: their names, the origin first; lambdas: the asked λ in their order, None if weights have different ones;
    gram: float64 (n - 1, n - 1), ⟨d(j), d(k)⟩; product: (n - 1,), ⟨W* - s W(1), d(k)⟩; asked: (n - 1,), gram times λ;
    total: s times ``size``; squared_noise: ‖W* - Σ λ(i) W(i)‖²; same: (n,), how many of the stored numbers in which
    parents differ are equal to each parent's; elements, differing: how many stored numbers there are, and in how many
    the parents differ.
    """

    parents: tuple[str, ...]
    lambdas: tuple[float, ...] | None
    gram: Vector
    product: Vector
    asked: Vector
    total: float
    squared_noise: float
    same: NDArray[np.int64]
    elements: int
    differing: int

    @classmethod
    def of(
        cls,
        parents: Sequence[str],
        lambdas: Sequence[float],
        gram: Sequence[float] | Vector,
        product: Sequence[float] | Vector,
        squared_noise: float,
        same: Sequence[int] | NDArray[np.int64],
        elements: int,
        differing: int,
    ) -> Projection:
        """Return the Projection of weights that share their λ; gram: in any shape."""
        others = len(parents) - 1
        matrix = np.asarray(gram, np.float64).reshape(others, others)
        size, values = np.trace(matrix) / others, tuple(map(float, lambdas))
        asked = matrix @ np.asarray(values[1:])
        numbers = float(squared_noise), np.asarray(same, np.int64), int(elements), int(differing)
        return cls(
            tuple(parents), values, matrix, np.asarray(product, np.float64), asked, math.fsum(values) * size, *numbers
        )

    def __add__(self, other: Projection) -> Projection:
        """Join with the sums of other weights; raises ValueError if these have other parents."""
        if self.parents != other.parents:
            raise ValueError(f"the parents {self.parents} are not {other.parents}")
        return Projection(
            self.parents,
            self.lambdas if self.lambdas == other.lambdas else None,
            self.gram + other.gram,
            self.product + other.product,
            self.asked + other.asked,
            self.total + other.total,
            self.squared_noise + other.squared_noise,
            self.same + other.same,
            self.elements + other.elements,
            self.differing + other.differing,
        )

    @property
    def size(self) -> float:
        """The mean of ‖d(k)‖² over the parents other than the origin."""
        return float(np.trace(self.gram)) / (len(self.parents) - 1)

    def asked_lambdas(self) -> dict[str, float]:
        """Return {parent: asked λ}; of different ones, the mean that the differences weigh."""
        if self.lambdas is not None:
            return dict(zip(self.parents, self.lambdas, strict=True))
        return self._named(self._solved(self.asked))

    def realized_lambdas(self) -> dict[str, float]:
        """Return {parent: realized λ}."""
        asked = np.array([*self.asked_lambdas().values()][1:])
        return self._named(asked + self._solved(self.product - self.gram @ asked))

    def _solved(self, right):
        if len(right) == 1:
            return right / self.gram[0]
        return np.linalg.pinv(self.gram, rcond=SMALLEST_EIGENVALUE, hermitian=True) @ right

    def _named(self, others):
        values = [self.total / self.size - math.fsum(others), *others]
        return dict(zip(self.parents, map(float, values), strict=True))


def row_of_weight(variant: str, tensor: str, group: str, layer: int | None, found: Projection) -> Row:
    """Return a weight's Projection as a row of a shard's table, which ``read_row`` reads."""
    place = {"variant": variant, "tensor": tensor, "group": group, "layer": layer}
    sums = {"gram": found.gram.reshape(-1).tolist(), "product": found.product.tolist(), "same": found.same.tolist()}
    return {
        **place,
        "parents": list(found.parents),
        "lambdas": list(found.lambdas or ()),
        **sums,
        "squared_noise": found.squared_noise,
        "elements": found.elements,
        "differing": found.differing,
    }


def read_row(row: Mapping[str, Any]) -> Projection:
    """Return the Projection in a row of a shard's table."""
    names = ("parents", "lambdas", "gram", "product", "squared_noise", "same", "elements", "differing")
    return Projection.of(*(row[name] for name in names))


class Totals:
    """Sums of the weights of some variants, by layer and group, out of rows of shards' tables."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, int | None], dict[tuple[str, ...], Projection]] = {}

    def add(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
        """Add rows of a shard's table, whose missing layers are None; yield the rows of the level ``weight``."""
        for row in rows:
            projection = read_row(row)
            group, layer = row["group"], row["layer"]
            known = self._found.setdefault((row["variant"], group, layer), {})
            known[projection.parents] = _sum([*filter(None, [known.get(projection.parents)]), projection])
            yield from rows_of([projection], row["variant"], "weight", row["tensor"], group, layer)

    def rows(self) -> Iterator[Row]:
        """Yield the rows of the levels ``layer``, ``group`` and ``model``, variant by variant."""
        for variant in dict.fromkeys(variant for variant, _, _ in self._found):
            places = [(group, layer) for name, group, layer in self._found if name == variant]
            groups = list(dict.fromkeys(group for group, _ in places))
            layers = [(layer, group) for group, layer in places if layer is not None]
            for layer, group in sorted(layers, key=lambda place: place[0]):
                yield from rows_of(self._all(variant, [(group, layer)]), variant, "layer", None, group, layer)
            for group in groups:
                inside = self._all(variant, [place for place in places if place[0] == group])
                yield from rows_of(inside, variant, "group", None, group, None)
            yield from rows_of(self._all(variant, places), variant, "model", None, None, None)

    def _all(self, variant, places):
        """The sums over some places, one Projection a set of parents."""
        found: dict[tuple[str, ...], list[Projection]] = {}
        for place in places:
            for parents, projection in self._found[variant, *place].items():
                found.setdefault(parents, []).append(projection)
        return [_sum(projections) for projections in found.values()]


def _sum(projections):
    first, *others = projections
    for other in others:
        first = first + other
    return first


def rows_of(
    projections: Sequence[Projection],
    variant: str,
    level: str,
    tensor: str | None,
    group: str | None,
    layer: int | None,
) -> Iterator[Row]:
    """Yield the rows of one place of a variant, one a parent; projections: one a set of parents.

    Parents that only some of the sets have count as 0 in the others; a set counts by its differences' mean square.
    """
    sizes = np.array([projection.size for projection in projections])
    asked = [projection.asked_lambdas() for projection in projections]
    realized = [projection.realized_lambdas() for projection in projections]
    differing = sum(projection.differing for projection in projections)
    place = {"variant": variant, "level": level, "tensor": tensor, "group": group, "layer": layer}
    shared = {
        "noise": math.sqrt(sum(projection.squared_noise for projection in projections) / sizes.sum()),
        "elements": sum(projection.elements for projection in projections),
        "differing": differing,
    }
    for parent in dict.fromkeys(parent for projection in projections for parent in projection.parents):
        equal = sum(p.same[p.parents.index(parent)] for p in projections if parent in p.parents)
        yield {
            **place,
            "parent": parent,
            "asked": _mean([found.get(parent, 0.0) for found in asked], sizes),
            "realized": _mean([found.get(parent, 0.0) for found in realized], sizes),
            "same": float(equal / differing) if differing else math.nan,
            **shared,
        }


def _mean(values, sizes):
    return values[0] if len(values) == 1 else float(np.average(values, weights=sizes))


def groups_in_words(rows: Iterable[Mapping[str, Any]], within: float = NOTICEABLE) -> str:
    """Say which λ groups have where they differ from the asked ones: ``0.02 in attention, 0.40 in routed experts``.

    rows: of one variant's level ``group``.  Of two parents, the second one's λ is named, of more all, in their order;
    other groups than MAIN are named only if none of these is off.  Returns ``as asked`` if no group's λ are off by
    ``within`` or more, and nothing of no rows.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(row)
    off = [group for group in groups if any(abs(row["realized"] - row["asked"]) >= within for row in groups[group])]
    words: dict[str, list[str]] = {}
    for group in [group for group in MAIN if group in off] or off:
        shown = groups[group][1:] if len(groups[group]) == 2 else groups[group]
        values = " + ".join(f"{row['realized']:.2f}".replace("-", "−") for row in shown)
        words.setdefault(values, []).append(group.replace("_", " "))
    if not words:
        return "as asked" if groups else ""
    return ", ".join(f"{values} in {' and '.join(names)}" for values, names in words.items())


def warning(rows: Iterable[Mapping[str, Any]]) -> str | None:
    """Return a sentence on variants whose λ will not be as asked, naming the one that is farthest off, or None.

    rows: of the table, or of some variants; only those of the level ``group`` count.  Groups whose deviations may be
    chance, as they have few numbers, are left out.
    """
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["level"] == "group":
            groups.setdefault((row["variant"], row["group"]), []).append(row)
    variants: dict[str, list[Mapping[str, Any]]] = {}
    for (variant, _), found in groups.items():
        if not all(map(_may_be_chance, found)):
            variants.setdefault(variant, []).extend(found)
    farthest = {variant: max(map(_deviation, groups)) for variant, groups in variants.items()}
    off = [variant for variant in variants if farthest[variant] >= MISLEADING]
    if not off:
        return None
    worst = max(off, key=lambda variant: farthest[variant])
    group = max(variants[worst], key=lambda row: (row["group"] in MAIN, _deviation(row)))["group"]
    asked = [row for row in variants[worst] if row["group"] == group]
    words = " + ".join(f"{row['asked']:.4g} {row['parent']}" for row in (asked[1:] if len(asked) == 2 else asked))
    stored = groups_in_words(variants[worst], MISLEADING)
    number = len(off) - 1
    others = f", and the λ of {number} other variant{'s' * (number > 1)} are off as well" if number else ""
    return (
        f"{worst} asks for {words} and will have {stored}{others}: where parents are about a step apart, rounding to "
        "the nearest stored number gives back the nearer parent; write `rounding: balanced` into a recipe to keep λ."
    )


def _may_be_chance(row):
    """Whether unbiased rounding could make the deviation: errors of single numbers, added up at random."""
    return _deviation(row) <= CHANCE * row["noise"] / math.sqrt(max(row["differing"], 1))


def _deviation(row):
    return abs(row["realized"] - row["asked"])
