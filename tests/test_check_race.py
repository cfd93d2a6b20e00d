"""Races judged from rows written by hand: what went wrong, where, and how sure that is."""

import random
import re
from pathlib import Path

import numpy as np
import pytest

from probe.check.entries_race import RACES
from probe.check.judge import judge
from probe.check.race_figures import POINTS_MAX, thinned
from probe.check.verdict import Outcome
from probe.history.records import Kind, Odd, Sought, Trial
from tests.histories import Story, ns

ACTORS = {
    "first": {"script": [{"do": "gate"}, {"do": "connect"}], "user": "same"},
    "second": {
        "script": [{"do": "gate", "offset": "swept"}, {"do": "connect"}],
        "user": "same",
    },
}
RACE = {
    "actors": ACTORS,
    "range": ["0ms", "400ms"],
    "trials": 60,
    "confirm": 40,
    "jitter": "1ms",
    "noun": "connection",
    "anomaly": "is not served",
    "finding": "token_reuse",
}
FIRST, SECOND = 0, 1


def raced(**more):
    """A story with one race stage, begun and ended, and its jitter."""
    stage = {"activity": "race", "race": RACE | more, "expect": {"race": True}}
    story = Story({"pair": stage}).stage(0, 0, 500_000).fit()
    story.row(1, Kind.JITTER, op=0, flag=0, b=1_000_000)
    return story


def trial(
    story, number, offset, bad=False, *, why=Sought.SWEEP, told=None, gates=(True, True), **second
):
    """One trial of two actors: the second comes `offset` ms later and may fail."""
    at = 1000 + number * 1000
    ends = []
    for population, ms in ((FIRST, at), (SECOND, at + offset)):
        how = {"done": int(bad), "why": "no"} | second if population == SECOND else {}
        session = story.client(
            at - 100, "good", population=population, trial=number, lasts=50, **how
        )
        if gates[population]:
            story.row(ms, Kind.ACTION, session, 0, 0, number, round(offset * 1e6))
        ends.append(session)
    flag = told if told is not None else Trial.ANOMALY if bad else Trial.FINE
    story.row(at + 600, Kind.RELEASE, op=number, flag=0, a=100_000, b=ns(at))
    story.row(at + 601, Kind.TRIAL, op=number, flag=flag, a=why, b=round(offset * 1e6))
    return ends


def judged(story):
    judgement = judge(story.history(), story.resolved)
    check = next(c for c in judgement.checks if c.id == "pair.race")
    return check, judgement


def swept(story, hits=lambda _: False, n=60):
    rng = np.random.default_rng(3)
    for number in range(n):
        offset = (0.31 + 0.618034 * number) % 1 * 400
        trial(story, number, offset, hits(offset) and rng.random() < 0.98)
    return n


def test_trials_that_all_hold_pass_and_say_what_they_could_have_missed():
    story = raced()
    swept(story)
    check, judgement = judged(story)
    assert check.verdict is Outcome.PASS
    assert check.n == 60
    assert "60 trials from 0 ms to +400 ms held" in check.message
    assert check.smallest.startswith("a window of ")
    assert "60 trials from" in check.control
    assert check.load_sensitive
    races = judgement.summary["races"]["pair"]
    assert (races["trials"], races["anomalies"], races["void"]) == (60, 0, 0)
    assert sum(row["n"] for row in races["curve"]) == 60


def test_fewer_trials_than_planned_are_no_pass():
    story = raced()
    swept(story, n=59)
    check, _ = judged(story)
    assert check.verdict is Outcome.INCONCLUSIVE
    assert "only 59 of 60 trials told anything" in check.message


def test_a_race_that_ended_early_is_no_pass():
    story = raced()
    swept(story)
    story.rows = [row for row in story.rows if not (row[3] == Kind.STAGE and row[4] == 1)]
    why = story.text("the stage's budget was used up")
    story.row(500_000, Kind.STAGE, op=0, flag=2, a=60, b=why)
    check, _ = judged(story)
    assert check.verdict is Outcome.INCONCLUSIVE
    assert "the stage's budget was used up" in check.message


