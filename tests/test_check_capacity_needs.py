"""What an open capacity check says that it would take, and whether that is enough."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from probe.check.capacity_needs import Need, _need, _repeats, needed
from probe.check.climb import climb
from probe.check.verdict import Outcome
from probe.check.view import views
from probe.history.records import Kind
from tests.test_check_capacity import capacity_of, climbed, played, story

if TYPE_CHECKING:
    from tests.histories import Story

SLOW_MS = 300.0


def message(told: Story) -> str:
    _, check = capacity_of(told)
    assert check.verdict is Outcome.INCONCLUSIVE
    return str(check.message)


def test_where_the_probe_gave_out_it_takes_a_fitter_one():
    told = story()
    climbed(told, lag=80.0)
    assert re.match(
        r"to decide it would take a probe that is fit at [0-9.]+/s: a machine with less beside it, "
        r"or more workers \(`--workers`\); at least ",
        message(told),
    )


def test_what_is_asked_for_between_two_levels_takes_a_level_of_its_own():
    told = story("1300/s")
    climbed(told)
    wanted = "--set stages.climb.capacity.begin=1300/s"
    assert message(told).startswith(f"to decide it would take a level at 1300/s itself: {wanted}; ")


def test_where_nothing_was_within_it_takes_lower_levels():
    told = story()
    rates: list[float] = []
    while (rate := climb(views(told.history(), told.resolved)[0]).search.next()) is not None:
        played(told, len(rates), rate, took=SLOW_MS)
        rates.append(rate)
    words = message(told)
    begin = re.search(r"take lower levels: --set stages.climb.capacity.begin=([0-9.]+)/s", words)
    assert begin
    assert float(begin[1]) < min(rates)


def test_a_climb_that_was_cut_off_says_how_much_was_left():
    told = story()
    played(told, 0, 500, took=5.0)
    found = re.match(
        r"it was cut off with about (\d+) repeats to go, some ([0-9.]+) s", message(told)
    )
    assert found
    whole = story()
    rates = climbed(whole)
    # About as many as it takes where it is not cut off.
    assert int(found[1]) == pytest.approx(len(rates) - 1, rel=0.5)


def borderline(told: Story, repeats: int, slow: int, since: int = 0) -> None:
    """Repeats of 500 clients of which every `slow`th is too late, evenly."""
    for number in range(since, since + repeats):
        zero = number * 3_000 + 1_000
        told.row(zero - 1, Kind.LEVEL, op=number, flag=0, b=500_000_000)
        for beat in range(200):
            told.row(zero + beat * 10, Kind.LAG, b=100_000)
        for k in range(500):
            took = SLOW_MS if (number * 500 + k) % slow == slow // 2 else 5.0 + k % 17 * 0.1
            told.client(zero + k * 2, "good", trial=number, pause=0, took=took, lasts=5.0)
        told.trial(number, zero, zero + 2_000)
        told.row(zero + 2_000, Kind.LEVEL, op=number, flag=1, b=5_000_000)


@pytest.mark.parametrize(
    ("slow", "status"), [(250, "within"), (50, "beyond")], ids=["within", "beyond"]
)
def test_the_repeats_that_an_open_level_would_take_do_decide_it(slow: int, status: str):
    """0.4 % and 2 % beyond a limit of 1 %: open after one repeat, decided after what is told."""
    told = story(most="500/s", closeness=1.5, repeats=1)
    played_ = 1
    borderline(told, played_, slow)

    def level() -> Any:
        return climb(views(told.history(), told.resolved)[0]).search.levels[0]

    assert level().status == "open"
    found = climb(views(told.history(), told.resolved)[0])
    need = _need(found, level())
    assert need is not None
    assert need.within == (status == "within")
    assert need.repeats > played_
    borderline(told, need.repeats - played_, slow, since=played_)
    assert level().status == status


def test_a_level_that_lies_on_the_limit_is_not_promised_a_decision():
    told, number = story(most="500/s", closeness=1.5, repeats=1), 0
    while (rate := climb(views(told.history(), told.resolved)[0]).search.next()) is not None:
        if rate == 500:
            borderline(told, 1, 100, since=number)
        else:
            played(told, number, rate, took=5.0)
        number += 1
    assert re.match(
        r"more of the same would not decide it; |to decide 500/s it would take .* too near to the",
        message(told),
    )


def test_levels_that_contradict_each_other_take_longer_ones_and_too_many_take_fewer():
    told = story()
    climbed(told)
    found = climb(views(told.history(), told.resolved)[0])
    found.search.next()
    knee = found.search.knee()
    assert needed(found, replace(knee, why="inconsistent"), "climb", None) == (
        "to decide it would take longer levels, which agree with each other: "
        "--set stages.climb.capacity.lasts=2s"
    )
    assert needed(found, replace(knee, why="budget"), "climb", None) == (
        f"to decide it would take fewer levels: --set stages.climb.capacity.begin="
        f"{knee.low_per_s:g}/s"
    )


def test_the_setting_is_told_where_it_is_more_than_there_is():
    told = story(most="500/s", closeness=1.5, repeats=1)
    borderline(told, 1, 150)
    found = climb(views(told.history(), told.resolved)[0])
    words = _repeats(found, Need(found.search.levels[0], 9, within=True), "climb")
    assert words.endswith(
        " 9 repeats, there is 1: some 12 s more, --set stages.climb.capacity.repeats=4"
    )
    words = _repeats(found, Need(found.search.levels[0], 4, within=True), "climb")
    assert words.endswith(" 4 repeats, there is 1: some 4.5 s more")
