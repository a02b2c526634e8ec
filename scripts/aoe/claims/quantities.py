"""The quantities that claims are about, each a function of an Evidence and of the claim's further keys.

A quantity is a float, or an Estimate where it has an interval.  It raises NotRunError if the study lacks its data.
"""

import math
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
from scipy import stats
from aoe.checkpoints.inventory import count_parameters, inventory
from aoe.claims.curves import farthest, jump, step_on
from aoe.claims.evidence import Evidence, NotRunError
from aoe.scores.statistics import Estimate, bootstrap
from aoe.scores.summary import compare, relative_cost, resampled

RESAMPLES = 400
BROKEN_POINTS = 10  # of intelligence, below the weakest model: a variant that certainly has fewer is broken


def architecture(evidence: Evidence, what: str) -> float:
    """Return a number that follows from the model's config.json alone."""
    config, parameters = evidence.architecture, count_parameters(evidence.architecture)
    return {
        "tensors": lambda: float(len(inventory(config))),
        "parameters": lambda: parameters.total / 1e9,
        "active": lambda: parameters.active / 1e9,
        "sparsity": lambda: parameters.total / parameters.active,
        "experts": lambda: float(config["n_routed_experts"]),
        "experts_active": lambda: float(config["num_experts_per_tok"]),
        "layers": lambda: float(config["num_hidden_layers"]),
        "expert_layers": lambda: float(config["num_hidden_layers"] - config["first_k_dense_replace"]),
    }[what]()


def measured(evidence: Evidence, name: str, times: float = 1.0) -> Estimate:
    """Return the median of a benchmark of this code in docs/benchmarks.json, ``times`` a factor."""
    for row in evidence.measured:
        if row["name"] == name:
            low, high = row["spread"].split(";")[0].removeprefix("ours ").split("–")
            return Estimate(row["ours"] * times, float(low) * times, float(high) * times)
    raise NotRunError(f"docs/benchmarks.json has no {name}")


def apart(evidence: Evidence, groups: Sequence[str]) -> float:
    """Return the smallest distance of two groups' distributions of norms: Kolmogorov and Smirnov's, from 0 to 1."""
    space = evidence.norms[evidence.space]
    parts = [space[evidence.norms.group == group] for group in groups]
    if min(map(len, parts)) < 2:
        raise NotRunError("a group has too few tensors")
    return min(float(stats.ks_2samp(one, other).statistic) for one, other in combinations(parts, 2))


