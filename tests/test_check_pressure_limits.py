"""Limits: what waits for a slow reader, messages per time, and the size of a message."""

import pytest

from probe.check.judge import judge
from probe.check.verdict import Outcome
from probe.history.records import Kind, Run, run_key
from tests.pressure_histories import (
    FLOOD_FROM,
    KIB,
    enlarged,
    flood,
    flooded,
    got,
    large,
    run,
    sentinel,
    squeeze,
    squeezed,
    strained,
    torn,
)


def judged(story, what, **how):
    judgement = judge(story.history(**how), story.resolved)
    checks = {c.id: c for c in judgement.checks}
    return checks[f"users.{what}"], {f.code: f for f in judgement.findings}, judgement


# A slow reader.


@pytest.mark.parametrize(
    ("sizes", "queue", "verdict", "low", "high"),
    [
        ((150, 95, 110, 130), 120, Outcome.PASS, 110, 130),
        ((98, 99), 100, Outcome.PASS, 98, 99),  # 101 events were never promised
        ((150, 40, 90), 80, Outcome.FAIL, 40, 90),
        ((150, 40), 120, Outcome.INCONCLUSIVE, 40, 150),  # nothing in between was tried
        ((40, 50), 120, Outcome.INCONCLUSIVE, 50, None),  # nothing near the promise
        ((500, 300), 120, Outcome.INCONCLUSIVE, None, 300),  # nothing within it
        ((95,), 120, Outcome.PASS, 95, None),
    ],
)
def test_the_step_lies_between_two_sizes(sizes, queue, verdict, low, high):
    check, found, judgement = judged(squeezed(*sizes, queue=queue), "pressure.step")
    assert check.verdict is verdict, check.message
    assert check.estimate == low
    assert check.interval == (low or 0, high)
    assert ("pressure.queue_small" in found) == (verdict is Outcome.FAIL)
    table = judgement.summary["pressure"]["users"]
    assert (table["clean"], table["lost"]) == (low or 0, high or 0)


def test_one_lost_repeat_makes_a_size_a_lossy_one():
    story = strained({"pressure": True})
    session = story.client(100, "good", lasts=9000)
    for number, lost in enumerate((0, 0, 5)):
        squeeze(story, session, 200 + number * 500, number, 90, lost=lost)
    squeeze(story, session, 2000, 3, 60)
    check, found, judgement = judged(story, "pressure.step")
    assert check.interval == (60, 90)
    assert found["pressure.queue_small"].count == 1
    assert "5 of each of 1 run of 92 events" in found["pressure.queue_small"].message
    tries = {row["size"]: row for row in judgement.summary["pressure"]["users"]["tries"]}
    assert (tries[90]["runs"], tries[90]["lost"], tries[90]["events_lost"]) == (3, 1, 5)


def test_a_duplicate_does_not_hide_a_loss():
    story = strained({"pressure": True})
    session = story.client(100, "good", lasts=9000)
    squeeze(story, session, 200, 0, 60, lost=3)
    for _ in range(3):
        got(story, session, 402, "thinking", key=run_key(session, 0), a=5)
    check, _, judgement = judged(story, "pressure.step")
    assert check.verdict is Outcome.FAIL
    assert judgement.summary["pressure"]["users"]["tries"][0]["events_lost"] == 3


def test_a_larger_size_that_came_whole_does_not_undo_a_loss():
    story = strained({"pressure": True})
    session = story.client(100, "good", lasts=9000)
    for number, (size, lost) in enumerate([(40, 0), (90, 5), (150, 0)]):
        squeeze(story, session, 200 + number * 500, number, size, lost=lost)
    check, _, _ = judged(story, "pressure.step")
    assert (check.verdict, check.interval) == (Outcome.FAIL, (40, 90))


def test_events_without_numbers_are_counted():
    story = squeezed(40, 60, 90, queue=50, numbered=False)
    assert judged(story, "pressure.step")[0].interval == (40, 60)


def test_without_a_sentinel_it_waits_for_the_quiet():
    """What is missing is lost only once it can no longer come."""
    for lasts, verdict in ((1000, Outcome.INCONCLUSIVE), (8000, Outcome.FAIL)):
        story = strained({"pressure": True})
        session = story.client(100, "good", lasts=lasts)
        squeeze(story, session, 200, 0, 90, lost=3, back=None)
        check, _, judgement = judged(story, "pressure.step")
        assert check.verdict is verdict
        unknown = judgement.summary["pressure"]["users"]["tries"][0]["unknown"]
        assert unknown == (verdict is Outcome.INCONCLUSIVE)


