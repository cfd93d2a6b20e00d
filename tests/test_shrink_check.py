"""A race made smaller, judged from rows written by hand: what they bear out and what not."""

import json
import tomllib
from typing import Any

import pytest

from probe.check.judge import judge
from probe.check.verdict import Outcome
from probe.history.records import Kind, Sought, Trial
from probe.model.scenario import Scenario
from probe.report.markdown import markdown
from probe.report.races import race_lines, shrunk_toml, windows
from tests.histories import Story, ns

STEPS = [{"do": "connect"}, {"do": "settle"}, {"do": "close"}]
RACE: dict[str, Any] = {
    "actors": {
        "first": {"script": [{"do": "gate"}, *STEPS], "user": "same"},
        "second": {"script": [{"do": "gate", "offset": "swept"}, *STEPS], "user": "same"},
    },
    "range": ["0ms", "400ms"],
    "jitter": "1ms",
    "noun": "connection",
    "anomaly": "is not served",
    "finding": "token_reuse",
    "at": "120ms",
    "confirm": 24,
    "shrink": 600,
    "comb": 4,
}
MAY_GO = ("comb=1", *(f"actors.{a}.script.{k}" for a in ("second", "first") for k in (3, 2)))
LESS = ["comb=1", "actors.second.script.3"]


class Played:
    """A story in which races are played one after the other."""

    def __init__(self, **more):
        stage = {"activity": "race", "race": RACE | more, "expect": {"race": True}}
        self.story = Story({"pair": stage}).stage(0, 0, 900_000).fit()
        self.story.row(1, Kind.JITTER, op=0, flag=0, b=1_000_000)
        self.comb = (RACE | more)["comb"]
        self.release = 0

    def of(self, without, hits, control=0, pairs=12, *, confirm=False, void=0, why="no", who=1):
        """So many pairs of trials of the race without these; of those at the offset `hits` fail."""
        if without:
            text = self.story.text(json.dumps({"without": list(without), "words": "x"}))
            first = self.release * self.comb
            self.story.row(self.at, Kind.VARIANT, op=first, flag=int(confirm), b=text)
        for k in range(pairs):
            self.trial(k < hits, Sought.CONFIRM, 120.0, k < void, why, who)
            self.trial(k < control, Sought.CONTROL, 400.0, k < void, why, who)
        return self

    @property
    def at(self):
        return 1000 + self.release * 1000

    def trial(self, bad, sought, offset, void, why, who):
        story, at, number = self.story, self.at, self.release * self.comb
        for population, ms in ((0, at), (1, at + offset)):
            how = {"done": int(bad), "why": why} if population == who else {}
            session = story.client(
                at - 100, "good", population=population, trial=number, lasts=50, **how
            )
            if not (void and population):
                story.row(ms, Kind.ACTION, session, 0, 0, number, round(offset * 1e6))
        flag = Trial.VOID if void else Trial.ANOMALY if bad else Trial.FINE
        story.row(at + 600, Kind.RELEASE, op=self.release, a=100_000, b=ns(at))
        story.row(at + 601, Kind.TRIAL, op=number, flag=flag, a=sought, b=round(offset * 1e6))
        self.release += 1

    def judged(self, **meta):
        judgement = judge(self.story.history(**meta), self.story.resolved)
        check = next(c for c in judgement.checks if c.id == "pair.race")
        return check, judgement.summary["races"]["pair"]["shrunk"], judgement


def to_the_end(**last):
    """Of comb and close the race is freed; both settles and the other close are needed."""
    played = Played().of((), 12)
    played.of(LESS[:1], 6, pairs=6).of(LESS, 6, pairs=6)
    for more in MAY_GO[2:]:
        played.of([*LESS, more], 0, pairs=9)
    return played.of(LESS, **{"hits": 11, "confirm": True} | last)


def test_the_smallest_race_is_told_by_its_fresh_trials_with_all_that_was_tried():
    check, figures, judgement = to_the_end().judged()
    assert check.verdict is Outcome.FAIL
    assert check.n == 24  # those of the race as it is, and no other
    words = (
        "reproduced 12 of 12 at +120 ms, 0 of 12 at +400 ms; still shows with 2 of 8 clients and "
        "7 of 8 steps: 11 of 12 at +120 ms, 0 of 12 at +400 ms; needed, each tried alone: step 3 "
        "(settle) of second, step 4 (close) of first, step 3 (settle) of first"
    )
    assert check.message.endswith(words)
    finding = judgement.findings[0]
    assert finding.message.endswith(words)
    assert finding.witness[0].session > 100  # a trial of the smallest race comes first
    assert (figures["clients"], figures["clients_before"]) == (2, 8)
    assert (figures["confirmed"], figures["minimal"]) == (True, True)
    assert [row["place"] for row in figures["tried"]] == list(MAY_GO)
    assert [row["came"] for row in figures["tried"]] == [
        "taken away", "taken away", *["needed: it does not show without"] * 3
    ]  # fmt: skip
    report = markdown(judgement)
    assert "| without step 4 (close) of second | 1 more | 120 ms | 6 of 6 | 0 of 6 |" in report
    assert (
        "2 of 8 clients and 7 of 8 steps, on fresh trials |  | 120 ms | 11 of 12 | 0 of 12"
        in report
    )
    assert any("2 of 8 clients" in line for line in race_lines(judgement.summary))
    kept = windows(judgement.summary)["pair"]["shrunk"]
    assert "scenario" not in kept
    assert kept["hits"] == 11
    again = Scenario.model_validate(tomllib.loads(shrunk_toml(judgement.summary)))
    race = again.stages["pair"].race
    assert race is not None
    assert (race.comb, race.at, race.control, race.shrink) == (1, 120_000_000, 400_000_000, 0)
    assert [step.do for step in race.actors["second"].steps] == ["gate", "connect", "settle"]


