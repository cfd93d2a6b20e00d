"""Connections: a service that goes away, ends that nobody asked for, pings without a pong."""

import pytest

from probe.check.judge import judge
from probe.check.verdict import Outcome
from probe.history.records import Kind, Run
from probe.history.records import Outcome as Ended
from tests.histories import LOAD, RESTART, Story
from tests.pressure_histories import (
    DIALECT,
    KIB,
    closed,
    large,
    outage,
    pinged,
    run,
    stayed,
    strained,
    torn,
)


def judged(story, what, **how):
    judgement = judge(story.history(**how), story.resolved)
    check = {c.id: c for c in judgement.checks}[f"users.{what}"]
    return check, {f.code: f for f in judgement.findings}


# A service that is gone.


@pytest.mark.parametrize(
    ("story", "words", "cause"),
    [
        (outage("refused"), "10 refused in tcp", "the process ended"),
        (outage("no_answer", took=900), "10 timeout in upgrade", "does not answer"),
        (outage("reset"), "10 reset in upgrade", "ended as soon as they are made"),
        (outage("status", status=502), "10 status 502", "still answers HTTP"),
    ],
)
def test_it_is_told_when_how_and_whom_it_took_along(story, words, cause):
    check, found = judged(story, "service")
    one = found["service.gone"]
    assert check.verdict is Outcome.FAIL
    assert "gone from 3 s after the stage began" in one.message
    assert "10 open connections ended, and all 10 attempts" in one.message
    assert words in one.message
    assert "20 clients went with it" in one.message
    assert cause in one.cause
    assert one.severity == "critical"


@pytest.mark.parametrize(
    ("story", "verdict"),
    [
        (outage("refused", held=0, after=5), Outcome.FAIL),  # five tries
        (outage("refused", held=0, after=4), Outcome.INCONCLUSIVE),  # within 0.6 s
        (outage("refused", held=10, after=1), Outcome.FAIL),  # all lost, and one try
        (outage("refused", held=3, after=1), Outcome.INCONCLUSIVE),
        (outage("refused", held=10, after=0), Outcome.INCONCLUSIVE),  # nobody tried
        (outage("refused", held=0, after=1), Outcome.PASS),  # one that failed is no outage
        (outage("status", status=401, held=0), Outcome.PASS),  # somebody says so
        (outage("status", status=429), Outcome.PASS),
        (outage("local"), Outcome.INCONCLUSIVE),  # our own failure says nothing
        (outage("good"), Outcome.PASS),
    ],
)
def test_a_few_failures_are_no_outage(story, verdict):
    check, found = judged(story, "service")
    assert check.verdict is verdict, check.message
    assert ("service.gone" in found) == (verdict is Outcome.FAIL)


def test_two_tries_over_a_second_are_enough():
    story = outage("refused", held=0, after=1)
    story.client(4500, "refused")
    check, _ = judged(story, "service")
    assert check.verdict is Outcome.FAIL


def test_a_service_that_comes_back_or_keeps_a_connection_is_not_gone():
    story = outage("refused")
    story.client(6000, "good")
    assert judged(story, "service")[0].verdict is Outcome.PASS
    story = outage("status", status=503)
    story.client(200, "good", lasts=20_000)
    assert judged(story, "service")[0].verdict is Outcome.PASS
    story = outage("refused")  # whether this one was lost is not known
    session = story.client(200, "good", done=-1)
    story.rows = [r for r in story.rows if not (r[1] == session and r[3] == Kind.END)]
    assert judged(story, "service")[0].verdict is not Outcome.FAIL


