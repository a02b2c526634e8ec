"""Simulated parents: what rounding to nearest leaves of λ, by how many codes the parents are apart."""

import time

import numpy as np
import pytest
from aoe import AoeError
from aoe.merging.rounding.simulation import pair, realized, simulate

# RMS code difference -> realized λ2 at 0.49 and at 0.51, of weights simulated by other code
KNOWN = {
    1.2: (0.000, 1.000),
    1.5: (0.001, 0.999),
    1.9: (0.002, 0.998),
    2.7: (0.010, 0.990),
    3.9: (0.036, 0.963),
    6.8: (0.17, 0.83),
    12: (0.36, 0.65),
    22: (0.47, 0.55),
}


@pytest.mark.parametrize("difference", KNOWN)
def test_lambdas_on_both_sides_of_the_step_are_those_known(difference):
    parents = pair(difference)
    assert parents.difference == pytest.approx(difference, rel=2e-3)
    below, above = (realized(parents, lambda2)[0] for lambda2 in (0.49, 0.51))
    within = 0.004 if difference < 5 else 0.022
    assert (below, above) == pytest.approx(KNOWN[difference], abs=within)


def test_far_apart_parents_have_the_lambda_asked_for():
    (found, noise, _) = realized(pair(60), 0.3)
    assert found == pytest.approx(0.3, abs=0.02)
    assert 0 < noise < 0.1


def test_a_parent_alone_is_realized_and_has_no_noise():
    parents = pair(2)
    for lambda2 in (0, 1):
        found, noise, same = realized(parents, lambda2)
        assert found == pytest.approx(lambda2, abs=1e-3) and noise < 0.01 and same == pytest.approx(lambda2, abs=0.2)


def test_a_curve_is_the_same_twice_and_has_every_position():
    first, second = (simulate([1.5, 3], [0.4, 0.5, 0.6]) for _ in range(2))
    assert first.equals(second)
    assert list(first.difference) == [1.5] * 3 + [3] * 3 and list(first.lambda2) == [0.4, 0.5, 0.6] * 2
    assert not np.allclose(first.realized, simulate([1.5, 3], [0.4, 0.5, 0.6], seed=2).realized, atol=1e-6)


def test_a_curve_takes_about_a_second():
    simulate([1.5], [0.5])  # compiled
    began = time.process_time()
    simulate([2])
    assert time.process_time() - began < 2


@pytest.mark.parametrize("difference", [0, -1, 61])
def test_impossible_differences_are_refused(difference):
    with pytest.raises(AoeError, match=f"cannot be simulated {difference} codes apart"):
        pair(difference)