def test_what_was_still_being_sent_had_not_waited():
    story = squeezed(95)
    got(story, 0, 800, "completed", key=run_key(0, 0), a=97)  # behind the sentinel's answer
    check, found, _ = judged(story, "pressure.step")
    assert (check.verdict, found) == (Outcome.INCONCLUSIVE, {})


def test_runs_of_a_reader_that_reads_are_no_squeeze():
    story = strained({"pressure": True})
    session = story.client(100, "good", lasts=9000)
    run(story, session, 200, size=50, lost=9, how=Run.GIVEN_UP)
    assert judged(story, "pressure.step")[0].n == 0


def test_a_promise_that_is_not_made_cannot_be_broken():
    check, found, _ = judged(squeezed(40, 90, queue=50, promised=None), "pressure.step")
    assert check.verdict is Outcome.INCONCLUSIVE
    assert check.interval == (40, 90)
    assert found == {}


def test_every_drop_has_to_be_told():
    assert judged(squeezed(95, 150), "pressure.told")[0].verdict is Outcome.PASS
    check, found, _ = judged(squeezed(95, 150, told=False), "pressure.told")
    assert check.verdict is Outcome.FAIL
    assert "no events_dropped said so" in found["pressure.silent_drop"].message
    assert judged(squeezed(95), "pressure.told")[0].verdict is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(("after_ms", "verdict"), [(60, Outcome.PASS), (None, Outcome.FAIL)])
def test_a_run_that_is_still_sent_may_be_told_of_drops_until_its_end(after_ms, verdict):
    story = strained({"pressure": True}, dialect={"promises": {"queue": 100}})
    session = story.client(100, "good", lasts=3000)
    squeeze(story, session, 200, 0, 95)
    key = run_key(session, 1)
    story.row(800, Kind.STALL, session, 0, 0)
    story.row(801, Kind.RUN, session, 0, Run.BEGUN, 150, key)
    story.row(1000, Kind.STALL, session, 0, 1)
    sentinel(story, session, 1001, 2, back=10)
    got(story, session, 1002, "started", key=key, a=1)
    for k in range(60):
        got(story, session, 1003, "thinking", key=key, a=2 + k)
    if after_ms is not None:
        got(story, session, 1000 + after_ms, "events_dropped")
    got(story, session, 1100, "completed", key=key, a=152)
    story.row(1100, Kind.RUN, session, 0, Run.ENDED, 62, key)
    check, found, _ = judged(story, "pressure.told")
    assert check.verdict is verdict, check.message
    assert ("pressure.silent_drop" in found) == (verdict is Outcome.FAIL)


def test_what_was_told_of_another_run_does_not_count():
    story = squeezed(95, 150, told=False)
    got(story, 0, 350, "events_dropped")  # while the first run waited
    assert judged(story, "pressure.told")[0].verdict is Outcome.FAIL
    got(story, 0, 950, "events_dropped")  # after the sentinel's answer
    assert judged(story, "pressure.told")[0].verdict is Outcome.FAIL


def test_a_dialect_without_a_message_for_drops_is_not_held_to_it():
    story = strained({"pressure": True}, dialect={"dropped": None, "promises": {"queue": 100}})
    session = story.client(100, "good", lasts=9000)
    squeeze(story, session, 200, 0, 95)
    squeeze(story, session, 900, 1, 150, lost=30, told=False)
    judgement = judge(story.history(), story.resolved)
    assert "users.pressure.told" not in {c.id for c in judgement.checks}
    assert not judgement.findings


# Messages per time.


def test_a_limit_that_was_not_met_is_left_open():
    check, found, judgement = judged(flooded(answered=100, limited=0), "rate_limit.told")
    assert (check.verdict, found) == (Outcome.INCONCLUSIVE, {})
    assert "no limit was met by 100 messages at once" in check.message
    assert judgement.verdict is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("story", "verdict", "words"),
    [
        (flooded(), Outcome.PASS, "of 100 messages at once 60 were answered and 40 were told"),
        (flooded(limited=39), Outcome.FAIL, "1 was dropped in silence"),
        (flooded(limited=0), Outcome.FAIL, "40 were dropped in silence"),
        (flooded(limited=0, way="closed_late"), Outcome.PASS, "closed with 1008 (policy viola"),
        (flooded(limited=5, way="dropped_late"), Outcome.PASS, "5 were told"),
    ],
)  # fmt: skip
def test_every_message_is_answered_or_told(story, verdict, words):
    check, found, _ = judged(story, "rate_limit.told")
    assert check.verdict is verdict, check.message
    assert words in check.message
    assert ("rate_limit.silent" in found) == (verdict is Outcome.FAIL)