def test_what_worked_in_an_earlier_stage_can_be_gone_in_this_one():
    def two(way):
        stages = {name: {**LOAD, "expect": {"success": {"rate": "10%"}}} for name in ("a", "users")}
        story = Story(stages, dialect=DIALECT).stage(0, 0, 2000).stage(1, 3000, 9000).fit()
        for k in range(10):
            story.client(100 + k * 20, way, population=0, lasts=300)
            story.client(3100 + k * 300, "refused", population=1)
        return story

    check, found = judged(two("good"), "service")
    assert check.verdict is Outcome.FAIL
    assert "gone from 100 ms after the stage began" in found["service.gone"].message
    check, found = judged(two("refused"), "service")
    assert check.verdict is Outcome.INCONCLUSIVE
    assert "service.gone" not in found
    assert "target.refused" in found


def test_restarts_and_stages_without_expectations_are_not_held_to_it():
    story = Story({"users": {**RESTART, "expect": {"definite": True}}}).stage().fit()
    story.trial(0, 100, 2000)
    story.client(200, "refused")
    checks = {c.id for c in judge(story.history(), story.resolved).checks}
    assert "users.service" not in checks
    story = Story({"users": LOAD}).stage().fit()
    story.client(200, "good")
    assert not judge(story.history(), story.resolved).checks


def test_an_unfit_probe_does_not_take_its_own_silence_for_the_service():
    for way, verdict in (("no_answer", Outcome.INCONCLUSIVE), ("refused", Outcome.FAIL)):
        story = outage(way, **({"took": 900} if way == "no_answer" else {})).fit(lag_ms=30, n=2000)
        assert judged(story, "service")[0].verdict is verdict


def test_connections_that_fall_silent_are_told():
    story = outage("no_answer", took=900, held=0)
    for k in range(3):
        story.client(1000 + k, "timeout", lasts=9000)
    check, found = judged(story, "service")
    assert check.verdict is Outcome.FAIL
    assert "3 open connections fell silent, and all 10" in found["service.gone"].message
    assert "13 clients went with it" in found["service.gone"].message


def fell_silent(n=6, *, asked=True, deaf=False):
    """Clients whose service goes mute after 301 ms; each gives up its run, asks, and closes."""
    story = strained({"stays": True})
    if deaf:  # one whose Close was not answered either, while the others were served
        first = story.open(50)
        story.row(80, Kind.CLOSE, first.session, 0, 0, 1000)
        story._over(first, 5080, Ended.TIMEOUT)
    for k in range(n):
        client = story.open(100 + k)
        story.run(client, 200 + k, "started", "thinking", "completed", size=1)
        if asked:
            story.settle(client, 500 + k, answered=None)
        story.row(40_000, Kind.CLOSE, client.session, 0, 0, 1000)
        story._over(client, 55_000 + k, Ended.TIMEOUT)
    return story


def test_all_that_fall_silent_without_a_further_try_are_told_too():
    check, found = judged(fell_silent(), "service")
    assert check.verdict is Outcome.FAIL
    assert "fell silent 208 ms after the stage began" in check.message
    assert "on any of 6 open connections, not even an answer to our Close" in check.message
    assert found["service.gone"].count == 6
    assert found["service.gone"].witness


@pytest.mark.parametrize(
    ("story", "verdict"),
    [
        (fell_silent(1), Outcome.INCONCLUSIVE),
        (fell_silent(asked=False), Outcome.INCONCLUSIVE),  # only the Close was not answered
        (fell_silent(asked=False, deaf=True), Outcome.PASS),  # as ever with this service
    ],
)
def test_a_close_without_an_answer_is_no_sign_of_life(story, verdict):
    check, found = judged(story, "service")
    assert (check.verdict, found) == (verdict, {}), check.message


def test_rows_that_the_journal_dropped_may_have_been_signs_of_life():
    for story in (outage(), fell_silent()):
        story.row(500, Kind.GAP, a=3)
        check, found = judged(story, "service")
        assert (check.verdict, found) == (Outcome.INCONCLUSIVE, {})
        assert "3 rows of the journal were lost" in check.message


