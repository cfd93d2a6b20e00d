"""Queueing theory: closed forms, a simulation by events, and Little's law."""

from __future__ import annotations

import heapq
import math

import numpy as np
import pytest

from probe.stats.queueing import Station, littles_law, mean_in_flight

MS = 1_000_000


def simulated(station, rate_per_s, n, seed):
    """An event-driven M/M/c: arrivals and ends in a heap, a queue of those who wait.

    Returns the waits, the responses and, of the stay in steady state, the stamps; in ns.
    """
    rng = np.random.default_rng(seed)
    arrived = rng.exponential(1e9 / rate_per_s, n).cumsum()
    service = rng.exponential(station.service_ns, n)
    events = [(at, 1, i) for i, at in enumerate(arrived)]  # sorted, so it is a heap
    idle, queue, ended, started = station.servers, [], np.zeros(n), np.zeros(n)
    queue_head = 0
    while events:
        now, is_arrival, i = heapq.heappop(events)
        if is_arrival:
            queue.append(i)
        else:
            ended[i] = now
            idle += 1
        if idle and queue_head < len(queue):
            i = queue[queue_head]
            queue_head += 1
            idle -= 1
            started[i] = now
            heapq.heappush(events, (now + service[i], 0, i))
    return started - arrived, ended - arrived, arrived, ended


@pytest.mark.parametrize(("servers", "load"), [(1, 0.3), (1, 0.9), (4, 0.5), (16, 0.7)])
def test_erlang_c_is_the_sum_that_it_stands_for(servers, load):
    station = Station(servers, 20 * MS)
    a = servers * load
    waiting = a**servers / math.factorial(servers) / (1 - load)
    free = sum(a**k / math.factorial(k) for k in range(servers))
    rate = load * station.capacity_per_s
    assert station.waits(rate) == pytest.approx(waiting / (free + waiting), rel=1e-12)


def test_one_server_answers_in_an_exponential_time():
    station = Station(1, 10 * MS)
    assert station.waits(90) == pytest.approx(0.9)
    assert station.wait_mean_ns(90) == pytest.approx(90 * MS)
    for t_ns in (0, 1, 5 * MS, 700 * MS):
        assert station.response_beyond(90, t_ns) == pytest.approx(math.exp(-t_ns / (100 * MS)))
    assert station.response_ns(90, 0.99) == pytest.approx(100 * MS * math.log(100), abs=1)
    limit_ns = 200 * MS
    assert station.rate_at(limit_ns, 0.99) == pytest.approx(100 - math.log(100) / 0.2)


def test_many_servers_do_not_overflow():
    station = Station(100_000, 1_000 * MS)
    assert 0 < station.waits(99_000) < 0.01
    assert station.waits(0.0) == 0