def late_over_early(evidence: Evidence, group: str, kind: str) -> float:
    """Divide a kind of tensor's mean norm in the last third of the layers that have it by that in the first third."""
    rows = evidence.norms[(evidence.norms.group == group) & (evidence.norms.kind == kind)]
    by_layer = rows.groupby("layer")[evidence.space].mean().sort_index().to_numpy()
    third = max(1, len(by_layer) // 3)
    if len(by_layer) < 2:
        raise NotRunError("too few layers have such tensors")
    late, early = float(by_layer[-third:].mean()), float(by_layer[:third].mean())
    return late / early if early else math.nan


def share_above(evidence: Evidence, delta: float, group: str) -> float:
    """Return the share of a group's tensors whose norm exceeds δ, in the study's space of norms."""
    part = evidence.norms[evidence.norms.group == group]
    if part.empty:
        raise NotRunError(f"the models have no {group.replace('_', ' ')}")
    return float((part[evidence.space] > delta).mean())


def broken(evidence: Evidence, _: object) -> float:
    """Count variants that never end their answers, or are certainly BROKEN_POINTS less intelligent than every model."""
    table = _graded(evidence.summary)
    weakest = table.loc[[model for model in evidence.models if model in table.index], "intelligence"].min()
    return float(((table.cut_off > 0.5) | (table.intelligence_high < weakest - BROKEN_POINTS)).sum())


def functional(evidence: Evidence, _: object) -> float:
    """Return the share of variants that are not broken."""
    return 1 - broken(evidence, _) / len(evidence.summary)


def level_for_less(evidence: Evidence, model: str, points: float) -> float:
    """Count other variants that have at most so many points of intelligence less than a model, for fewer tokens."""
    table, reference = _graded(evidence.summary), evidence.variant(model)
    return float(((table.intelligence >= reference.intelligence - points) & (table.cost < reference.cost)).sum())


def better_than(evidence: Evidence, model: str) -> float:
    """Count merges that are more intelligent than a model, with intervals that do not meet."""
    table, reference = _graded(evidence.summary), evidence.variant(model)
    merges = table.drop(index=[model for model in evidence.models if model in table.index])
    return float((merges.intelligence_low > reference.intelligence_high).sum())


def _graded(table):
    if table.intelligence.isna().any():
        raise NotRunError("not all variants could be graded")
    return table


def level(evidence: Evidence, variant: str, measure: str) -> Estimate:
    """Return a variant's value in the summary."""
    row = evidence.variant(variant)
    return Estimate(*(float(row[f"{measure}{end}"]) for end in ("", "_low", "_high")))


def transition(evidence: Evidence, sweep: str, measure: str, value: str = "midpoint") -> Estimate:
    """Return the midpoint or the width of a step fitted over λ2."""
    row = evidence.of_sweep(evidence.transitions, sweep, measure)
    return Estimate(*(float(row[f"{value}{end}"]) for end in ("", "_low", "_high")))


def width_over_width(evidence: Evidence, sweep: str, measure: str, other: str) -> float:
    """Divide the width of one measure's step by that of another's."""
    ours, theirs = (transition(evidence, sweep, one, "width") for one in (measure, other))
    return ours.value / theirs.value


def ratio_of_sweeps(evidence: Evidence, sweep: str, other: str, measure: str, start: float) -> float:
    """Return the mean ratio of two sweeps' values where both have the same λ2, from ``start`` on."""
    ours, theirs = (evidence.sweep(name).set_index("lambda2")[measure] for name in (sweep, other))
    common = [position for position in ours.index.intersection(theirs.index) if position >= start]
    if not common:
        raise NotRunError(f"{sweep} and {other} have no λ2 in common")
    return float((ours[common] / theirs[common]).mean())


def trend(evidence: Evidence, sweep: str, measure: str) -> float:
    """Return Spearman's rank correlation of a measure with λ2, or, where that is constant, with δ."""
    points = evidence.sweep(sweep)
    position = "lambda2" if points.lambda2.nunique() > 1 else "delta"
    if len(points) < 3:
        raise NotRunError(f"{sweep} has too few points")
    return float(stats.spearmanr(points[position], points[measure]).statistic)


def steepest(evidence: Evidence, sweep: str, measure: str) -> Estimate:
    """Return the middle of the neighbouring λ2 between which a measure rises most steeply; interval over questions."""
    points = _over_lambda2(evidence, sweep)
    _, answers = evidence.answers
    rng = np.random.default_rng(evidence.scores["seed"])
    names, places = list(points.variant), points.lambda2.to_numpy()
    draws = [resampled(answers, names, evidence.scores, rng)[measure] for _ in range(RESAMPLES)]
    best = _steepest(places, np.array(resampled(answers, names, evidence.scores, None)[measure]))
    return Estimate(best, *np.percentile([_steepest(places, np.array(draw)) for draw in draws], [2.5, 97.5]))


def _steepest(places, values):
    place = int(np.argmax(np.diff(values) / np.diff(places)))
    return float((places[place] + places[place + 1]) / 2)


def rise_within(evidence: Evidence, sweep: str, measure: str, start: float, end: float) -> float:
    """Return the share of a measure's whole rise over λ2 between two λ2, joining the points by lines."""
    points = _over_lambda2(evidence, sweep)
    values = points[measure].to_numpy()
    low, high = np.interp([start, end], points.lambda2, values)
    return float((high - low) / (values[-1] - values[0])) if values[-1] != values[0] else math.nan


def felt(evidence: Evidence, sweep: str, measure: str, change: float) -> float:
    """Return a measure's largest change where λ2 changes by ``change``, relative to its value at the smallest λ2."""
    points = _over_lambda2(evidence, sweep)
    slopes = np.abs(np.diff(points[measure]) / np.diff(points.lambda2))
    return float(slopes.max() * change / points[measure].iloc[0])


def _over_lambda2(evidence, sweep):
    points = evidence.sweep(sweep)
    if points.lambda2.nunique() < 3 or points.lambda2.nunique() < len(points):
        raise NotRunError(f"{sweep} has too few λ2")
    return points


def change_at(evidence: Evidence, sweep: str, measure: str, up_to: float = math.inf) -> Estimate:
    """Compare a measure of the variant with the largest δ, at most ``up_to``, with that of the variant with δ = 0."""
    points = evidence.sweep(sweep)
    points = points[points.delta <= up_to].sort_values("delta")
    if len(points) < 2 or points.delta.iloc[0] != 0:
        raise NotRunError(f"{sweep} has no δ to compare with δ = 0")
    return _compared(evidence, points.variant.iloc[-1], points.variant.iloc[0], measure)


def change_beyond(evidence: Evidence, sweep: str, measure: str, from_delta: float) -> Estimate:
    """Compare a measure of the variant with the largest δ with that of the largest δ of at most ``from_delta``."""
    points = evidence.sweep(sweep).sort_values("delta")
    before, beyond = points[points.delta <= from_delta], points[points.delta > from_delta]
    if before.empty or beyond.empty:
        raise NotRunError(f"{sweep} has no δ on both sides of {from_delta:g}")
    return _compared(evidence, beyond.variant.iloc[-1], before.variant.iloc[-1], measure)


def difference(evidence: Evidence, variant: str, other: str, measure: str) -> Estimate:
    """Return how much more of a measure a variant has than another, on the same questions."""
    ours, theirs = (evidence.variant(role).name for role in (variant, other))
    return _compared(evidence, ours, theirs, measure)


def _compared(evidence, variant, other, measure):
    table, _ = evidence.answers
    found = compare(table, [(variant, other)], evidence.scores).set_index("measure")
    if measure not in found.index:
        raise NotRunError(f"the study has no marks in {measure}")
    row = found.loc[measure]
    return Estimate(*(float(row[f"difference{end}"]) for end in ("", "_low", "_high")))


def tokens(evidence: Evidence, variant: str, other: str) -> Estimate:
    """Divide the output tokens of a variant by another's, on the same questions."""
    names = [evidence.variant(role).name for role in (variant, other)]
    _, answers = evidence.answers
    repeat = {"resamples": evidence.scores["resamples"], "seed": evidence.scores["seed"]}
    return bootstrap(relative_cost, answers.beside(*names), **repeat)


def faster(evidence: Evidence, variant: str, than: str) -> Estimate:
    """Return how many times as fast as another a variant answers; the ends are those of repeated queues."""
    return _over(evidence, than, variant, "seconds_an_answer")


def beside_tokens(evidence: Evidence, measure: str, variant: str, other: str) -> Estimate:
    """Divide the ratio of two variants' time or energy by that of their tokens: 1 if the tokens explain it."""
    tokens_over = _over(evidence, variant, other, "tokens_an_answer").value
    found = _over(evidence, variant, other, measure)
    return Estimate(*(end / tokens_over for end in (found.value, found.low, found.high)))


def _over(evidence, variant, other, measure):
    """The ratio of two medians; in the worst and in the best of all cases it lies at the ends."""
    ours, theirs = (evidence.speed(role) for role in (variant, other))
    if math.isnan(ours[measure]) or math.isnan(theirs[measure]):
        raise NotRunError("no counter of energy could be read")
    low, high = ours[f"{measure}_low"] / theirs[f"{measure}_high"], ours[f"{measure}_high"] / theirs[f"{measure}_low"]
    return Estimate(*map(float, (ours[measure] / theirs[measure], low, high)))


def position(evidence: Evidence, variant: str, low: str, high: str, measure: str) -> float:
    """Return where a variant is between two others: 0 is the one, 1 the other."""
    place, first, last = (float(evidence.variant(role)[measure]) for role in (variant, low, high))
    return (place - first) / (last - first) if first != last else math.nan


def outside(evidence: Evidence, variant: str, parents: Sequence[str], measure: str) -> float:
    """Return by how much a variant's value is outside its parents'; 0 in between."""
    rows = [evidence.variant(role) for role in (variant, *parents)]
    if measure not in rows[0]:
        raise NotRunError(f"the study has no {measure.removesuffix('_percent')}")
    value, *ends = (float(row[measure]) for row in rows)
    return math.nan if math.isnan(value) else max(min(ends) - value, value - max(ends), 0.0)


def below(evidence: Evidence, variant: str, parents: Sequence[str], measure: str) -> float:
    """Return by how much a variant's value is below the lower one of its parents'; 0 if it is not."""
    rows = [evidence.variant(role) for role in (variant, *parents)]
    if measure not in rows[0]:
        raise NotRunError(f"the study has no {measure.removesuffix('_percent')}")
    value, *ends = (float(row[measure]) for row in rows)
    return math.nan if math.isnan(value) else max(min(ends) - value, 0.0)


def made_of(evidence: Evidence, audited: str, groups: Sequence[str], parent: str) -> float:
    """Return the share of an audited model's weights, in some groups, that have a parent's bytes or values."""
    rows, parents = evidence.audited(audited)
    rows = [row for row in rows if row["group"] in groups]
    if not rows:
        raise NotRunError("the audited model has no such weights")
    return sum(_parent(evidence, parent, parents) in row["sources"] for row in rows) / len(rows)


def mostly(evidence: Evidence, audited: str, groups: Sequence[str], parent: str) -> float:
    """Return the share of an audited model's weights, in some groups, in whose mixture a parent has the largest λ."""
    rows, parents = evidence.audited(audited)
    mixtures = [_mixture(row) for row in rows if row["group"] in groups]
    largest = [max(mixture, key=mixture.get) for mixture in mixtures if mixture]
    if not largest:
        raise NotRunError("nothing was found of where these weights are from")
    return largest.count(_parent(evidence, parent, parents)) / len(largest)


def parents_of(evidence: Evidence, audited: str) -> float:
    """Count the parents that have a part in an audited model's weights."""
    rows, _ = evidence.audited(audited)
    return float(len({parent for row in rows for parent, weight in _mixture(row).items() if weight}))


def _mixture(row):
    """parent -> λ of a weight: those that were found, or the first parent whose bytes it has."""
    known = {key.removeprefix("lambda_"): weight for key, weight in row.items() if key.startswith("lambda_")}
    return known or dict.fromkeys(row["sources"][:1], 1.0)


def _parent(evidence, role, parents):
    if evidence.name(role) not in parents:
        raise NotRunError(f"the audit does not compare with {evidence.name(role)}")
    return evidence.name(role)


# by what they are evidence of: the architecture alone, how models are made, weights, or how models behave
QUANTITY_KINDS: dict[str, list[Callable[..., float | Estimate]]] = {
    "architecture": [architecture],
    "construction": [measured],
    "weights": [apart, late_over_early, share_above, made_of, mostly, parents_of],
    "behaviour": [
        broken,
        functional,
        level_for_less,
        better_than,
        level,
        transition,
        width_over_width,
        steepest,
        rise_within,
        ratio_of_sweeps,
        trend,
        felt,
        change_at,
        change_beyond,
        difference,
        tokens,
        faster,
        beside_tokens,
        position,
        outside,
        below,
        farthest,
        jump,
        step_on,
    ],
}
QUANTITIES = {function.__name__: function for functions in QUANTITY_KINDS.values() for function in functions}
