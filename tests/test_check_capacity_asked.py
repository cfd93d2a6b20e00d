"""Capacity in messages and in connections held: what rows say of questions and their answers."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from probe.check.climb import Climbing, climb
from probe.check.judge import judge
from probe.check.verdict import Outcome
from probe.check.view import views
from probe.history.records import Kind, Level, Phase
from probe.history.records import Outcome as Ended
from tests.histories import Story, ns

QUICK: dict[str, Any] = {
    "until": "p95<100ms", "factor": 2, "closeness": 1.5, "repeats": 1, "settle": "100ms",
    "lasts": "1s", "patience": "1s",
}  # fmt: skip
OF: dict[str, dict[str, Any]] = {
    "messages": {"begin": "200/s", "most": "1600/s", "connections": 20},
    "connections": {"begin": 200, "most": 1600, "ping_every": "1s"},
}
KNEE = 520


class Told(Story):
    """A climb by hand: connections that stay, their questions and answers."""

    def __init__(self, of: str, least: str | None = None, **more: Any) -> None:
        self.of = of
        expect = {} if least is None else {"expect": {"capacity": least}}
        rule = {"of": of} | QUICK | OF[of] | more
        super().__init__({"climb": {"activity": "capacity", "capacity": rule, **expect}})
        self.stage(end=200_000)
        self.levels = 0
        self.asked: Counter[int] = Counter()
        self.there: list[int] = []

    @property
    def rule(self) -> Any:
        return views(self.history(), self.resolved)[0].stage.capacity

    def connected(self, zero: float, many: int, *, full: bool = False, ours: bool = False) -> None:
        """Have so many connections; with `full` those beyond the knee are refused.

        With `ours` they fail for a limit of this machine.
        """
        self.there = [who for who in self.there if self.asked[who] >= 0]
        while len(self.there) < many:
            number = self.sessions
            self.sessions += 1
            at = zero - 800 + len(self.there) * 0.01
            self.row(at, Kind.INTENDED, number, self.levels, 0, 0, number)
            self.row(at, Kind.DIAL, number)
            self.row(at + 0.1, Kind.TCP, number, a=40_000)
            self.row(at + 0.2, Kind.SENT, number, a=100)
            if full and len(self.there) >= KNEE and ours:
                self.row(at + 1, Kind.END, number, 0, Phase.RESOLVE, Ended.LOCAL)
                self.asked[number] = -1
            elif full and len(self.there) >= KNEE:
                self.row(at + 1, Kind.HEAD, number, a=503)
                self.row(at + 1, Kind.END, number, 0, Phase.UPGRADE, Ended.STATUS)
                self.asked[number] = -1
            else:
                self.row(at + 1 + number % 7 * 0.01, Kind.HEAD, number, a=101)
                self.row(at + 2 + number % 7 * 0.01, Kind.READY, number)
            self.there.append(number)
        self.there = self.there[:many]

    def question(
        self, ms: float, level: int, who: int, took: float | None, *, late: float = 0.0
    ) -> None:
        """One question, due at `ms`, sent so much later; `took` None: never answered."""
        if self.asked[who] < 0:
            self.row(ms, Kind.LEVEL, who, 0, Level.ASKED, level, 0)
            return
        self.asked[who] += 1
        number = self.asked[who]
        self.row(ms, Kind.LEVEL, who, 0, Level.ASKED, level, number)
        pings = self.of == "connections"
        self.row(ms + late, Kind.PING if pings else Kind.SENTINEL, who, 0, 0, 0, number)
        if took is not None:
            flag = 0 if pings else 1
            kind = Kind.PONG if pings else Kind.SENTINEL
            self.row(ms + late + took, kind, who, 0, flag, 0, number)

    def play(
        self, level: float, *, full: bool = False, ours: bool = False, cut: bool = False, **how: Any
    ) -> None:
        """One repeat; `how` are arguments of `answers`."""
        rule, number = self.rule, self.levels
        zero = number * 4_000 + 1_000
        self.row(zero - 900, Kind.LEVEL, op=number, flag=0, b=round(level * 1e6))
        self.connected(zero, rule.clients(level), full=full, ours=ours)
        for k in range(250):
            self.row(zero + k * 10, Kind.LAG, b=100_000)
        offsets, whom = rule.questions(level, (1, 0, number))
        for k, (offset, place) in enumerate(zip(offsets / 1e6, whom, strict=True)):
            self.question(zero + offset, number, self.there[place], **answers(k, **how))
        self.trial(number, zero, zero + 2_500, flag=int(cut))
        self.levels += 1

    def climbed(self, *, beyond: dict[str, Any]) -> list[float]:
        """Play whatever the search asks for; `beyond` is how the service is over its knee."""
        rates: list[float] = []
        climbing = Climbing("climb")
        while (level := climbing.climb(self.history(), self.resolved).search.next()) is not None:
            self.play(level, **(beyond if level > KNEE else {}))
            rates.append(level)
            assert len(rates) < 40
        return rates

    def found(self) -> Any:
        return climb(views(self.history(), self.resolved)[0])

    def capacity(self) -> tuple[Any, Any]:
        judgement = judge(self.history(), self.resolved)
        (check,) = [each for each in judgement.checks if each.id == "climb.capacity"]
        return judgement, check


def answers(k: int, *, took: float = 5.0, none: int = 0, late: float = 0.05) -> dict[str, Any]:
    """Every `none`-th question has no answer; nothing that is real takes the same time."""
    missing = none and k % none == 0
    return {"took": None if missing else took + k % 17 * 0.1, "late": late}


@pytest.mark.parametrize("of", OF)
def test_the_knee_lies_between_the_last_level_within_and_the_first_beyond(of):
    told = Told(of)
    levels = told.climbed(beyond={"took": 300.0})
    judgement, check = told.capacity()
    low, high = check.interval
    assert low <= KNEE <= high
    assert high / low <= 1.5
    assert check.verdict is Outcome.PASS
    assert check.unit == {"messages": "messages/s", "connections": "connections"}[of]
    shown = told.rule.shown
    assert f"the knee is between {shown(low)} and {shown(high)}" in check.message
    assert "p95 is 302 ms" in check.message
    table = judgement.summary["levels"]["climb"]
    assert [row["level"] for row in table] == sorted(set(levels))
    assert judgement.summary["capacity"]["climb"]["first_limit"] == ["latency"]
    if of == "connections":
        assert all(level == int(level) for level in levels)


@pytest.mark.parametrize("of", OF)
def test_what_is_not_answered_is_the_delivery_that_gave_out(of):
    told = Told(of, "1600/s")
    told.climbed(beyond={"none": 10})
    judgement, check = told.capacity()
    assert check.verdict is Outcome.FAIL
    assert "no answer within 1 s" in check.message
    assert judgement.summary["capacity"]["climb"]["first_limit"] == ["delivery"] or (
        judgement.summary["capacity"]["climb"]["first_limit"] == ["latency", "delivery"]
    )
    (finding,) = judgement.findings
    assert finding.code.startswith("capacity.")
    assert finding.witness


def test_connections_that_are_refused_are_questions_that_failed():
    told = Told("connections")
    told.climbed(beyond={"full": True})
    judgement, check = told.capacity()
    assert check.interval[0] <= KNEE <= check.interval[1]
    assert "had no connection that lasted" in check.message
    assert "errors" in judgement.summary["capacity"]["climb"]["first_limit"]


def test_where_this_machine_has_no_more_connections_the_answer_is_at_least():
    told = Told("connections")
    told.climbed(beyond={"full": True, "ours": True})
    judgement, check = told.capacity()
    assert check.verdict is Outcome.INCONCLUSIVE
    assert check.interval[1] is None
    assert 200 <= check.interval[0] <= KNEE
    assert "failed at this machine's own limits" in check.message
    assert judgement.summary["capacity"]["climb"]["first_limit"] == ["probe"]


def test_levels_that_littles_law_does_not_bear_out_have_no_part_in_the_fit():
    told = Told("messages")
    gauges = {}
    for number, level in enumerate((100, 150, 200, 250, 300, 350, 400)):
        told.play(level)
        run = told.found().runs[-1]
        gauges[number] = run.offered_per_s * run.stay_ns / 1e9
        wrong = 1.5 if level == 250 else 1.0
        told.row(number * 4_000 + 3_600, Kind.LEVEL, op=number, flag=1,
                 b=round(gauges[number] * wrong * 1e6))  # fmt: skip
    summary = told.capacity()[0].summary
    assert summary["capacity"]["climb"]["scaling_without"] == ["250 messages/s"]
    assert summary["capacity"]["climb"]["scaling"] is not None
    gaps = {row["level"]: row["little_gap"] for row in summary["levels"]["climb"]}
    assert gaps.pop(250) == pytest.approx(1 / 3, abs=0.01)
    assert max(gaps.values()) < 0.01


def test_a_question_that_was_sent_late_took_that_much_longer():
    told = Told("messages", until="p50<500ms")
    told.play(500, took=5.0, late=2.0)
    told.play(500, took=5.0, late=40.0)
    prompt, late = told.found().runs
    assert not prompt.unfit
    shift = np.median(late.measured.latency_ns) - np.median(prompt.measured.latency_ns)
    assert shift == pytest.approx(38e6, rel=0.01)
    assert "clients were asked 40 ms late" in late.unfit


def test_an_answer_beyond_the_patience_and_an_end_before_it_are_told_apart():
    told = Told("connections", begin=100)
    told.play(100)
    (base,) = told.found().runs
    assert (base.lost, base.late) == (0, 0)
    (one, _), (other, _) = told.asked.most_common(2)
    rows = told.rows
    told.rows = [
        row for row in rows if not (row[3] == Kind.PONG and row[1] in (one, other))
    ]  # fmt: skip
    asked = [r for r in rows if r[3] == Kind.LEVEL and r[4] == Level.ASKED and r[1] in (one, other)]
    inside = [r for r in asked if r[0] >= ns(1_100)]
    mine = {who: [r for r in inside if r[1] == who] for who in (one, other)}
    # The first connection answers, too late; the second ends in the midst of it.
    for row in [r for r in asked if r[1] == one]:
        told.rows.append((row[0] + 1_100_000_000, one, 0, Kind.PONG, 0, 0, row[6]))
    told.rows.append((ns(1_600), other, 0, Kind.END, Phase.READY, Ended.EOF, 0))
    (run,) = told.found().runs
    assert run.n == base.n
    assert run.late == len(mine[one]) > 0
    assert run.lost == len(mine[other]) > 0
    assert run.measured.latency_ns[run.measured.timed_out].tolist() == [10**9] * run.late


@pytest.mark.parametrize("of", OF)
def test_a_climb_told_only_what_is_new_comes_to_the_same(of):
    told = Told(of)
    told.climbed(beyond={"took": 300.0, "none": 60})
    whole = told.found()
    history = told.history()
    begun = np.flatnonzero((history.rows["kind"] == Kind.LEVEL) & (history.rows["flag"] == 0))
    climbing = Climbing("climb")
    read = 0
    for upto in [*begun[1:].tolist(), len(history.rows)]:
        part = replace(history, rows=history.rows[:upto])
        same = climb(views(part, told.resolved)[0])
        rows = part.rows.copy()
        rows[:read] = 0  # what has been read is not looked at again
        found = climbing.climb(replace(history, rows=rows), told.resolved)
        assert found.search.next() == same.search.next()
        read = upto
    assert len(found.runs) == len(whole.runs) > 5
    for one, other in zip(found.runs, whole.runs, strict=True):
        assert one.measured.latency_ns.tolist() == other.measured.latency_ns.tolist()
        assert (one.unfit, one.n, one.lost, one.late) == (
            other.unfit, other.n, other.lost, other.late
        )  # fmt: skip
        assert (one.offered_per_s, one.done_per_s, one.stay_ns) == (
            other.offered_per_s, other.done_per_s, other.stay_ns
        )  # fmt: skip
    whole.search.next()
    assert found.search.knee() == whole.search.knee()


def test_the_ceiling_on_clients_is_one_on_connections():
    told = Told("connections")
    told.resolved.target["safety"] = {"clients_max": 300, "rate_max": "5/s"}
    assert max(told.climbed(beyond={})) == 300
    _, check = told.capacity()
    assert "every level up to the ceiling was within" in check.message


def test_a_level_that_was_cut_off_proves_nothing():
    told = Told("messages")
    told.play(500, cut=True)
    (run,) = told.found().runs
    assert "it was cut off" in run.unfit
    assert told.capacity()[1].verdict is Outcome.INCONCLUSIVE


def test_that_it_has_not_settled_is_told():
    told = Told(
        "messages", most="500/s", begin="500/s", repeats=2, until="p50<100ms", goodput="50%"
    )
    for _ in range(2):
        number = told.levels
        told.play(500)
        begin = ns(number * 4_000 + 1_000 + 600)  # the second half takes 60 ms longer
        told.rows = [
            (row[0] + 60_000_000, *row[1:])
            if row[3] == Kind.SENTINEL and row[4] == 1 and begin <= row[0] < begin + 600_000_000
            else row
            for row in told.rows
        ]
    _, check = told.capacity()
    assert "it had not settled" in check.message
