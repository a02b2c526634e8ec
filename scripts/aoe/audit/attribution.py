"""Where a published model's weights are from: one row a weight, in one pass over the model and its parents.

A weight is, whichever is found first: ``copied`` (the bytes of a parent's), ``equal`` (a parent's values, stored
otherwise), what the ``claimed`` recipe gives, ``moved`` (the bytes of another of a parent's weights), ``mixed`` (of
parents, with λ that were found), or ``unexplained``; ``unreadable`` where its values cannot be known, ``reshaped``
where it has more or fewer than the parents', and ``missing``.
"""

import math
from dataclasses import dataclass

import numpy as np
from aoe import AoeError
from aoe.audit.bounds import BF16, TIE, ULPS
from aoe.audit.counterparts import Published
from aoe.audit.elsewhere import Elsewhere
from aoe.audit.fitting import explain
from aoe.audit.sampling import Sample
from aoe.audit.storage import CONVERTED, SAME, Deviation, equal_values, largest, mixture, ranges, rebuild, ways
from aoe.checkpoints.architecture import Architecture
from aoe.checkpoints.checkpoint import scale_of
from aoe.merging.difference import row as difference_row
from aoe.merging.merge import alike
from aoe.merging.plan import check_compatible
from aoe.numerics import kernels
from aoe.numerics.kernels import FP8, NotFiniteError, Sums, cpu

GRADES = BYTES, VALUES, ROUNDING = "bytes", "values", "rounding"  # how well a weight is explained, the best first
DEVIATIONS = ("differing", "scales", "largest", "rms", "outside")
NORMS = ("normalized", "frobenius", "codes", "relative")


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
    """How well a mixture {parent: λ} explains a weight: a Deviation from it, and the grade: ``bytes`` are equal,
    ``values`` are, or differ by ``rounding`` alone; or None."""

    weights: dict
    way: str
    deviation: Deviation
    grade: str | None


class Audit:
    """A published Checkpoint and what its parents are said to be (name -> Checkpoint, the base first).

    plan: the Plan of a claimed recipe; tolerance: a Tolerance, to tell which weights are close by it, too.  Raises
    AoeError if the parents do not fit together, or the plan is of others.
    """

    def __init__(self, published, parents, plan=None, tolerance=None):
        self.parents, self.plan, self.tolerance = parents, plan, tolerance
        self.names, (self.base, *others) = list(parents), parents.values()
        check_compatible(self.base, others)
        for parent in plan.parents if plan else []:
            if parent not in parents:
                raise AoeError(f"The claimed recipe reads {parent}, which is none of the audit's parents.")
        self.architecture = Architecture(self.base.config)
        self.published = Published(published, {weight: self.base.stored(weight).shape for weight in self.base.weights})
        self.elsewhere = Elsewhere(self)

    def rows(self, weights, threads=1):
        """One row a weight, a dict: of the parents' ``weights``, several at a time.

        Raises AoeError if a file cannot be read, or ends too early.
        """
        with kernels.threads(cpu, threads) as pool:
            return list(pool.map(lambda weight: _Weight(self, weight).row(), weights))

    def ranges(self, weight):
        """What one weight is compared in: pairs of Slabs, the parents' and the published model's."""
        return _Weight(self, weight).ranges()

    def missing(self):
        """Rows of what the published model lacks."""
        return [_Weight(self, weight).empty_row("missing") for weight in self.published.missing]

    def reproduces(self, weight, weights):
        """Whether a mixture {parent: λ} gives the published bytes, or values, of a weight; reads on only while so."""
        return _Weight(self, weight).reproduces(weights)


def written(weights):
    """A mixture {parent: λ} in words."""
    parts = [f"{weight:.6g} {parent}" for parent, weight in weights.items() if weight]
    text = " + ".join(parts).replace("+ -", "- ")
    return text.removeprefix("1 ") if len(parts) == 1 else text


def is_undecidable(row):
    """Whether all parents have the same, so that nothing tells where it is from."""
    return len(row["alike"]) == 1 < len(row["alike"][0])


