"""Where a published model's weights are from: one row a weight, in one pass over the model and its parents.

A weight is, whichever is found first: ``copied`` (the bytes of a parent's), ``equal`` (a parent's values, stored
otherwise), what the ``claimed`` recipe gives, ``moved`` (the bytes of another of a parent's weights), ``mixed`` (of
parents, with λ that were found), or ``unexplained``; ``unreadable`` where its values cannot be known, ``reshaped``
where it has more or fewer than the parents', and ``missing``.
"""

from collections.abc import Iterable, Mapping

from aoe import AoeError, norms
from aoe.audit import Row, Weights
from aoe.audit.comparison import BYTES, GRADES, ROUNDING, VALUES, Comparison, Match, Tolerance
from aoe.audit.counterparts import Published
from aoe.audit.elsewhere import Elsewhere
from aoe.audit.fitting.search import explain
from aoe.audit.methods import UNKNOWN, USUAL, ModelMethod, trying
from aoe.audit.storage import SAME, Deviation
from aoe.checkpoints.architecture import Architecture
from aoe.checkpoints.checkpoint import Checkpoint
from aoe.checkpoints.naming.renamed import named_as
from aoe.merging.difference import row as difference_row
from aoe.merging.plan import Plan, check_compatible
from aoe.numerics import kernels
from aoe.numerics.kernels import cpu
from aoe.numerics.slabs import Slab

DEVIATIONS = ("differing", "scales", "largest", "rms", "outside")


class Audit:
    """A published Checkpoint and what its parents are said to be (name -> Checkpoint, the base first).

    plan: the Plan of a claimed recipe; tolerance: a Tolerance, to tell which weights are close by it, too.  Raises
    AoeError if the parents do not fit together, or if the plan reads another model.
    """

    def __init__(
        self,
        published: Checkpoint,
        parents: Mapping[str, Checkpoint],
        plan: Plan | None = None,
        tolerance: Tolerance | None = None,
    ) -> None:
        for parent in plan.parents if plan else []:
            if parent not in parents:
                raise AoeError(f"The claimed recipe reads {parent}, which is none of the audit's parents.")
        base = next(iter(parents.values()))
        parents = plan.seen(parents) if plan else {name: named_as(base, parent) for name, parent in parents.items()}
        self.parents, self.plan, self.tolerance = parents, plan, tolerance
        self.names, (self.base, *others) = list(parents), parents.values()
        check_compatible(self.base, others)
        self.architecture = Architecture(self.base.config)
        published = named_as(self.base, published, stacks_only=True)
        self.published = Published(published, {weight: self.base.stored(weight).shape for weight in self.base.weights})
        self.elsewhere = Elsewhere(parents, self.architecture)
        self.claimed = ModelMethod.of_plan(plan) if plan else USUAL
        self.known = trying.Known()
        for mixture in plan.mixtures if plan and not self.claimed.is_usual else ():
            if _combines(mixture):
                self.known.add(mixture, self.claimed)

    def rows(self, weights: Iterable[str], threads: int = 1) -> list[Row]:
        """Return one row a weight, of the parents' ``weights``, several at a time.

        Raises AoeError if a file cannot be read, or ends too early.
        """
        with kernels.threads(cpu, threads) as pool:
            rows = list(pool.map(lambda weight: _Weight(self, weight).row(), weights))
            if self.known.methods():  # by what explains other weights, one may be explained, or nearly so
                rows = list(pool.map(self._again, rows))
        return rows

    def _again(self, row):
        left = row["found"] == "unexplained" or UNKNOWN in row["method"] or row["grade"] == ROUNDING
        left = left or (row["claim"] and row["claim_grade"] in ("", ROUNDING))
        return _Weight(self, row["tensor"]).row() if left else row

    def ranges(self, weight: str) -> list[tuple[Slab, Slab]]:
        """Return the pairs of Slabs, the parents' and the published model's, that one weight is compared in."""
        return _Weight(self, weight).ranges()

    def missing(self) -> list[Row]:
        """Return rows of the weights that the published model lacks."""
        return [_Weight(self, weight).empty_row("missing") for weight in self.published.missing]

    def reproduces(self, weight: str, weights: Weights, made: ModelMethod = USUAL) -> bool:
        """Tell whether a mixture {parent: λ}, made by a method, gives the published bytes, or values, of a weight."""
        return trying.gives(_Weight(self, weight), weights, made)


