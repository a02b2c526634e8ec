"""Measure the realized λ of variants before they are merged: their plans are executed in memory, slab by slab.

The parents of a slab are read and decoded once for all variants, whose results are measured and dropped.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from aoe.checkpoints.architecture import Architecture
from aoe.checkpoints.formats import BLOCK, scale_shape
from aoe.merging.merge import Merge
from aoe.merging.rounding.realized import Projection, Row, Totals, row_of_weight
from aoe.numerics import kernels
from aoe.numerics.decoded import Decoded, rows_of_slabs
from aoe.numerics.kernels import FP8, Part, cpu, measuring
from aoe.numerics.slabs import Slab, slabs

PLACE = 1000  # of the first parent in a thread's memory: merges use the places from 0 on
SAMPLED_WEIGHTS = 3  # of a group, for a warning while planning

Found = dict[str, Projection]  # variant -> sums


def shard_projections(merges: Mapping[str, Merge], file: str, threads: int = 1) -> list[Row]:
    """Return one row a combined weight and variant of the base's shard ``file``: dicts, see realized.row_of_weight.

    merges: variant -> its Merge on the CPU; all have the same base.  threads: how many slabs are in work at a time.
    Weights that a variant copies, or whose parents all agree, have no row.  Raises AoeError as a merge does.
    """
    base = next(iter(merges.values())).base
    architecture = Architecture(base.config)
    combined = {weight: combining(merges, weight) for weight in base.weights_in(file)}
    pieces = [(weight, slab) for weight in combined if combined[weight] for slab in pieces_of(combined[weight], weight)]
    found: dict[tuple[str, str], Projection] = {}
    with kernels.threads(cpu, threads) as pool:
        measured = pool.map(lambda piece: slab_projections(combined[piece[0]], piece[1]), pieces)
        for (weight, _), projections in zip(pieces, measured, strict=True):
            for variant, projection in projections.items():
                known = found.get((weight, variant))
                found[weight, variant] = projection if known is None else known + projection
    rows = []
    for (weight, variant), projection in found.items():
        if projection.size > 0:
            place = architecture.place(weight)
            rows.append(row_of_weight(variant, weight, str(place.group), place.layer, projection))
    return rows


def combining(merges: Mapping[str, Merge], weight: str) -> dict[str, Merge]:
    """Return those of the merges that combine a weight of several parents."""
    mixing = {variant: merge for variant, merge in merges.items() if len(merge.plan.weights(weight)) > 1}
    return {variant: merge for variant, merge in mixing.items() if merge.source(weight) is None}


def pieces_of(merges: Mapping[str, Merge], weight: str) -> list[Slab]:
    """Return the Slabs that a weight is measured in: as it is stored, or, where one of the merges is not, of values."""
    base = next(iter(merges.values())).base
    if all(merge.is_native(weight) for merge in merges.values()):
        return slabs(base.stored(weight))
    values, columns = Decoded(base).stored(weight), base.layout(weight).shape[1]
    return [Slab(values, begin * columns, end * columns) for begin, end in rows_of_slabs(base.layout(weight))]


def slab_projections(merges: Mapping[str, Merge], slab: Slab) -> Found:
    """Return {variant: Projection} of one slab; merges: those that combine its weight."""
    weight, dtype = slab.stored.name, slab.stored.dtype
    orders = {id(merge.plan.alignment) for merge in merges.values()}
    if len(orders) > 1:  # a parent's part is another one where its rows are aligned
        sorted_ = [{name: m for name, m in merges.items() if id(m.plan.alignment) == order} for order in orders]
        return {name: found for alike in sorted_ for name, found in slab_projections(alike, slab).items()}
    checkpoints = {name: merge.checkpoints[name] for merge in merges.values() for name in merge.plan.weights(weight)}
    native = all(merge.is_native(weight) for merge in merges.values())
    parts = {
        name: slab.read(checkpoint if native else Decoded(checkpoint), place=PLACE + number)
        for number, (name, checkpoint) in enumerate(checkpoints.items())
    }
    values = {name: cpu.values(part, dtype).reshape(-1) for name, part in parts.items()}
    origins: dict[tuple[str, ...], Origin] = {}
    found = {}
    for variant, merge in merges.items():
        mixture = merge.plan.weights(weight)
        names = in_order(mixture, merge.plan.base)
        if names not in origins:
            origins[names] = Origin(names, parts, values)
        result = stored_result(merge, slab) if native else values_of_result(merge, slab)
        found[variant] = origins[names].projection([mixture[name] for name in names], *result)
    return found


def in_order(mixture: Iterable[str], base: str) -> tuple[str, ...]:
    """Return a mixture's parents, the origin of differences first: the base, or without it the first parent."""
    names = list(mixture)
    return tuple([base, *(name for name in names if name != base)] if base in names else names)


