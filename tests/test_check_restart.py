"""Restarts: the unit is the restart, switches are intervals, and what was not seen is unknown."""

import pytest

from probe.check.judge import judge
from probe.check.verdict import Outcome
from tests.histories import HERD, RESTART, Story

GAP = {"readiness_gap": {"within": "100ms", "rate": "85%"}}
RECOVERY = {"recovery": {"within": "5s", "rate": "85%"}}
EVERYBODY = {"everybody_in": {"within": "6s", "rate": "85%"}}


def story_of(expect, trials=20):
    story = Story({"boots": {**RESTART, "trials": trials, "expect": expect}})
    return story.stage(0, 0, 10_000 * (trials + 1)).fit()


def judged(story, what):
    judgement = judge(story.history(), story.resolved)
    return {c.id: c for c in judgement.checks}[f"boots.{what}"], judgement


def boot(story, number, *, healthy=300.0, works=300.0, end=3000.0, step=10):
    """One restart: health asked and a client sent every `step` ms."""
    zero = 1000 + number * 10_000
    story.trial(number, zero, zero + end)
    for k in range(int(1000 / step)):
        at = k * step
        story.health(zero + at, 1 if at >= healthy else 0, took=1)
        # The hand-made upgrade is sent 0.3 ms after the intended time.
        way = "good" if at >= works else "status"
        story.client(zero + at, way, trial=number, lasts=50)
    return zero


def test_recovery_of_twenty_restarts_passes_and_of_nineteen_is_open():
    for trials, verdict in ((20, Outcome.PASS), (18, Outcome.INCONCLUSIVE)):
        story = story_of(RECOVERY, trials)
        for number in range(trials):
            boot(story, number)
        check, judgement = judged(story, "recovery")
        assert (check.verdict, check.n) == (verdict, trials)
        assert judgement.summary["recovery"]["boots"]["median_s"] == pytest.approx(0.302, abs=0.001)
    assert "to decide it would take about 19 restarts, there are " in check.message


def test_a_restart_that_was_not_watched_long_enough_is_unknown_and_not_bad():
    story = story_of(RECOVERY, 20)
    for number in range(20):
        zero = 1000 + number * 10_000
        story.trial(number, zero, zero + (4000 if number < 10 else 6000), flag=1)
        for k in range(3):
            story.client(zero + 1000 * k, "refused", trial=number)
    check, judgement = judged(story, "recovery")
    assert check.verdict is Outcome.FAIL  # ten were watched for the whole of it
    assert "of 10 restarts it is not known" in check.message
    never = next(f for f in judgement.findings if f.code == "restart.never_ready")
    assert never.count == 10


def test_a_restart_that_did_not_take_place_is_no_unit_but_is_told():
    story = story_of(RECOVERY, 2)
    boot(story, 0)
    story.trial(1, 11_000, 12_000, flag=2, why="exit status 1")
    check, judgement = judged(story, "recovery")
    assert check.n == 1
    assert judgement.summary["failed_restarts"] == [
        "boots: 1 restart did not take place (exit status 1)"
    ]
    assert judgement.summary["recovery"]["boots"]["failed_restarts"] == 1


def test_no_restart_at_all_is_inconclusive_with_nothing_measured():
    for what, expect in (
        ("recovery", RECOVERY),
        ("readiness_gap", GAP),
        ("everybody_in", EVERYBODY),
    ):
        story = story_of(expect).health(5)
        check, _ = judged(story, what)
        assert (check.verdict, check.n) == (Outcome.INCONCLUSIVE, 0)


@pytest.mark.parametrize(
    ("works", "verdict"),
    [(300, Outcome.PASS), (380, Outcome.PASS), (400, Outcome.INCONCLUSIVE), (500, Outcome.FAIL)],
)
def test_the_gap_is_judged_by_its_interval_and_the_limit_within_it_stays_open(works, verdict):
    story = story_of(GAP)
    for number in range(20):
        boot(story, number, healthy=300, works=works)
    check, judgement = judged(story, "readiness_gap")
    assert check.verdict is verdict
    assert not check.load_sensitive
    assert check.control == "attempts failed before the switch in 20 of 20 restarts"
    low, high = judgement.summary["restarts"][0]["gap_s"]
    assert low <= (works - 300) / 1000 <= high
    assert high - low < 0.03


def test_the_switches_are_told_with_intervals_that_hold_the_truth():
    story = story_of(GAP, 1)
    boot(story, 0, healthy=100, works=512)
    _, judgement = judged(story, "readiness_gap")
    (entry,) = judgement.summary["restarts"]
    assert entry["zero_offset_s"] == 1.0
    assert entry["first_healthy_interval_s"] == [0.09, 0.101]
    low, high = entry["ws_good_s"]
    assert low == pytest.approx(0.5103)  # the last upgrade that was rejected was sent then
    assert 0.520 < high < 0.523
    assert entry["first_good_session_s"] == pytest.approx(high)
    assert entry["attempts"] == 100
    assert entry["outcomes"] == {"status 503": 52, "good": 48}
    assert not entry["flapped"]


def test_a_state_that_flaps_gives_no_instant():
    story = story_of(GAP, 1)
    zero = boot(story, 0, healthy=300, works=300)
    story.client(zero + 700.5, "status", trial=0)
    check, judgement = judged(story, "readiness_gap")
    (entry,) = judgement.summary["restarts"]
    assert entry["flapped"]
    assert entry["gap_s"] == entry["ws_good_s"] == [None, None]
    assert check.verdict is Outcome.INCONCLUSIVE
    assert "of 1 restart it is not known" in check.message


