"""The instants of one release of a race: who waits for which, and letting go at it.

Theory of operation. All actors come to their first gate; then the shared instant T is set,
and everything that waits is let go at T plus its own offset, the earliest first and at random
among those of one instant. A later gate of a script waits for T plus its offset, too; if that
has passed, what waits there is let go at once, and its stamp tells the truth.

The rule: the stamp of what was let go counts, never the instant that was meant. What waits is
a plain function that writes and returns its stamp, so that those of one instant leave in one
tight loop; only then is each told. Until the last 0.1 ms the loop goes on, since answers to
what was let go before must be read meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from probe.clock import now_ns

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

NEAR_NS: Final = 1_000_000_000
"""What is due this much later than the first is prepared only shortly before its instant."""
LEAD_NS: Final = 200_000_000
_SLEEP_NS: Final = 3_000_000  # what a timer of the loop may be late by, and more
_SPIN_NS: Final = 100_000
TOGETHER_NS: Final = 1_000_000
"""What is due within this time of each other is meant to be let go at once."""


@dataclass(order=True, slots=True)
class _Due:
    due_ns: int
    chance: float
    let_go: Callable[[], int] = field(compare=False)
    told: Callable[[int], None] = field(compare=False)


class Timeline:
    """One release. `zero_ns` is T, 0 while the actors gather."""

    def __init__(self, rng: Random) -> None:
        self.zero_ns = 0
        self.lags_ns: list[int] = []  # of what was let go: how long after it was due
        self._rng = rng
        self._early: list[tuple[int, Callable[[], int], Callable[[int], None]]] = []
        self._queue: list[_Due] = []
        self._changed = asyncio.Event()

    def add(self, offset_ns: int, let_go: Callable[[], int], told: Callable[[int], None]) -> None:
        """Have `let_go` called at T plus the offset, and then `told` with the stamp it returned.

        A stamp of 0 says that it could not be let go.
        """
        if not self.zero_ns:
            self._early.append((offset_ns, let_go, told))
            return
        due = _Due(self.zero_ns + offset_ns, self._rng.random(), let_go, told)
        heapq.heappush(self._queue, due)
        self._changed.set()

    def open(self, zero_ns: int) -> None:
        """T is set."""
        self.zero_ns = zero_ns
        early, self._early = self._early, []
        for offset_ns, let_go, told in early:
            self.add(offset_ns, let_go, told)

    async def run(self) -> None:
        """Let go what is due, until cancelled."""
        while True:
            if not self._queue:
                self._changed.clear()
                await self._changed.wait()
                continue
            due_ns = self._queue[0].due_ns
            left_ns = due_ns - now_ns()
            if left_ns > _SLEEP_NS:
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    left_s = (left_ns - _SLEEP_NS) / 1e9
                    await asyncio.wait_for(self._changed.wait(), left_s)
            elif left_ns > _SPIN_NS:
                await asyncio.sleep(0)
            else:
                while now_ns() < due_ns:
                    pass
                self._let_go(due_ns)

    def _let_go(self, due_ns: int) -> None:
        gone: list[tuple[_Due, int]] = []
        while self._queue and self._queue[0].due_ns <= max(due_ns, now_ns()):
            each = heapq.heappop(self._queue)
            gone.append((each, each.let_go()))
        for each, stamp in gone:
            if stamp:
                self.lags_ns.append(stamp - each.due_ns)
            each.told(stamp)


class Turn:
    """One client's part in a release: its trial, and the offset that is on trial.

    `shift_ns` is how much later than the release its trial is, so that trials of one comb do
    not stand in each other's way at the service.

    `stamps` has what each of its gates let go, by the number of the gate, `aims` the offsets
    that were meant. `away`: its first gate is so late that nothing is prepared for it yet.
    `waits` says that it has come to its first gate, as `watch` is told; `overdue` that it was
    stopped because it took too long, which is a failure of its own.
    """

    __slots__ = (
        "_shift_ns", "_swept_ns", "aims", "asked_ns", "away", "overdue", "passed", "stamps",
        "timeline", "trial", "waits", "watch",
    )  # fmt: skip

    def __init__(
        self,
        timeline: Timeline,
        trial: int,
        swept_ns: int,
        watch: Callable[[], None],
        *,
        shift_ns: int = 0,
        away: bool = False,
    ) -> None:
        self.timeline = timeline
        self.trial = trial
        self.away = away
        self.watch = watch
        self.stamps: dict[int, int] = {}
        self.aims: dict[int, int] = {}
        self.asked_ns: int | None = None  # the offset of the gate that is to be passed next
        self.passed = 0  # how many were
        self.waits = False
        self.overdue = False
        self._swept_ns = swept_ns
        self._shift_ns = shift_ns

    def ask(self, offset_ns: int | None) -> None:
        """The next thing that is sent waits for T plus `offset_ns` (None: the one on trial)."""
        offset_ns = self._swept_ns if offset_ns is None else offset_ns
        self.asked_ns = offset_ns + self._shift_ns

    def come(self) -> None:
        """The client stands at its gate with all that can be prepared."""
        if not self.waits:
            self.waits = True
            self.watch()

    def take(self) -> tuple[int, int]:
        """Pass the gate that was asked for: its number and its offset."""
        assert self.asked_ns is not None
        offset_ns, self.asked_ns = self.asked_ns, None
        number, self.passed = self.passed, self.passed + 1
        self.aims[number] = offset_ns
        return number, offset_ns