def test_what_the_fresh_trials_do_not_show_is_no_smaller_race():
    for last in ({"hits": 2}, {"hits": 12, "control": 4}):
        check, figures, judgement = to_the_end(**last).judged()
        assert "made smaller it is not confirmed: with 2 of 8 clients" in check.message
        assert "still shows" not in check.message
        assert figures["confirmed"] is figures["minimal"] is False
        assert figures["scenario"] is None
        assert shrunk_toml(judgement.summary) == ""


def test_what_was_not_tried_or_not_decided_is_named_and_nothing_is_minimal():
    played = Played().of((), 12).of(LESS[:1], 6, pairs=6)
    played.of([LESS[0], MAY_GO[2]], 2, pairs=3)
    check, figures, _ = played.of(LESS[:1], 12, confirm=True).judged()
    assert "still shows with 2 of 8 clients and 8 of 8 steps" in check.message
    assert "not decided: step 3 (settle) of second" in check.message
    assert "not tried: step 4 (close) of second, step 4 (close) of first" in check.message
    assert "needed, each tried alone" not in check.message
    assert figures["minimal"] is False
    assert len(figures["not_tried"]) == 3


def test_without_a_last_word_it_only_seems_so():
    played = Played().of((), 12).of(LESS[:1], 6, pairs=6).of(LESS, 6, pairs=6)
    check, figures, _ = played.judged()
    assert "it seems to show with 2 of 8 clients and 7 of 8 steps, which no fresh" in check.message
    assert figures["scenario"] is None


def test_a_race_that_does_not_show_here_is_not_made_smaller():
    check, figures, _ = Played().of((), 0).judged()
    assert check.verdict is Outcome.PASS
    assert "not reproduced: 0 of 12" in check.message
    assert "not made smaller, since it does not show here" in check.message
    assert figures["tried"] == []
    check, _, _ = Played().of((), 3, 1).judged()
    assert check.verdict is Outcome.FAIL
    assert "not made smaller, since it does not show here (Fisher" in check.message


def test_trials_of_smaller_races_fail_nothing_by_themselves():
    """A script without its first step may fail always: that is no fault of the service."""
    played = Played().of((), 0).of(LESS, 6, 6, pairs=6)
    check, _, judgement = played.judged()
    assert check.verdict is Outcome.PASS
    assert check.n == 24
    assert judgement.findings == ()


@pytest.mark.parametrize(
    ("how", "came"),
    [
        ({"hits": 6, "control": 6}, "needed: without, it goes wrong at the control too"),
        ({"hits": 0, "void": 6}, "needed: without, an actor does not come to its gate"),
        ({"hits": 0}, "needed: it does not show without"),
        ({"hits": 3}, "not decided"),
    ],
)
def test_what_came_of_each_is_weighed_again_whatever_the_engine_made_of_it(how, came):
    played = Played().of((), 12).of(LESS[:1], pairs=9 if how == {"hits": 0} else 6, **how)
    _, figures, _ = played.judged()
    assert figures["tried"][0]["came"] == came
    assert figures["clients"] == 8  # nothing is taken away


def test_another_reason_or_another_actor_is_told():
    check, figures, _ = to_the_end(why="quite another").judged()
    assert "(for another reason: second: quite another; before, second: no)" in check.message
    check, _, _ = to_the_end(who=0).judged()
    assert "(for another reason: first: no; before, second: no)" in check.message
    assert figures["reason_before"] == "second: no"


def test_lost_rows_leave_it_open_whether_more_could_go():
    played = to_the_end()
    played.story.row(500, Kind.GAP, a=7, b=ns(400))
    check, figures, _ = played.judged()
    assert figures["minimal"] is False
    assert "7 rows of the journal were lost" in check.message


@pytest.mark.parametrize("text", ["", "{}", '{"without": ["actors.nobody"]}', '{"without": 3}'])
def test_a_text_that_names_nothing_is_no_smaller_race(text):
    played = Played().of((), 12)
    played.story.row(played.at, Kind.VARIANT, op=played.release * 4, b=played.story.text(text))
    check, figures, _ = played.of((), 12).judged()
    assert check.verdict is Outcome.FAIL
    assert figures["tried"] == []
    assert check.n == 24


@pytest.mark.parametrize(("hits", "verdict"), [(12, Outcome.FAIL), (2, Outcome.INCONCLUSIVE)])
def test_lateness_at_the_offset_and_not_at_the_control_is_no_slow_probe(hits, verdict):
    played = Played().of((), hits, why="it was not over in time")
    late = played.story.text("it was not over in time")
    rows = [row for row in played.story.rows if row[3] != Kind.LAG]
    played.story.rows = [
        (*row[:6], late) if row[3] == Kind.DONE and row[4] == 1 else row for row in rows
    ]
    played.story.fit(lag_ms=50)
    assert played.judged()[0].verdict is verdict