@pytest.mark.parametrize(
    ("servers", "load", "n", "slack"), [(1, 0.5, 60_000, 0.04), (2, 0.5, 60_000, 0.04),
                                        (4, 0.8, 100_000, 0.06), (16, 0.87, 100_000, 0.06)],
)  # fmt: skip
def test_the_theory_is_what_a_simulation_shows(servers, load, n, slack):
    station = Station(servers, 20 * MS)
    rate = load * station.capacity_per_s
    waits, took, arrived, ended = simulated(station, rate, n, 4)
    assert (waits > 0).mean() == pytest.approx(station.waits(rate), rel=slack)
    assert waits.mean() == pytest.approx(station.wait_mean_ns(rate), rel=slack)
    for t_ns in (5 * MS, 20 * MS, 40 * MS, 80 * MS):
        assert (waits > t_ns).mean() == pytest.approx(
            station.wait_beyond(rate, t_ns), rel=2 * slack, abs=0.004
        )
        assert (took > t_ns).mean() == pytest.approx(
            station.response_beyond(rate, t_ns), rel=2 * slack, abs=0.004
        )
    assert np.quantile(took, 0.99) == pytest.approx(station.response_ns(rate, 0.99), rel=2 * slack)
    # Little's law, with L counted by the stamps of one half and W timed by all of the rows.
    from_ns, to_ns = int(arrived[n // 4]), int(arrived[3 * n // 4])
    in_flight = mean_in_flight(np.int64(arrived), np.int64(ended), from_ns, to_ns)
    law = littles_law(in_flight, n / arrived[-1] * 1e9, took.mean())
    assert law.holds
    assert law.gap < slack


def test_both_forms_of_the_response_meet_where_the_rates_are_alike():
    """At lambda = (c - 1) mu the two exponentials have one rate: 0/0 in the usual form."""
    station = Station(4, 20 * MS)
    at = [station.response_beyond(150.0 + d, 100 * MS) for d in (-1e-4, -1e-9, 0, 1e-9, 1e-4)]
    assert at == sorted(at)
    assert at[0] == pytest.approx(at[-1], rel=1e-5)
    by_hand = math.exp(-5) * (1 - station.waits(150.0)) + station.waits(150.0) * 6 * math.exp(-5)
    assert at[2] == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("servers", [1, 4, 30])
@pytest.mark.parametrize("q", [0.5, 0.99])
def test_quantile_and_rate_invert_the_tail(servers, q):
    station = Station(servers, 20 * MS)
    for load in (0.1, 0.6, 0.95):
        rate = load * station.capacity_per_s
        t_ns = station.response_ns(rate, q)
        assert (
            station.response_beyond(rate, t_ns) <= 1 - q < station.response_beyond(rate, t_ns - 1)
        )
        back = station.rate_at(t_ns, q)
        assert back is not None
        # Of many servers the quantile hardly moves while the load is low.
        assert station.response_ns(back, q) == pytest.approx(t_ns, abs=1)
        assert back >= rate * (1 - 1e-9)
    assert station.rate_at(1 * MS, q) is None
    assert station.rate_at(10**15, q) == pytest.approx(station.capacity_per_s, rel=1e-4)


def test_the_past_is_felt_ever_longer_towards_saturation():
    station = Station(4, 20 * MS)
    felt = [station.relaxation_ns(load * 200) for load in (0.0, 0.5, 0.9, 0.99)]
    assert felt == sorted(felt)
    assert felt[0] == pytest.approx(5 * MS)


@pytest.mark.parametrize("rate", [-1.0, 200.0, 1e9, math.nan])
def test_without_a_steady_state_there_is_no_answer(rate):
    with pytest.raises(ValueError, match="steady state"):
        Station(4, 20 * MS).waits(rate)


@pytest.mark.parametrize(("servers", "service"), [(0, MS), (1, 0), (100_001, MS)])
def test_a_station_without_servers_or_time_is_refused(servers, service):
    with pytest.raises(ValueError, match="servers"):
        Station(servers, service)


def test_littles_law_finds_wrong_accounting():
    assert littles_law(20, 100, 200 * MS).gap == 0
    assert littles_law(20, 100, 191 * MS).holds
    lost = littles_law(20, 90, 200 * MS)  # a tenth of the arrivals was not counted
    assert lost.holds is False
    assert lost.gap == pytest.approx(0.1)


@pytest.mark.parametrize("numbers", [(0, 100, MS), (1, 0, MS), (math.nan, 1, MS), (1, 1, math.nan)])
def test_nothing_in_flight_checks_nothing(numbers):
    assert littles_law(*numbers).holds is None


def test_what_cannot_be_a_mean_is_refused():
    for numbers in ((-1, 1, 1), (1, math.inf, 1)):
        with pytest.raises(ValueError, match="no mean"):
            littles_law(*numbers)
    with pytest.raises(ValueError, match="span"):
        mean_in_flight([0], [1], 5, 5)
    with pytest.raises(ValueError, match="span"):
        mean_in_flight([2], [1], 0, 5)


def test_time_in_flight_is_counted_within_the_span_only():
    assert mean_in_flight([0, 5, 50, 90], [10, 15, 200, 95], 10, 60) == (0 + 5 + 10 + 0) / 50
