"""Try methods: which of them, other than float32 to nearest, gives the bytes of a weight from a mixture?"""

import itertools
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from aoe.audit import Weights
from aoe.audit.comparison import ROUNDING, Comparison, Match
from aoe.audit.fitting.least_squares import LeastSquares
from aoe.audit.fitting.sampling import Sample
from aoe.audit.fitting.search import FEW, MOST_ORDERED, SIMPLE, explain, orders
from aoe.audit.methods import UNROUNDED, USUAL, ModelMethod
from aoe.audit.methods.chance import steps_in, was_by_chance
from aoe.audit.storage import CONVERTED, Deviation, summands
from aoe.numerics.kernels import FP8, Arithmetic, Method, NotFiniteError, Rounding, cpu

SEEDS = range(17)
NEAR = 4.0  # FP8's steps, in the root mean square, that a rounding by chance is from one to nearest, at most
ALTERED = 1e-4  # share of numbers, below which a weight was altered, not made by another method
LEAST = 1e-4  # λ; what has less of a parent is a copy, perhaps altered
MOST_KNOWN = 8  # explanations that are remembered
DENOMINATORS = 10, 100, 1000  # of λ that are looked for by least squares
IN_BF16 = (Arithmetic.BFLOAT16, Arithmetic.DELTAS)
GRID = 20  # denominator of λ that are looked for one by one


class Known:
    """Mixtures and methods, but the usual one, that explained weights of an audit; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[tuple[tuple[tuple[str, float], ...], ModelMethod], None] = {}

    def add(self, weights: Weights, made: ModelMethod) -> None:
        """Remember the mixture {parent: λ} and the method that explained a weight, or that a claim names."""
        with self._lock:
            if len(self._found) < MOST_KNOWN:
                self._found[(*weights.items(),), made] = None

    def __iter__(self) -> Iterator[tuple[Weights, ModelMethod]]:
        """Iterate over (mixture, method), in the same order whatever was found first."""
        with self._lock:
            found = sorted(self._found)
        return iter([(dict(mixture), made) for mixture, made in found])

    def methods(self) -> list[ModelMethod]:
        """Return the methods alone."""
        return sorted({made for _, made in self})


def exact(weight: Comparison, weights: Weights, made: ModelMethod) -> Match | None:
    """Return the Match of a method that gives a weight's bytes, or values; None if it does not."""
    for way in weight.ways_of(made):
        if weight.gives(weights, way, made):
            return weight.match(weights, way, made=made)
    return None


def find(weight: Comparison, weights: Weights, known: Known, chance: bool = True) -> Match | None:
    """Return the Match of the first method, but the usual one, by which a mixture {parent: λ} gives a weight.

    chance: whether roundings by chance are among them.
    """
    arithmetics = [one for one in Arithmetic if one != Arithmetic.STORED or weight.ours.dtype == FP8]
    nearest = [ModelMethod(arithmetic) for arithmetic in arithmetics[1:]]
    if weight.ours.dtype == FP8:
        nearest += [UNROUNDED, *(ModelMethod(arithmetic, Rounding.NONE) for arithmetic in IN_BF16)]
    tried = itertools.product(sums_of(weights), nearest)
    found: Iterator[Match | None] = (exact(weight, order, made) for order, made in tried)
    if chance and weight.ours.dtype != "F32":
        found = itertools.chain(found, _with_seeds(weight, weights, known, arithmetics))
    return next(filter(None, found), None)


def _with_seeds(weight, weights, known, arithmetics):
    """Yield what ``exact`` makes of roundings by chance, of the seeds that explained other weights first."""
    seeds = list(dict.fromkeys([*(made.seed for made in known.methods() if made.seed is not None), *SEEDS]))
    for order in sums_of(weights, everyone=True):
        for arithmetic in arithmetics:
            if arithmetic == Arithmetic.DELTAS:
                continue  # whose only known program rounds to nearest
            if not _is_near(weight, order, ModelMethod(arithmetic)):
                continue
            roundings = [Rounding.STOCHASTIC, *([Rounding.BALANCED] if arithmetic != Arithmetic.STORED else [])]
            for rounding, seed in itertools.product(roundings, seeds):
                yield exact(weight, order, ModelMethod(arithmetic, rounding, seed))


