"""Runs of a session: when each is over, whose id is whose, and what a run still waits for."""

import pytest

from probe.engine.runs import Runs
from probe.engine.site import NOT_OURS
from probe.history.records import Kind, Run, run_key
from tests.engine_sites import ERROR, HELLO, A, B, C, site_of, spoken

S = 1_000_000_000


def runs(session=7, **more):
    site, rows = site_of(spoken(**more))
    return Runs(site, site.dialect.run, session), rows, site


def ends(rows):
    """(what, events seen, number) of all but the beginnings."""
    return [(f, a, b & 0xFFFF) for f, a, b in rows.of(Kind.RUN) if f != Run.BEGUN]


@pytest.mark.parametrize(
    ("events", "seen"),
    [([A, B, C], 3), ([C], 1), ([A, C], 2), ([B, A, A, C], 4), ([A, B, B, B, C], 5)],
)
def test_a_run_is_over_when_its_last_event_came_whatever_came_before(events, seen):
    state, rows, site = runs()
    run, _ = state.begin(10, 0, 4)
    for t, event in enumerate(events, 11):
        assert not run.over
        state.event(t, run, event, 2)
    assert run.over
    assert not state.pending
    assert (state.hung, state.refused, site.live.runs) == (0, 0, 1)
    key = run_key(7, 0)
    assert rows[0] == (10, 7, 0, Kind.RUN, Run.BEGUN, 4, key)
    assert rows[-1] == (10 + len(events), 7, 2, Kind.RUN, Run.ENDED, seen, key)
    assert run.repeated == events.count(B)


def test_what_comes_after_the_end_ends_it_not_again():
    state, rows, _ = runs()
    run, _ = state.begin(1, 0)
    for event in (A, C, B, C):
        state.event(2, run, event, 0)
    state.refuse(3, run, 0)
    assert ends(rows) == [(Run.ENDED, 2, 0)]
    assert (run.seen, state.refused) == (4, 0)


def test_refused_given_up_and_cut_off():
    state, rows, _ = runs()
    first, second, third = (state.begin(t, 0)[0] for t in (1, 2, 3))
    state.event(4, second, A, 0)
    state.refuse(5, first, 0)
    third.gap = True
    state.give_up(6, 0)
    fourth, _ = state.begin(7, 1)
    state.cut_off(8, 1)
    state.cut_off(9, 1)
    assert fourth.over
    assert ends(rows) == [
        (Run.REFUSED, 0, 0), (Run.GIVEN_UP, 1, 1), (Run.GIVEN_UP, 0, 2), (Run.CUT_OFF, 0, 3),
    ]  # fmt: skip
    # Of the third it is not known that it hangs: its end may have come while we were away.
    assert (state.hung, state.refused) == (1, 1)


def test_of_a_run_without_a_name_an_unknown_id_may_be_the_name():
    state, rows, _ = runs(run=NAMED_BY_SERVICE)
    run, _ = state.begin(1, 0)
    state.doubt(2, named=True)
    assert run.doubted_ns == 2
    state.named("x1", A)
    state.event(3, run, A, 0)
    state.doubt(4, named=True)
    assert not run.doubted_ns
    state.begin(5, 0)
    state.doubt(6, named=False)  # which of the two?
    state.give_up(7, 0)
    assert ends(rows) == [(Run.GIVEN_UP, 1, 0), (Run.GIVEN_UP, 0, 1)]


def test_only_what_was_pending_when_the_connection_went_has_a_gap():
    state, _, _ = runs()
    done, _ = state.begin(1, 0)
    state.event(2, done, C, 0)
    going, _ = state.begin(3, 0)
    state.away()
    later, _ = state.begin(4, 1)
    assert [run.gap for run in (done, going, later)] == [False, True, False]


def test_a_run_is_waited_for_past_its_deadline_while_events_come():
    state, _, _ = runs(run={"start": "{run}", "events": ["a", "c"], "within": "10s", "quiet": "5s"})
    run, _ = state.begin(1 * S, 0)
    assert state.hopeless_ns() == 16 * S
    state.event(4 * S, run, A, 0)
    assert state.hopeless_ns() == 16 * S
    state.event(14 * S, run, A, 0)
    assert state.hopeless_ns() == 19 * S
    state.begin(12 * S, 0)
    assert state.hopeless_ns() == 27 * S


def test_ids_are_of_this_run_and_session_and_never_twice():
    state, _, site = runs()
    ids = [state.begin(1, 0)[1] for _ in range(3)]
    assert ids == [f"{site.nonce}-7-{n}" for n in range(3)]
    assert [site.key_of(each) for each in ids] == [run_key(7, n) for n in range(3)]


@pytest.mark.parametrize(
    "tail",
    ["", "-7", "-7-", "-7-01", "-07-1", "-7-1-t", "-4294967296-0", "-0-2147483648", "-7-\uff11"],
)
def test_what_only_looks_like_an_id_of_ours_is_none(tail):
    site, _ = site_of()
    assert site.key_of(site.nonce + tail) == NOT_OURS
    assert site.key_of("x" + site.nonce + "-7-1") == NOT_OURS


NAMED_BY_SERVICE = {"start": '{"go":true}', "events": ["a", "c"]}


def test_where_the_service_names_the_run_the_first_unknown_id_of_an_event_is_its_name():
    state, _, site = runs(run=NAMED_BY_SERVICE)
    assert state.named("early", A) is None  # nothing was begun
    run, run_id = state.begin(1, 0)
    assert state.unbound is run
    assert state.named("x1", ERROR) is None  # no event of a run
    assert state.named("x1", HELLO) is None
    assert state.named("x1", A) is run
    assert state.named("x1", C) is run
    assert state.unbound is None
    assert state.named("x2", A) is None
    assert site.key_of("x1") == run.key
    assert state.named(run_id, A) is None  # our own name for it was never told
    second, _ = state.begin(2, 0)
    assert state.named("x2", A) is second


def test_an_id_that_another_session_learnt_names_no_run_here():
    state, _, site = runs(run=NAMED_BY_SERVICE)
    other = Runs(site, site.dialect.run, 8)
    theirs, _ = other.begin(1, 0)
    mine, _ = state.begin(1, 0)
    assert other.named("x1", A) is theirs
    assert state.named("x1", A) is None
    assert site.key_of("x1") == theirs.key == run_key(8, 0)
    assert state.named("x2", A) is mine


def test_a_run_that_never_got_a_name_gives_way_when_it_is_over():
    state, _, _ = runs(run=NAMED_BY_SERVICE)
    state.begin(1, 0)
    state.give_up(2, 0)
    assert state.unbound is None
    assert state.named("x", A) is None
