"""Connects of the stage that is under way: how long they took so far, and how many are open yet.

The rule is that of the report (`probe.check.latency`): from the *intended* start to ready; a
timeout is "more than" its time, another failure has none, neither is dropped; who was thrown out
within a second, unserved, was not let in. So what is ready counts after that second only. After a
restart those count who were due once somebody had been let in: a boot is no latency. What
has no fate yet is told apart, with its age, since it would make a hang look like a fast service.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, assert_never

import numpy as np

from probe.history.records import NOBODY, Kind, Outcome
from probe.stats.quantiles import Failed, MoreThan, Quantile, Value, quantile
from probe.units import format_duration

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from probe.stats.quantiles import Level

QUANTILES: Final = (0.5, 0.95, 0.99)
YOUNG_NS: Final = 1_000_000_000
LATE_NS: Final = 100_000_000
_UNASKED: Final = (Outcome.CLOSED, Outcome.RESET, Outcome.EOF)
_OPEN: Final = np.dtype([("key", "<u8"), ("base", "<i8"), ("ready", "<i8")])
KINDS: Final = (Kind.INTENDED, Kind.DIAL, Kind.READY, Kind.END, Kind.DONE)


@dataclass(frozen=True, slots=True)
class Shown:
    """A quantile in words, with its interval, or what is missing for it."""

    name: str
    words: str
    between: str


class Connects:
    """See the module; `clear` begins anew."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all: another stage, or another level, has begun."""
        self._open = np.zeros(0, _OPEN)
        self._took: list[NDArray[np.int64]] = []
        self._censored: list[NDArray[np.int64]] = []
        self._wholes: deque[NDArray[np.void]] = deque()
        self._lately: dict[str, deque[NDArray[np.void]]] = {}  # the last two pieces of each journal
        self.failed = 0
        self.dialled = self.late = 0
        """First dials, and those over 0.1 s after their intended time."""
        self.known = True
        """Whether no row was passed over."""
        self.since_ns: int | None = 0
        """Who was due before that does not count; None: nobody has been let in yet."""

    def restarted(self) -> None:
        """The service was restarted: nobody counts until somebody is let in."""
        self.since_ns = None

    @property
    def n(self) -> int:
        """How many have had their fate."""
        return sum(map(len, self._took)) + sum(map(len, self._censored)) + self.failed

    def take(
        self, rows: NDArray[np.void], whole: NDArray[np.void] | None = None, journal: str = ""
    ) -> None:
        """Rows of one journal, in the order of writing; `whole`: with the messages among them."""
        whole = rows if whole is None else whole
        self._wholes = self._lately.setdefault(journal, deque(maxlen=2))
        if not self._wholes or self._wholes[-1] is not whole:
            self._wholes.append(whole)
        mine = rows[np.isin(rows["kind"], KINDS)]
        if not len(mine):
            return
        of = {kind: mine[mine["kind"] == kind] for kind in KINDS}
        self._begin(of[Kind.INTENDED], of[Kind.DIAL])
        ready = of[Kind.READY]
        at, found = self._find(_keys(ready))
        self._open["ready"][at[found]] = ready["t"][found]
        if self.since_ns is None and len(ready):
            self.since_ns = int(ready["t"].min())
        if len(of[Kind.END]):
            self._end(of[Kind.END])
        self._grow_old(int(mine["t"].max()))
        self._forget(of[Kind.DONE])

    def _begin(self, intended: NDArray[np.void], dials: NDArray[np.void]) -> None:
        again = dials[dials["op"] > 0]
        new = np.zeros(len(intended) + len(again), _OPEN)
        new["key"][: len(intended)] = intended["session"].astype(np.uint64) << np.uint64(32)
        new["key"][len(intended) :] = _keys(again)
        new["base"] = np.concatenate([intended["t"], again["t"]])
        if len(new):
            joined = np.concatenate([self._open, new])
            self._open = joined[np.argsort(joined["key"], kind="stable")]
        first = dials[dials["op"] == 0]
        at, found = self._find(_keys(first))
        lags = first["t"][found] - self._open["base"][at[found]]
        self.dialled += len(lags)
        self.late += int((lags > LATE_NS).sum())

    def _end(self, ends: NDArray[np.void]) -> None:
        keys = _keys(ends)
        at, found = self._find(keys)
        at, ends, keys = at[found], ends[found], keys[found]
        base, ready, outcome = self._open["base"][at], self._open["ready"][at], ends["a"]
        early = np.isin(outcome, _UNASKED) & (ends["t"] - ready < YOUNG_NS) & (ready > 0)
        if early.any():  # rarely: messages are many
            early[early] = ~self._served(keys[early])
        counts = self._counts(base) & (outcome != Outcome.LOCAL)
        let_in = (ready > 0) & ~early
        self._took.append((ready - base)[let_in & counts])
        cut = (ready == 0) & np.isin(outcome, (Outcome.TIMEOUT, Outcome.CANCELLED))
        self._censored.append(np.maximum(ends["t"] - base, 0)[cut & counts])
        self.failed += int((~let_in & ~cut & counts).sum())
        self._open = np.delete(self._open, at)

    def _served(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of these attempts have got an event of a run lately."""
        found = np.zeros(len(keys), np.bool_)
        for rows in self._wholes:
            got = rows[(rows["kind"] == Kind.GOT) & (rows["b"] >= 0)]
            found |= np.isin(keys, _keys(got))
        return found

    def _grow_old(self, now_ns: int) -> None:
        ready = self._open["ready"]
        old = (ready > 0) & (ready + YOUNG_NS <= now_ns)
        if old.any():
            base = self._open["base"]
            self._took.append((ready - base)[old & self._counts(base)])
            self._open = self._open[~old]

    def _forget(self, done: NDArray[np.void]) -> None:
        """Who is over and had no fate has dialled nobody: another thing was its task."""
        if len(done) and len(self._open):
            sessions = done["session"][done["session"] != NOBODY].astype(np.uint64)
            gone = np.isin(self._open["key"] >> np.uint64(32), sessions)
            self._open = self._open[~gone | (self._open["ready"] > 0)]

    def _counts(self, base: NDArray[np.int64]) -> NDArray[np.bool_]:
        since = np.iinfo(np.int64).max if self.since_ns is None else self.since_ns
        return np.asarray(base >= since)

    def _find(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        there = self._open["key"]
        if not len(there):
            return np.zeros(len(keys), np.int64), np.zeros(len(keys), np.bool_)
        at = np.minimum(np.searchsorted(there, keys), len(there) - 1)
        return at.astype(np.int64), np.asarray(there[at] == keys)

    def under_way(self, now_ns: int) -> tuple[int, int]:
        """How many are neither ready nor over, though they are due, and the oldest's age, ns."""
        due = self._open[(self._open["ready"] == 0) & (self._open["base"] <= now_ns)]
        return len(due), now_ns - int(due["base"].min()) if len(due) else 0

    def quantiles(self) -> list[Shown]:
        """p50, p95 and p99 so far."""
        self._took = [np.concatenate([np.zeros(0, np.int64), *self._took])]
        censored = np.concatenate([np.zeros(0, np.int64), *self._censored])
        return [
            _shown(quantile(self._took[0], q, censored=censored, failed=self.failed))
            for q in QUANTILES
        ]


def _keys(rows: NDArray[np.void]) -> NDArray[np.uint64]:
    found: NDArray[np.uint64] = rows["session"].astype(np.uint64) << np.uint64(32)
    return found | rows["op"].astype(np.uint64)


def _shown(found: Quantile) -> Shown:
    name = f"p{found.q * 100:g}"
    if not found.enough or found.estimate is None:
        return Shown(name, f"needs {found.n_needed:,}", "")
    assert found.low is not None
    assert found.high is not None
    low, high = _level(found.low), _level(found.high)
    return Shown(name, _level(found.estimate), f"{low} to {high}" if low != high else "")


def _level(level: Level) -> str:
    match level:
        case Value(ns):
            return format_duration(ns)
        case MoreThan(ns):
            return f"over {format_duration(ns)}"
        case Failed():
            return "failed"
        case _:
            assert_never(level)
