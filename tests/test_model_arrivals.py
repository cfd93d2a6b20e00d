"""Intended times: exact against the integral of the curve, and truly Poisson."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from probe.model.arrivals import closed_clients, open_arrivals
from probe.model.curve import END, MIDDLE, START, Curve

S = 1_000_000_000
RAMP = [(0, 0.0), (10 * S, 100.0)]
STEP = [(0, 10.0), (5 * S, 10.0), (5 * S, 200.0), (10 * S, 200.0)]
SPIKE = [(0, 5.0), (4 * S, 5.0), (5 * S, 500.0), (6 * S, 5.0), (10 * S, 5.0)]
HOLE = [(0, 50.0), (2 * S, 50.0), (2 * S, 0.0), (8 * S, 0.0), (8 * S, 50.0), (10 * S, 50.0)]
CURVES = {"ramp": RAMP, "step": STEP, "spike": SPIKE, "hole": HOLE, "down": [(0, 100.0), (S, 0.0)]}


def rng(seed=1):
    return np.random.Generator(np.random.PCG64(seed))


def integral(points, at):
    """The cumulative curve at `at` (s), by the trapezoids themselves."""
    done = 0.0
    for (t0, r0), (t1, r1) in pairwise([(time / S, rate) for time, rate in points]):
        if at >= t1:
            done += (t1 - t0) * (r0 + r1) / 2
        elif at > t0:
            here = r0 + (r1 - r0) * (at - t0) / (t1 - t0)
            return done + (at - t0) * (r0 + here) / 2
    return done


@pytest.mark.parametrize("points", CURVES.values(), ids=CURVES)
def test_even_arrivals_are_where_the_integral_says(points):
    times = open_arrivals(points, even=True, rng=rng())
    total = integral(points, points[-1][0] / S)
    assert len(times) == math.ceil(total - 0.5)
    for k, t in enumerate(times.tolist()):
        # 1 ns of rounding at the rate that holds there.
        slack = 1e-6 + 2e-9 * max(rate for _, rate in points)
        assert integral(points, t / S) == pytest.approx(k + 0.5, abs=slack)


def test_even_arrivals_of_a_constant_rate():
    times = open_arrivals([(0, 100.0), (10 * S, 100.0)], even=True, rng=rng())
    assert times.tolist() == [5_000_000 + 10_000_000 * k for k in range(1000)]


def test_nothing_arrives_while_the_rate_is_zero():
    for even in (True, False):
        times = open_arrivals(HOLE, even=even, rng=rng())
        assert not ((times > 2 * S) & (times < 8 * S)).any()
        assert len(times) > 100


@pytest.mark.parametrize("points", CURVES.values(), ids=CURVES)
def test_poisson_arrivals_follow_the_curve_and_do_not_know_of_each_other(points):
    # In operational time (the integral) the gaps of a Poisson process are independent
    # unit exponentials, whatever the curve. Fixed seeds: this test is no lottery.
    total = integral(points, points[-1][0] / S)
    gaps, counts = [], []
    for seed in range(max(3, round(4000 / total))):
        times = open_arrivals(points, even=False, rng=rng(seed))
        assert (np.diff(times) >= 0).all()
        assert times.min() >= 0
        assert times.max() <= points[-1][0]
        counts.append(len(times))
        gaps.append(np.diff([0.0, *(integral(points, t / S) for t in times.tolist())]))
    flat = np.concatenate(gaps)
    assert len(flat) > 1500
    if total > 200:  # few arrivals in a fixed window favour short gaps
        assert stats.kstest(flat, "expon").pvalue > 0.01
    pairs = np.concatenate([np.stack([g[:-1], g[1:]]) for g in gaps], axis=1)
    assert abs(stats.spearmanr(pairs[0], pairs[1]).statistic) < 4 / math.sqrt(pairs.shape[1])
    assert abs(sum(counts) - total * len(counts)) < 4 * math.sqrt(total * len(counts))


def test_poisson_counts_per_second_pass_a_chi_square():
    counts = [
        np.bincount(open_arrivals([(0, 4.0), (500 * S, 4.0)], even=False, rng=rng(seed)) // S)
        for seed in range(4)
    ]
    flat = np.concatenate(counts)
    kinds = np.minimum(flat, 10)
    expected = stats.poisson.pmf(np.arange(11), 4.0)
    expected[10] = 1 - expected[:10].sum()
    seen = np.bincount(kinds, minlength=11)
    assert stats.chisquare(seen, expected / expected.sum() * seen.sum()).pvalue > 0.01
    assert flat.var() / flat.mean() == pytest.approx(1, abs=0.12)


POINTS = st.lists(st.tuples(st.integers(0, 5 * S), st.floats(0, 300)), min_size=1, max_size=5).map(
    lambda more: [(0, 20.0), *sorted((t, rate) for t, rate in more)]
)


@settings(deadline=None, max_examples=100)
@given(POINTS, st.booleans(), st.integers(0, 2**32))
def test_any_curve_gives_ascending_times_within_it(points, even, seed):
    times = open_arrivals(points, even=even, rng=rng(seed))
    assert (np.diff(times) >= 0).all()
    assert ((times >= 0) & (times <= points[-1][0])).all()
    if even:
        total = integral(points, points[-1][0] / S)
        assert len(times) == pytest.approx(total, abs=0.5 + 1e-6)


def test_closed_clients_of_a_constant_and_of_a_ramp():
    starts, stops = closed_clients([(0, 3.0), (5 * S, 3.0)])
    assert starts.tolist() == [0, 0, 0]
    assert stops.tolist() == [5 * S] * 3
    starts, stops = closed_clients([(0, 0.0), (4 * S, 4.0), (6 * S, 4.0), (10 * S, 0.0)])
    assert starts.tolist() == [S, 2 * S, 3 * S, 4 * S]
    assert stops.tolist() == [9 * S, 8 * S, 7 * S, 6 * S]
    starts, stops = closed_clients([(0, 1.0), (2 * S, 1.0), (2 * S, 3.0), (4 * S, 3.0)])
    assert starts.tolist() == [0, 2 * S, 2 * S]
    assert stops.tolist() == [4 * S] * 3


CLOSED = st.lists(st.tuples(st.integers(1, 100), st.integers(0, 8)), min_size=1, max_size=6).map(
    lambda more: [(0, 2.0), *((t * S, float(level)) for t, level in sorted(more))]
)


@settings(deadline=None, max_examples=200)
@given(CLOSED)
def test_so_many_clients_are_there_as_the_curve_says(points):
    starts, stops = closed_clients(points)
    assert (starts <= stops).all()
    assert len(starts) == Curve(open=False, points=tuple(points)).expected
    times, levels = zip(*points, strict=True)
    for t in np.linspace(0, times[-1], 97)[1:-1] + 0.37:
        if min(abs(t - time) for time in times) < 1:
            continue  # at a step the curve has two values
        level = np.interp(t, times, levels)
        if abs(level - round(level)) > 1e-6:
            assert ((starts <= t) & (t < stops)).sum() == math.floor(level)


def test_who_comes_again_after_a_fall_is_a_new_client():
    tide = [(0, 0.0), (2 * S, 2.0), (4 * S, 0.0), (6 * S, 2.0), (8 * S, 1.0)]
    starts, stops = closed_clients(tide)
    assert starts.tolist() == [S, 5 * S, 2 * S, 6 * S]
    assert stops.tolist() == [3 * S, 8 * S, 2 * S, 6 * S]


@settings(deadline=None, max_examples=100)
@given(POINTS, st.sampled_from([MIDDLE, START, END]))
def test_even_arrivals_keep_their_place_in_their_gaps(points, first):
    times = open_arrivals(points, even=True, rng=rng(), first=first)
    total = integral(points, points[-1][0] / S)
    want = {MIDDLE: total - 0.5, START: total - 1e-9, END: total - 1 + 1e-9}[first]
    assert len(times) == pytest.approx(max(want, 0), abs=1)
    slack = 1e-5 + 2e-9 * max(rate for _, rate in points)
    for k, t in enumerate(times.tolist()):
        assert integral(points, t / S) == pytest.approx(k + first, abs=slack)


@pytest.mark.parametrize(("first", "at_ms"), [(START, 0), (MIDDLE, 50), (END, 100)])
def test_a_whole_number_of_even_arrivals_is_not_missed_by_rounding(first, at_ms):
    # 0.1 s apart: sums of tenths are no whole numbers in binary.
    for seconds in range(1, 40):
        points = [(0, 10.0), *((k * S // 10, 10.0) for k in range(1, seconds * 10 + 1))]
        times = open_arrivals(points, even=True, rng=rng(), first=first)
        want = [at_ms * 1_000_000 + k * 100_000_000 for k in range(seconds * 10)]
        assert times.tolist() == pytest.approx(want, abs=1)
