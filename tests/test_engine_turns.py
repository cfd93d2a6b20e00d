"""Several launches in one turn of the loop: as many as a turn has room for, and no more."""

import asyncio

import pytest

from probe.engine import pace
from probe.engine.pace import AT_ONCE_MAX, TURN_NS, Turns

US = 1_000
FIXED_NS = 35 * US  # of a turn in which nothing is launched


class Loop:
    """A clock that only launches move; `turns` are how many each turn had."""

    def __init__(self, monkeypatch):
        self.now_ns = 1
        self.turns = []
        monkeypatch.setattr(pace, "thread_time_ns", lambda: self.now_ns)

    async def launch(self, turns, count, each_ns):
        """Launch so many; the turn of the loop that follows takes what it has launched."""
        loop, new = asyncio.get_running_loop(), 0

        def turn():
            nonlocal new
            if new:
                self.now_ns += FIXED_NS + new * each_ns
                self.turns.append(new)
                new = 0

        for _ in range(count):
            if not new:
                loop.call_soon(turn)
            new += 1
            await turns.launched()


@pytest.mark.parametrize(
    ("each_ns", "least", "most"),
    [(100 * US, 3, 5), (50 * US, 7, 10), (700 * US, 1, 1), (1, AT_ONCE_MAX, AT_ONCE_MAX)],
)
def test_a_turn_has_as_many_as_it_has_room_for(monkeypatch, each_ns, least, most):
    async def body():
        clock = Loop(monkeypatch)
        await clock.launch(Turns(), 400, each_ns)
        settled = clock.turns[3:-1]
        assert len(settled) > 15
        assert least <= min(settled) <= max(settled) <= most
        # What the loop can do: no turn over the limit that one launch less would keep.
        assert all((n - 1) * each_ns <= TURN_NS for n in clock.turns)

    asyncio.run(body())


def test_a_turn_follows_what_a_launch_costs_at_once(monkeypatch):
    async def body():
        clock, turns = Loop(monkeypatch), Turns()
        await clock.launch(turns, 40, 100 * US)
        await clock.launch(turns, 16, 5_000 * US)
        assert clock.turns[-3:] == [1, 1, 1]
        before = len(clock.turns)
        await clock.launch(turns, 40, 100 * US)
        assert min(clock.turns[before + 3 : -1]) >= 3

    asyncio.run(body())


def test_the_first_turn_has_one(monkeypatch):
    async def body():
        clock = Loop(monkeypatch)
        await clock.launch(Turns(), 10, 100 * US)
        assert clock.turns[0] == 1

    asyncio.run(body())
