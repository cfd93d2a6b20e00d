"""The instants of one release: order, stamps, and what comes too late or falls out."""

import asyncio
from functools import partial
from random import Random

import uvloop

from probe.clock import now_ns
from probe.engine.gate import Timeline
from probe.engine.turn import Turn

MS = 1_000_000


def released(plan, *, lead_ms=20, late=()):
    """(name, stamp - T) of what was let go, in order; `plan` is (name, offset ms)."""

    async def whole():
        timeline = Timeline(Random(1))
        gone, told = [], []

        def action(name):
            def let_go():
                gone.append(name)
                return now_ns()

            return let_go, partial(tell, name)

        def tell(name, stamp):
            told.append((name, stamp))

        for name, offset in plan:
            timeline.add(offset * MS, *action(name))
        running = asyncio.ensure_future(timeline.run())
        timeline.open(now_ns() + lead_ms * MS)
        for name, offset, after in late:
            await asyncio.sleep(after / 1e3)
            timeline.add(offset * MS, *action(name))
        while len(told) < len(plan) + len(late):  # noqa: ASYNC110 -- for milliseconds
            await asyncio.sleep(0.001)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return gone, [(name, stamp - timeline.zero_ns) for name, stamp in told], timeline

    return uvloop.run(asyncio.wait_for(whole(), 5))


def test_what_waits_leaves_in_the_order_of_its_offsets_and_never_early():
    gone, told, timeline = released([("c", 30), ("a", -10), ("b", 5), ("d", 31)])
    assert gone == ["a", "b", "c", "d"]
    due = {"a": -10, "b": 5, "c": 30, "d": 31}
    assert all(after >= due[name] * MS for name, after in told)
    assert timeline.lags_ns == [after - due[name] * MS for name, after in told]


def test_of_one_instant_all_leave_before_any_is_told():
    order = []

    async def whole():
        timeline = Timeline(Random(3))

        def go(k):
            order.append(("gone", k))
            return now_ns()

        def tell(k, _):
            order.append(("told", k))

        for k in range(20):
            timeline.add(0, partial(go, k), partial(tell, k))
        running = asyncio.ensure_future(timeline.run())
        timeline.open(now_ns() + 5 * MS)
        while len(order) < 40:  # noqa: ASYNC110 -- for milliseconds
            await asyncio.sleep(0.001)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    uvloop.run(asyncio.wait_for(whole(), 5))
    assert [what for what, _ in order] == ["gone"] * 20 + ["told"] * 20
    assert [k for _, k in order[:20]] != list(range(20))  # at random


def test_what_comes_when_its_instant_has_passed_leaves_at_once_and_its_stamp_says_so():
    gone, told, _ = released([("a", 0)], late=[("b", 1, 60)])
    assert gone == ["a", "b"]
    assert dict(told)["b"] > 35 * MS


def test_what_cannot_be_let_go_is_told_with_0_and_has_no_lag():
    stamps: list[int] = []

    async def whole():
        timeline = Timeline(Random(1))
        timeline.add(0, lambda: 0, stamps.append)
        running = asyncio.ensure_future(timeline.run())
        timeline.open(now_ns())
        while not stamps:  # noqa: ASYNC110 -- for milliseconds
            await asyncio.sleep(0.001)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert timeline.lags_ns == []

    uvloop.run(asyncio.wait_for(whole(), 5))
    assert stamps == [0]


def test_a_turn_counts_its_gates_and_knows_what_each_aimed_at():
    came = []
    turn = Turn(Timeline(Random(1)), 7, 40 * MS, lambda: came.append(1), shift_ns=5 * MS)
    turn.ask(0)
    assert turn.take() == (0, 5 * MS)
    turn.ask(None)
    assert turn.take() == (1, 45 * MS)
    assert turn.aims == {0: 5 * MS, 1: 45 * MS}
    turn.come()
    turn.come()
    assert came == [1]