def known_exactly(weight: Comparison, known: Known) -> Match | None:
    """Return the Match of what explained other weights, if it gives this one."""
    return next(filter(None, (exact(weight, weights, made) for weights, made in known)), None)


def known_only(weight: Comparison, known: Known) -> Match | None:
    """Return the Match of what explained other weights, if it gives this one and the usual method does not.

    Spares most weights of a model the search for λ.  None for weights that are not stored in FP8: several mixtures may
    give a short vector.
    """
    if weight.ours.dtype != FP8:
        return None
    match = known_exactly(weight, known)
    return None if match and exact(weight, match.weights, USUAL) else match


def known_method(weight: Comparison, weights: Weights, known: Known) -> Match | None:
    """Return the Match of a mixture and a method that explained other weights, if they give this one."""
    return next(filter(None, (exact(weight, weights, made) for made in known.methods())), None)


def known_nearly(weight: Comparison, mixtures: Sequence[Weights], known: Known) -> Match | None:
    """Return the Match of a mixture and a method that explained other weights, if few numbers of this one differ.

    mixtures: those that are tried with the known methods beside the known mixtures.
    """
    pairs = [*known, *itertools.product(mixtures, known.methods())]
    matches = [weight.match(weights, way, made=made) for weights, made in pairs for way in weight.ways_of(made)]
    nearest = min(matches, key=lambda match: match.deviation.differing, default=None)
    few = max(FEW * weight.ours.elements, 1)
    return nearest if nearest and nearest.deviation.differing <= few else None


def by_chance(weight: Comparison, weights: Weights) -> Match | None:
    """Return the Match of a rounding by chance with unknown random numbers; None if it explains a weight badly."""
    for arithmetic in (Arithmetic.FLOAT32, Arithmetic.BFLOAT16, Arithmetic.STORED):
        made = ModelMethod(arithmetic, Rounding.STOCHASTIC)
        if (ways := weight.ways_of(made)) and was_by_chance(weight, weights, arithmetic):
            return Match(weights, ways[0], Deviation(weight.ours.elements, False), ROUNDING, made)
    return None


def is_altered(weight: Comparison, match: Match) -> bool:
    """Tell whether so few numbers differ from a Match that they were altered, rather than made by another method."""
    return match.deviation.differing <= max(ALTERED * weight.ours.elements, 1)


def gives(weight: Comparison, weights: Weights, made: ModelMethod) -> bool:
    """Tell whether a mixture gives a weight by a method; or can do so, if its random numbers are not known."""
    if not made.is_known:
        # whoever rounds FP8 by chance may leave what is in other formats to its program, which rounds to nearest
        nearest = weight.ours.dtype != FP8 and exact(weight, weights, ModelMethod(made.arithmetic))
        return bool(nearest) or was_by_chance(weight, weights, made.arithmetic)
    return any(weight.gives(weights, way, made) for way in weight.ways_of(made))


def search(
    weight: Comparison, sample: Sample, parents: Sequence[int], plain: LeastSquares, first: Match, known: Known
) -> Match | None:
    """Return the Match of a mixture and a method, but the usual one, that explains a weight; None if there is none.

    parents: indices of those that are not alike; plain: least squares over the sample; first: what explains the weight
    best if its method is the usual one, within rounding or badly.
    """
    if match := known_exactly(weight, known):
        return match
    if (match := known_nearly(weight, [], known)) and is_altered(weight, match):
        return match
    altered = is_altered(weight, first) and not first.deviation.scales
    if altered and not first.grade:
        return None
    # scales tell mixtures apart: what has a known one's was made so, and altered
    if match and not first.grade and weight.theirs.dtype == FP8:
        return match
    seen: list[Weights] = []
    for weights in _mixtures(weight, sample, parents, plain, first):
        if weights and len(weights) > 1 and min(map(abs, weights.values())) >= LEAST and weights not in seen:
            seen.append(weights)
            if match := find(weight, weights, known, chance=not first.grade):
                return _of_simple_lambda(weight, match)
            if not first.grade and (match := by_chance(weight, weights)):
                return known_nearly(weight, [], known) or match
    return None if first.grade else known_nearly(weight, [], known)


