"""The figures a run is compared by: of a load, of restarts, of a climb, of a race."""

import math
from types import SimpleNamespace

import pytest

from probe.check.comparing.figures import figures_of
from probe.check.view import views
from tests.histories import ARRIVALS, HERD, RESTART, Story
from tests.stored_runs import story


def of(made, summary=None):
    (view,) = views(made.history(), made.resolved)
    return {each.name: each for each in figures_of(view, summary or {})}


def staged(activity):
    return SimpleNamespace(skipped=False, name="s", stage=SimpleNamespace(activity=activity))


def test_a_load_has_its_phases_its_runs_and_its_shares():
    found = of(story(1))
    assert set(found) == {
        "connect p50", "connect p95", "connect p99", "first event p50", "first event p95",
        "tcp p50", "tcp p95", "upgrade p50", "upgrade p95", "run p50", "run p95", "success",
        "delivered", "delivered started", "delivered tool", "delivered completed",
    }  # fmt: skip
    assert math.exp(found["connect p50"].side.value) == pytest.approx(20.1e6, rel=0.02)
    assert math.exp(found["run p50"].side.value) == pytest.approx(3e6, rel=0.01)
    assert found["tcp p50"].head == "connect"
    assert found["delivered tool"].head == "delivered"
    assert not found["success"].more_is_worse
    # p99 of 80 is the slowest but none: beside other runs it says nothing.
    assert [name for name, each in found.items() if not each.each] == ["connect p99"]


def test_what_mostly_failed_has_a_share_and_no_latency_beyond_it():
    found = of(story(1, failing=10))
    assert "connect p50" in found
    assert "connect p95" not in found
    assert found["success"].side.value == pytest.approx(70 / 80)
    hits, trials = found["success"].counts
    assert len(hits) == 8  # failures come in bursts: they count by block
    assert (trials.sum(), hits[0]) == (80, 0)


def test_too_few_clients_have_shares_alone():
    assert set(of(story(1, clients=30))) >= {"success"}
    assert not [name for name in of(story(1, clients=30)) if " p" in name]


def test_of_restarts_the_restart_is_the_unit():
    made = Story({"boots": {**RESTART, "trials": 6}}).stage()
    for number in range(6):
        zero = number * 5000
        made.trial(number, zero, zero + 4000)
        made.client(zero + 10, "refused", population=ARRIVALS, trial=number)
        made.client(zero + 900 + 10 * number, "good", population=ARRIVALS, trial=number)
        made.client(zero + 20, "refused", "good", population=HERD, trial=number, pause=1500)
    found = of(made)
    assert found["first client in p50"].n == 6
    assert math.exp(found["first client in p50"].side.value) == pytest.approx(922e6, rel=0.02)
    assert math.exp(found["everybody in p50"].side.value) == pytest.approx(1.52e9, rel=0.02)


@pytest.mark.parametrize(
    ("told", "value", "high"),
    [
        ({"low_per_s": 100.0, "high_per_s": 121.0}, 110.0, 121.0),
        ({"low_per_s": 100.0, "high_per_s": None}, 100.0, math.inf),
    ],
)
def test_a_knee_lies_between_its_ends_or_is_at_least(told, value, high):
    (found,) = figures_of(staged("capacity"), {"capacity": {"s": told}})
    assert math.exp(found.side.value) == pytest.approx(value)
    assert math.exp(found.side.at(0.05)[1]) == pytest.approx(high)
    assert not found.more_is_worse


def test_a_climb_without_a_knee_has_no_figure():
    assert not figures_of(staged("capacity"), {"capacity": {"s": {"low_per_s": None}}})


def race(**told):
    return figures_of(staged("race"), {"races": {"s": {"found": True, "trials": 9, **told}}})


def test_a_race_is_compared_by_its_exposure_or_its_edge():
    span = {"value_s": 0.15, "low_s": 0.14, "high_s": 0.16}
    (window,) = race(shape="window", exposure=span)
    assert (window.name, window.scale, window.more_is_worse) == ("exposure", "span", True)
    assert window.side.at(0.05) == pytest.approx((0.14, 0.16))
    (early,) = race(shape="step", centre=span, rising=False)
    (late,) = race(shape="step", centre=span, rising=True)
    assert (early.name, early.more_is_worse, late.more_is_worse) == ("edge", True, False)
    (none,) = race(shape="window", exposure=None, found=False, exposure_most_s=0.01)
    assert none.side.value == 0
    assert none.side.at(0.05) == pytest.approx((0, 0.01))
    assert not race(shape="step", centre=None, found=False)


def test_a_preflight_has_none():
    assert not figures_of(staged("preflight"), {})