def stored_result(merge: Merge, slab: Slab) -> tuple[NDArray[np.float32], np.ndarray]:
    """Return a merge's part of a slab: (its float32 values (n,), the stored numbers (n,))."""
    dtype = merge.stored(slab.stored.name).dtype  # BF16 of FP8 weights that are not rounded
    out = cpu.empty(slab.shape, dtype)
    scale = cpu.empty(scale_shape(*slab.shape), "F32") if dtype == FP8 else None
    merge.combine(slab, out, scale)
    return cpu.values((out, scale), dtype).reshape(-1), out.reshape(-1)


def values_of_result(merge: Merge, slab: Slab) -> tuple[NDArray[np.float32], np.ndarray]:
    """Return a merge's part of a slab of values: its float32 values (n,), twice, as nothing tells codes apart."""
    weight = slab.stored.name
    columns = slab.stored.shape[1]
    begin, end = slab.begin // columns, slab.end // columns
    values = merge.encoded_values(weight, begin, end).reshape(-1)
    return values, values


class Origin:
    """What all variants share that combine a slab of the same parents.

    names: of the parents, the origin first; parts, values: {name: as stored}, {name: float32 (n,)}.
    """

    def __init__(
        self, names: Sequence[str], parts: Mapping[str, Part], values: Mapping[str, NDArray[np.float32]]
    ) -> None:
        self.names = names
        self.numbers = [parts[name][0].reshape(-1) for name in names]
        self.values = tuple(values[name] for name in names)
        origin, *others = self.values
        self.gram = np.array([[measuring.product(j, 1.0, origin, k) for k in others] for j in others])
        self.differ = np.zeros(len(origin), bool)
        for numbers in self.numbers[1:]:
            self.differ |= _bits(numbers) != _bits(self.numbers[0])
        self.differing = int(np.count_nonzero(self.differ))

    def projection(self, lambdas: Sequence[float], result: NDArray[np.float32], stored: np.ndarray) -> Projection:
        """Return the Projection of a result, float32 values (n,) and as stored (n,), of a mixture with these λ."""
        weights = np.asarray(lambdas, np.float64)
        origin, *others = self.values
        product = [measuring.product(result, float(weights.sum()), origin, other) for other in others]
        noise = measuring.squared_distance(result, self.values, weights)
        if stored.itemsize == self.numbers[0].itemsize:
            equal = [_bits(stored) == _bits(numbers) for numbers in self.numbers]
        else:  # numbers of another format are compared by their values
            equal = [result == values for values in self.values]
        same = [int(np.count_nonzero(each & self.differ)) for each in equal]
        return Projection.of(self.names, lambdas, self.gram, product, noise, same, len(origin), self.differing)


def _bits(numbers):
    return numbers.view(f"u{numbers.itemsize}")


def sampled_rows(merge: Merge, variant: str) -> list[Row]:
    """Return the rows of realized.Totals of a sample: the middle block row of a few weights of every combined group.

    Of a weight without blocks, it is the middle slab.  Takes milliseconds, however large the model is.
    """
    architecture, totals = Architecture(merge.base.config), Totals()
    groups: dict[str, list[str]] = {}
    for weight in merge.plan.tensors:
        if not merge.base.is_scale(weight) and len(merge.plan.weights(weight)) > 1:
            groups.setdefault(str(architecture.place(weight).group), []).append(weight)
    for group, weights in groups.items():
        places = np.linspace(0, len(weights) - 1, SAMPLED_WEIGHTS, dtype=int)
        for weight in dict.fromkeys(weights[place] for place in places):
            pieces = pieces_of({variant: merge}, weight)
            found = slab_projections(combining({variant: merge}, weight), middle(pieces)) if pieces else {}
            layer = architecture.place(weight).layer
            rows = [row_of_weight(variant, weight, group, layer, each) for each in found.values() if each.size > 0]
            deque(totals.add(rows), maxlen=0)
    return list(totals.rows())


def middle(pieces: Sequence[Slab]) -> Slab:
    """Return the first block row of the middle one of a weight's slabs, or that slab itself if it has no blocks."""
    slab = pieces[len(pieces) // 2]
    return Slab(slab.stored, slab.begin, min(slab.begin + BLOCK, slab.end)) if slab.stored.dtype == FP8 else slab
