"""Quantiles: ranks by brute force, losses in their ranks, gates and intervals that agree."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from probe.stats import quantiles as qs
from probe.stats.quantiles import Failed, MoreThan, Value

levels = st.sampled_from([0.05, 0.25, 0.5, 0.9, 0.95, 0.99])
values_st = st.lists(st.integers(0, 1000), max_size=120)
bounds_st = st.lists(st.integers(0, 1000), max_size=20)


@pytest.mark.parametrize(
    ("q", "two", "upper"), [(0.95, 72, 59), (0.99, 368, 299), (0.999, 3688, 2995)]
)
def test_smallest_n(q, two, upper):
    assert qs.smallest_n(q) == two
    assert qs.smallest_n(q, side="upper") == upper
    assert qs.smallest_n(round(1 - q, 6), side="lower") == upper
    assert qs.interval_ranks(two, q)[1] == two
    assert qs.interval_ranks(two - 1, q)[1] is None
    assert qs.interval_ranks(upper, q, side="upper") == (None, upper)
    assert qs.interval_ranks(upper - 1, q, side="upper") == (None, None)


@pytest.mark.parametrize("n", [0, 1, 5, 6, 20, 59, 72, 100, 368])
@pytest.mark.parametrize("q", [0.05, 0.5, 0.95, 0.99])
@pytest.mark.parametrize("side", ["two", "lower", "upper"])
def test_ranks_are_those_of_the_definition(n, q, side):
    tail = 0.025 if side == "two" else 0.05
    cdf = stats.binom(n, q).cdf
    lows = [rank for rank in range(1, n + 1) if cdf(rank - 1) <= tail]
    highs = [rank for rank in range(1, n + 1) if cdf(rank - 1) >= 1 - tail]
    low = max(lows) if lows and side != "upper" else None
    high = min(highs) if highs and side != "lower" else None
    assert qs.interval_ranks(n, q, side=side) == (low, high)


def test_textbook_ranks_of_a_median():
    # Sign-test tables: 95 % interval of a median, n = 6: (1, 6); n = 20: (6, 15).
    assert qs.interval_ranks(5, 0.5) == (None, None)
    assert qs.interval_ranks(6, 0.5) == (1, 6)
    assert qs.interval_ranks(20, 0.5) == (6, 15)


@pytest.mark.parametrize(
    ("n", "q", "rank"), [(100, 0.95, 95), (100, 0.07, 7), (10, 0.95, 10), (1, 0.01, 1)]
)
def test_nearest_rank(n, q, rank):
    assert qs.nearest_rank(n, q) == rank


def test_plain_values():
    found = qs.quantile(range(1, 101), 0.5)
    assert (found.estimate, found.low, found.high) == (Value(50), Value(40), Value(61))
    assert found.enough
    assert (found.n, found.n_needed) == (100, 6)


def test_too_few_samples_give_no_bound():
    found = qs.quantile(range(20), 0.95)
    assert not found.enough
    assert found.n_needed == 72
    assert found.high is None
    assert found.low == Value(16)
    nothing = qs.quantile([], 0.95)
    assert (nothing.n, nothing.estimate, nothing.low, nothing.high) == (0, None, None, None)
    assert not nothing.enough


def test_a_quantile_beyond_the_success_rate_is_no_number():
    values = list(range(1, 901))
    timeouts = [5_000] * 60
    found = {q: qs.quantile(values, q, censored=timeouts, failed=40) for q in (0.5, 0.95, 0.99)}
    assert isinstance(found[0.5].high, Value)
    assert found[0.95].estimate == MoreThan(5_000)
    assert found[0.95].low == MoreThan(5_000)
    assert found[0.99].estimate == Failed()
    assert found[0.99].high == Failed()
    assert (found[0.99].n, found[0.99].n_censored, found[0.99].n_failed) == (1000, 60, 40)


def test_a_bound_may_lie_among_the_losses_when_the_estimate_does_not():
    found = qs.quantile(range(1, 97), 0.95, censored=[5_000] * 4)
    assert found.estimate == Value(95)
    assert isinstance(found.low, Value)
    assert found.high == MoreThan(5_000)
    assert found.enough
    found = qs.quantile(range(1, 97), 0.95, failed=4)
    assert (found.estimate, found.high) == (Value(95), Failed())


def test_mixed_timeouts_below_seen_values():
    # Of 1, 5 and "more than 2" the median is 2 to 5, and the largest at least 5.
    assert qs.quantile([1, 5], 0.5, censored=[2]).estimate == MoreThan(2)
    assert qs.quantile([1, 5], 0.9, censored=[2]).estimate == MoreThan(5)
    assert qs.quantile([1, 5], 0.1, censored=[2]).estimate == Value(1)
    # An upper bound takes the timeouts as endless, a lower one as ending at once.
    found = qs.quantile([10] * 50 + [90] * 50, 0.5, censored=[20] * 10)
    assert (found.low, found.estimate, found.high) == (Value(10), MoreThan(20), Value(90))
    found = qs.quantile([10] * 60 + [90] * 60, 0.5, censored=[20] * 60)
    assert (found.low, found.estimate, found.high) == (MoreThan(20), MoreThan(20), Value(90))


def test_only_losses():
    assert qs.quantile([], 0.5, censored=[7] * 10).estimate == MoreThan(7)
    assert qs.quantile([], 0.5, failed=10).low == Failed()


def floor_of(level: qs.Level | None) -> float:
    match level:
        case Value(ns) | MoreThan(ns):
            return ns
        case Failed():
            return math.inf
    return -math.inf


def ceiling_of(level: qs.Level | None) -> float:
    return level.ns if isinstance(level, Value) else math.inf


@given(values_st, bounds_st, st.integers(0, 10), levels, st.data())
@settings(deadline=None)
def test_the_interval_holds_wherever_timeouts_truly_end(values, bounds, failed, q, data):
    found = qs.quantile(values, q, censored=bounds, failed=failed)
    n = len(values) + len(bounds) + failed
    assert found.n == n
    assert found.enough == (found.low is not None and found.high is not None)
    # Let each timeout end anywhere beyond its bound, or never.
    ends = [b + data.draw(st.sampled_from([0, 1, 50, 500, math.inf])) for b in bounds]
    truth = np.sort([*values, *ends, *[math.inf] * failed])
    if n:
        exact = truth[qs.nearest_rank(n, q) - 1]
        assert floor_of(found.estimate) <= exact
        if isinstance(found.estimate, Value):
            assert exact == found.estimate.ns
        if found.estimate == Failed():
            assert exact == math.inf
    low_rank, high_rank = qs.interval_ranks(n, q)
    if low_rank is not None:
        assert floor_of(found.low) <= truth[low_rank - 1]
        assert floor_of(found.low) <= floor_of(found.estimate)
    if high_rank is not None:
        assert ceiling_of(found.high) >= truth[high_rank - 1]
        assert ceiling_of(found.high) >= floor_of(found.estimate)


@given(values_st, bounds_st, levels, st.randoms())
def test_order_does_not_matter(values, bounds, q, random):
    before = qs.quantile(values, q, censored=bounds)
    random.shuffle(values)
    random.shuffle(bounds)
    assert qs.quantile(values, q, censored=bounds) == before


@given(st.integers(1, 300), levels)
def test_more_samples_never_widen_the_ranks(n, q):
    def width(count: int) -> float:
        low, high = qs.interval_ranks(count, q)
        return ((high or count + 1) - (low or 0)) / count

    assert width(4 * n) <= width(n) + 1 / n
    low, high = qs.interval_ranks(n, q)
    assert (low or 0) <= qs.nearest_rank(n, q) <= (high or n + 1)


@given(values_st, bounds_st, st.integers(0, 10), levels, st.integers(0, 1000))
@settings(deadline=None)
def test_the_gate_decides_by_the_one_sided_ranks(values, bounds, failed, q, limit):
    gate = qs.gate_quantile(values, q, limit, censored=bounds, failed=failed)
    n = len(values) + len(bounds) + failed
    upper_rank = qs.interval_ranks(n, q, side="upper")[1]
    lower_rank = qs.interval_ranks(n, q, side="lower")[0]
    never = np.sort([*values, *[math.inf] * (len(bounds) + failed)])
    # "More than b" is beyond a limit of b.
    at_once = np.sort([*values, *[b + 0.5 for b in bounds], *[math.inf] * failed])
    passes = upper_rank is not None and never[upper_rank - 1] <= limit
    fails = lower_rank is not None and at_once[lower_rank - 1] > limit
    assert gate.decision == ("pass" if passes else "fail" if fails else "undecided")
    assert (gate.p_fail <= 0.05) == fails


def test_gate_examples():
    assert qs.gate_quantile([10] * 59, 0.95, 10).decision == "pass"
    few = qs.gate_quantile([10] * 58, 0.95, 10)
    assert (few.decision, few.n_needed) == ("undecided", 59)
    none = qs.gate_quantile([], 0.99, 10)
    assert (none.decision, none.n_needed) == ("undecided", 299)
    assert qs.gate_quantile([10] * 50 + [99] * 50, 0.95, 50).decision == "fail"


def test_a_timeout_is_beyond_any_limit_it_reached_and_unknown_below():
    beyond = qs.gate_quantile([10] * 50, 0.95, 100, censored=[100] * 50)
    assert (beyond.decision, beyond.unknown) == ("fail", 0)
    below = qs.gate_quantile([10] * 50, 0.95, 100, censored=[99] * 50)
    assert (below.decision, below.unknown, below.n_needed) == ("undecided", 50, None)
    assert qs.gate_quantile([10] * 50, 0.95, 100, failed=50).decision == "fail"


def test_intervals_cover_and_gates_err_as_promised():
    rng = np.random.default_rng(3)
    q, n, runs = 0.95, 150, 1500
    truth = stats.lognorm(1.0, scale=1e6).ppf(q)
    covered = wrong = 0
    for _ in range(runs):
        sample = rng.lognormal(math.log(1e6), 1.0, n).astype(np.int64)
        # Timeouts at twice the true quantile leave every guarantee as it is.
        timeout = int(2 * truth)
        lost = sample > timeout
        found = qs.quantile(sample[~lost], q, censored=np.full(lost.sum(), timeout))
        covered += floor_of(found.low) <= truth <= ceiling_of(found.high)
        gate = qs.gate_quantile(sample[~lost], q, int(truth), censored=np.full(lost.sum(), timeout))
        wrong += gate.decision == "fail"
    assert 0.94 <= covered / runs <= 0.99
    assert 0 < wrong / runs <= 0.06


@pytest.mark.parametrize("samples", [[1.5], [math.nan], [[1, 2]], ["1"], [True]])
def test_samples_are_whole_numbers(samples):
    with pytest.raises(ValueError, match="whole ns"):
        qs.quantile(samples, 0.5)


@pytest.mark.parametrize("q", [0, 1, -0.5, 95, math.nan])
def test_q_is_checked(q):
    for call in (
        qs.smallest_n,
        lambda q: qs.quantile([1], q),
        lambda q: qs.gate_quantile([1], q, 1),
    ):
        with pytest.raises(ValueError, match="q is"):
            call(q)


def test_failed_is_a_count():
    with pytest.raises(ValueError, match="failed is -1"):
        qs.quantile([1], 0.5, failed=-1)
