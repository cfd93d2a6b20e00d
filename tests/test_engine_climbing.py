"""A climb over connections that stay, on real sockets: who is asked, when, and who leaves."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
import uvloop
import websockets

from probe.check.climb import Climbing, climb
from probe.check.view import views
from probe.engine.climbing import climbed
from probe.engine.play import part_of
from probe.engine.routes import make_routes
from probe.engine.site import Live, make_site
from probe.engine.standing import Standing
from probe.history.columns import History
from probe.history.journal import Journal
from probe.history.records import Kind, Level, Outcome
from probe.model.dialect import Dialect
from probe.model.plan import make_plan
from probe.model.resolved import Resolved, target_facts
from probe.model.scenario import Scenario
from probe.model.target import Target
from probe.redact import Redactor
from probe.wire.deadlines import wheel_of
from tests.engine_sites import identity

SEED = 5
PLAIN = {"title": "d", "present": {"default": {}}}
ECHO = {**PLAIN, "echo": True}
MARKED = {**PLAIN, "sentinel": {"send": '{"ask":"{n}"}', "event": "told", "path": "n"}}
QUICK = {
    "until": "p50<2s", "settle": "50ms", "lasts": "300ms", "pause": "0", "patience": "1s",
    "opening": "2000/s",
}  # fmt: skip


class Climbed:
    """What a climb of some levels left behind."""

    def __init__(self, folder, resolved, stopped):
        self.history = History.open(folder / "history")
        self.resolved = resolved
        self.view = views(self.history, resolved)[0]
        self.found = climb(self.view)
        self.rule = self.found.rule
        self.stopped = stopped

    def asked(self, number):
        rows = self.history.of(Kind.LEVEL)
        return rows[(rows["flag"] == Level.ASKED) & (rows["a"] == number)]

    def sessions(self, number):
        """Who was let in for a level."""
        rows = self.history.sessions
        return rows[rows["trial"] == number]

    def check_asked_as_planned(self):
        anchors = {int(row["op"]): int(row["b"]) for row in self.history.of(Kind.ANCHOR)}
        for run in self.found.runs:
            rows = self.asked(run.number)
            offsets, whom = self.rule.questions(run.rate_per_s, (SEED, 0, run.number))
            assert (rows["t"] - anchors[run.number]).tolist() == offsets.tolist()
            # Each place is one connection, and each connection one place.
            pairs = set(zip(whom.tolist(), rows["session"].tolist(), strict=True))
            assert len(pairs) == len(set(whom.tolist())) == len({who for _, who in pairs})


def climb_by(folder, levels, serve, dialect=MARKED, *, most=None, within_s=40.0, **rule):
    """Play these levels against `serve(websocket)`, `most` at one time let in, in one loop."""
    table = {**QUICK, **rule}
    stage = {"activity": "capacity", "budget": "1m", "capacity": table}
    scenario = Scenario.model_validate({"title": "s", "stages": {"climb": stage}})
    spoken = Dialect.model_validate(dialect)
    there: set[Any] = set()

    async def let_in(connection, _):
        if most is not None and len(there) >= most:
            return connection.respond(503, "full")
        there.add(connection)
        return None

    async def served(websocket):
        try:
            await serve(websocket)
        finally:
            there.discard(websocket)

    async def whole():
        loop = asyncio.get_running_loop()
        journal = Journal(folder / "history", Redactor(), {"seed": SEED, "endpoints": ["main"]})
        try:
            async with websockets.serve(
                served, "127.0.0.1", 0, compression=None, process_request=let_in
            ) as server:
                port = server.sockets[0].getsockname()[1]
                target = Target.model_validate(
                    {"title": "t", "endpoints": {"main": {"url": f"ws://127.0.0.1:{port}/"}}}
                )
                plan = make_plan(scenario, target, spoken, SEED)
                nowhere: Any = None
                site = make_site(
                    loop, wheel_of(loop), journal, Redactor(), target, spoken,
                    run_id="a run", http=nowhere, routes=make_routes(target), live=Live(),
                )  # fmt: skip

                async def given(clients):
                    return [identity(f"probe-{n}", index=n) for n in clients]

                left = list(levels)

                async def ask():
                    return left.pop(0) if left else None

                async def why_stop():
                    return ""

                journal.note(Kind.STAGE, 0, 0, 0, 0)
                load = Standing(
                    site, part_of(plan.groups[0], site), plan.stages[0], 0, SEED, given, lambda: ""
                )
                async with asyncio.timeout(within_s):
                    told = await climbed(site, plan.stages[0], 0, SEED, load, ask, why_stop)
                journal.note(Kind.STAGE, 0, 1, 0, 0)
                facts = target_facts("t", target)
                return Resolved("small", scenario, spoken, facts), (told, site.live.alive)
        finally:
            journal.close(ended="complete")

    return Climbed(folder, *uvloop.run(whole()))


async def echo(websocket):
    async for message in websocket:
        await websocket.send(message)


async def answers(websocket):
    async for message in websocket:
        await websocket.send(message.replace('{"ask"', '{"type":"told","n"'))


def test_messages_go_at_the_instants_of_the_plan_over_connections_that_stay(tmp_path):
    made = climb_by(
        tmp_path, [60.0, 120.0, 60.0], answers, of="messages", connections=6, begin="60/s"
    )
    made.check_asked_as_planned()
    assert made.stopped == ("", 0)
    assert [run.rate_per_s for run in made.found.runs] == [60, 120, 60]
    assert all(run.n > 10 and (run.lost, run.late) == (0, 0) for run in made.found.runs)
    assert all((run.measured.latency_ns > 0).all() for run in made.found.runs)
    # The same six all along, and they leave in order.
    assert len(made.history.sessions) == len(made.sessions(0)) == 6
    assert set(made.history.sessions["outcome"].tolist()) == {0}
    assert set(made.history.attempts["outcome"].tolist()) == {Outcome.NORMAL}


def test_what_the_gauge_counts_is_what_was_asked_and_not_answered(tmp_path):
    async def slowly(websocket):
        async def later(message):
            await asyncio.sleep(0.1)
            await websocket.send(message)

        tasks = [asyncio.create_task(later(each)) async for each in websocket]
        assert tasks

    made = climb_by(
        tmp_path, [100.0], slowly, ECHO, of="messages", connections=5, begin="100/s", lasts="2s"
    )
    (run,) = made.found.runs
    assert (run.measured.latency_ns > 90_000_000).all()  # a loop's timers round
    expected = run.offered_per_s * run.stay_ns / 1e9
    assert run.in_flight == pytest.approx(expected, rel=0.25)
    assert run.in_flight > 5


def test_levels_keep_what_is_open_and_close_what_is_too_much(tmp_path):
    made = climb_by(
        tmp_path, [10.0, 25.0, 15.0, 20.0], echo, ECHO,
        of="connections", begin=10, most=100, ping_every="100ms", spacing="even",
    )  # fmt: skip
    made.check_asked_as_planned()
    assert [len(made.sessions(number)) for number in range(4)] == [10, 15, 0, 5]
    assert set(made.history.sessions["outcome"].tolist()) == {0}
    assert all((run.lost, run.late) == (0, 0) for run in made.found.runs)
    # Those who had to leave did so before the first question of the level that has too many.
    first, second = (set(made.sessions(number)["session"].tolist()) for number in (0, 1))
    kept = set(made.asked(2)["session"].tolist())
    assert first <= kept
    assert len(kept & second) == 5
    anchors = {int(row["op"]): int(row["b"]) for row in made.history.of(Kind.ANCHOR)}
    ends = made.history.attempts["end"]
    assert (ends < anchors[2]).sum() == 10


def test_connections_that_are_refused_are_asked_in_vain_and_tried_again(tmp_path):
    made = climb_by(
        tmp_path, [10.0, 20.0, 20.0], echo, ECHO, most=15,
        of="connections", begin=10, ping_every="100ms", spacing="even",
    )  # fmt: skip
    made.check_asked_as_planned()
    assert [len(made.sessions(number)) for number in range(3)] == [10, 10, 5]
    within, full, again = made.found.runs
    assert within.lost == 0
    for run in (full, again):
        assert run.lost / run.n == pytest.approx(0.25, abs=0.05)
    assert not made.found.runs[0].late


def test_an_answer_that_never_comes_is_waited_for_and_censored(tmp_path):
    async def some(websocket):
        async for message in websocket:
            if int(message.rpartition("-")[2]) % 3:
                await websocket.send(message)

    made = climb_by(
        tmp_path, [90.0], some, ECHO, of="messages", connections=3, begin="90/s", patience="300ms"
    )
    (run,) = made.found.runs
    assert run.late > 0
    assert run.lost == 0
    assert run.late / run.n == pytest.approx(1 / 3, abs=0.15)
    assert set(run.measured.latency_ns[run.measured.timed_out].tolist()) == {300_000_000}


def test_a_connection_that_ends_in_the_midst_is_replaced_at_the_next_level(tmp_path):
    async def short(websocket):
        number = 0
        async for message in websocket:
            number += 1
            if number == 5:
                return
            await websocket.send(message)

    made = climb_by(
        tmp_path, [60.0, 60.0], short, ECHO, of="messages", connections=3, begin="60/s",
        spacing="even",
    )  # fmt: skip
    first, second = made.found.runs
    assert first.lost > 0
    assert len(made.sessions(1)) == 3
    assert second.n > second.lost


def test_told_level_by_level_it_comes_to_the_same(tmp_path):
    made = climb_by(
        tmp_path, [20.0, 40.0, 20.0], echo, ECHO, of="connections", begin=20, ping_every="100ms",
        most=30,
    )  # fmt: skip
    rows = made.history.rows
    begun = np.flatnonzero((rows["kind"] == Kind.LEVEL) & (rows["flag"] == Level.BEGUN))
    climbing = Climbing("climb")
    for upto in [*begun[1:].tolist(), len(rows)]:
        part = History(rows[:upto], made.history.meta, made.history.texts)
        found = climbing.climb(part, made.resolved)
    assert len(found.runs) == 3
    for one, other in zip(found.runs, made.found.runs, strict=True):
        assert one.measured.latency_ns.tolist() == other.measured.latency_ns.tolist()
        assert (one.unfit, one.lost, one.late) == (other.unfit, other.lost, other.late)
    assert found.search.levels == made.found.search.levels