def test_no_trial_is_nothing_measured():
    check, _ = judged(raced())
    assert (check.verdict, check.n) == (Outcome.INCONCLUSIVE, 0)


def test_trials_without_an_actor_at_its_gate_tell_nothing():
    story = raced()
    for number in range(5):
        trial(story, number, 10, True, gates=(True, False), told=Trial.VOID)
    check, _ = judged(story)
    assert (check.verdict, check.n) == (Outcome.INCONCLUSIVE, 0)
    assert "in 5 of 5 trials an actor did not come to its gate" in check.message


def found(window=(100.0, 150.0), *, fresh=(20, 20, 0, 20), **more):
    """A story with a window; `fresh` are hits and trials at its centre, and at the control."""
    story = raced(**more)
    low, high = window

    def inside(offset):
        return low <= offset < high

    n = swept(story, inside)
    edges = np.concatenate([np.linspace(low - 8, low + 8, 30), np.linspace(high - 8, high + 8, 30)])
    for offset in (*edges, *np.linspace(low, high, 20)):
        trial(story, n, float(offset), inside(offset), why=Sought.LOCALISE)
        n += 1
    k1, n1, k0, n0 = fresh
    middle = (low + high) / 2
    for k in range(n1):
        trial(story, n, middle, k < k1, why=Sought.CONFIRM)
        n += 1
    for k in range(n0):
        trial(story, n, 350.0, k < k0, why=Sought.CONTROL)
        n += 1
    return story


def test_a_window_is_told_with_its_interval_its_width_and_what_fresh_trials_said():
    check, judgement = judged(found())
    assert check.verdict is Outcome.FAIL
    assert not check.load_sensitive
    assert check.unit == "s"
    assert check.estimate == pytest.approx(0.125, abs=0.002)
    assert check.interval[0] <= 0.125 <= check.interval[1]
    assert check.message.startswith("a connection 12")
    assert "after the connect of first is not served" in check.message
    assert "reproduced 20 of 20 at +125 ms, 0 of 20 at +350 ms" in check.message
    assert "the window is" in check.message
    finding = next(f for f in judgement.findings if f.check == "pair.race")
    assert finding.code == "race.token_reuse"
    assert finding.severity == "critical"
    assert "--stage pair --at +12" in finding.reproduce
    assert finding.reproduce.endswith("ms --trials 30")
    assert len(finding.witness) == 3


def test_what_fresh_trials_do_not_show_is_not_confirmed():
    check, _ = judged(found(fresh=(3, 20, 1, 20)))
    assert check.verdict is Outcome.FAIL
    assert "not confirmed: 3 of 20 at +125 ms, 1 of 20 at +350 ms (Fisher" in check.message


def test_a_few_anomalies_without_a_place_are_told_with_the_bound():
    story = raced(finding=None)
    for number in range(60):
        trial(story, number, (0.618034 * number) % 1 * 400, number in (7, 30, 41))
    check, judgement = judged(story)
    assert check.verdict is Outcome.FAIL
    assert "in 3 of 60 trials: not localised" in check.message
    assert "at most" in check.message
    assert {f.code for f in judgement.findings} == {"race.window"}


def test_a_step_is_told_up_to_its_edge():
    story = raced(shape="step", finding=None)
    n = swept(story, lambda offset: offset < 210)
    for offset in np.linspace(195, 225, 40):
        trial(story, n, float(offset), bool(offset < 210), why=Sought.LOCALISE)
        n += 1
    check, judgement = judged(story)
    assert check.estimate == pytest.approx(0.210, abs=0.002)
    assert "is not served until 2" in check.message
    (code,) = {f.code for f in judgement.findings}
    assert code == "race.step"
    again = judgement.findings[0].reproduce
    assert "--at +10" in again  # well on the side where it goes wrong