def test_what_came_for_later_messages_is_not_taken_for_the_flood():
    story = strained({"rate_limit": True})
    session = story.client(100, "good", lasts=9000)
    flood(story, session, 500, 100, 60, 39)
    sentinel(story, session, 3000, 1, back=None)
    got(story, session, 3001, "rate_limited")
    check, _, _ = judged(story, "rate_limit.told")
    assert check.verdict is Outcome.FAIL


def test_an_error_is_an_answer():
    story = flooded(limited=39)
    got(story, 0, 600, "error")
    assert judged(story, "rate_limit.told")[0].verdict is Outcome.PASS


def test_others_are_to_be_spared():
    check, found, _ = judged(flooded(hit=True), "rate_limit.per_user")
    assert check.verdict is Outcome.FAIL
    assert "5 told to be over the limit, 5 left without an answer to a sentinel" in (
        found["rate_limit.global"].message
    )
    check, found, _ = judged(flooded(others=0), "rate_limit.per_user")
    assert (check.verdict, check.n, found) == (Outcome.INCONCLUSIVE, 0, {})


@pytest.mark.parametrize(
    ("how", "broken"),
    [(Run.REFUSED, True), (Run.GIVEN_UP, True), (Run.ENDED, False), (Run.CUT_OFF, False)],
)
def test_runs_of_others_are_to_be_served(how, broken):
    story = flooded()
    session = story.client(450, "good", lasts=9000)
    run(story, session, 550, lost=0 if how == Run.ENDED else 3, how=how)
    check, _, _ = judged(story, "rate_limit.per_user")
    assert (check.verdict is Outcome.FAIL) == broken


def test_a_run_of_another_that_began_and_hung_met_no_limit():
    story = flooded()
    session = story.client(450, "good", lasts=9000)
    run(story, session, 550, lost=1, how=Run.GIVEN_UP)
    assert judged(story, "rate_limit.per_user")[0].verdict is Outcome.PASS


def test_another_connection_of_the_same_user_may_be_limited():
    story = flooded()
    session = story.client(450, "good", lasts=9000)
    # The same identity as the one who floods.
    story.rows = [
        (*row[:6], 0) if row[1] == session and row[3] == Kind.INTENDED else row
        for row in story.rows
    ]
    sentinel(story, session, 550, 1, back=None)
    got(story, session, 551, "rate_limited")
    check, found, _ = judged(story, "rate_limit.per_user")
    assert (check.verdict, check.n, found) == (Outcome.PASS, 5, {})


def test_a_limit_passes_once_its_time_is_over():
    assert judged(flooded(), "rate_limit.passes")[0].verdict is Outcome.PASS
    assert judged(flooded(again=False), "rate_limit.passes")[0].verdict is Outcome.FAIL
    for at, verdict in ((700, Outcome.INCONCLUSIVE), (4000, Outcome.FAIL)):
        story = strained({"rate_limit": True})
        session = story.client(100, "good", lasts=9000)
        flood(story, session, 500, 100, 60, 40)
        run(story, session, at, lost=3, how=Run.REFUSED)
        assert judged(story, "rate_limit.passes")[0].verdict is verdict
        run(story, session, 5000, number=1)
        assert judged(story, "rate_limit.passes")[0].verdict is Outcome.PASS


# The size of a message.


@pytest.mark.parametrize(
    ("cases", "verdict", "codes"),
    [
        ([(32, "taken"), (64, "taken"), (65, "closed")], Outcome.PASS, set()),
        ([(32, "taken")], Outcome.INCONCLUSIVE, set()),
        ([(65, "closed")], Outcome.INCONCLUSIVE, set()),
        ([(32, "closed"), (65, "closed")], Outcome.FAIL, {"large.refused"}),
        ([(32, "other"), (65, "closed")], Outcome.FAIL, {"large.refused"}),
        ([(32, "dropped"), (65, "closed")], Outcome.FAIL, {"large.refused"}),
        ([(32, "silent"), (65, "closed")], Outcome.FAIL, {"large.no_answer"}),
        ([(32, "taken"), (65, "silent")], Outcome.FAIL, {"large.no_answer"}),
        ([(32, "taken"), (65, "other")], Outcome.FAIL, {"large.no_answer"}),
        ([(32, "taken"), (65, "taken")], Outcome.FAIL, {"large.accepted_over"}),
    ],
)
def test_both_sides_of_the_promised_size(cases, verdict, codes):
    story = enlarged(*[(size * KIB, fate) for size, fate in cases])
    check, found, _ = judged(story, "large")
    assert check.verdict is verdict, check.message
    assert {code for code in found if code.startswith("large.")} == codes


