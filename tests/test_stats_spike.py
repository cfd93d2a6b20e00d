"""The way back from a spike, from intents written by hand."""

from __future__ import annotations

import numpy as np
import pytest

from probe.stats.spike import amplification, recovery

S = 1_000_000_000
SPIKE = (60 * S, 90 * S)


def intents(until_s, per_s=50):
    """Evenly spaced, in ns."""
    return (np.arange(until_s * per_s) * S) // per_s


def told(broken_until_s, *, watched_s=300, per_s=50, share=1.0, seed=1):
    at = intents(watched_s, per_s)
    well = np.random.default_rng(seed).random(len(at)) < share
    broken = (at >= SPIKE[0]) & (at < broken_until_s * S)
    return recovery(at, well & ~broken, SPIKE, watched_s * S)


def test_a_service_that_bears_the_spike_is_back_at_once():
    way = told(0)
    assert (way.way, way.low_ns, way.high_ns) == ("back", 0, S)
    assert (way.before, way.after) == (1, 1)
    assert way.budget_ns == 150 * S


def test_the_way_back_is_told_to_the_stretch():
    way = told(90 + 17)
    assert (way.way, way.low_ns, way.high_ns) == ("back", 17 * S, 18 * S)


@pytest.mark.parametrize("seed", range(5))
def test_what_was_not_perfect_before_need_not_be_after(seed):
    way = told(90 + 17, share=0.9, per_s=200, seed=seed)
    assert way.way == "back"
    assert 17 * S <= way.low_ns <= 22 * S
    assert way.before == pytest.approx(0.9, abs=0.02)


def test_a_service_that_stays_broken_under_the_load_it_bore_is_metastable():
    way = told(10_000)
    assert (way.way, way.low_ns, way.high_ns, way.after) == ("metastable", None, None, 0)


def test_a_watch_that_ended_too_soon_calls_nothing_metastable():
    assert told(10_000, watched_s=239).way == "unknown"
    assert told(10_000, watched_s=240).way == "metastable"
    assert told(90 + 160, watched_s=400).way == "metastable"  # back, but not in time
    assert told(0, watched_s=92).way == "unknown"  # two stretches are not steady


def test_one_good_moment_is_no_way_back():
    at = intents(300)
    met = (at < SPIKE[0]) | ((at >= 100 * S) & (at < 102 * S))
    assert recovery(at, met, SPIKE, 300 * S).way == "metastable"


def test_the_budget_grows_with_the_spike():
    at = intents(2_000)
    way = recovery(at, at < 60 * S, (60 * S, 160 * S), 2_000 * S)
    assert (way.way, way.budget_ns) == ("metastable", 500 * S)


def test_stretches_are_as_long_as_it_takes_to_hold_some_intents():
    way = told(90 + 17, per_s=2)
    assert (way.stretch_ns, way.way) == (10 * S, "back")
    assert (way.low_ns, way.high_ns) == (20 * S, 30 * S)


def test_without_a_baseline_or_intents_after_it_nothing_is_known():
    few = recovery(intents(300, 50)[59 * 50 + 40 :], np.ones(12_010, bool), SPIKE, 300 * S)
    assert few.way == "unknown"
    at = intents(300)
    never = recovery(at, at >= SPIKE[0], SPIKE, 300 * S)
    assert (never.way, np.isnan(never.before)) == ("unknown", True)
    silent = recovery(intents(90), np.ones(90 * 50, bool), SPIKE, 300 * S)
    assert (silent.way, np.isnan(silent.after)) == ("unknown", True)


def test_attempts_per_intent():
    assert amplification(300, 100) == 3
    assert amplification(0, 0) is None
    with pytest.raises(ValueError, match="counted from 0"):
        amplification(-1, 1)


@pytest.mark.parametrize(
    ("at", "met", "spike", "watched"),
    [
        ([1, 2], [True], (1, 2), 3),
        ([1], [True], (2, 2), 3),
        ([1], [True], (2, 5), 3),
    ],
)
def test_what_is_no_spike_is_refused(at, met, spike, watched):
    with pytest.raises(ValueError, match=r"one length|watched"):
        recovery(at, met, spike, watched)


def test_who_is_back_and_falls_again_is_not_back():
    at = intents(400)
    relapsed = (at < SPIKE[0]) | ((at >= 100 * S) & (at < 150 * S))
    assert recovery(at, relapsed, SPIKE, 400 * S).way == "metastable"
    again = relapsed | (at >= 200 * S)
    way = recovery(at, again, SPIKE, 400 * S)
    assert (way.way, way.low_ns) == ("back", 110 * S)


def test_how_much_is_enough_and_how_long_it_may_take_can_be_said():
    at = intents(300)
    half = (at < SPIKE[0]) | (np.arange(len(at)) % 2 == 0)
    assert recovery(at, half, SPIKE, 300 * S).way == "metastable"
    assert recovery(at, half, SPIKE, 300 * S, share_back=0.45).way == "back"
    assert recovery(at, half, SPIKE, 300 * S, share_back=0.5).way == "unproven"
    late = (at < SPIKE[0]) | (at >= 120 * S)
    assert recovery(at, late, SPIKE, 300 * S, budget_ns=20 * S).way == "metastable"
    assert recovery(at, late, SPIKE, 110 * S, budget_ns=20 * S).n_after == 3 * 50


def ways(share, per_s, n=100):
    """What is told of services that stay at that share of their former goodput for ever."""
    draw = np.random.default_rng(3)
    at = intents(210, per_s)
    likely = np.where(at < SPIKE[0], 1.0, np.where(at < SPIKE[1], 0.1, share))
    mets = draw.random((n, len(at))) < likely
    return [recovery(at, met, SPIKE, 210 * S, budget_ns=120 * S).way for met in mets]


@pytest.mark.parametrize("share", [0.85, 0.88])
@pytest.mark.parametrize("per_s", [10, 20])
def test_luck_in_one_of_many_stretches_is_no_way_back(share, per_s):
    told = ways(share, per_s)
    assert told.count("back") <= 0.05 * len(told)
    assert "unproven" in told  # by shares alone it would have passed


def test_who_is_exactly_at_what_is_needed_is_rarely_back():
    told = ways(0.9, 20)
    assert told.count("back") <= 0.05 * len(told)
    assert told.count("unproven") > 0.5 * len(told)


@pytest.mark.parametrize("share", [0.95, 1])
def test_a_service_that_healed_is_back_at_ten_a_second(share):
    assert set(ways(share, 10)) == {"back"}


def test_the_more_stretches_are_searched_the_more_it_takes():
    at = intents(300, 20)

    def last_three(budget_s):
        until = SPIKE[1] + budget_s * S
        met = (at < SPIKE[0]) | (at >= until - 3 * S)
        return recovery(at, met, SPIKE, until, budget_ns=budget_s * S)

    short, long = last_three(10), last_three(120)
    assert (short.way, long.way) == ("back", "unproven")
    assert short.surely == pytest.approx((0.05 / 8) ** (1 / 60))
    assert long.surely == pytest.approx((0.05 / 118) ** (1 / 60))
    assert (long.low_ns, long.high_ns) == (117 * S, 118 * S)
    assert short.needed == long.needed == 0.9


def test_few_intents_before_the_spike_leave_the_baseline_open():
    at = intents(210, 2)
    met = np.arange(len(at)) % 10 != 0
    way = recovery(at, met, SPIKE, 210 * S, budget_ns=120 * S)
    assert way.before == 0.9
    assert way.needed > 0.9 * 0.93
    assert way.way == "unproven"
