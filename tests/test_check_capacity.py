"""Capacity: what the rows of a climb say of the knee, and what they do not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from probe.check.climb import Climbing, climb
from probe.check.judge import judge
from probe.check.verdict import Outcome
from probe.check.view import views
from probe.history.records import Kind
from tests.histories import Story

QUICK: dict[str, Any] = {
    "until": "p99<100ms", "begin": "500/s", "most": "4000/s", "factor": 2, "closeness": 1.5,
    "repeats": 1, "settle": "0", "lasts": "1s",
}  # fmt: skip
KNEE_PER_S = 1_300


def story(least: str | None = None, **more: Any) -> Story:
    expect = {} if least is None else {"expect": {"capacity": least}}
    stage = {"activity": "capacity", "capacity": QUICK | more, **expect}
    return Story({"climb": stage}).stage(end=200_000)


def played(
    told: Story, number: int, rate: float, *, took: float, lag: float = 0.1, way: str = "good",
    lasts: float = 5.0, cut: bool = False,
) -> None:  # fmt: skip
    """One repeat of a level: its clients at even times, 2 s after the one before."""
    zero = number * 3_000 + 1_000
    told.row(zero - 1, Kind.LEVEL, op=number, flag=0, b=round(rate * 1e6))
    for k in range(200):
        told.row(zero + k * 10, Kind.LAG, b=round(lag * 1e6))
    for k in range(int(rate)):
        # Nothing that is real takes the same time again and again.
        told.client(
            zero + k * 1000 / rate, way, trial=number, pause=0, took=took + k % 17 * 0.1,
            lasts=lasts,
        )  # fmt: skip
    told.trial(number, zero, zero + 2_000, flag=int(cut))
    told.row(zero + 2_000, Kind.LEVEL, op=number, flag=1, b=round(rate * (took + 5) / 1000 * 1e6))


def climbed(told: Story, **at_top: Any) -> list[float]:
    """Play whatever the search asks for against a service that is slow beyond its knee."""
    rates: list[float] = []
    while (rate := climb(views(told.history(), told.resolved)[0]).search.next()) is not None:
        over = rate > KNEE_PER_S
        more = at_top if over else {}
        played(told, len(rates), rate, **({"took": 300.0 if over else 5.0} | more))
        rates.append(rate)
        assert len(rates) < 40
    return rates


def capacity_of(told: Story) -> tuple[Any, Any]:
    judgement = judge(told.history(), told.resolved)
    (check,) = [each for each in judgement.checks if each.id == "climb.capacity"]
    return judgement, check


def test_the_knee_lies_between_the_last_rate_within_and_the_first_beyond():
    told = story()
    rates = climbed(told)
    judgement, check = capacity_of(told)
    low, high = check.interval
    assert low <= KNEE_PER_S <= high
    assert high / low <= 1.5
    assert low in rates
    assert high in rates
    assert check.verdict is Outcome.PASS
    assert judgement.verdict is Outcome.PASS
    assert f"the knee is between {low:g}/s and {high:g}/s" in check.message
    table = judgement.summary["levels"]["climb"]
    assert [row["rate_per_s"] for row in table] == sorted(set(rates))
    assert {row["status"] for row in table if row["rate_per_s"] > KNEE_PER_S} == {"beyond"}
    within = [row for row in table if row["status"] == "within"]
    assert within
    assert all(row["done_per_s"] > 0.9 * row["rate_per_s"] for row in within)


@pytest.mark.parametrize(
    ("least", "verdict"),
    [
        ("900/s", Outcome.PASS),
        ("1300/s", Outcome.INCONCLUSIVE),
        ("3000/s", Outcome.FAIL),
    ],
)
def test_what_is_asked_for_is_held_against_the_interval(least, verdict):
    told = story(least)
    climbed(told)
    judgement, check = capacity_of(told)
    assert check.verdict is verdict
    assert f"at least {least} is asked for" in check.message
    codes = [finding.code for finding in judgement.findings]
    assert codes == (["capacity.latency"] if verdict is Outcome.FAIL else [])
    if codes:
        assert judgement.findings[0].witness


def test_of_a_machine_that_only_climbed_nothing_is_said_at_large():
    told = story()
    climbed(told, lag=80.0)
    fitness = capacity_of(told)[0].fitness
    assert (fitness.whole, fitness.by_level) == (False, ("climb",))
    assert fitness.said == "each level of climb is judged by itself, and left out where unfit"
    assert "clients_planned" not in fitness.figures


def test_where_the_probe_gives_out_the_answer_is_at_least():
    told = story()
    climbed(told, lag=80.0)
    _, check = capacity_of(told)
    assert check.verdict is Outcome.INCONCLUSIVE
    assert check.interval[1] is None
    assert 500 <= check.interval[0] <= KNEE_PER_S
    assert "at least" in check.message
    assert "the probe gave out before the service did" in check.message
    assert "heartbeat lag" in check.message


def test_failures_are_no_latencies_and_break_the_goodput():
    told = story("4000/s")
    climbed(told, way="status", took=2.0)
    judgement, check = capacity_of(told)
    assert check.verdict is Outcome.FAIL
    assert "fail" in check.message
    assert [finding.code for finding in judgement.findings] == ["capacity.errors"]


def test_a_ceiling_that_is_within_is_a_bound_and_no_knee():
    told = story(most="1000/s")
    climbed(told)
    _, check = capacity_of(told)
    assert (check.verdict, check.interval) == (Outcome.PASS, (1000.0, None))
    assert "every level up to the ceiling was within" in check.message


def test_the_targets_own_ceiling_holds():
    told = story()
    told.resolved.target["safety"] = {"rate_max": "1000/s"}
    assert max(climbed(told)) == 1000.0


def test_a_climb_told_only_what_is_new_comes_to_the_same():
    told = story()
    climbed(told)
    history = told.history()
    whole = climb(views(history, told.resolved)[0])
    whole.search.next()
    begun = np.flatnonzero((history.rows["kind"] == Kind.LEVEL) & (history.rows["flag"] == 0))
    climbing, read = Climbing("climb"), 0
    for upto in [*begun[1:].tolist(), len(history.rows)]:
        rows = history.rows[:upto].copy()
        rows[:read] = 0  # what has been read is not looked at again
        found = climbing.climb(replace(history, rows=rows), told.resolved)
        level = found.search.next()
        same = climb(views(replace(history, rows=history.rows[:upto]), told.resolved)[0])
        assert level == same.search.next()
        read = upto
    assert len(found.runs) == len(whole.runs) > 5
    for one, other in zip(found.runs, whole.runs, strict=True):
        assert one.measured.latency_ns.tolist() == other.measured.latency_ns.tolist()
        assert (one.unfit, one.offered_per_s, one.done_per_s, one.stay_ns, one.in_flight) == (
            other.unfit, other.offered_per_s, other.done_per_s, other.stay_ns, other.in_flight
        )  # fmt: skip
    assert found.search.knee() == whole.search.knee()


def test_a_level_that_was_cut_off_proves_nothing():
    told = story()
    played(told, 0, 500, took=5.0, cut=True)
    found = climb(views(told.history(), told.resolved)[0])
    assert "it was cut off" in found.runs[0].unfit
    _, check = capacity_of(told)
    assert check.verdict is Outcome.INCONCLUSIVE


def test_nothing_played_is_nothing_measured():
    _, check = capacity_of(story())
    assert check.verdict is Outcome.INCONCLUSIVE
    assert check.n == 0


def test_littles_law_is_held_against_a_gauge_of_its_own():
    told = story()
    played(told, 0, 500, took=5.0)
    (row,) = capacity_of(told)[0].summary["levels"]["climb"]
    assert row["little_gap"] < 0.15
    # A gauge that saw twice as many clients as the stamps account for.
    told.rows = [
        (*each[:6], each[6] * 2) if each[3] == Kind.LEVEL and each[4] == 1 else each
        for each in told.rows
    ]
    (row,) = capacity_of(told)[0].summary["levels"]["climb"]
    assert row["little_gap"] > 0.4