class _Weight:
    """One weight of the parents, and its counterpart."""

    def __init__(self, audit, name):
        self.audit, self.name, self.parents = audit, name, audit.parents
        self.ours = audit.base.stored(name)
        self.part = audit.published.parts.get(name)
        self.place = audit.architecture.place(name)
        if self.part and not self.part.problem:
            self.theirs = audit.published.stored(name)
            self.ways = ways(self.ours.dtype, self.theirs.dtype)

    def ranges(self):
        return ranges(self.ours, self.theirs)

    def read(self, parent, slab):
        return slab.read(self.parents[parent], cpu, self.audit.names.index(parent))

    def read_published(self, slab):
        return slab.read(self.audit.published, cpu, len(self.parents))

    def empty_row(self, found, note=""):
        renamed = self.part and self.part.tensor != self.name
        stored = self.ours
        return {
            "tensor": self.name,
            "published": self.part.tensor if renamed else "",
            "group": str(self.place.group),
            "layer": self.place.layer,
            "expert": self.place.expert,
            "kind": self.place.kind,
            "dtype": stored.dtype,
            "published_dtype": self.part.dtype if self.part else "",
            "elements": stored.elements,
            "bytes": stored.size + (self.audit.base.stored(scale_of(self.name)).size if stored.dtype == FP8 else 0),
            "found": found,
            "grade": "",
            "sources": [],
            "alike": [],
            "mixture": "",
            "way": "",
            "note": note,
            "claim": "",
            "claim_grade": "",
        }

    def row(self):
        """The row of this weight; docs/audits.md describes its columns."""
        if self.part.problem:
            found = "unreadable" if self.part.elements == self.ours.elements else "reshaped"
            return self.empty_row(found, f"{self.part.tensor} {self.part.problem}")
        row = self.empty_row("unexplained")
        sources = self._compare(row)
        if sources:
            found, grade = ("copied", BYTES) if self.ways == (SAME,) else ("equal", VALUES)
            row |= {"found": found, "grade": grade, "sources": sources}
        elif self.ways == (SAME,) and (sources := self._equal()):
            row |= {"found": "equal", "grade": VALUES, "sources": sources}
        claimed = self._claimed(row)
        if not row["sources"] and claimed and claimed.grade:
            row |= {"found": "claimed", **self._explained(claimed)}
        elif not row["sources"]:
            self._explain(row)
        if self.audit.tolerance:
            row["close"] = self._close()
        return row

    def copies_of(self, parent, other):
        """Yield, slab by slab, what is published, and what it would be if it were a parent's weight ``other``; None for
        numbers that are not finite and cannot be converted."""
        for ours, theirs in ranges(self.audit.base.stored(other), self.theirs):
            yield self.read_published(theirs), self._converted(self.read(parent, ours), theirs.shape)

    def _converted(self, part, shape):
        try:
            return rebuild([part], self.ours.dtype, [1], self.theirs.dtype, shape, self.ways[0])
        except NotFiniteError:
            return None

    def _compare(self, row):
        """The parents whose bytes, or whose values in the published format, are the published ones.

        Adds to the row which parents are alike, and how much each of the others differs from the base; NaN where
        numbers are not finite.
        """
        (first, *others), names = self.audit.names, self.audit.names
        alive, sums = set(names), {name: [] for name in others}
        pairs = {(one, other) for i, one in enumerate(names) for other in names[i + 1 :]}
        for ours, theirs in self.ranges():
            parts = {parent: self.read(parent, ours) for parent in names}
            published = self.read_published(theirs)
            pairs = {(one, other) for one, other in pairs if alike(parts[one], parts[other])}
            alive = {parent for parent in alive if self._is(published, parts[parent])}
            for other in others:
                sums[other].append((False, self._sums(parts[first], parts[other])))
        row["alike"] = _classes(names, pairs)
        for other, found in sums.items():
            norms = difference_row(self.ours, self.place, found)
            row |= {f"{norm}_{other}": norms[norm] for norm in NORMS}
        return [parent for parent in names if parent in alive]

    def _sums(self, one, other):
        try:
            return cpu.difference([one, other], self.ours.dtype)
        except NotFiniteError:
            return Sums(math.nan, math.nan, math.nan)

    def _is(self, published, part):
        """Whether a parent's part gives the published one, or the published one, converted back, the parent's."""
        made = self._converted(part, published[0].shape)
        if made is not None and alike(published, made):
            return True
        if not self.theirs.dtype == FP8 != self.ours.dtype:
            return False
        try:
            return alike(part, rebuild([published], FP8, [1], self.ours.dtype, part[0].shape))
        except NotFiniteError:
            return False

    def _equal(self):
        """The parents whose values are the published ones, although their bytes are not."""
        alive = list(self.audit.names) if self.ours.dtype == FP8 else []
        for ours, theirs in self.ranges():
            published = self.read_published(theirs)
            dtypes = self.theirs.dtype, self.ours.dtype
            alive = [p for p in alive if equal_values(published, dtypes[0], self.read(p, ours), dtypes[1])]
            if not alive:
                break
        return alive

    def _match(self, weights, way, share=0.0):
        """The Match of a mixture {parent: λ}, all through the weight; share: of the largest parent, that the arithmetic
        may have lost."""
        found, shares, ours_dtype, dtype = Deviation(), list(weights.values()), self.ours.dtype, self.theirs.dtype
        within = ULPS if dtype == "F32" else TIE
        for ours, theirs in self.ranges():
            parts, published = [self.read(parent, ours) for parent in weights], self.read_published(theirs)
            try:
                expected = rebuild(parts, ours_dtype, shares, dtype, published[0].shape, way)
            except NotFiniteError:  # no such mixture was ever stored
                worst = Deviation(self.ours.elements, False, self.ours.elements, 0, math.inf, math.inf)
                return Match(weights, way, worst, None)

            def unrounded(parts=parts):
                return mixture(parts, ours_dtype, shares), np.float32(share) * largest(parts, ours_dtype)

            found.add(published, expected, dtype, unrounded, within)
        copied = len(weights) == 1 and shares[0] == 1
        if found.stored or not found.differing:
            return Match(weights, way, found, BYTES if found.stored and self.ways == (SAME,) else VALUES)
        # what was copied was not rounded; nor is it known how what was converted had been rounded before
        explained = not (copied or found.outside or (way == CONVERTED and dtype != FP8))
        return Match(weights, way, found, ROUNDING if explained else None)

    def _best_match(self, weights, way):
        """The Match of a mixture by the arithmetic that explains more: float32's, or BF16's before FP8."""
        found = self._match(weights, way)
        return self._match(weights, way, BF16) if found.deviation.outside else found

    def reproduces(self, weights):
        """See Audit.reproduces."""
        return any(self._reproduces(weights, way) for way in self.ways)

    def _reproduces(self, weights, way):
        for ours, theirs in self.ranges():
            parts, published = [self.read(parent, ours) for parent in weights], self.read_published(theirs)
            found, dtype = Deviation(), self.theirs.dtype
            try:
                expected = rebuild(parts, self.ours.dtype, list(weights.values()), dtype, published[0].shape, way)
            except NotFiniteError:
                return False
            found.add(published, expected, dtype)
            if found.differing:
                return False
        return True

    def _claimed(self, row):
        """The Match of the claimed recipe, which is added to the row; None without one."""
        if not self.audit.plan:
            return None
        weights = self.audit.plan.weights(self.name)
        row["claim"] = written(weights)
        # parents that agree in every byte are copied, not rounded anew
        copied = any(set(weights) <= {*kin} for kin in row["alike"]) and abs(sum(weights.values()) - 1) < 1e-9
        weights = {next(iter(weights)): 1} if copied else weights
        (first, *others) = weights
        if not others and weights[first] == 1 and first in row["sources"]:
            row["claim_grade"] = row["grade"]
            return None
        found = max((self._best_match(weights, way) for way in self.ways), key=_quality)
        row["claim_grade"] = found.grade or ""
        row |= {f"claim_{name}": getattr(found.deviation, name) for name in DEVIATIONS}
        return found

    def _explained(self, match):
        """What a Match says in a row."""
        shares = {f"lambda_{parent}": match.weights.get(parent, 0.0) for parent in self.audit.names}
        found = {name: getattr(match.deviation, name) for name in DEVIATIONS}
        return {
            "grade": match.grade or "",
            "mixture": written(match.weights),
            "order": [*match.weights],
            "way": match.way,
            **shares,
            **found,
        }

    def _explain(self, row):
        """Look for what explains a weight that is no parent's, and nothing that was claimed."""
        if self.ours.elements and (elsewhere := self.audit.elsewhere.find(self)):
            parent, other = elsewhere
            row |= {"found": "moved", "grade": BYTES if self.ways == (SAME,) else VALUES}
            row["note"] = f"{parent}'s {other}"
            return
        matches = []
        if len(row["alike"]) > 1:
            least, fit = self._fit(row)
            if fit:
                weights = {self.audit.names[i]: share for i, share in fit.weights.items() if share}
                if weights:
                    matches.append(self._best_match(weights, fit.way))
                for label, column in (("lambda", fit.weights), ("low", fit.low), ("high", fit.high)):
                    row |= {f"{label}_{self.audit.names[i]}": value for i, value in column.items()}
                for label, column in (("free", least.free), ("convex", least.convex)):
                    row |= {f"{label}_{self.audit.names[i]}": value for i, value in column.items()}
                row |= {"residual": fit.residual, "decidable": least.decidable}
            if matches and matches[0].grade:
                row |= {"found": "mixed", **self._explained(matches[0])}
                return
        # what is it nearest to?
        matches += [self._match({kin[0]: 1}, way) for kin in row["alike"] for way in self.ways[:1]]
        row |= self._explained(min(matches, key=lambda match: (match.deviation.differing, match.deviation.rms)))

    def _fit(self, row):
        """(LeastSquares, Fit) of one of each set of parents that are alike; (None, None) if nothing can be fitted."""
        names, different = self.audit.names, [self.audit.names.index(kin[0]) for kin in row["alike"]]
        sample = Sample(self.ours.dtype, self.theirs.dtype, different)
        for ours, theirs in self.ranges():
            sample.add([self.read(parent, ours) for parent in names], self.read_published(theirs))
            if sample.enough:
                break
        if not sample.pieces:
            return None, None
        return explain(sample, different, self.ways)

    def _close(self):
        """The parents that a weight is close to by the audit's tolerance, each of its numbers."""
        tolerance, alive = self.audit.tolerance, list(self.audit.names)
        for ours, theirs in self.ranges():
            published = _numbers(self.read_published(theirs), self.theirs.dtype, tolerance.space)
            limits = {"atol": tolerance.absolute, "rtol": tolerance.relative}
            parts = {parent: _numbers(self.read(parent, ours), self.ours.dtype, tolerance.space) for parent in alive}
            alive = [parent for parent in alive if np.allclose(published, parts[parent], **limits)]
            if not alive:
                break
        return alive


def _numbers(part, dtype, space):
    """float32 (n,): the values of a part of a weight, or its numbers without their scale."""
    if space == "codes" and part[1] is not None:
        part = part[0], np.ones_like(part[1])
    return cpu.values(part, dtype).reshape(-1)


def _quality(match):
    return -1 if not match.grade else 2 - GRADES.index(match.grade), -match.deviation.differing


def _classes(names, pairs):
    """[[names that are alike]], from the pairs that are."""
    classes = []
    for name in names:
        kin = next((kin for kin in classes if (kin[0], name) in pairs), None)
        classes.append([name]) if kin is None else kin.append(name)
    return classes
