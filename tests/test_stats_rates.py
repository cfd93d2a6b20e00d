"""Rates: published values, scipy.stats as the reference, and coverage by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from probe.stats import binomial, rates

counts = st.integers(0, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts, st.floats(0.001, 0.999))
def test_tails_are_those_of_scipy(kn, p):
    k, n = kn
    assert binomial.tail_from(k, n, p) == pytest.approx(stats.binom.sf(k - 1, n, p), rel=1e-9)
    assert binomial.tail_to(k, n, p) == pytest.approx(stats.binom.cdf(k, n, p), rel=1e-9)


def test_tails_beyond_the_ends():
    assert binomial.tail_from(0, 5, 0.5) == binomial.tail_to(5, 5, 0.5) == 1.0
    assert binomial.tail_from(6, 5, 0.5) == binomial.tail_to(-1, 5, 0.5) == 0.0
    assert binomial.tail_to(4, 5, 1.0) == 0.0


@given(st.integers(-5, 30), st.integers(0, 20), st.integers(-10, 40))
def test_bisection_is_a_scan(low, span, turn):
    scan = next((i for i in range(low, low + span + 1) if i >= turn), low + span + 1)
    assert binomial.first_true(lambda i: i >= turn, low, low + span) == scan


@given(counts.filter(lambda kn: kn[1] > 0), st.sampled_from(["two", "lower", "upper"]))
def test_clopper_pearson_is_that_of_scipy(kn, side):
    k, n = kn
    alternative = {"two": "two-sided", "lower": "greater", "upper": "less"}[side]
    test = stats.binomtest(k, n, alternative=alternative)
    reference = test.proportion_ci(0.95, method="exact")
    found = rates.clopper_pearson(k, n, side=side)
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=1e-9)
    assert found.low <= k / n <= found.high


def test_clopper_pearson_known_values():
    # 20 of 20 bound the rate at 86 %, 59 of 59 at 95 %, one-sided.
    assert rates.clopper_pearson(20, 20, side="lower").low == pytest.approx(0.05 ** (1 / 20))
    assert rates.clopper_pearson(59, 59, side="lower").low > 0.95
    assert rates.clopper_pearson(58, 58, side="lower").low < 0.95
    assert rates.clopper_pearson(0, 0) == rates.RateInterval(0.0, 1.0)


@pytest.mark.parametrize(("k", "n"), [(-1, 5), (6, 5), (0, -1)])
def test_impossible_counts_are_refused(k, n):
    with pytest.raises(ValueError, match="do not fit"):
        rates.clopper_pearson(k, n)


def test_clopper_pearson_covers_at_least_its_level():
    rng = np.random.default_rng(1)
    for p, n in [(0.1, 60), (0.5, 25), (0.95, 80)]:
        hits = rng.binomial(n, p, size=2000)
        held = [rates.clopper_pearson(int(k), n) for k in hits]
        covered = np.mean([i.low <= p <= i.high for i in held])
        assert covered >= 0.94, (p, n, covered)
        # One-sided 95 % bounds may not be two-sided ones in disguise: they do miss.
        uppers = {k: rates.clopper_pearson(int(k), n, side="upper").high for k in set(hits)}
        assert 0.94 <= np.mean([uppers[k] >= p for k in hits]) < 1.0


def test_zero_hits():
    assert rates.zero_bound(0) == 1.0
    assert rates.zero_bound(59) == pytest.approx(1 - 0.05 ** (1 / 59))
    assert rates.zero_bound(1000) == pytest.approx(3 / 1000, rel=0.01)
    assert [rates.n_for_zero(x) for x in (0.1, 0.05, 0.01, 0.001)] == [29, 59, 299, 2995]
    assert rates.zero_bound(10**9) == pytest.approx(2.9957e-9, rel=1e-4)


@given(st.floats(1e-5, 0.99))
def test_n_for_zero_is_the_smallest(limit):
    n = rates.n_for_zero(limit)
    assert rates.zero_bound(n) <= limit * (1 + 1e-9)
    assert n == 1 or rates.zero_bound(n - 1) >= limit * (1 - 1e-9)


@pytest.mark.parametrize("limit", [0.0, 1.0, -1.0, math.nan])
def test_n_for_zero_refuses(limit):
    with pytest.raises(ValueError, match="limit is"):
        rates.n_for_zero(limit)


@pytest.mark.parametrize(
    ("k", "n", "limit", "decision", "n_needed"),
    [
        (59, 59, {"at_least": 0.95}, "pass", None),
        (58, 58, {"at_least": 0.95}, "undecided", 59),
        (0, 59, {"at_most": 0.05}, "pass", None),
        (0, 58, {"at_most": 0.05}, "undecided", 59),
        (0, 0, {"at_least": 0.95}, "undecided", 59),
        (20, 59, {"at_least": 0.95}, "fail", None),
        (39, 59, {"at_most": 0.05}, "fail", None),
        (95, 100, {"at_least": 0.95}, "undecided", None),  # the share sits on the limit
        (9_500_001, 10**7, {"at_least": 0.95}, "undecided", None),  # beyond 10^9
        (100, 100, {"at_least": 1.0}, "undecided", None),  # never proven by counting
        (99, 100, {"at_least": 1.0}, "fail", None),
        (1, 100, {"at_most": 0.0}, "fail", None),
        (0, 1, {"at_least": 0.96}, "fail", None),  # by chance 1 time in 25
        (0, 1, {"at_least": 0.94}, "undecided", 2),
    ],
)
def test_gate_rate(k, n, limit, decision, n_needed):
    gate = rates.gate_rate(k, n, **limit)
    assert (gate.decision, gate.n_needed) == (decision, n_needed)


@given(counts, st.integers(0, 20), st.floats(0.01, 0.99), st.booleans())
@settings(deadline=None)
def test_gate_decides_by_its_own_bounds(kn, unknown, limit, above):
    k, n = kn
    unknown = min(unknown, n - k)
    gate = rates.gate_rate(k, n, unknown=unknown, **{"at_least" if above else "at_most": limit})
    within, beyond = (gate.low >= limit, gate.high < limit)
    if not above:
        within, beyond = (gate.high <= limit, gate.low > limit)
    assert gate.decision == ("pass" if within else "fail" if beyond else "undecided")
    assert (gate.p_fail <= 0.05) == beyond
    if gate.n_needed is not None:
        assert gate.decision == "undecided"
        assert gate.n_needed > n


def test_n_needed_would_decide():
    gate = rates.gate_rate(97, 100, at_least=0.95)
    assert gate.decision == "undecided"
    n = gate.n_needed
    assert n is not None
    assert rates.gate_rate(math.floor(0.97 * n), n, at_least=0.95).decision == "pass"
    assert rates.gate_rate(round(0.97 * n / 3), n // 3, at_least=0.95).decision == "undecided"


def test_unknown_trials_count_against_both_decisions():
    assert rates.gate_rate(59, 60, at_least=0.95, unknown=1).decision == "undecided"
    assert rates.gate_rate(40, 59, at_least=0.95, unknown=19).decision == "undecided"
    gate = rates.gate_rate(50, 100, at_least=0.95, unknown=50)
    assert (gate.decision, gate.n_needed, gate.p_fail) == ("undecided", None, 1.0)
    assert rates.gate_rate(0, 100, at_most=0.05, unknown=10).decision == "undecided"


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"at_least": 0.5, "at_most": 0.5},
        {"at_least": 0.0},
        {"at_least": 1.1},
        {"at_most": 1.0},
        {"at_most": -0.1},
        {"at_least": math.nan},
    ],
)
def test_gate_rate_refuses(limits):
    with pytest.raises(ValueError, match=r"allowed|exactly one"):
        rates.gate_rate(1, 2, **limits)


@pytest.mark.parametrize("alpha", [0.0, 1.0, math.nan])
def test_alpha_is_checked(alpha):
    with pytest.raises(ValueError, match="alpha"):
        rates.gate_rate(1, 2, at_least=0.5, alpha=alpha)


def test_a_gate_on_the_limit_is_seldom_wrong():
    rng = np.random.default_rng(2)
    decisions = [
        rates.gate_rate(int(k), 200, at_least=0.9).decision for k in rng.binomial(200, 0.9, 3000)
    ]
    # The truth is exactly the limit: either decision may be taken at most 1 time in 20.
    for decision in ("pass", "fail"):
        assert 0 < decisions.count(decision) / 3000 <= 0.06


def test_holm_by_hand():
    # Four p-values, multiplied by 4, 3, 2, 1 in rising order, never falling, at most 1.
    adjusted = rates.holm([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(adjusted, [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(rates.holm([0.9, 0.8]), [1.0, 1.0])
    assert rates.holm([]).shape == (0,)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.randoms())
def test_holm_properties(p_values, random):
    adjusted = rates.holm(p_values)
    assert np.all(adjusted >= p_values)
    assert np.all(adjusted <= np.minimum(1, np.array(p_values) * len(p_values)) + 1e-12)
    order = list(range(len(p_values)))
    random.shuffle(order)
    np.testing.assert_array_equal(rates.holm([p_values[i] for i in order]), adjusted[order])


@pytest.mark.parametrize("p_values", [[math.nan], [-0.1], [1.1], [[0.1]]])
def test_holm_refuses(p_values):
    with pytest.raises(ValueError, match="p-values"):
        rates.holm(p_values)