def test_a_message_that_met_a_rate_limit_is_unknown():
    story = enlarged((32 * KIB, "taken"), (65 * KIB, "closed"))
    session = story.client(200, "good", lasts=8000)
    large(story, session, 1300, 32 * KIB, back=None)
    got(story, session, 1301, "rate_limited")
    check, found, _ = judged(story, "large")
    assert (check.verdict, found) == (Outcome.PASS, {})
    assert "of 1 message it is not known" in check.message


def test_an_error_refuses_and_what_follows_is_not_its_answer():
    story = enlarged((65 * KIB, "closed"))
    session = story.client(200, "good", lasts=8000)
    large(story, session, 1300, 32 * KIB, back=None)
    got(story, session, 1301, "error")
    sentinel(story, session, 1250, 8)  # neither is what came before it
    sentinel(story, session, 2000, 9)
    _, found, _ = judged(story, "large")
    assert set(found) == {"large.refused"}


def test_an_earlier_answer_is_not_its_answer():
    story = enlarged((65 * KIB, "closed"))
    session = story.client(200, "good", lasts=9000)
    sentinel(story, session, 1250, 6)
    large(story, session, 1300, 32 * KIB, back=None)
    _, found, _ = judged(story, "large")
    assert set(found) == {"large.no_answer"}


def test_without_a_sentinel_what_the_connection_outlives_is_taken():
    story = strained({"large": True}, dialect={"sentinel": None})
    session = story.client(100, "good", lasts=5000)
    story.row(1000, Kind.PUT, session, 0, 5, 32 * KIB, -1)
    check, _, judgement = judged(story, "large")
    assert "1 of 1 message of up to 64 KiB was taken" in check.message
    assert judgement.summary["large"]["users"]["sizes"][0]["taken"] == 1


def test_without_a_promise_nothing_is_judged():
    story = strained({"large": True}, dialect={"accepts_max": None})
    session = story.client(100, "good", lasts=5000)
    large(story, session, 1000, 32 * KIB, back=None)
    check, found, _ = judged(story, "large")
    assert (check.verdict, found) == (Outcome.INCONCLUSIVE, {})


# Rows that the journal dropped.


def test_what_the_journal_dropped_was_lost_by_nobody_else():
    thinking = squeezed(50).dialect.types.index("thinking") + 1
    story = torn(squeezed(50, 60, 95), Kind.GOT, 10, flag=thinking)
    for what in ("pressure.step", "pressure.told"):
        check, found, _ = judged(story, what)
        assert (check.verdict, found) == (Outcome.INCONCLUSIVE, {}), check.message
        assert "of the journal were lost" in check.message


@pytest.mark.parametrize("number", [FLOOD_FROM + 3, 1])
def test_an_answer_that_the_journal_dropped_was_no_silence(number):
    story = torn(flooded(again=True, others=5), Kind.SENTINEL, 1, flag=1, b=number)
    for what in ("told", "per_user", "passes"):
        check, found, _ = judged(story, f"rate_limit.{what}")
        assert (check.verdict, found) == (Outcome.INCONCLUSIVE, {}), check.message
    # What somebody was told stays told.
    story = torn(flooded(hit=True), Kind.SENTINEL, 1, flag=1, b=FLOOD_FROM)
    check, found, _ = judged(story, "rate_limit.per_user")
    assert (check.verdict, set(found)) == (Outcome.FAIL, {"rate_limit.global"})


def test_a_large_message_whose_answer_the_journal_dropped_is_unknown():
    story = torn(enlarged((KIB, "taken"), (32 * KIB, "taken")), Kind.SENTINEL, 1, flag=1)
    check, found, _ = judged(story, "large")
    assert (check.verdict, found) == (Outcome.INCONCLUSIVE, {})
    assert "of 1 message it is not known" in check.message
