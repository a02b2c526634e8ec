"""The quantities that claims are about, each a function of an Evidence and of what the claim says beside it.

Each returns a float, or an Estimate where it has an interval, and raises NotRunError if the study lacks what it takes.
"""

import math

import numpy as np
from scipy import stats
from aoe.claims.evidence import NotRunError
from aoe.inventory import count_parameters, inventory
from aoe.statistics import Estimate, bootstrap
from aoe.summary import compare, relative_cost

BROKEN_POINTS = 10  # of intelligence, below the weakest model: a variant that certainly has fewer is broken


def architecture(evidence, what):
    """A number that follows from the model's config.json alone."""
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


def measured(evidence, name, times=1.0):
    """The median of a benchmark of this code, ``times`` a factor; not the study's own, but docs/benchmarks.json's."""
    for row in evidence.measured:
        if row["name"] == name:
            low, high = row["spread"].split(";")[0].removeprefix("ours ").split("–")
            return Estimate(row["ours"] * times, float(low) * times, float(high) * times)
    raise NotRunError(f"docs/benchmarks.json has no {name}")


def groups_alike(evidence, groups):
    """p-value of Kruskal and Wallis' test that the norms of some groups are distributed alike."""
    space = evidence.norms[evidence.differences[2]]
    parts = [space[evidence.norms.group == group] for group in groups]
    if min(map(len, parts)) < 2:
        raise NotRunError("a group has too few tensors")
    return float(stats.kruskal(*parts).pvalue)


