"""Pacing: all runs are stepped by one timer, so that a run costs no task and no sleep.

A step is called and tells in how many nanoseconds it wants to be called again, or None
when it is over. What waits for the pace waits in one queue, which is in the order of time
since the pace is the same for all. A pace finer than the loop's timers is kept on average:
each time the timer fires, all that became due meanwhile is done.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    Step = Callable[[], int | None]

STEPS_PER_TURN: Final = 64  # then the sockets have their turn
_TIMER_NS: Final = 1_000_000  # finer than that the loop's timers are not
_LAG_NS_MAX: Final = 20_000_000  # of a fine pace; what is behind by more is not made up for


class Pacer:
    """Steps that go on side by side, `pace_ns` apart unless they ask for more."""

    def __init__(self, pace_ns: int) -> None:
        self.pace_ns = pace_ns
        self._due: deque[tuple[int, Step]] = deque()
        self._timer: asyncio.Handle | None = None
        self._stopped = False

    def start(self, step: Step) -> None:
        """Call the step for the first time in the next turn of the loop."""
        asyncio.get_running_loop().call_soon(self._again, step)

    def stop(self) -> None:
        """Call no step any more."""
        self._stopped = True
        self._due.clear()

    def _again(self, step: Step) -> None:
        if not self._stopped:
            self._step(step, time.perf_counter_ns())
            self._arm()

    def _step(self, step: Step, due_ns: int) -> None:
        delay_ns = step()
        if delay_ns is None:
            return
        if delay_ns != self.pace_ns:
            asyncio.get_running_loop().call_later(delay_ns / 1e9, self._again, step)
            return
        now_ns = time.perf_counter_ns()
        fine = 0 < self.pace_ns < _TIMER_NS
        from_ns = max(due_ns, now_ns - _LAG_NS_MAX) if fine else now_ns
        self._due.append((from_ns + delay_ns, step))

    def _arm(self) -> None:
        if self._timer is not None or not self._due:
            return
        left_ns = self._due[0][0] - time.perf_counter_ns()
        loop = asyncio.get_running_loop()
        if left_ns <= 0:
            self._timer = loop.call_soon(self._turn)
        else:
            self._timer = loop.call_later(max(left_ns, _TIMER_NS) / 1e9, self._turn)

    def _turn(self) -> None:
        self._timer = None
        now_ns = time.perf_counter_ns()
        for _ in range(STEPS_PER_TURN):
            # Without a pace the queue goes round until the turn is over.
            if not self._due or (self.pace_ns and self._due[0][0] > now_ns):
                break
            due_ns, step = self._due.popleft()
            self._step(step, due_ns)
        self._arm()
