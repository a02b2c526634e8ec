"""One weight of the parents beside its counterpart in the published model, read slab by slab."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from aoe.audit import Weights
from aoe.audit.counterparts import Published
from aoe.audit.fitting.bounds import BF16, TIE, ULPS
from aoe.audit.fitting.sampling import Sample
from aoe.audit.methods import UNROUNDED, USUAL, ModelMethod
from aoe.audit.storage import (
    CONVERTED,
    DIRECT,
    SAME,
    Deviation,
    SlabPart,
    Values,
    beginning,
    equal_values,
    largest,
    mixture,
    ranges,
    rebuild,
    summands,
    ways,
)
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.layout import Scales
from aoe.merging.equality import agree
from aoe.merging.merge import alike
from aoe.numerics.kernels import FP8, Method, NotFiniteError, Rounding, Sums, cpu
from aoe.numerics.slabs import Slab

GRADES = BYTES, VALUES, ROUNDING = "bytes", "values", "rounding"  # how well a weight is explained, the best first


@dataclass(frozen=True)
class Tolerance:
    """When two numbers count as close: |a - b| <= absolute + relative * |b|, as torch's ``allclose`` has it.

    space: ``codes``, the stored numbers without their scales, or ``values``.
    """

    absolute: float = 1e-5
    relative: float = 1e-5
    space: str = "codes"


@dataclass(frozen=True)
class Match:
    """How well a mixture {parent: λ} explains a weight.

    ``way``: of the storage; ``deviation``: of the published weight from the mixture; ``grade``: ``bytes`` are equal,
    ``values`` are, or they differ by ``rounding`` alone; None if the mixture explains nothing; ``made``: the method.
    """

    weights: Weights
    way: str
    deviation: Deviation
    grade: str | None
    made: ModelMethod = USUAL


class Comparison:
    """One weight, called ``name``, of the parents, and its counterpart.

    parents: name -> Checkpoint, the base first.  ``ours`` and ``theirs`` are the StoredTensors; a weight whose
    counterpart is missing, or cannot be read, has no ``theirs``, and nothing of it can be compared.
    """

    def __init__(self, parents: Mapping[str, Checkpoint], published: Published, name: str) -> None:
        self.parents, self.published, self.name = parents, published, name
        self.names, self.base = list(parents), next(iter(parents.values()))
        self.ours = self.base.stored(name)
        self.part = published.parts.get(name)
        self.by_values: Values | None = None
        self.scales = Scales.F32
        if self.part and not self.part.problem:
            self.theirs = published.stored(name)
            self._take_layouts(name, self.part)
            self.ways = ways(self.ours.dtype, self.theirs.dtype)

    def _take_layouts(self, name, part):
        """Compare by values where kernels do not combine what parents, or the published model, store."""
        layouts = [parent.layout(name) for parent in self.parents.values()]
        native = {layout.native for layout in layouts}
        plain = len(native) == 1 and "" not in native and not (part.layout and not part.layout.native)
        if part.layout:
            self.scales = part.layout.scales
        if not plain and part.layout and all(layout.decodes for layout in [*layouts, part.layout]):
            self.by_values = Values(self.parents, self.published.checkpoint, name, part.tensor)
            self.ours, self.theirs = self.by_values.ours, self.by_values.theirs

    @property
    def stored_alike(self) -> bool:
        """Whether all parents and the published model store the weight in one format, so that equal ones are copies."""
        layouts = [self.part.layout] if self.part and self.part.layout else []
        layouts += [parent.layout(self.name) for parent in self.parents.values()]
        return all(one.is_stored_as(other) for one in layouts for other in layouts)

    def copies(self) -> list[str]:
        """Return the parents whose stored bytes are the published ones, whatever they mean."""
        if not self.part or not self.part.layout:
            return []
        published, tensor = self.published.checkpoint, self.part.tensor
        return [name for name, parent in self.parents.items() if agree(parent, published, self.name, tensor)]

    def stored_of(self, other: str) -> tuple[str, tuple[int, ...]] | None:
        """Return (dtype, shape) that another weight of the parents is compared in; None if its values are not known."""
        if not self.by_values:
            return self.base.stored(other).dtype, self.base.stored(other).shape
        if not all(parent.layout(other).decodes for parent in self.parents.values()):
            return None
        stored = self.by_values.sources[self.names[0]].stored(other)
        return stored.dtype, stored.shape

    def alike_in_bytes(self) -> list[list[str]]:
        """Return lists of the parents that store the weight in the same bytes."""
        pairs = {
            (one, other)
            for i, one in enumerate(self.names)
            for other in self.names[i + 1 :]
            if agree(self.parents[one], self.parents[other], self.name)
        }
        return _classes(self.names, pairs)

    def ranges(self) -> list[tuple[Slab, Slab]]:
        """Return the pairs of Slabs, the parents' and the published model's, that the weight is compared in."""
        return self.by_values.ranges(self.ours) if self.by_values else ranges(self.ours, self.theirs)

    def read(self, parent: str, slab: Slab) -> SlabPart:
        """Read a slab of a parent; the same memory is used for the parent's next one."""
        source = self.by_values.sources[parent] if self.by_values else self.parents[parent]
        return slab.read(source, cpu, self.names.index(parent))

    def read_published(self, slab: Slab) -> SlabPart:
        """Read a slab of the published model; the same memory is used for the next one."""
        return slab.read(self.by_values.published if self.by_values else self.published, cpu, len(self.parents))

    def copies_of(self, parent: str, other: str) -> Iterator[tuple[SlabPart, SlabPart | None]]:
        """Yield, slab by slab, what is published, and what it would be if it were a parent's weight ``other``.

        The latter is None for numbers that are not finite and cannot be converted.
        """
        if self.by_values:
            pairs = self.by_values.ranges(self.by_values.sources[parent].stored(other))
        else:
            pairs = ranges(self.base.stored(other), self.theirs)
        for ours, theirs in pairs:
            yield self.read_published(theirs), self._converted(self.read(parent, ours), theirs.shape)

    def _converted(self, part, shape):
        method = Method(scales=self.scales)
        try:
            return rebuild([part], self.ours.dtype, [1], self.theirs.dtype, shape, self.ways[0], method)
        except NotFiniteError:
            return None

    def compare(self) -> tuple[list[str], list[list[str]], dict[str, list[tuple[bool, Sums]]]]:
        """Return the parents that are the published weight's sources, which are alike, and their differences.

        A source's bytes, or its values in the published format, are the published ones.  alike: lists of parents with
        the same bytes.  differences: of each parent but the base from the base, in the parts that
        aoe.merging.difference.row takes; NaN where numbers are not finite.
        """
        first, *others = self.names
        sources = set(self.names)
        sums: dict[str, list[tuple[bool, Sums]]] = {name: [] for name in others}
        pairs = {(one, other) for i, one in enumerate(self.names) for other in self.names[i + 1 :]}
        for ours, theirs in self.ranges():
            parts = {parent: self.read(parent, ours) for parent in self.names}
            published = self.read_published(theirs)
            pairs = {(one, other) for one, other in pairs if alike(parts[one], parts[other])}
            sources = {parent for parent in sources if self._is(published, parts[parent], ours)}
            for other in others:
                sums[other].append((False, self._sums(parts[first], parts[other])))
        return [parent for parent in self.names if parent in sources], _classes(self.names, pairs), sums

    def _sums(self, one, other):
        try:
            return cpu.difference([one, other], self.ours.dtype)
        except NotFiniteError:
            return Sums(math.nan, math.nan, math.nan)

    def _is(self, published, part, slab):
        """Whether a parent's part gives the published one, or the published one, converted back, the parent's."""
        made = self._converted(part, published[0].shape)
        if made is not None and alike(published, made):
            return True
        if not self.stored_alike and self.theirs.dtype == self.ours.dtype:
            return self._is_encoded_anew(published, part, slab)
        if not self.theirs.dtype == FP8 != self.ours.dtype:
            return False
        try:
            return alike(part, rebuild([published], FP8, [1], self.ours.dtype, part[0].shape))
        except NotFiniteError:
            return False

    def _is_encoded_anew(self, published, part, slab):
        """Whether a parent's part gives the published one if it is stored in the published format."""
        method = Method(scales=self.scales)
        try:
            if self.by_values:
                return alike(published, self.by_values.made([part], [1.0], method, slab))
            if self.ours.dtype != FP8:
                return False
            codes, scale = (np.empty_like(numbers) for numbers in part)
            cpu.combine([part], FP8, [1.0], codes, scale, method, slab.begin)
            return alike(published, (codes, scale))
        except NotFiniteError:
            return False

    def equal(self) -> list[str]:
        """Return the parents whose values are the published ones, although their bytes are not."""
        alive = list(self.names) if self.ours.dtype == FP8 else []
        for ours, theirs in self.ranges():
            published = self.read_published(theirs)
            dtypes = self.theirs.dtype, self.ours.dtype
            alive = [p for p in alive if equal_values(published, dtypes[0], self.read(p, ours), dtypes[1])]
            if not alive:
                break
        return alive

    def ways_of(self, made: ModelMethod) -> tuple[str, ...]:
        """Return the ways in which a weight that was made by a method may have come to its dtype."""
        unrounded = made.rounding == Rounding.NONE
        if self.ours.dtype != FP8:
            return self.ways
        if self.theirs.dtype == FP8:
            return () if unrounded else (SAME,)
        return (DIRECT,) if unrounded else (CONVERTED,)

    def match(self, weights: Weights, way: str, share: float = 0.0, made: ModelMethod = USUAL) -> Match:
        """Return the Match of a mixture {parent: λ}, all through the weight.

        share: of the largest parent's magnitude, that the arithmetic may have lost; made: the method, of which only the
        usual one is matched by rounding as well.
        """
        weights = summands(weights, self.names[0], made.arithmetic)
        found, shares, ours_dtype, dtype = Deviation(), list(weights.values()), self.ours.dtype, self.theirs.dtype
        within = ULPS if dtype == "F32" else TIE
        named = UNROUNDED if made.is_usual and way == DIRECT and ours_dtype == FP8 else made
        for ours, theirs in self.ranges():
            parts, published = [self.read(parent, ours) for parent in weights], self.read_published(theirs)
            try:
                expected = self._made(parts, shares, published, way, made, ours)
            except NotFiniteError:  # no such mixture was ever stored
                worst = Deviation(self.ours.elements, False, self.ours.elements, 0, math.inf, math.inf)
                return Match(weights, way, worst, None, named)

            def unrounded(parts=parts):
                return mixture(parts, ours_dtype, shares), np.float32(share) * largest(parts, ours_dtype)

            if values := self.by_values:
                found.add(published, expected, dtype, steps=partial(values.steps, theirs, published))
            else:
                found.add(published, expected, dtype, unrounded if made.is_usual else None, within)
        copied = len(weights) == 1 and shares[0] == 1
        if found.stored or not found.differing:
            grade = BYTES if found.stored and self.ways == (SAME,) and not self.by_values else VALUES
            return Match(weights, way, found, grade, USUAL if copied else named)
        # what was copied was not rounded; nor is it known how what was converted had been rounded before
        unexplained = copied or found.outside or (way == CONVERTED and dtype != FP8) or not made.is_usual
        unexplained = unexplained or self.by_values is not None
        return Match(weights, way, found, None if unexplained else ROUNDING, named)

    def best_match(self, weights: Weights, way: str) -> Match:
        """Return the Match of a mixture by the arithmetic that explains more: float32's, or BF16's before FP8."""
        found = self.match(weights, way)
        return self.match(weights, way, BF16) if found.deviation.outside else found

    def gives(self, weights: Weights, way: str, made: ModelMethod) -> bool:
        """Tell whether a mixture {parent: λ} gives the published bytes, or values; reads on only while it does."""
        first = self.deviation_at_first(weights, way, made)
        if first is None or first.differing:
            return False
        found = (self._deviation(ours, theirs, weights, way, made) for ours, theirs in self.ranges())
        return all(deviation is not None and not deviation.differing for deviation in found)

    def deviation_at_first(self, weights: Weights, way: str, made: ModelMethod) -> Deviation | None:
        """Return the Deviation of the beginning of a weight from a mixture; None if that is not finite."""
        if not self.ours.elements:
            return Deviation()
        first = self.ranges()[0] if self.by_values else beginning(self.ours, self.theirs)
        return self._deviation(*first, weights, way, made)

    def _deviation(self, ours, theirs, weights, way, made):
        """The Deviation of a slab from a mixture; None if that is not finite."""
        weights = summands(weights, self.names[0], made.arithmetic)
        parts, published = [self.read(parent, ours) for parent in weights], self.read_published(theirs)
        found = Deviation()
        try:
            found.add(published, self._made(parts, [*weights.values()], published, way, made, ours), self.theirs.dtype)
        except NotFiniteError:
            return None
        return found

    def _made(self, parts, shares, published, way, made, slab):
        method, shape = made.of(self.name)._replace(scales=self.scales), published[0].shape
        if self.by_values and shares == [1] and self.stored_alike:
            return parts[0]  # copied, where encoding the values anew may give others
        if self.by_values:
            return self.by_values.made(parts, shares, method, slab)
        return rebuild(parts, self.ours.dtype, shares, self.theirs.dtype, shape, way, method, slab.begin)

    def sample(self, different: Sequence[int]) -> Sample | None:
        """Return a Sample of the weight; None if the parents do not differ.

        different: indices of the parents that are not alike, the base first.
        """
        sample = Sample(self.ours.dtype, self.theirs.dtype, different, self.scales)
        for ours, theirs in self.ranges():
            published = self.read_published(theirs)
            steps = self.by_values.steps(theirs, published) if self.by_values else None
            sample.add([self.read(parent, ours) for parent in self.names], published, steps)
            if sample.enough:
                break
        return sample if sample.pieces else None

    def close(self, tolerance: Tolerance) -> list[str]:
        """Return the parents that every number of the weight is close to."""
        alive = list(self.names)
        for ours, theirs in self.ranges():
            published = _numbers(self.read_published(theirs), self.theirs.dtype, tolerance.space)
            parts = {parent: _numbers(self.read(parent, ours), self.ours.dtype, tolerance.space) for parent in alive}
            absolute, relative = tolerance.absolute, tolerance.relative
            alive = [p for p in alive if np.allclose(published, parts[p], rtol=relative, atol=absolute)]
            if not alive:
                break
        return alive


def _numbers(part: SlabPart, dtype: str, space: str) -> NDArray[np.float32]:
    """float32 (n,): the values of a part of a weight, or its numbers without their scale."""
    if space == "codes" and part[1] is not None:
        part = part[0], np.ones_like(part[1])
    return cpu.values(part, dtype).reshape(-1)


def _classes(names: list[str], pairs: set[tuple[str, str]]) -> list[list[str]]:
    """[[names that are alike]], from the pairs that are."""
    classes: list[list[str]] = []
    for name in names:
        kin = next((kin for kin in classes if (kin[0], name) in pairs), None)
        classes.append([name]) if kin is None else kin.append(name)
    return classes
