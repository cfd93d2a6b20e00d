"""Pings of who is only connected: slow together is a disturbance, once may be the machine's."""

import pytest

from probe.check.judge import judge
from probe.check.verdict import Outcome
from probe.history.records import Kind, Put
from tests.histories import Story

STAGE = {
    "populations": {"users": {"shape": {"clients": 3}}},
    "expect": {"undisturbed": "80ms"},
}


def story_of(blocks=(), *, lag=None, clients=3):
    """Clients that ping every 20 ms for 2 s; within a block (from, to) all wait for its end."""
    story = Story({"calm": STAGE}).stage(0, 0, 12_000).fit(n=1200)
    for session in [story.open(100).session for _ in range(clients)]:
        for k in range(100):
            at = 200 + k * 20 + session
            story.row(at, Kind.PING, session, 0, b=k)
            back = max([end for begin, end in blocks if begin <= at < end], default=at + 1)
            story.row(back, Kind.PONG, session, 0, b=k)
        story.row(3000, Kind.TRAFFIC, session, 0, 1, 1, 60)
    if lag is not None:
        story.row(lag[0], Kind.LAG, b=round(lag[1] * 1e6))
    return story


def judged(story):
    judgement = judge(story.history(), story.resolved)
    return next(c for c in judgement.checks if c.id == "calm.undisturbed"), judgement


def test_quick_pongs_pass():
    check, _ = judged(story_of())
    assert (check.verdict, check.n) == (Outcome.PASS, 300)
    assert "no ping of 300 waited longer than 1 ms" in check.message


def test_two_times_in_which_all_waited_are_the_service():
    check, judgement = judged(story_of([(400, 500), (900, 1100)]))
    assert check.verdict is Outcome.FAIL
    assert "2 times clients that were only connected waited for up to 200 ms" in check.message
    (finding,) = [f for f in judgement.findings if f.code == "loop.blocked"]
    assert finding.count == 2
    assert finding.witness


def test_once_is_left_open():
    check, judgement = judged(story_of([(400, 500)]))
    assert check.verdict is Outcome.INCONCLUSIVE
    assert "once may be the machine's" in check.message
    assert not judgement.findings


def test_waits_within_the_limit_are_none():
    assert judged(story_of([(400, 470), (900, 975)]))[0].verdict is Outcome.PASS


def test_what_came_while_the_probe_was_late_itself_is_left_out():
    check, _ = judged(story_of([(400, 500)], lag=(495, 90)))
    assert check.verdict is Outcome.PASS
    assert "1 more came while the probe itself was late" in check.message


@pytest.mark.parametrize(("kind", "words"), [(Kind.PUT, "run starts"), (Kind.SENT, "log in")])
def test_what_others_asked_for_just_then_tells_the_cause(kind, words):
    story = story_of([(400, 500), (900, 1100)])
    other = story.open(150).session
    for at in (398, 899):
        story.row(at, kind, other, 0, Put.START if kind is Kind.PUT else 0, 10, 0)
    _, judgement = judged(story)
    (finding,) = [f for f in judgement.findings if f.code == "loop.blocked"]
    assert words in finding.cause


def test_no_ping_is_nothing_measured():
    story = Story({"calm": STAGE}).stage(0, 0, 5000).fit()
    story.client(100, "good")
    check, _ = judged(story)
    assert (check.verdict, check.n) == (Outcome.INCONCLUSIVE, 0)
