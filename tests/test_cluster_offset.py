"""Another host's clock against ours: the true offset lies within the bound, whatever the ways."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.errors import HistoryError
from probe.history.columns import History
from probe.history.journal import Journal
from probe.history.offset import DRIFT, READINGS_MAX, WINDOW_NS, Clock, Comparing, Reading, apart
from probe.history.records import NOBODY, Kind
from probe.redact import Redactor

S = 1_000_000_000
HOURS = 5 * 3_600 * S


def compared(offset_of, there, back, every, count, start=10 * S):
    """Exchanges whose ways take `there` and `back` (ns, in turn); `offset_of` ours."""
    comparing, ours = Comparing(), start
    ways = zip(itertools.cycle(there), itertools.cycle(back), range(count), strict=False)
    for forth, home, _ in ways:
        came = ours + forth
        left = came + 50_000
        stamps = (came + offset_of(came), left + offset_of(left))
        comparing.add(ours, *stamps, left + home)
        ours = max(ours + every, left + home)
    return comparing.clock(), ours


ways = st.lists(st.integers(20_000, 40_000_000), min_size=1, max_size=7)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(-HOURS, HOURS), st.floats(-DRIFT / 2, DRIFT / 2), ways, ways,
    st.integers(20_000_000, 400_000_000), st.integers(1, 300),
)  # fmt: skip
def test_the_truth_lies_within_the_bound_however_the_ways_are(offset, rate, there, back, every, n):
    def offset_of(ours):
        return offset + round(rate * ours)

    clock, until = compared(offset_of, there, back, every, n)
    ours = np.linspace(10 * S, until, 50).astype(np.int64)
    theirs = np.array([int(t) + offset_of(int(t)) for t in ours], dtype=np.int64)
    bound = clock.bound_ns(int(theirs[0]), int(theirs[-1]))
    assert np.abs(clock.ours(theirs) - ours).max() <= bound + 2
    assert abs(clock.theirs(until) - until - offset_of(until)) <= bound + 2


def test_the_bound_is_half_of_the_best_way_there_and_back_and_no_smaller():
    # The way there takes all of the time, and nobody could know it.
    clock, _ = compared(lambda _: HOURS, [2_000_000], [0], 100_000_000, 100)
    assert {reading.offset_ns for reading in clock.readings} == {HOURS + 1_000_000}
    assert 1_000_000 <= clock.bound_ns() <= 1_000_000 + 2 * DRIFT * WINDOW_NS


def test_one_quick_exchange_among_slow_ones_is_what_counts():
    clock, _ = compared(lambda _: -HOURS, [30_000_000, 100_000], [50_000_000, 60_000], S // 20, 40)
    assert clock.bound_ns() < 500_000
    assert abs(clock.readings[0].offset_ns + HOURS) <= clock.bound_ns()


def test_a_clock_that_runs_away_is_followed():
    def offset_of(ours):
        return HOURS + round(ours * DRIFT)

    clock, until = compared(offset_of, [100_000], [100_000], 100_000_000, 6_000)
    assert round(DRIFT * 600 * S) == 60_000_000  # by what it goes, in these ten minutes
    theirs = np.array([t + offset_of(t) for t in range(10 * S, until, S)], dtype=np.int64)
    off = np.abs(clock.ours(theirs) - np.arange(10 * S, until, S))
    assert off.max() <= clock.bound_ns(int(theirs[0]), int(theirs[-1])) < 2_000_000


def test_a_long_run_has_no_more_readings_and_says_what_that_costs():
    clock, _ = compared(lambda _: 0, [100_000], [100_000], WINDOW_NS // 2, 2 * 3_600 * 4)
    assert len(clock.readings) <= READINGS_MAX + 1
    assert clock.bound_ns() < 5_000_000


def test_before_the_first_exchange_nothing_is_known():
    assert Comparing().clock() is None


def test_nanoseconds_of_years_are_not_rounded_away():
    years = 60 * 365 * 86_400 * S + 1
    clock = Clock((Reading(years, years - 7, 0), Reading(years + 100 * S, years - 7, 0)))
    assert clock.ours(np.array([years, years + 3])).tolist() == [7, 10]
    assert Clock.of(json.loads(json.dumps(clock.stored()))) == clock


@pytest.mark.parametrize(
    "stored", [None, {}, {"readings": []}, {"readings": [[1]]}, {"readings": 3}]
)
def test_what_is_no_clock_is_refused(stored):
    with pytest.raises(ValueError, match="clock"):
        Clock.of(stored)


def test_two_hosts_may_be_wrong_by_both_bounds_and_the_driver_is_exact():
    def of(bound):
        return Clock((Reading(0, 5, bound), Reading(2, 5, bound))), 0, 2

    assert apart([]) == 0
    assert apart([of(300)]) == 300
    assert apart([of(300), of(100), of(200)]) == 500


def write(folder, rows, clock=None, **meta):
    journal = Journal(folder, Redactor(), meta)
    for row in rows:
        journal.row(*row)
    journal.close(ended="complete")
    if clock is not None:
        path = folder / "meta.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "clock": clock}))


def test_merged_rows_stand_by_the_drivers_clock_and_the_bound_is_that_of_the_run(tmp_path):
    clock = Clock((Reading(HOURS, HOURS, 400), Reading(HOURS + 10, HOURS + 10, 300)))
    write(tmp_path / "h", [(t, 1, 0, Kind.GOT, 0, 0, -1) for t in (1, 5, 9)], workers=2)
    there = [(HOURS + t, 2, 0, Kind.GOT, 0, 0, -1) for t in (0, 4, 10)]
    gap = (HOURS + 10, NOBODY, 0, Kind.GAP, 0, 3, HOURS + 4)
    write(tmp_path / "h" / "worker-1", [*there, gap], clock.stored())
    write(tmp_path / "h" / "worker-2", [(7, 3, 0, Kind.GOT, 0, 0, HOURS)])  # on the driver's host
    history = History.open(tmp_path / "h")
    assert history.complete
    assert history.rows["t"].tolist() == [0, 0, 0, 0, 1, 5, 7, 9]
    (gap,) = history.of(Kind.GAP)
    assert gap["t"] == gap["b"] == 0
    assert history.clock_bound_ns == 400
    assert History.open(tmp_path / "h" / "worker-2").clock_bound_ns == 0


def test_a_history_whose_clock_cannot_be_read_is_none(tmp_path):
    write(tmp_path / "h", [], workers=1)
    write(tmp_path / "h" / "worker-1", [(1, 1, 0, Kind.GOT, 0, 0, -1)], {"readings": []})
    with pytest.raises(HistoryError, match="clock"):
        History.open(tmp_path / "h")


def test_a_slow_second_among_quick_ones_does_not_widen_the_bound():
    comparing, ours = Comparing(), 10 * S
    for k in range(200):
        way = 80_000_000 if 90 <= k < 110 else 100_000
        comparing.add(ours, ours + way, ours + way, ours + 2 * way)
        ours += S // 10 + 2 * way
    clock = comparing.clock()
    assert clock is not None
    assert clock.bound_ns() < 800_000
    assert len(clock.readings) >= 10


@pytest.mark.parametrize("ppm", [0, 90, 200, 500, 2_000, 83_333])
@pytest.mark.parametrize("lasting_s", [0.6, 5, 20])
def test_a_clock_that_is_slewed_is_within_the_bound(ppm, lasting_s):
    begin, end = int(20.3 * S), int((20.3 + lasting_s) * S)

    def offset_of(ours):
        return HOURS + round(ppm * 1e-6 * max(0, min(ours, end) - begin))

    there, back = np.random.default_rng(4).integers(100_000, 300_000, (2, 500)).tolist()
    clock, until = compared(offset_of, there, back, 100_000_000, 500)
    assert Clock.of(json.loads(json.dumps(clock.stored()))) == clock
    ours = np.arange(10 * S, until, 20_000_000)
    theirs = np.array([t + offset_of(t) for t in ours.tolist()], dtype=np.int64)
    bound = clock.bound_ns(int(theirs[0]), int(theirs[-1]))
    assert np.abs(clock.ours(theirs) - ours).max() <= bound
    assert bound < 500_000 or ppm > 100  # a clock that was not slewed is known as before
