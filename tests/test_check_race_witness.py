"""Witnesses of races: what each gate let go, at which offset, and where it went wrong."""

from dataclasses import replace

import pytest
from rich.console import Console

from probe.check.race_words import share
from probe.check.verdict import Outcome
from probe.history.records import Kind, Odd, Sought, Trial
from probe.report.races import trials_csv
from probe.report.terminal import screen
from probe.stats.window import Space, Span
from probe.stats.window_fit import fit
from tests.histories import ns
from tests.test_check_race import judged, raced, swept, trial

ONE = {
    "client": {
        "script": [
            {"do": "connect"}, {"do": "gate"}, {"do": "refresh", "wait": False},
            {"do": "gate", "offset": "swept"}, {"do": "settle", "within": "500ms"},
            {"do": "close"},
        ]
    }
}  # fmt: skip
OFFSETS = (20.0, 390.0, 25.0)


def one_client(*, why="no answer to the sentinel: deadline", step=4, **more):
    """Three trials of one client with two gates; the first and the last fail."""
    story = raced(actors=ONE, finding=None, **more)
    for number, offset in enumerate(OFFSETS):
        at, bad = 1000 + number * 2000, offset < 100
        session = story.client(
            at - 130, "good", trial=number, lasts=1000, done=int(bad), why=why, step=step
        )
        story.row(at, Kind.ACTION, session, 0, 0, number, ns(10 * number))
        story.row(at + offset, Kind.ACTION, session, 0, 1, number, ns(10 * number + offset - 1))
        story.row(at + offset + 511, Kind.CLOSE, session, 0, 0, 1000)
        flag = Trial.ANOMALY if bad else Trial.FINE
        story.row(at + 600, Kind.TRIAL, op=number, flag=flag, a=Sought.SWEEP, b=ns(offset))
    return story


def points(judgement, place=0):
    (found,) = judgement.findings
    return [(step.at_s, step.what) for step in found.witness[place].steps if step.point]


def test_times_count_from_the_reference_and_the_failed_step_tells_its_words():
    judgement = judged(one_client())[1]
    assert points(judgement) == [
        (0.0, "refresh let go"),
        (0.02, "settle let go, measured +20 ms, planned +19 ms"),
        (0.531, "settle failed: no answer to the sentinel within 500 ms"),
    ]
    steps = judgement.findings[0].witness[0].steps
    assert steps[0].at_s == pytest.approx(-0.13, abs=0.001)  # the dial
    assert [step.at_s for step in steps] == sorted(step.at_s for step in steps)
    assert not any("gate" in step.what for step in steps)


def test_a_screen_of_few_lines_has_all_three():
    judgement = judged(one_client())[1]
    shown = [line.plain for line in screen(judgement, Console(width=80))]
    for words in ("+0.0 ms probe  refresh let go", "+20.0 ms probe  settle let go",
                  "+531.0 ms note   settle failed: no answer"):  # fmt: skip
        assert sum(words in line for line in shown) == 1, words


def test_a_failure_that_is_no_deadline_keeps_its_words():
    story = one_client(why="the service closed: 1008", step=4)
    assert points(judged(story)[1])[2][1] == "settle failed: the service closed: 1008"


def test_who_cleans_up_is_told_to_have_failed_at_the_latest_when_it_was_done():
    actor = ONE["client"] | {"finally": [{"do": "logout"}]}
    story = one_client()
    story_with = raced(actors={"client": actor}, finding=None)
    story_with.rows += [
        row for row in story.rows if row[3] >= Kind.INTENDED or row[3] == Kind.TRIAL
    ]
    story_with.texts = story.texts
    at_s, words = points(judged(story_with)[1])[2]
    assert words.startswith("settle failed")
    assert at_s > 0.6  # the row DONE, not the Close


def test_of_two_actors_both_gates_are_told_with_their_names():
    story = raced()
    swept(story)
    first, second = trial(story, 60, 120.0, True)
    judgement = judged(story)[1]
    (witness,) = judgement.findings[0].witness
    assert witness.session == second
    told = {step.what: step.at_s for step in witness.steps if step.point}
    assert told["first: connect let go"] == 0
    assert told["second: connect let go, measured +120 ms, planned 0 ms"] == 0.12
    assert len(told) == 3  # and its failure
    assert first != second