def test_a_step_that_is_a_window_says_what_held_on_its_side():
    story = raced(shape="step", finding=None)
    n = swept(story, lambda offset: 120 < offset < 210)
    for offset in np.linspace(195, 225, 40):
        trial(story, n, float(offset), bool(offset < 210), why=Sought.LOCALISE)
        n += 1
    check, _ = judged(story)
    assert re.search(r"until 2.* \(but \d+ of \d+ trials.* on that side held, from", check.message)
    clean = raced(shape="step", finding=None)
    swept(clean, lambda offset: offset < 210)
    assert "on that side" not in judged(clean)[0].message


def test_what_is_tolerated_passes_with_its_numbers_and_beyond_it_fails():
    for limit, verdict in (("250ms", Outcome.PASS), ("150ms", Outcome.FAIL)):
        story = raced(shape="step", tolerated=limit)
        n = swept(story, lambda offset: offset < 210)
        for offset in np.linspace(195, 225, 40):
            trial(story, n, float(offset), bool(offset < 210), why=Sought.LOCALISE)
            n += 1
        check, _ = judged(story)
        assert check.verdict is verdict
        assert "until 2" in check.message
    assert check.message.startswith("a connection is not served until")


def test_the_outcome_that_the_search_was_told_is_not_believed():
    story = raced()
    swept(story)
    lied = trial(story, 60, 120.0, True, told=Trial.FINE)
    check, judgement = judged(story)
    assert check.verdict is Outcome.FAIL
    assert {w.session for f in judgement.findings for w in f.witness} == {lied[SECOND]}


def test_rows_in_any_order_give_the_same_judgement():
    story = found()
    before = judged(story)
    random.Random(5).shuffle(story.rows)
    after = judged(story)
    assert (before[0].message, before[0].interval) == (after[0].message, after[0].interval)


@pytest.mark.parametrize("kind", [Kind.ODD, Kind.FOREIGN])
def test_a_breach_within_a_trial_is_an_anomaly(kind):
    story = raced()
    swept(story)
    _, second = trial(story, 60, 120.0)
    story.row(1000 + 60_000 + 125, kind, second, 0, Odd.IDS if kind is Kind.ODD else 0, 1, -5)
    check, _ = judged(story)
    assert check.verdict is Outcome.FAIL
    assert "in 1 of 61 trials" in check.message


def test_another_shape_of_a_message_is_none():
    story = raced()
    swept(story)
    _, second = trial(story, 60, 120.0)
    story.row(1000 + 60_000 + 125, Kind.ODD, second, 0, Odd.SHAPE, 1, 0)
    assert judged(story)[0].verdict is Outcome.PASS


def test_who_was_stopped_with_the_run_has_not_failed():
    story = raced()
    swept(story)
    trial(story, 60, 120.0, done=2, told=Trial.VOID)
    check, _ = judged(story)
    assert check.verdict is Outcome.PASS
    assert "in 1 of 61 trials an actor did not come to its gate" in check.message


def test_an_anomaly_before_the_second_action_has_no_offset_and_fails_all_the_same():
    actor = {
        "script": [
            {"do": "gate"}, {"do": "connect"}, {"do": "gate", "offset": "swept"}, {"do": "settle"}
        ]
    }  # fmt: skip
    story = raced(actors={"client": actor})
    for number in range(60):
        at = 1000 + number * 1000
        bad = number == 9
        session = story.client(at, "good", trial=number, lasts=50, done=int(bad), why="no")
        story.row(at, Kind.ACTION, session, 0, 0, number, 0)
        if not bad:
            story.row(at + 6 * number, Kind.ACTION, session, 0, 1, number, 0)
        story.row(at + 600, Kind.TRIAL, op=number, flag=Trial.FINE, a=Sought.SWEEP, b=0)
    check, _ = judged(story)
    assert check.verdict is Outcome.FAIL
    assert "before both actions were let go" in check.message


def test_lateness_alone_is_vetoed_by_an_unfit_probe_and_a_refusal_is_not():
    for why, verdict in (
        ("it was not over in time", Outcome.INCONCLUSIVE),
        ("accepted, and ought to be refused", Outcome.FAIL),
    ):
        story = raced()
        swept(story)
        trial(story, 60, 120.0, True, why=Sought.SWEEP)
        story.rows = [row for row in story.rows if row[3] != Kind.LAG]
        story.fit(lag_ms=50)
        text = story.text(why)
        story.rows = [
            (*row[:6], text) if row[3] == Kind.DONE and row[4] == 1 else row for row in story.rows
        ]
        assert judged(story)[0].verdict is verdict


