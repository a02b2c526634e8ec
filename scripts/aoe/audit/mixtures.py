"""Which mixtures each weight allows: those whose rebuilt bytes, or values, are the published ones.

Where all parents agree, a weight allows every mixture, and so decides nothing; where its numbers were rounded away, it
allows several.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from aoe.audit import Row, Weights
from aoe.audit.comparison import ROUNDING
from aoe.audit.fitting.search import SIMPLE, orders
from aoe.numerics.kernels import Rounding

Mixture = tuple[tuple[str, float], ...]  # (parent, λ) without zeros, in the order of the sum
Allowed = dict[str, set[Mixture]]  # weight -> the mixtures that it allows
Reproduces = Callable[[str, Weights], bool]  # of (weight, {parent: λ}): whether that gives what was published

MOST_MIXTURES = 64  # a model that needs more was not assembled by a recipe
SAME_LAMBDA = 0.002  # largest difference between λ of one mixture, which rounding makes
WITNESSES = 8  # weights, the most precise ones, that a λ common to all has to reproduce


def allowed_mixtures(
    rows: Sequence[Row], names: Sequence[str], reproduces: Reproduces, exact: Mapping[str, bool]
) -> Allowed:
    """Return the mixtures that each weight allows, of the fewest mixtures that explain all weights.

    rows: of weights whose parents differ; names: the parents', the base first; exact: group -> whether a mixture has to
    give a weight's values, or may differ from them by rounding.
    """
    own = {row["tensor"]: _own(row, names) for row in rows}
    allowed: Allowed = {weight: set() for weight in own}
    remaining, mixtures = dict.fromkeys(own), []
    by_name = {row["tensor"]: row for row in rows}
    while len(mixtures) < MOST_MIXTURES:
        counts = Counter()
        for weight in remaining:
            counts.update(dict.fromkeys(own[weight], by_name[weight]["elements"]))
        if not counts:
            break
        (common, _), *_ = counts.most_common(1)
        left = [by_name[weight] for weight in remaining]
        sharing = [exact[by_name[weight]["group"]] for weight in remaining if common in own[weight]]
        mixture = _agreed(common, left, reproduces, all(sharing))
        if all(sharing):
            mixture = _ordered(mixture, left, own, reproduces)
        mixtures.append(mixture)
        fits = {weight for weight in own if _fits(by_name[weight], mixture, own[weight], reproduces, exact)}
        for weight in fits:
            allowed[weight].add(mixture)
        fits |= {weight for weight in remaining if common in own[weight]}  # lest it be asked for again
        remaining = {weight: None for weight in remaining if weight not in fits}
    return allowed


def _own(row: Row, names: Sequence[str]) -> list[Mixture]:
    """The mixtures that a weight's row names: ((parent, λ), …) without zeros, in the order of the sum."""
    if row["found"] == "unexplained":
        return []
    if row["sources"]:
        return [((source, 1.0),) for source in row["sources"]]
    mixture = [(name, float(row[f"lambda_{name}"])) for name in row["order"] if row[f"lambda_{name}"]]
    if len(mixture) < 3 and Rounding.BALANCED not in row["method"]:
        mixture.sort(key=lambda part: names.index(part[0]))
    return [tuple(mixture)]


def _fits(row, mixture, own, reproduces, exact):
    exact = exact[row["group"]]
    if mixture in own and not (exact and row["grade"] == ROUNDING):
        return True
    parents = {parent for parent, _ in mixture}
    if any(parents <= set(kin) for kin in row["alike"]) and math.isclose(sum(share for _, share in mixture), 1):
        return bool(parents & set(row["sources"]))
    if len(mixture) == 1 and mixture[0][1] == 1:
        return False  # whose bytes it has, is known
    if len(own) == 1 and parents == {parent for parent, _ in own[0]} and len(parents) == 2:
        (_, (parent, share)) = mixture  # of more parents, one's interval holds only while the others' λ are kept
        if not row.get(f"low_{parent}", -math.inf) - 1e-3 <= share <= row.get(f"high_{parent}", math.inf) + 1e-3:
            return False
    if own and not exact and {parent for parent, _ in own[0]} == parents:
        return all(abs(dict(own[0])[parent] - share) <= SAME_LAMBDA for parent, share in mixture)
    return reproduces(row["tensor"], dict(mixture))


def _agreed(mixture, rows, reproduces, exact):
    """A mixture with the simplest λ that lie within the intervals of all weights that may have it."""
    shares, (base, *others) = dict(mixture), [parent for parent, _ in mixture]
    if not others or not math.isclose(sum(shares.values()), 1):
        return mixture
    near = []  # weight, ((low, high), …) of the others' λ
    for row in rows:
        ends = [(row.get(f"low_{parent}", math.nan), row.get(f"high_{parent}", math.nan)) for parent in others]
        if all(low <= shares[parent] <= high for parent, (low, high) in zip(others, ends, strict=True)):
            near.append((row["tensor"], ends))
    if not near:
        return mixture
    near.sort(key=lambda found: max(high - low for low, high in found[1]))
    intervals = np.array([ends for _, ends in near])  # (weights, parents, 2)
    lows, highs = intervals[:, :, 0].max(axis=0), intervals[:, :, 1].min(axis=0)
    if not np.isfinite([lows, highs]).all():
        return mixture
    candidates = []
    for agreed in (list(map(simplest, lows, highs)), [float(end) for end in (lows + highs) / 2]):
        candidates.append(((base, round(1 - math.fsum(agreed), 12)), *zip(others, agreed, strict=True)))
    right = [sum(reproduces(weight, dict(c)) for weight, _ in near[:WITNESSES]) for c in candidates]
    if exact and max(right) < len(near[:WITNESSES]):
        return mixture
    return candidates[right.index(max(right))]


def _ordered(mixture, rows, own, reproduces):
    """A mixture in the order of the sum that reproduces the most weights; most of them allow every order."""
    if len(mixture) < 2:
        return mixture
    telling = [
        row["tensor"] for row in rows if any(set(m) == set(mixture) and m != mixture for m in own[row["tensor"]])
    ]
    counts: Counter[Mixture] = Counter()
    for order in dict.fromkeys([mixture, *orders(mixture), tuple(reversed(mixture))]):
        counts[order] = sum(reproduces(weight, dict(order)) for weight in telling[:WITNESSES])
    return max(counts, key=lambda order: counts[order]) if telling else mixture


def simplest(low: float, high: float) -> float:
    """Return the number between two that is written most shortly; if they have crossed, their mean."""
    for denominator in [1, *SIMPLE]:
        number = math.ceil(low * denominator - 1e-12) / denominator
        if number <= high:
            return number
    return float(low + high) / 2
