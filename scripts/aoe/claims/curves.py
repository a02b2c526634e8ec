"""Quantities of a sweep's curve: how far it is from a published one, where it jumps, and its step on one benchmark."""

from collections.abc import Callable, Sequence

import numpy as np
from aoe.claims.evidence import Evidence, NotRunError
from aoe.scores.statistics import Estimate, fit_share
from aoe.scores.summary import Answers, resampled

RESAMPLES = 200  # each of them takes a fit
OF_BENCHMARK = {"right": 0, "tokens": 1, "closing": 2}  # columns of Answers
Values = Callable[[np.random.Generator | None], np.ndarray]  # of variants, on all questions or on questions drawn again


def farthest(
    evidence: Evidence,
    sweep: str,
    measure: str,
    points: Sequence[Sequence[float]],
    benchmark: str | None = None,
    relative: bool = False,
) -> float:
    """Return the largest difference between a sweep's curve and a published one.

    measure: ``cost``, ``closing`` or ``intelligence``, of all benchmarks together; of one ``benchmark``: ``right``
    (percent), ``tokens`` (of an answer) or ``closing``.  points: [λ2, published value].  relative: as a share of the
    published value.  It has no interval: both curves are of the same questions, so that drawing these again would count
    what both have in common.
    """
    values = _values(evidence, _at(evidence, sweep, [place for place, _ in points]), measure, benchmark)(None)
    published = np.array([value for _, value in points])
    return float(np.max(np.abs((values - published) / (published if relative else 1))))


def jump(evidence: Evidence, sweep: str, measure: str, start: float, end: float) -> Estimate:
    """Return by how much a measure of all benchmarks changes between two λ2 that a sweep has; interval over questions.

    measure: ``cost``, ``closing`` or ``intelligence``.
    """
    values = _values(evidence, _at(evidence, sweep, [start, end]), measure, None)
    return _over_questions(evidence, values, lambda ends: float(ends[1] - ends[0]))


def step_on(evidence: Evidence, sweep: str, benchmark: str, value: str = "midpoint") -> Estimate:
    """Return the midpoint or the width of the step that the think rate on one benchmark makes over λ2."""
    points = evidence.sweep(sweep)
    if points.lambda2.nunique() < 4 or points.lambda2.nunique() < len(points):
        raise NotRunError(f"{sweep} has too few λ2")
    places, values = points.lambda2.to_numpy(), _values(evidence, list(points.variant), "closing", benchmark)
    best = fit_share(places, values(None))
    return _over_questions(evidence, values, lambda shares: float(getattr(fit_share(places, shares, best), value)))


def _at(evidence: Evidence, sweep: str, places: Sequence[float]) -> list[str]:
    """Return a sweep's variants at some λ2.  Raises NotRunError if it has no such λ2."""
    variants = {row.lambda2: row.variant for row in evidence.sweep(sweep).itertuples()}
    if lacking := [place for place in places if place not in variants]:
        raise NotRunError(f"{evidence.name(sweep)} has no λ2 = {lacking[0]:g}")
    return [variants[place] for place in places]


def _values(evidence: Evidence, variants: list[str], measure: str, benchmark: str | None) -> Values:
    """Return the function that gives a measure of variants.  Raises NotRunError if the benchmark is not asked."""
    _, answers = evidence.answers
    if benchmark is None:
        return lambda rng: np.array(resampled(answers, variants, evidence.scores, rng)[measure])
    if benchmark not in answers.benchmarks:
        raise NotRunError(f"the study does not ask {benchmark}")
    return _on_benchmark(answers, variants, benchmark, measure)


def _on_benchmark(answers: Answers, variants: list[str], benchmark: str, measure: str) -> Values:
    samples = np.stack([answers.of(variant, [benchmark])[0] for variant in variants])[..., OF_BENCHMARK[measure]]
    factor, questions = 100 if measure == "right" else 1, samples.shape[1]

    def values(rng: np.random.Generator | None) -> np.ndarray:
        drawn = rng.integers(questions, size=questions) if rng else slice(None)
        return factor * samples[:, drawn].mean(axis=1)

    return values


def _over_questions(evidence: Evidence, values: Values, statistic: Callable[[np.ndarray], float]) -> Estimate:
    """Return a statistic of variants' values, with its interval."""
    rng = np.random.default_rng(evidence.scores["seed"])
    draws = [statistic(values(rng)) for _ in range(RESAMPLES)]
    return Estimate(statistic(values(None)), *map(float, np.percentile(draws, [2.5, 97.5])))