def test_health_of_several_services_is_healthy_when_the_last_is():
    story = Story({"boots": {**RESTART, "trials": 1, "expect": GAP}}, services=("backend", "auth"))
    story.stage(0, 0, 20_000).fit()
    zero = boot(story, 0, healthy=100, works=300)
    for k in range(100):
        story.health(zero + k * 10, 1 if k >= 29 else 0, service=1)
    _, judgement = judged(story, "readiness_gap")
    assert judgement.summary["restarts"][0]["first_healthy_interval_s"] == [0.28, 0.291]


def test_what_came_before_time_zero_says_nothing_about_the_restart():
    story = story_of(GAP, 1)
    zero = boot(story, 0)
    story.health(zero - 50, 1)
    story.client(zero - 40, "good", trial=0, lasts=5)
    _, judgement = judged(story, "readiness_gap")
    (entry,) = judgement.summary["restarts"]
    assert not entry["flapped"]
    assert entry["first_good_session_s"] > 0.3


def test_without_a_health_answer_the_gap_is_not_measured():
    story = story_of(GAP)
    story.trial(0, 1000, 4000)
    story.client(1100, "good")
    check, _ = judged(story, "readiness_gap")
    assert (check.verdict, check.n) == (Outcome.INCONCLUSIVE, 0)
    assert "no service was asked" in check.message


def test_everybody_is_in_when_the_last_retrying_client_is():
    story = story_of(EVERYBODY)
    for number in range(20):
        zero = 1000 + number * 10_000
        story.trial(number, zero, zero + 9000)
        story.client(zero, "good", population=HERD, trial=number, lasts=50)
        story.client(zero, "refused", "status", "good", population=HERD, trial=number, lasts=50)
    check, judgement = judged(story, "everybody_in")
    assert check.verdict is Outcome.PASS
    summary = judgement.summary["everybody_in"]["boots"]
    assert (summary["clients"], summary["in"]) == (40, 40)
    assert summary["attempts_max"] == 3
    assert {rung: each["clients"] for rung, each in summary["by_attempt"].items()} == {
        "1": 20,
        "3": 20,
    }
    assert judgement.summary["restarts"][0]["everybody_in_s"] == pytest.approx(0.206, abs=0.001)


def test_a_retrying_client_that_we_stopped_is_unknown_and_one_that_gave_up_is_left_out():
    for done, verdict in ((2, Outcome.INCONCLUSIVE), (1, Outcome.FAIL)):
        story = story_of(EVERYBODY)
        for number in range(20):
            zero = 1000 + number * 10_000
            story.trial(number, zero, zero + 9000)
            story.client(zero, "refused", population=HERD, trial=number, done=done)
            story.client(zero + 1, "good", population=HERD, trial=number, lasts=50)
        check, _ = judged(story, "everybody_in")
        assert (check.verdict, check.n) == (verdict, 20)


def test_success_since_the_restart_counts_those_who_try_once_in_bins():
    story = story_of({}, 2)
    for number in range(2):
        zero = boot(story, number, works=250)
        story.client(zero + 10, "refused", population=HERD, trial=number)
    _, judgement = judged(story_of(RECOVERY), "recovery")
    judgement = judge(story.history(), story.resolved)
    curve = judgement.summary["success_since_restart"]["boots"]
    assert [(bin_["n"], bin_["good"]) for bin_ in curve[:4]] == [
        (20, 0),
        (20, 0),
        (20, 10),
        (20, 20),
    ]
    assert curve[0]["kinds"] == {"status 503": 20}
    assert curve[2]["low"] < 0.5 < curve[2]["high"]


def test_the_old_instance_that_still_answers_is_no_recovery_and_no_switch():
    story = story_of({**GAP, **RECOVERY}, 1)
    zero = 1000
    story.trial(0, zero, zero + 5000)
    for at in range(0, 3000, 10):
        up = at < 200 or at >= 1500  # going down takes 200 ms, coming up until 1.5 s
        story.health(zero + at, 1 if up or at >= 1100 else 0, took=1)
        story.client(zero + at, "good" if up else "status", trial=0, lasts=20)
    _, judgement = judged(story, "readiness_gap")
    entry = judgement.summary["restarts"][0]
    assert entry["first_good_session_s"] == pytest.approx(1.502, abs=0.002)
    assert not entry["flapped"]
    low, high = entry["gap_s"]
    assert low <= 0.4 <= high
    assert high - low < 0.025


def test_health_that_never_noticed_the_restart_lied_all_the_while():
    story = story_of({**GAP}, 1)
    zero = 1000
    story.trial(0, zero, zero + 5000)
    for at in range(0, 3000, 10):
        story.health(zero + at, 1, took=1)
        story.client(zero + at, "good" if at >= 800 else "refused", trial=0, lasts=20)
    _, judgement = judged(story, "readiness_gap")
    low, high = judgement.summary["restarts"][0]["gap_s"]
    assert low == pytest.approx(0.79, abs=0.01)
    assert high is None


def test_who_is_let_in_while_the_old_instance_goes_down_is_told_so():
    story = story_of({"definite": True}, 1)
    zero = 1000
    story.trial(0, zero, zero + 5000)
    for at in range(0, 1000, 10):
        way = "good" if at < 100 or at >= 600 else "refused"
        way = "closed" if at == 100 else way
        story.client(zero + at, way, trial=0, lasts=20)
    check, judgement = judged(story, "definite.accepted_then_closed")
    assert check.verdict is Outcome.FAIL
    found = next(f for f in judgement.findings if f.code == "connect.accepted_then_closed")
    assert found.count == 1
    assert "old instance" in found.cause