def written(weights: Weights) -> str:
    """Write a mixture {parent: λ} in words."""
    parts = [f"{weight:.6g} {parent}" for parent, weight in weights.items() if weight]
    text = " + ".join(parts).replace("+ -", "- ")
    return text.removeprefix("1 ") if len(parts) == 1 else text


def is_undecidable(row: Row) -> bool:
    """Tell whether all parents have the same numbers, so that nothing tells where the weight is from."""
    return len(row["alike"]) == 1 < len(row["alike"][0])


def _combines(mixture: Weights) -> bool:
    return len(mixture) > 1 or set(mixture.values()) != {1}


class _Weight(Comparison):
    """One weight of an audit, of which a row is made."""

    def __init__(self, audit: Audit, name: str) -> None:
        super().__init__(audit.parents, audit.published, name)
        self.audit, self.place = audit, audit.architecture.place(name)

    def empty_row(self, found: str, note: str = "") -> Row:
        """Return the row of a weight of which nothing else is known."""
        stored, part = self.ours, self.part
        return {
            "tensor": self.name,
            "published": part.tensor if part and part.tensor != self.name else "",
            "group": str(self.place.group),
            "layer": self.place.layer,
            "expert": self.place.expert,
            "kind": self.place.kind,
            "dtype": self.base.stored(self.name).dtype,
            "published_dtype": part.dtype if part else "",
            "elements": stored.elements,
            "bytes": self.base.layout(self.name).size,
            "found": found,
            "grade": "",
            "sources": [],
            "alike": [],
            "mixture": "",
            "way": "",
            "method": "",
            "note": note,
            "claim": "",
            "claim_grade": "",
        }

    def row(self) -> Row:
        """Return the row of this weight, which the published model has; docs/audits.md describes its columns."""
        native = all(parent.layout(self.name).native for parent in self.parents.values())
        if (self.part.problem or self.by_values or not native) and (copies := self.copies()):
            return self._copied(copies)  # bytes need no values
        unreadable = self.part.problem or (not self.by_values and not native)
        if unreadable and (elsewhere := self.audit.elsewhere.find_bytes(self)):
            parent, other = elsewhere
            return self.empty_row("moved", f"{parent}'s {other}") | {"grade": BYTES}
        if self.part.problem:
            found = "unreadable" if self.part.elements == self.ours.elements else "reshaped"
            return self.empty_row(found, f"{self.part.tensor} {self.part.problem}")
        if not self.by_values and not native:
            words = next(one.layout(self.name).words() for one in self.parents.values())
            return self.empty_row("unreadable", f"cannot be compared with the parents', which are stored as {words}")
        row = self.empty_row("unexplained")
        sources = self._compare(row)
        if sources:
            copied = self.ways == (SAME,) and self.stored_alike and not self.by_values
            found, grade = ("copied", BYTES) if copied else ("equal", VALUES)
            row |= {"found": found, "grade": grade, "sources": sources}
        elif self.ways == (SAME,) and (sources := self.equal()):
            row |= {"found": "equal", "grade": VALUES, "sources": sources}
        claimed = self._claimed(row)
        if not row["sources"] and claimed and claimed.grade:
            row |= {"found": "claimed", **self._explained(claimed)}
        elif not row["sources"]:
            self._explain(row, claimed)
        if self.audit.tolerance:
            row["close"] = self.close(self.audit.tolerance)
        return row

    def _copied(self, sources):
        """The row of a weight whose stored bytes are some parents'."""
        row = self.empty_row("copied")
        if self.by_values:
            self._compare(row)
        row |= {"grade": BYTES, "sources": sources, "alike": self.alike_in_bytes()}
        if self.audit.plan:
            weights = self.audit.plan.weights(self.name)
            held = any(set(weights) <= {*kin} for kin in row["alike"]) and abs(sum(weights.values()) - 1) < 1e-9
            gives = next(iter(weights)) in sources and (not _combines(weights) or held)
            row |= {"claim": written(weights), "claim_grade": BYTES if gives else ""}
        return row

    def _compare(self, row):
        """Return the parents that the weight is a copy of; add to the row which are alike, and their differences."""
        sources, row["alike"], sums = self.compare()
        for other, found in sums.items():
            measured = difference_row(self.ours, self.place, found)
            row |= {f"{norm}_{other}": measured[norm] for norm in norms.names()}
        return sources

    def _claimed(self, row):
        """The Match of the claimed recipe, which is added to the row; None without one."""
        if not self.audit.plan:
            return None
        weights = self.audit.plan.weights(self.name)
        # parents that agree in every byte are copied, not rounded anew
        copied = any(set(weights) <= {*kin} for kin in row["alike"]) and abs(sum(weights.values()) - 1) < 1e-9
        row["claim"] = written(weights)
        weights = {next(iter(weights)): 1} if copied else weights
        first, combined = next(iter(weights)), _combines(weights)
        if combined and not self.audit.claimed.is_usual:
            row["claim"] += f", {self.audit.claimed.words()}"
        if not combined and first in row["sources"]:
            row["claim_grade"] = row["grade"]
            return None
        found = self._of_claim(weights, combined)
        row["claim_grade"] = found.grade or ""
        row |= {f"claim_{name}": getattr(found.deviation, name) for name in DEVIATIONS}
        return found

    def _of_claim(self, weights, combined):
        """The Match of a claimed mixture: by the method that is claimed, or by any if none is."""
        made = self.audit.claimed
        if not made.is_usual and combined:
            worst = Match(weights, "", Deviation(self.ours.elements, False, self.ours.elements), None, made)
            matches = [self.match(weights, way, made=made) for way in self.ways_of(made)]
            return max(matches, key=_quality, default=worst)
        found = max((self.best_match(weights, way) for way in self.ways), key=_quality)
        if not combined or found.grade in (BYTES, VALUES):
            return found
        if other := trying.known_method(self, weights, self.audit.known):
            return other
        if other := trying.find(self, weights, self.audit.known, chance=not found.grade):
            self.audit.known.add(other.weights, other.made)
        elif not found.grade:
            other = trying.known_nearly(self, [weights], self.audit.known) or trying.by_chance(self, weights)
        elif near := trying.known_nearly(self, [weights], self.audit.known):
            other = near if trying.is_altered(self, near) else None
        return other or found

    def _explained(self, match):
        """What a Match says in a row."""
        shares = {f"lambda_{parent}": match.weights.get(parent, 0.0) for parent in self.names}
        found = {name: getattr(match.deviation, name) for name in DEVIATIONS}
        return {
            "grade": match.grade or "",
            "mixture": written(match.weights),
            "order": [*match.weights],
            "way": match.way,
            "method": str(match.made),
            **shares,
            **found,
        }

    def _explain(self, row, claimed):
        """Look for what explains a weight that is no parent's, and nothing that was claimed: the Match, or None."""
        if self.ours.elements and (elsewhere := self.audit.elsewhere.find(self)):
            parent, other = elsewhere
            row |= {"found": "moved", "grade": BYTES if self.ways == (SAME,) else VALUES}
            row["note"] = f"{parent}'s {other}"
            return
        matches = self._fitted(row) if len(row["alike"]) > 1 else []
        if matches and matches[0].grade:
            row |= {"found": "mixed", **self._explained(matches[0])}
            return
        # what is it nearest to?
        matches += [self.match({kin[0]: 1}, way) for kin in row["alike"] for way in self.ways[:1]]
        matches += [claimed] if claimed else []
        row |= self._explained(min(matches, key=lambda match: (match.deviation.differing, match.deviation.rms)))

    def _fitted(self, row):
        """[the Match of the mixture and the method that explain the weight best]; add to the row how it was found."""
        parents = [self.names.index(kin[0]) for kin in row["alike"]]  # one of each set of those that are alike
        if known := trying.known_only(self, self.audit.known):
            return [known]
        sample = self.sample(parents)
        if not sample:
            return []
        least, fit = explain(sample, parents, self.ways)
        if not least or not fit:
            return []
        weights = {self.names[i]: share for i, share in fit.weights.items() if share}
        match = self.best_match(weights, fit.way) if weights else None
        if match and match.grade not in (BYTES, VALUES):
            other = trying.search(self, sample, parents, least, match, self.audit.known)
            if other and other.grade in (BYTES, VALUES):
                self.audit.known.add(other.weights, other.made)
            if other:
                return [other]
        for label, column in (("lambda", fit.weights), ("low", fit.low), ("high", fit.high)):
            row |= {f"{label}_{self.names[i]}": value for i, value in column.items()}
        for label, column in (("free", least.free), ("convex", least.convex)):
            row |= {f"{label}_{self.names[i]}": value for i, value in column.items()}
        row |= {"residual": fit.residual, "decidable": least.decidable}
        return [match] if match else []


def _quality(match: Match) -> tuple[int, int]:
    return -1 if not match.grade else 2 - GRADES.index(match.grade), -match.deviation.differing
