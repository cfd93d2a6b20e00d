"""Runs of a session and the settling of a crowd: pure state, played without a socket."""

from types import SimpleNamespace
from typing import Any

import pytest

from probe.engine.pace import Crowd
from probe.engine.runs import BEGUN, COMPLETE, CUT_OFF, INCOMPLETE, LATE, Runs
from probe.engine.site import Live
from probe.history.records import Kind
from probe.model.dialect import Dialect

DIALECT = Dialect.model_validate(
    {
        "title": "d",
        "present": {"default": {}},
        "ready": {"event": "hello"},
        "run": {"start": "{run}", "events": ["a", "b", "c"]},
    }
)
A, B, C, ERROR = 2, 3, 4, 5


class Rows(list[tuple[int, ...]]):
    def row(self, *fields):
        self.append(fields)


def runs():
    journal = Rows()
    site: Any = SimpleNamespace(journal=journal, live=Live(), nonce="probe-x", dialect=DIALECT)
    rule: Any = DIALECT.run
    return Runs(site, rule, 7), journal, site.live


@pytest.mark.parametrize(
    ("events", "outcome", "seen"),
    [
        ([A, B, C], COMPLETE, 3),
        ([A, 0, B, ERROR, 1, C], COMPLETE, 3),  # others may name the run, and are none of it
        ([A, C], INCOMPLETE, 2),
        ([C], INCOMPLETE, 1),
        ([B, A, C], INCOMPLETE, 3),
        ([A, A, B, C], INCOMPLETE, 4),
        ([A, B, B, C], INCOMPLETE, 4),
        ([A, C, B], INCOMPLETE, 2),
        ([A, B, C, C], COMPLETE, 3),
    ],
)
def test_a_run_is_complete_when_each_came_once_and_in_order(events, outcome, seen):
    state, journal, live = runs()
    number, run_id = state.begin(10, 0)
    assert state.number_of(run_id) == number == 0
    assert state.number_of("somebody else's") == -1
    for t, event in enumerate(events, 11):
        state.event(t, number, event, 0)
    assert state.pending == 0
    assert state.bad == (outcome != COMPLETE)
    assert live.runs == 1
    assert journal[0] == (10, 7, 0, Kind.RUN, BEGUN, 0, 0)
    assert [row[3:] for row in journal[1:]] == [(Kind.RUN, outcome, seen, 0)]


def test_a_run_that_has_not_ended_is_pending_until_it_is_late_or_cut_off():
    state, journal, _ = runs()
    first, second, third = (state.begin(t, 0)[0] for t in (1, 2, 3))
    for event in (A, B, C):
        state.event(4, first, event, 0)
    state.event(5, second, A, 0)
    assert state.pending == 2
    state.late(6, 0)
    fourth, _ = state.begin(7, 1)
    state.cut_off(8, 1)
    state.cut_off(9, 1)
    ends = [(row[4], row[6]) for row in journal if row[4] != BEGUN]
    assert ends == [(COMPLETE, first), (LATE, second), (LATE, third), (CUT_OFF, fourth)]
    assert (state.pending, state.bad) == (0, 3)


def test_ids_are_of_this_run_and_session_and_never_twice():
    state, _, _ = runs()
    assert [state.begin(1, 0)[1] for _ in range(3)] == [f"probe-x-7-{n}" for n in range(3)]


def client(word) -> Any:
    return SimpleNamespace(is_ready="r" in word, over="o" in word)


@pytest.mark.parametrize(
    ("once", "retrying", "good", "settled"),
    [
        ("", "", 1, False),
        ("", "r", 3, True),
        ("", "r .", 3, False),
        ("r r r", "", 3, True),
        ("o r r r", "", 3, True),
        ("r r", "", 3, False),
        ("r r r .", "", 3, True),  # the newest are still under way
        ("r r r o", "", 3, False),
        ("r o r r", "", 3, False),
        ("r . r r", "", 3, False),
        ("r r r", ".", 3, False),
        ("r r ro", "r", 3, True),
    ],
)
def test_a_target_has_settled_when_the_newest_were_let_in_and_all_who_retry(
    once, retrying, good, settled
):
    nowhere: Any = SimpleNamespace()
    crowd = Crowd(nowhere, {})
    crowd._newest.extend(client(word) for word in once.split())
    crowd._retrying.extend(client(word) for word in retrying.split())
    assert crowd.settled(good) is settled
