"""Intervals of a difference, what they decide, and how often they do so wrongly."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.stats.compare import (
    Difference,
    Spread,
    _rank_sum_tail,
    _signed_rank_tail,
    decided,
    pairs_difference,
    runs_difference,
    sides_difference,
    spread_of,
)
from probe.stats.sides import blocks_of, quantile_side, rate_side, told_side


def sure(found):
    """What is known; a test goes on from there."""
    assert found is not None
    return found


def normal(value, error):
    side = told_side(value, value - 1.959964 * error, value + 1.959964 * error)
    return Difference(value, side.at, "spread")


def test_null_distributions_are_those_of_all_orders():
    ranks = [sum(k + 1 for k in range(5) if signs >> k & 1) for signs in range(32)]
    assert _signed_rank_tail(5) == pytest.approx(
        [sum(r <= w for r in ranks) / 32 for w in range(16)]
    )
    sums = [
        sum(a > b for a in chosen for b in set(range(7)) - set(chosen))
        for chosen in itertools.combinations(range(7), 3)
    ]
    assert _rank_sum_tail(3, 4) == pytest.approx(
        [sum(u <= w for u in sums) / len(sums) for w in range(13)]
    )


def test_ranks_know_critical_values_of_the_tables():
    # Hollander, Wolfe and Chicken, tables A.4 and A.6: of 10 signed ranks, of 8 and 8.
    assert _signed_rank_tail(10)[8] == pytest.approx(0.0244, abs=1e-4)
    assert _rank_sum_tail(8, 8)[13] == pytest.approx(0.0249, abs=1e-4)


@given(st.floats(0.001, 0.5), st.floats(0.001, 0.5), st.floats(-1, 1))
@settings(max_examples=40, deadline=None)
def test_a_p_value_is_where_its_interval_leaves_the_margin(error, margin, value):
    found = normal(value, error)
    above, below = found.p_beyond(margin)
    for p, beyond in ((above, lambda a: found.at(a)[0] > margin),
                      (below, lambda a: found.at(a)[1] < -margin)):  # fmt: skip
        if 1e-11 < p < 0.999:
            assert beyond(min(p * 1.01, 1))
            assert not beyond(p * 0.99)


def test_what_is_said_of_a_difference():
    rows = [(normal(0.3, 0.02), 0.05, 0.05), (normal(-0.3, 0.02), 0.05, 0.05),
            (normal(0.0, 0.01), 0.05, 0.05), (normal(0.06, 0.03), 0.05, 0.05)]  # fmt: skip
    assert decided(rows) == ["worse", "better", "same", "undecided"]
    assert decided([]) == []


def test_many_rows_together_take_more_than_one_alone():
    one = normal(0.05 + 2.2 * 0.02, 0.02), 0.05, 0.05
    assert decided([one]) == ["worse"]
    assert decided([one] + [(normal(0.0, 0.02), 0.05, 0.05)] * 5)[0] == "undecided"


def test_where_nothing_is_known_of_runs_of_the_same_thing_there_is_no_difference_of_runs():
    assert runs_difference(np.array([1.0]), np.array([1.2]), None) is None
    assert spread_of([np.array([1.0]), np.array([1.2])]) is None
    assert spread_of([], np.array([1.0, 1.1, 1.0])) is None
    found = sure(runs_difference(np.array([1.0]), np.array([1.2]), Spread(0.01, 10)))
    assert found.how == "spread"
    assert found.value == pytest.approx(0.2)
    low, high = found.at(0.05)
    assert (high - low) / 2 == pytest.approx(2.228 * 0.01 * math.sqrt(2), rel=1e-3)


def test_a_slow_drift_is_no_spread_and_a_jump_is():
    drift = sure(spread_of([], np.linspace(0, 1, 11)))
    assert drift.sd == pytest.approx(0.1 / math.sqrt(2))
    jump = sure(spread_of([], np.array([0.0] * 5 + [1.0] * 5)))
    assert jump.sd > 0.2


def test_eight_runs_of_each_are_compared_by_ranks_and_one_wild_run_does_not_count():
    rng = np.random.default_rng(3)
    before, now = rng.normal(0, 0.02, 8), rng.normal(0.26, 0.02, 8)
    now[0] = 9.0
    found = sure(runs_difference(before, now, None))
    assert found.how == "ranks"
    assert found.value == pytest.approx(0.26, abs=0.03)
    assert found.at(0.05)[0] > 0.15
    assert found.at(1e-9) == (-math.inf, math.inf)


def test_pairs_take_away_what_both_of_a_pair_have():
    rng = np.random.default_rng(4)
    hours = rng.normal(0, 0.5, 12)
    shifts = (hours + 0.1 + rng.normal(0, 0.01, 12)) - (hours + rng.normal(0, 0.01, 12))
    low, high = sure(pairs_difference(shifts)).at(0.05)
    assert 0.08 < low < 0.1 < high < 0.12
    assert sure(pairs_difference(shifts[:4])).at(0.05)[0] > 0.05
    assert pairs_difference(shifts[:2]) is None


def test_the_interval_of_two_sides_is_that_of_two_normals():
    found = sides_difference(told_side(1.0, 0.9, 1.1), told_side(2.0, 1.9, 2.1))
    assert found.at(0.05) == pytest.approx((1 - math.hypot(0.1, 0.1), 1 + math.hypot(0.1, 0.1)))


def test_a_side_without_an_upper_end_gives_a_difference_without_one():
    found = sides_difference(told_side(1.0, 0.9, 1.1), told_side(2.0, 1.9, math.inf))
    low, high = found.at(0.05)
    assert low > 0.8
    assert high == math.inf


def test_a_quantile_of_too_few_samples_has_no_bound():
    side = quantile_side(np.arange(1.0, 61) * 1e6, blocks_of(60), 0.99)
    assert side.at(0.05)[1] == math.inf
    assert side.value == pytest.approx(math.log(60e6))


def test_what_never_came_ranks_above_all_that_did():
    values = np.append(np.full(90, 1e6), np.full(10, np.inf))
    assert quantile_side(values, blocks_of(100), 0.95).value == math.inf
    assert quantile_side(values, blocks_of(100), 0.5).value == pytest.approx(math.log(1e6))


@pytest.mark.parametrize("q", [0.5, 0.95])
def test_the_interval_of_a_quantile_covers_it_also_where_samples_come_in_waves(q):
    rng = np.random.default_rng(5)
    n, covered, times = 600, 0, 150
    truth = np.quantile(np.random.default_rng(6).exponential(1.0, 10**6), q) * 1e7
    for _ in range(times):
        # Every block of 30 has a level of its own: 20 independent levels, not 600.
        level = np.exp(np.repeat(rng.normal(0, 0.2, 20), 30))
        side = quantile_side(rng.exponential(1.0, n) * 1e7 * level, blocks_of(n), q)
        low, high = side.at(0.05)
        # The levels widen the mixture a little; what is covered is near the plain quantile.
        covered += low <= math.log(truth * (1.0 if q == 0.5 else 1.05)) <= high
    assert covered >= 0.88 * times


def test_a_rate_without_a_failure_is_bounded_by_how_many_there_were():
    good = np.ones(300, dtype=np.int64)
    low, high = rate_side(good, good).at(0.05)
    assert high == 1.0
    assert low == pytest.approx(0.025 ** (1 / 300))


@pytest.mark.parametrize("way", ["spread", "ranks", "pairs"])
def test_runs_of_the_same_thing_are_rarely_called_different(way):
    """Seven rows that drift together and apart: at most 9 in 100 comparisons name one."""
    rng = np.random.default_rng(7)
    wrong, times = 0, 300
    count = {"spread": 3, "ranks": 8, "pairs": 12}[way]
    for _ in range(times):
        shared = rng.normal(0, 0.08, (2, count))
        rows = []
        for _ in range(7):
            before, now = shared + rng.normal(0, 0.04, (2, count))
            found = (
                pairs_difference(now - before)
                if way == "pairs"
                else runs_difference(before, now, None)
            )
            rows.append((sure(found), math.log(1.05), math.log(1.05)))
        wrong += any(said in ("worse", "better") for said in decided(rows))
    assert wrong <= 0.09 * times
