"""Trials at two offsets: scipy.stats as the reference, and the power by simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from probe.stats import trials

arms = st.integers(0, 80).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(arms, arms)
def test_the_p_value_is_fishers_one_sided(one, zero):
    (k1, n1), (k0, n0) = one, zero
    reference = stats.fisher_exact([[k1, n1 - k1], [k0, n0 - k0]], alternative="greater").pvalue
    yes, p_value = trials.confirmed(k1, n1, k0, n0)
    assert p_value == pytest.approx(reference, abs=1e-9)
    assert yes == (p_value <= 0.01)


@pytest.mark.parametrize("counts", [(-1, 5, 0, 5), (6, 5, 0, 5), (0, 5, 6, 5)])
def test_impossible_counts_are_refused(counts):
    with pytest.raises(ValueError, match="no counts"):
        trials.confirmed(*counts)


def test_no_trials_confirm_nothing():
    assert trials.confirmed(0, 0, 0, 0) == (False, 1.0)
    assert trials.confirmed(5, 5, 0, 0) == (False, 1.0)


def test_sizes_that_are_published():
    assert trials.confirm_n(1.0, 0.0) <= 10
    assert 20 <= trials.confirm_n(0.4, 0.0) <= 30
    assert 500 <= trials.confirm_n(0.02, 0.0) <= 560
    # Above 800 by the formula: 0.2 against 0.15 takes about 1,500.
    assert 1300 <= trials.confirm_n(0.2, 0.15) <= 1700


@pytest.mark.parametrize(("p1", "p0"), [(0.3, 0.01), (0.6, 0.2), (0.1, 0.0)])
def test_that_many_trials_have_the_power(p1, p0):
    n = trials.confirm_n(p1, p0)
    rng = np.random.default_rng(1)
    inside, outside = rng.binomial(n, p1, 2000), rng.binomial(n, p0, 2000)
    power = np.mean(
        [trials.confirmed(int(a), n, int(b), n)[0] for a, b in zip(inside, outside, strict=True)]
    )
    assert 0.88 <= power <= 0.95


@pytest.mark.parametrize(("p1", "p0"), [(0.1, 0.1), (0.1, 0.2), (1.1, 0), (0.5, -0.1)])
def test_rates_that_cannot_be_told_are_refused(p1, p0):
    with pytest.raises(ValueError, match="cannot be told"):
        trials.confirm_n(p1, p0)


def test_the_difference_is_newcombes():
    # Newcombe (1998), table II, method 10: 56/70 - 48/80.
    low, high = trials.difference(56, 70, 48, 80)
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    low, high = trials.difference(9, 10, 3, 10)
    assert (low, high) == pytest.approx((0.1705, 0.8090), abs=5e-5)
    with pytest.raises(ValueError, match="no difference"):
        trials.difference(1, 2, 0, 0)


def test_the_jitter_of_known_pairs_shrugs_off_stragglers():
    rng = np.random.default_rng(1)
    deltas = rng.normal(7e6, 2e6, 400)
    deltas[:20] += 1e9
    assert trials.pairs_jitter(deltas) == pytest.approx(2e6, rel=0.15)
    assert trials.pairs_jitter(np.full(50, 3)) == 0
    with pytest.raises(ValueError, match="at least 50"):
        trials.pairs_jitter(deltas[:49])


def test_golden_points_spread():
    points = sorted(trials.golden(0.3, i) for i in range(100))
    assert max(np.diff(points)) < 2 / 100
    assert all(0 <= p < 1 for p in points)