def test_with_a_comb_of_one_actor_the_others_are_told_to_each_trial():
    actors = {
        "revoker": {"script": [{"do": "gate"}, {"do": "revoke"}], "user": "same"},
        "client": {
            "script": [{"do": "gate", "offset": "swept"}, {"do": "connect", "expect": "refused"}],
            "user": "same",
        },
    }
    more = {"comb": 4, "comb_of": "swept", "shape": "step", "finding": "revoked_connects"}
    story = raced(actors=actors, **more)
    for release in range(2):
        at = 1000 + release * 5000
        story.row(at + 1900, Kind.RELEASE, op=release, b=ns(at))
        revoker = story.client(at - 10, population=0, trial=release * 4, done=0)
        story.row(at, Kind.ACTION, revoker, 0, 0, release * 4, 0)
        for tooth in range(4):
            number, offset = release * 4 + tooth, 50.0 * (tooth + 1)
            bad = release == 1 and tooth == 2
            session = story.client(
                at + offset, "good", population=1, trial=number, lasts=5, done=int(bad),
                why="the service lets this client in", step=1,
            )  # fmt: skip
            story.row(at + offset, Kind.ACTION, session, 0, 0, number, round(offset * 1e6))
            story.row(at + 1901, Kind.TRIAL, op=number, flag=Trial.FINE, a=Sought.SWEEP)
    judgement = judged(story)[1]
    told = points(judgement)
    assert told[0] == (0.0, "revoker: revoke answered")
    assert told[1] == (0.15, "client: connect let go, measured +150 ms, planned +150 ms")
    assert told[2][1] == "client: connect failed: the service lets this client in"
    assert len(told) == 3
    text = trials_csv(judgement.summary)["trials-pair.csv"].splitlines()
    assert text[7] == "6,150.0,150.0,anomaly,sweep"


def test_a_breach_is_a_point_of_a_trial_that_came_to_its_end():
    story = raced()
    swept(story)
    _, second = trial(story, 60, 120.0)
    text = story.text("run_id of another run")
    story.row(1000 + 60_000 + 125, Kind.ODD, second, 0, Odd.IDS, 1, text)
    told = points(judged(story)[1])
    assert told[-1] == (0.125, "ids disagree: run_id of another run")


def test_a_race_names_its_own_finding_with_the_cause_of_its_shape():
    for shape, cause in (("window", "disturb each other"), ("step", "holds only after")):
        story = raced(finding="foo", shape=shape)
        swept(story)
        trial(story, 60, 120.0, True)
        check, judgement = judged(story)
        (found,) = judgement.findings
        assert check.verdict is Outcome.FAIL
        assert found.code == "race.foo"
        assert found.severity == "critical"
        assert cause in found.cause


def fitted(rate):
    space = Space(0, 400_000_000, 1_000_000)
    return replace(fit([1, 2], [False, False], ["sweep", "sweep"], space), rate=rate)


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (Span(0.3, 0.107, 0.375), " in some 30 % of trials (95 %: 10 to 38 %)"),
        (Span(0.02, 0.004, 0.05), " in some 2 % of trials (95 %: 0 to 5 %)"),
        (Span(0.999, 0.825, 0.9995), ""),
        (None, ""),
    ],
)
def test_how_often_is_told_where_it_is_not_always(rate, words):
    assert share(fitted(rate)) == words


def test_the_sentence_of_a_weak_step_has_its_rate():
    story = raced(shape="step", finding=None)
    for number in range(240):
        offset = (0.31 + 0.618034 * number) % 1 * 400
        trial(story, number, offset, offset < 210 and number % 5 < 2)  # two in five
    check, _ = judged(story)
    assert " is not served in some " in check.message
    assert " % of trials (95 %: " in check.message


def test_what_is_tried_again_is_an_offset_at_which_it_went_wrong():
    story = raced(finding=None)  # a window that begins at the edge: its middle is before it
    for number in range(200):
        offset = (0.31 + 0.618034 * number) % 1 * 400
        trial(story, number, offset, offset < 30 and number % 3 == 0)
    (found,) = judged(story)[1].findings
    at = float(found.reproduce.partition("--at ")[2].partition("ms")[0])
    assert 0 <= at < 30