def test_an_actor_that_belongs_to_no_one_trial_fails_by_its_own_name():
    actors = {
        "failing": {"script": [{"do": "gate"}, {"do": "connect"}]},
        "good": {"script": [{"do": "gate", "offset": "swept"}, {"do": "connect"}]},
        "last": {
            "script": [{"do": "gate", "offset": "1s"}, {"do": "connect"}],
            "finding": "breaker_sticks",
        },
    }
    more = {"comb": 10, "comb_of": "swept", "shape": "step", "finding": "breaker"}
    story = raced(actors=actors, **more)
    for release in range(6):
        at = 1000 + release * 2000
        story.row(at + 1900, Kind.RELEASE, op=release, b=ns(at))
        for population, ms in ((0, at), (2, at + 1000)):
            bad = population == 2
            session = story.client(
                at - 10, "good", population=population, trial=release * 10, lasts=50,
                done=int(bad), why="status 503",
            )  # fmt: skip
            story.row(ms, Kind.ACTION, session, 0, 0, release * 10, 0)
        for tooth in range(10):
            number = release * 10 + tooth
            session = story.client(at - 10, "good", population=1, trial=number, lasts=50)
            story.row(at + 6 * number, Kind.ACTION, session, 0, 0, number, 0)
            story.row(at + 1901, Kind.TRIAL, op=number, flag=Trial.FINE, a=Sought.SWEEP)
    check, judgement = judged(story)
    assert check.verdict is Outcome.FAIL
    words = "last did not come to the end of its script in 6 of 6 releases (status 503)"
    assert check.message == words
    assert {f.code for f in judgement.findings} == {"race.breaker_sticks"}


def test_one_offset_tried_again_is_told_against_its_control():
    for hits, words in ((9, "reproduced 9 of 10 at +120 ms, 0 of 10"), (0, "not reproduced: 0 of")):
        story = raced(at="120ms", confirm=20)
        for number in range(20):
            why = Sought.CONTROL if number % 2 else Sought.CONFIRM
            bad = why is Sought.CONFIRM and number // 2 < hits
            trial(story, number, 400.0 if number % 2 else 120.0, bad, why=why)
        check, _ = judged(story)
        assert words in check.message
        assert check.verdict is (Outcome.FAIL if hits else Outcome.PASS)


def test_every_name_that_a_scenario_gives_is_in_the_table_and_every_row_is_given_somewhere():
    given = {
        name
        for path in Path("scenarios").glob("*.toml")
        for name in re.findall(r'^finding = "(\w+)"', path.read_text(), re.MULTILINE)
    }
    generic = {"race.window", "race.step", "race.actor", "loop.blocked"}
    assert {f"race.{name}" for name in given} == set(RACES) - generic


def test_what_fails_at_every_offset_is_no_race():
    story = raced()
    swept(story, lambda _: True)
    story.rows = [
        (*row[:4], 1, *row[5:]) if row[3] == Kind.DONE and row[4] == 0 and row[1] % 2 else row
        for row in story.rows
    ]
    check, judgement = judged(story)
    assert check.verdict is Outcome.FAIL
    assert "in all 60 trials, from" in check.message
    assert "it does not hang on the offset" in check.message
    assert check.estimate is None
    assert judgement.findings[0].reproduce.endswith("--stage pair")
    assert check.control == "none: no trial at any offset held"


@pytest.mark.parametrize("place", range(500, 514))
def test_a_posterior_that_is_one_narrow_peak_keeps_it_when_it_is_thinned(place):
    grid, density = np.linspace(0, 1e9, 1009), np.zeros(1009)
    density[place] = 3.0
    shown = thinned(grid, density)
    assert len(shown) <= POINTS_MAX
    assert [each["relative"] for each in shown if each["relative"]] == [1.0]