def _of_simple_lambda(weight, match):
    """A Match whose λ are the simplest that its arithmetic does not tell from its own: ``deltas`` has them in BF16."""
    if match.made.arithmetic != Arithmetic.DELTAS:
        return match
    simple = {}
    for parent, share in match.weights.items():
        candidates = (round(share * denominator) / denominator for denominator in SIMPLE)
        simple[parent] = next((one for one in candidates if _in_bf16(one) == _in_bf16(share)), share)
    return replace(match, weights=summands(simple, weight.names[0], Arithmetic.DELTAS))


def _in_bf16(share):
    return int(cpu.rounded(np.array([share], np.float32), "BF16")[0][0])


def _mixtures(weight, sample, parents, plain, first):
    """Yield {parent: λ} from the likeliest on; if rounding to nearest explains a weight, as that was done."""

    def named(shares):
        return {weight.names[i]: share for i, share in shares.items() if share}

    yield first.weights
    if not first.grade:
        for denominator in DENOMINATORS:
            others = {i: round(plain.free[i] * denominator) / denominator for i in parents[1:]}
            yield named({parents[0]: round(1 - sum(others.values()), 12), **others})
    stored = [Arithmetic.STORED] if sample.is_scaled else []
    methods = [Method(arithmetic) for arithmetic in (*IN_BF16, *stored)]
    if first.grade:
        methods = methods[: len(IN_BF16)]
    else:
        chance = (Arithmetic.FLOAT32, Arithmetic.BFLOAT16, *stored)
        methods += [Method(arithmetic, Rounding.STOCHASTIC) for arithmetic in chance]
    for method in methods:
        _, fit = explain(sample, parents, weight.ways_of(ModelMethod(method.arithmetic)), method)
        if fit:
            yield named(fit.weights)
    if first.grade:
        return
    if weight.ours.dtype == FP8 != weight.theirs.dtype:
        yield _on_grid(weight, sample, parents)


def _on_grid(weight, sample, parents):
    """{parent: λ}, in steps of a twentieth, by which stored codes give a sample of another format; None if none do."""
    for shares in itertools.product(range(GRID + 1), repeat=len(parents) - 1):
        if sum(shares) > GRID or not sum(shares):
            continue
        weights = [round(1 - sum(shares) / GRID, 12), *(share / GRID for share in shares)]
        used = [(i, share) for i, share in zip(parents, weights, strict=True) if share]
        try:
            wrong = sample.differing(*zip(*used, strict=True), CONVERTED, Method(Arithmetic.STORED))
        except NotFiniteError:
            continue
        if not wrong:
            return {weight.names[i]: share for i, share in used}
    return None


def sums_of(weights: Weights, everyone: bool = False) -> list[Weights]:
    """Return a mixture in the orders that its sum may have, its own first; everyone: those of two parents as well."""
    own = tuple(weights)
    if len(own) < 2:
        return [weights]
    found = [own, *orders(own)]
    if everyone and len(own) <= MOST_ORDERED:
        found += itertools.permutations(own)
    return [{name: weights[name] for name in order} for order in dict.fromkeys(found)]


def _is_near(weight, weights, made):
    """Whether the beginning of a weight has the scales of a mixture, and numbers that were not rounded far away."""
    steps = steps_in(weight.ours.dtype, weight.theirs.dtype)  # deviations are counted in the published format's steps
    for way in weight.ways_of(made):
        found = weight.deviation_at_first(weights, way, made)
        if found and not found.scales and found.rms <= NEAR * steps:
            return True
    return False