def test_who_breaks_the_protocol_is_there_and_has_ended_the_connection():
    story = stayed("broken", "closed_late", lasts=500, detail="reserved bits set")
    check, found = judged(story, "stays")
    assert "1 by a Close, 0 by a drop of TCP, 1 by what broke the protocol" in check.message
    assert "(reserved bits set)" in found["session.protocol"].message
    story = strained({"stays": True})
    for k in range(6):
        story.client(100 + k, "broken", lasts=500)
    assert judged(story, "service")[0].verdict is Outcome.PASS


def test_it_is_told_before_what_follows_from_it():
    stages = {"users": {**LOAD, "expect": {"definite": True, "success": {"rate": "90%"}}}}
    story = Story(stages, dialect=DIALECT).stage().fit()
    for k in range(30):
        if k < 10:
            story.client(100 + k * 300, "good", lasts=200)
        else:
            story.client(100 + k * 300, "no_answer", took=900)
    findings = judge(story.history(), story.resolved).findings
    assert [f.code for f in findings] == [
        "service.gone", "connect.no_answer", "session.failed",
    ]  # fmt: skip


def test_health_is_quoted_beside_it():
    story = outage().health(3500, 1)
    assert "health went on to answer well (1 of 1 time)" in (
        judged(story, "service")[1]["service.gone"].message
    )
    story = outage().health(3500, 0, status=0)
    assert "health did not answer well" in judged(story, "service")[1]["service.gone"].message


# Ends that nobody asked for.


def test_what_was_under_way_is_the_pattern():
    for midrun, cause in ((True, "while it is at work"), (False, "an idle timeout")):
        _, found = judged(stayed("closed_late", lasts=500, midrun=midrun), "stays")
        assert cause in found["session.closed"].cause
        assert ("had a run under way" in found["session.closed"].message) == midrun


def test_a_close_and_a_drop_are_two_findings_of_one_check():
    check, found = judged(stayed("closed_late", "dropped_late", "dropped_late"), "stays")
    assert check.verdict is Outcome.FAIL
    assert "3 of 40 connections were ended by the service unasked: 1 by a Close, 2" in check.message
    assert (found["session.closed"].count, found["session.dropped"].count) == (1, 2)


def test_ends_that_we_asked_for_are_none():
    story = strained({"stays": True})
    for k in range(20):
        session = story.client(100 + k, "good", lasts=1500)
        story.row(1000, Kind.VANISH, session, 0)
    session = story.client(200, "closed_late", lasts=1500)
    closed(story, session, 1009)
    large(story, session, 1600, 70 * KIB, back=None)
    check, found = judged(story, "stays")
    assert (check.verdict, check.n, found) == (Outcome.PASS, 21, {})


def test_a_1009_without_a_large_message_is_unasked():
    story = strained({"stays": True})
    closed(story, story.client(200, "closed_late", lasts=1500), 1009)
    assert judged(story, "stays")[0].verdict is Outcome.FAIL


def test_an_end_that_was_not_recorded_leaves_it_open():
    story = stayed(n=5)
    session = story.client(300, "good", done=-1)
    story.rows = [r for r in story.rows if not (r[1] == session and r[3] == Kind.END)]
    check, _ = judged(story, "stays")
    assert check.verdict is Outcome.INCONCLUSIVE
    assert "of 1 connection no end was recorded" in check.message


def test_what_has_not_ended_lasted_until_the_last_that_came():
    story = strained({"stays": True})
    client = story.open(100)
    story.got(client, 1100, "pong")
    check, _ = judged(story, "stays")
    assert "the longest lasted 1 s" in check.message


def test_a_run_that_was_over_before_was_not_under_way():
    story = strained({"stays": True})
    session = story.client(100, "dropped_late", lasts=1500)
    run(story, session, 200, how=Run.GIVEN_UP, lost=1)
    _, found = judged(story, "stays")
    assert "under way" not in found["session.dropped"].message


# Pings.


