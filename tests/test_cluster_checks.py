"""Instants of different hosts that are nearer than their clocks are known: no check orders them."""

import numpy as np
import pytest

from probe.check.bystanders import AFTER_NS, _during
from probe.check.judge import judge
from probe.check.undisturbed import _disturbances
from probe.check.verdict import Outcome
from probe.history.records import DTYPE
from tests.delivery_histories import BROADCAST, NUMBERED, WHOLE, broadcast, story_of, whole

MS = 1_000_000


def judged(story):
    return judge(story.history(), story.resolved)


def within(story, bound_ms):
    story.meta |= {"hosts": ["b", "c"], "clock_bound_ns": int(bound_ms * MS)}
    return story


@pytest.mark.parametrize(("bound_ms", "found"), [(0, True), (20, True), (95, False)])
def test_who_was_ready_hardly_before_a_run_has_missed_nothing(bound_ms, found):
    story = within(broadcast(*WHOLE[:2]), bound_ms)  # ready some 90 ms before the run
    judgement = judged(story)
    assert bool(judgement.findings) == found
    if not found:
        (check,) = (c for c in judgement.checks if c.id.endswith(".broadcast"))
        assert check.verdict is Outcome.INCONCLUSIVE
    told = judgement.authenticity["clocks"]
    assert told.startswith("those of b, c are known to")


@pytest.mark.parametrize(("bound_ms", "late"), [(0, True), (400, True), (1_500, False)])
def test_what_came_hardly_after_its_deadline_elsewhere_was_not_late(bound_ms, late):
    story = story_of(BROADCAST, NUMBERED)
    first, second = story.open(100, user=0), story.open(110, user=0)
    key = whole(story, first, 10_000)
    for k, name in enumerate(("started", "thinking", "tool")):
        story.got(second, 10_001.5 + k, name, key, k + 1)
    story.got(second, 21_000, "completed", key, 4)  # a second after its ten seconds
    story.settle(second, 25_000)
    story.close(first, 26_000)
    story.close(second, 26_010)
    codes = {each.code for each in judged(within(story, bound_ms)).findings}
    assert ("delivery.late" in codes) == late


def test_slow_pings_that_may_overlap_are_one_disturbance():
    sent = np.zeros(2, dtype=DTYPE)
    sent["t"] = (0, 101 * MS)
    took = np.array([100 * MS, 100 * MS])
    assert len(_disturbances(sent, took, 50 * MS, 0)) == 2
    assert len(_disturbances(sent, took, 50 * MS, 2 * MS)) == 1


def test_who_may_have_spoken_before_a_flood_is_no_bystander_of_it():
    times = [(100 * MS, 200 * MS)]
    t = np.array([101 * MS, 150 * MS, 200 * MS + AFTER_NS - MS, 99 * MS])
    assert _during(t, times, 0).tolist() == [True, True, True, False]
    assert _during(t, times, 2 * MS).tolist() == [False, True, False, False]