def late_over_early(evidence, group, kind):
    """Mean norm of one kind of tensor in the last third of the layers that have it, over that in the first third."""
    rows = evidence.norms[(evidence.norms.group == group) & (evidence.norms.kind == kind)]
    by_layer = rows.groupby("layer")[evidence.differences[2]].mean().sort_index().to_numpy()
    third = max(1, len(by_layer) // 3)
    if len(by_layer) < 2:
        raise NotRunError("too few layers have such tensors")
    return float(by_layer[-third:].mean() / by_layer[:third].mean())


def share_above(evidence, delta, group):
    """Share of a group's tensors whose norm exceeds δ, in the study's space of norms."""
    part = evidence.norms[evidence.norms.group == group]
    if part.empty:
        raise NotRunError(f"the models have no {group.replace('_', ' ')}")
    return float((part[evidence.differences[2]] > delta).mean())


def broken(evidence, _):
    """How many variants never come to an end, or are certainly less intelligent than every model, by BROKEN_POINTS."""
    table = evidence.summary
    weakest = table.loc[[model for model in evidence.models if model in table.index], "intelligence"].min()
    bad = (table.cut_off > 0.5) | (table.intelligence_high < weakest - BROKEN_POINTS)
    return math.nan if table.intelligence.isna().all() else float(bad.sum())


def level(evidence, variant, measure):
    """A variant's value in the summary."""
    row = evidence.variant(variant)
    return Estimate(*(float(row[f"{measure}{end}"]) for end in ("", "_low", "_high")))


def transition(evidence, sweep, measure, value="midpoint"):
    """Midpoint or width of a step fitted over λ2."""
    row = evidence.of_sweep(evidence.transitions, sweep, measure)
    return Estimate(*(float(row[f"{value}{end}"]) for end in ("", "_low", "_high")))


def width_over_width(evidence, sweep, measure, other):
    """Width of one measure's step over that of another's."""
    ours, theirs = (transition(evidence, sweep, one, "width") for one in (measure, other))
    return ours.value / theirs.value


def ratio_of_sweeps(evidence, sweep, other, measure, start):
    """Mean ratio of two sweeps' values where both have the same λ2, from ``start`` on."""
    ours, theirs = (evidence.sweep(name).set_index("lambda2")[measure] for name in (sweep, other))
    common = [position for position in ours.index.intersection(theirs.index) if position >= start]
    if not common:
        raise NotRunError(f"{sweep} and {other} have no λ2 in common")
    return float((ours[common] / theirs[common]).mean())


def trend(evidence, sweep, measure):
    """Spearman's rank correlation of a measure with λ2, or, where that is constant, with δ."""
    points = evidence.sweep(sweep)
    position = "lambda2" if points.lambda2.nunique() > 1 else "delta"
    if len(points) < 3:
        raise NotRunError(f"{sweep} has too few points")
    return float(stats.spearmanr(points[position], points[measure]).statistic)


def felt(evidence, sweep, measure, change):
    """The largest change of a fitted measure where λ2 changes by so much, relative to its value at the smallest λ2."""
    curve = evidence.of_sweep(evidence.curves, sweep, measure)
    moved = np.interp(curve.lambda2 + change, curve.lambda2, curve.value) - curve.value
    return float(moved.abs().max() / curve.value.iloc[0])


def change_at(evidence, sweep, measure, up_to=math.inf):
    """How much more of a measure the variant with the largest δ (of at most ``up_to``) has than that with δ = 0."""
    points = evidence.sweep(sweep)
    points = points[points.delta <= up_to].sort_values("delta")
    if len(points) < 2 or points.delta.iloc[0] != 0:
        raise NotRunError(f"{sweep} has no δ to compare with δ = 0")
    return _compared(evidence, points.variant.iloc[-1], points.variant.iloc[0], measure)


def difference(evidence, variant, other, measure):
    """How much more of a measure a variant has than another, on the same questions."""
    return _compared(evidence, *(evidence.variant(role).name for role in (variant, other)), measure)


def _compared(evidence, variant, other, measure):
    table, _ = evidence.answers
    found = compare(table, [(variant, other)], evidence.scores).set_index("measure")
    if measure not in found.index:
        raise NotRunError(f"the study has no marks in {measure}")
    row = found.loc[measure]
    return Estimate(*(float(row[f"difference{end}"]) for end in ("", "_low", "_high")))


def tokens(evidence, variant, other):
    """Output tokens of a variant over another's, on the same questions."""
    names = [evidence.variant(role).name for role in (variant, other)]
    _, answers = evidence.answers
    repeat = {"resamples": evidence.scores["resamples"], "seed": evidence.scores["seed"]}
    return bootstrap(relative_cost, answers.beside(*names), **repeat)


def position(evidence, variant, low, high, measure):
    """Where a variant stands between two others: 0 is the one, 1 the other."""
    place, first, last = (float(evidence.variant(role)[measure]) for role in (variant, low, high))
    return (place - first) / (last - first) if first != last else math.nan


def outside(evidence, variant, parents, measure):
    """By how much a variant's value lies outside its parents'; 0 in between."""
    rows = [evidence.variant(role) for role in (variant, *parents)]
    if measure not in rows[0]:
        raise NotRunError(f"the study has no {measure.removesuffix('_percent')}")
    value, *ends = (float(row[measure]) for row in rows)
    return max(min(ends) - value, value - max(ends), 0.0)


def made_of(evidence, audit, groups, parent):
    """Share of an audited model's weights, in some groups, that have a parent's bytes or values."""
    rows, parent = evidence.audited(audit, groups), evidence.name(parent)
    if not rows:
        raise NotRunError("the audited model has no such weights")
    return sum(parent in row["sources"] for row in rows) / len(rows)


def mostly(evidence, audit, groups, parent):
    """Share of an audited model's weights, in some groups, in whose mixture a parent has the largest λ."""
    rows, parent = evidence.audited(audit, groups), evidence.name(parent)
    largest = []
    for row in rows:
        known = {
            key.removeprefix("lambda_"): value for key, value in row.items() if key.startswith("lambda_") and value
        }
        known = known or dict.fromkeys(row["sources"], 1.0)
        if known:
            largest.append(max(known, key=known.get) == parent)
    if not largest:
        raise NotRunError("nothing was found of where these weights are from")
    return sum(largest) / len(largest)


QUANTITIES = {
    function.__name__: function
    for function in (
        architecture,
        measured,
        groups_alike,
        late_over_early,
        share_above,
        broken,
        level,
        transition,
        width_over_width,
        ratio_of_sweeps,
        trend,
        felt,
        change_at,
        difference,
        tokens,
        position,
        outside,
        made_of,
        mostly,
    )
}
