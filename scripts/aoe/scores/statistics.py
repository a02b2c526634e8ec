"""Intervals for shares and means, and fits of transitions; every interval has a confidence of 95 %.

Questions are the unit of resampling: the turns of a dialogue belong together, and variants are compared on the same
questions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

LEVEL = 0.95
NARROWEST = 0.002  # the smallest width of a transition, in λ2: below it the data cannot tell


@dataclass(frozen=True)
class Estimate:
    """A value with the lower and upper end of its interval."""

    value: float
    low: float
    high: float


def share(successes: float, trials: int) -> Estimate:
    """Return the share of successes among ``trials`` questions, with its Wilson interval (never of width 0)."""
    # a question with two turns may count by halves; the interval is that of the nearest whole number
    interval = stats.binomtest(round(successes), trials).proportion_ci(LEVEL, method="wilson")
    value = successes / trials
    return Estimate(value, min(value, interval.low), max(value, interval.high))


def bootstrap(
    statistic: Callable[[list[np.ndarray]], float], samples: Sequence[np.ndarray], resamples: int, seed: int
) -> Estimate:
    """Return a statistic of several independent sets of questions, with its percentile interval.

    samples: list of arrays, each (questions, …); every set is resampled by itself, rows together.  statistic: a
    function of that list that returns a float.
    """
    rng = np.random.default_rng(seed)
    drawn = [
        statistic([sample[rng.integers(len(sample), size=len(sample))] for sample in samples]) for _ in range(resamples)
    ]
    tail = (1 - LEVEL) / 2 * 100
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return Estimate(float(statistic(list(samples))), float(low), float(high))


def mean_of_means(samples: Sequence[np.ndarray], resamples: int, seed: int) -> Estimate:
    """Return the mean of several independent sets' means, with its percentile interval.

    samples: list of arrays (questions,); as ``bootstrap``, but all resamples of a set at once.
    """
    rng = np.random.default_rng(seed)
    drawn = [sample[rng.integers(len(sample), size=(resamples, len(sample)))].mean(axis=1) for sample in samples]
    tail = (1 - LEVEL) / 2 * 100
    low, high = np.percentile(np.mean(drawn, axis=0), [tail, 100 - tail])
    return Estimate(float(np.mean([sample.mean() for sample in samples])), float(low), float(high))


def paired_test(differences: np.ndarray, resamples: int, seed: int) -> float:
    """Return the p-value of the mean: two-sided, if every difference had either sign by chance.

    differences: array (questions,), of two variants' grades on the same questions, each with its weight.  Where there
    are no more than ``resamples`` ways to choose the signs, all of them are looked at.
    """
    changed = differences[differences != 0]  # the others have no sign
    if not len(changed):
        return 1.0
    # one value alone is not resampled by scipy; a 0 beside it changes nothing
    found = stats.permutation_test(
        (np.append(changed, 0.0),),
        lambda values, axis: np.sum(values, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def adjusted(p_values: ArrayLike) -> np.ndarray:
    """Adjust p-values so that they keep the share of false discoveries among tests (Benjamini and Hochberg)."""
    return stats.false_discovery_control(p_values)


@dataclass(frozen=True)
class Transition:
    """A logistic step from ``bottom`` to ``top``; ``width`` is the distance between its 27 % and its 73 % in λ2."""

    midpoint: float
    width: float
    bottom: float
    top: float

    def __call__(self, position: ArrayLike) -> np.ndarray:
        return self.bottom + (self.top - self.bottom) * special.expit(
            2 * (np.asarray(position) - self.midpoint) / self.width
        )


def fit_share(positions: ArrayLike, shares: ArrayLike, start: Transition | None = None) -> Transition:
    """Fit the Transition from 0 to 1 that makes the observed shares most likely (binomial likelihood).

    positions, shares: arrays of equal length, all shares from the same number of questions.  start: a Transition to
    begin from; without one, many midpoints are tried.
    """
    positions, shares = np.asarray(positions, float), np.asarray(shares, float)

    def surprise(parameters):
        midpoint, log_width = parameters
        logit = 2 * (positions - midpoint) / np.exp(log_width)
        return -np.sum(shares * special.log_expit(logit) + (1 - shares) * special.log_expit(-logit))

    starts = [(middle, np.log(0.05)) for middle in np.linspace(positions.min(), positions.max(), 9)]
    starts = [(start.midpoint, np.log(start.width))] if start else starts
    bounds = [(positions.min() - 1, positions.max() + 1), (np.log(NARROWEST), np.log(10))]
    best = min((optimize.minimize(surprise, first, bounds=bounds) for first in starts), key=lambda fit: fit.fun)
    return Transition(float(best.x[0]), float(np.exp(best.x[1])), 0.0, 1.0)


def fit_level(positions: ArrayLike, values: ArrayLike, start: Transition | None = None) -> Transition:
    """Fit the Transition with free bottom and top by least squares; start: as in ``fit_share``."""
    positions, values = np.asarray(positions, float), np.asarray(values, float)

    def residuals(parameters):
        midpoint, log_width, bottom, top = parameters
        return Transition(midpoint, np.exp(log_width), bottom, top)(positions) - values

    low, high = values.min(), values.max()
    starts = [(middle, np.log(0.1), low, high) for middle in np.linspace(positions.min(), positions.max(), 9)[1:-1]]
    starts = [(start.midpoint, np.log(start.width), start.bottom, start.top)] if start else starts
    reach = max(high - low, 1e-9)
    bounds = (
        [positions.min(), np.log(NARROWEST), low - reach / 4, low - reach / 4],
        [positions.max(), np.log(10), high + reach / 4, high + reach / 4],
    )
    fits = [optimize.least_squares(residuals, np.clip(first, *bounds), bounds=bounds) for first in starts]
    midpoint, log_width, bottom, top = min(fits, key=lambda fit: fit.cost).x
    return Transition(float(midpoint), float(np.exp(log_width)), float(bottom), float(top))
