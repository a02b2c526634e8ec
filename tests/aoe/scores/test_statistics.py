"""Intervals and fits against known truths."""

import numpy as np
import pytest
from scipy import special
from aoe.scores.statistics import (
    Transition,
    adjusted,
    bootstrap,
    fit_level,
    fit_share,
    mean_of_means,
    paired_test,
    share,
)


def test_wilson_interval_of_the_textbook():
    estimate = share(10, 100)
    assert estimate.value == 0.1
    assert (estimate.low, estimate.high) == pytest.approx((0.0552, 0.1744), abs=1e-4)


@pytest.mark.parametrize("successes", [0, 256])
def test_certain_shares_still_have_an_interval(successes):
    estimate = share(successes, 256)
    assert 0 < estimate.high - estimate.low < 0.02
    assert estimate.low <= estimate.value <= estimate.high


def test_bootstrap_agrees_with_the_standard_error():
    sample = np.random.default_rng(0).normal(5, 2, size=(400, 1))
    estimate = bootstrap(lambda samples: samples[0].mean(), [sample], resamples=4000, seed=1)
    assert estimate.value == pytest.approx(sample.mean())
    half = 1.96 * sample.std() / 20
    assert (estimate.low, estimate.high) == pytest.approx((estimate.value - half, estimate.value + half), abs=0.02)


def test_bootstrap_is_repeatable():
    sample = [np.arange(50.0).reshape(50, 1)]
    assert bootstrap(lambda s: s[0].mean(), sample, 200, 7) == bootstrap(lambda s: s[0].mean(), sample, 200, 7)


@pytest.mark.parametrize(("midpoint", "width"), [(0.504, 0.05), (0.7, 0.2)])
def test_a_share_s_transition_is_found(midpoint, width):
    positions = np.array([0, 0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8, 1])
    shares = special.expit(2 * (positions - midpoint) / width)
    fit = fit_share(positions, shares)
    assert (fit.midpoint, fit.width) == pytest.approx((midpoint, width), rel=0.01)


def test_a_step_between_two_points_stays_between_them():
    fit = fit_share([0, 0.4, 0.5, 0.6, 1], [0, 0, 0, 1, 1])
    assert 0.5 < fit.midpoint < 0.6


def test_a_level_s_transition_is_found():
    positions = np.linspace(0, 1, 11)
    truth = Transition(0.55, 0.15, 0.3, 1.1)
    fit = fit_level(positions, truth(positions))
    assert (fit.midpoint, fit.width, fit.bottom, fit.top) == pytest.approx((0.55, 0.15, 0.3, 1.1), rel=0.01)


def test_mean_of_means_agrees_with_the_bootstrap():
    samples = [np.random.default_rng(0).normal(5, 2, 300), np.random.default_rng(1).normal(1, 1, 100)]
    fast = mean_of_means(samples, 4000, 1)
    slow = bootstrap(lambda drawn: np.mean([part.mean() for part in drawn]), samples, 4000, 2)
    assert fast.value == pytest.approx(slow.value)
    assert (fast.low, fast.high) == pytest.approx((slow.low, slow.high), abs=0.02)


def test_paired_test_is_the_sign_test_for_right_and_wrong():
    """As binom_test: 8 of 10 changed answers one way has p = 0.109."""
    differences = np.array([1.0] * 8 + [-1.0] * 2 + [0.0] * 50)
    assert paired_test(differences, 10_000, 1) == pytest.approx(0.109375)
    assert paired_test(np.zeros(5), 1000, 1) == 1
    assert paired_test(np.array([3.0]), 1000, 1) == 1
    assert paired_test(np.ones(200), 1000, 1) == pytest.approx(2 / 1001)


def test_false_discoveries_are_allowed_for():
    assert adjusted([0.01, 0.02, 0.9]) == pytest.approx([0.03, 0.03, 0.9])