@pytest.mark.parametrize(
    ("story", "verdict", "known"),
    [
        (pinged(1, 2, 300), Outcome.PASS, 9),
        (pinged(None, lasts=7000), Outcome.FAIL, 3),  # 6 s without an answer
        (pinged(None, lasts=2500), Outcome.FAIL, 3),  # we left after 1.6 s
        (pinged(None, lasts=1400), Outcome.INCONCLUSIVE, 0),  # we left after 0.5 s
        (pinged(None, lasts=2500, way="dropped_late"), Outcome.INCONCLUSIVE, 0),
        (pinged(None, lasts=7000, way="dropped_late"), Outcome.FAIL, 3),
        (pinged(None, 5, lasts=2500, way="dropped_late"), Outcome.FAIL, 6),  # a later one was
        (pinged(5, None, lasts=2500, way="dropped_late"), Outcome.PASS, 3),
    ],
)
def test_a_ping_is_unanswered_only_where_there_was_time_for_it(story, verdict, known):
    check, found = judged(story, "pings")
    assert (check.verdict, check.n) == (verdict, known), check.message
    assert ("ping.unanswered" in found) == (verdict is Outcome.FAIL)


def test_only_the_latest_of_pings_at_hand_need_be_answered():
    for apart, verdict in ((50, Outcome.PASS), (500, Outcome.FAIL)):
        story = strained({"pings": True})
        session = story.client(100, "good", lasts=20_000)
        for number in range(2):
            story.row(1000 + number * apart, Kind.PING, session, 0, b=number)
        story.row(2000, Kind.PONG, session, 0, b=1)
        assert judged(story, "pings")[0].verdict is verdict


def test_a_ping_is_answered_on_its_own_connection_by_its_own_token():
    story = strained({"pings": True})
    first, second = (story.client(100 + k, "good", lasts=20_000) for k in range(2))
    story.row(1000, Kind.PING, first, 0, b=5)
    story.row(1000, Kind.PING, second, 0, b=5)
    story.row(1001, Kind.PONG, second, 0, b=5)
    story.row(1001, Kind.PONG, first, 0, b=6)
    check, found = judged(story, "pings")
    assert check.verdict is Outcome.FAIL
    assert found["ping.unanswered"].count == 1


def test_only_a_pong_behind_its_ping_answers_it():
    for at, verdict in ((950, Outcome.FAIL), (1050, Outcome.PASS)):
        story = strained({"pings": True})
        session = story.client(100, "good", lasts=20_000)
        story.row(at, Kind.PONG, session, 0, b=1)
        story.row(1000, Kind.PING, session, 0, b=1)
        check, _ = judged(story, "pings")
        assert check.verdict is verdict, check.message


def test_a_pong_may_be_what_the_journal_dropped():
    check, found = judged(torn(pinged(1, 1, lasts=20_000), Kind.PONG, 1), "pings")
    assert (check.verdict, found) == (Outcome.INCONCLUSIVE, {})
    assert "of 1 ping it is not known; but 1 row of the journal" in check.message


def test_what_we_do_not_read_is_not_held_against_the_service():
    story = strained({"pings": True})
    session = story.client(100, "good", lasts=20_000)
    story.row(900, Kind.STALL, session, 0, 0)
    story.row(1000, Kind.PING, session, 0, b=1)
    assert judged(story, "pings")[0].verdict is Outcome.INCONCLUSIVE


def test_a_dialect_may_promise_no_pongs():
    story = strained({"pings": True}, dialect={"promises": {"pings": False}})
    session = story.client(100, "good", lasts=20_000)
    story.row(1000, Kind.PING, session, 0, b=1)
    check, found = judged(story, "pings")
    assert (check.verdict, found) == (Outcome.INCONCLUSIVE, {})


@pytest.mark.parametrize("what", ["stays", "pings"])
def test_a_pass_needs_a_journal_without_gaps(what):
    story = {"stays": stayed(), "pings": pinged(1)}[what]
    story.row(500, Kind.GAP, a=3)
    check, _ = judged(story, what)
    assert check.verdict is Outcome.INCONCLUSIVE
