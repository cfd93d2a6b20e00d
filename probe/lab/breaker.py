"""The circuit breaker of the defects breaker_*; done right, there is none.

It counts failed authentications of anybody. The third without a success between opens it:
every handshake is refused for a while, good users' as well. Then it is half-open: the next
handshake is let through alone as a trial, whose success closes it and whose failure opens
it again for the whole while. To decide a trial takes a real time (breaker_half_open says how
long), and whoever comes meanwhile is refused: of a herd all but one. One that sticks is never
half-open. After Nygard, Release It! (2007), section 5.2.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from probe.lab.defects import Defects
    from probe.lab.ledger import Ledger

FAILURES: Final = 3
_STICKS_RETRY_S: Final = 15
_TRIAL_RETRY_S: Final = 1
_TRIAL_NS: Final = 5_000_000  # what a trial takes, and
_OPEN_NS: Final = 1_000_000_000  # how long it is open, where the defect on does not say so
_HALF_OPEN: Final = "breaker_half_open"


class OpenError(Exception):
    """The breaker lets nobody in; `retry_after_s` whole seconds is what the client is told."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(retry_after_s)
        self.retry_after_s = retry_after_s


class Breaker:
    """Closed, open since `_opened_ns`, or (later) half-open with at most one trial."""

    def __init__(self, ledger: Ledger, defects: Defects) -> None:
        self._ledger = ledger
        self._defects = defects
        self._failures = 0
        self._opened_ns: int | None = None
        self._trials = 0  # so far
        self._trial = 0  # the number of the one that goes on
        self._trial_ns = 0  # since when

    def enter(self, endpoint: str) -> int:
        """Let a handshake pass: 0, or the number of the trial that it is; OpenError if not."""
        name, open_ns = self._setting()
        if name is None or self._opened_ns is None:
            return 0
        now_ns = time.perf_counter_ns()
        after_ns = now_ns - self._opened_ns
        if open_ns is None:
            retry_s = _STICKS_RETRY_S
        elif after_ns < open_ns:
            retry_s = -((after_ns - open_ns) // 1_000_000_000)
        elif self._trial:
            retry_s = _TRIAL_RETRY_S
            if _HALF_OPEN in self._defects:
                name, after_ns = _HALF_OPEN, now_ns - self._trial_ns
        else:
            self._trials += 1
            self._trial, self._trial_ns = self._trials, now_ns
            return self._trial
        self._ledger.hit(name, endpoint=endpoint, after_ns=after_ns)
        raise OpenError(retry_s)

    async def weigh(self) -> None:
        """Take the time that the decision on a trial takes."""
        trial_ns = self._defects.duration_ns(_HALF_OPEN)
        await asyncio.sleep((_TRIAL_NS if trial_ns is None else trial_ns) / 1e9)

    def leave(self, trial: int) -> None:
        """That handshake or its session is over; the next may be the trial if it was none."""
        if trial and trial == self._trial:
            self._trial = 0

    def decided(self, *, good: bool) -> None:
        """An authentication was good or failed. While open, only the trial's counts."""
        name, _ = self._setting()
        if name is None:
            return
        if self._opened_ns is None:
            self._failures = 0 if good else self._failures + 1
            if self._failures == FAILURES:
                self._opened_ns = time.perf_counter_ns()
        elif self._trial:
            self._trial = self._failures = 0
            self._opened_ns = None if good else time.perf_counter_ns()

    def _setting(self) -> tuple[str | None, int | None]:
        """The defect that is on and how long it stays open (None: for ever)."""
        if self._defects.is_on("breaker_sticks"):
            return "breaker_sticks", None
        open_ns = self._defects.duration_ns("breaker_global")
        if open_ns is not None:
            return "breaker_global", open_ns
        if _HALF_OPEN in self._defects:
            return _HALF_OPEN, _OPEN_NS
        self._failures = self._trial = 0
        self._opened_ns = None
        return None, None
