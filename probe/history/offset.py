"""Another host's clock against the driver's: what a stamp of there is here, and how surely.

The rule: a monotonic clock begins with its host, so that two hosts' stamps may be years apart and
say nothing of each other until they were compared; and however well that was done, two instants
of different hosts that are nearer to each other than the bound have no order. Readings that
contradict each other widen the bound; none is thrown away as if it had not been.

Theory of operation. An exchange has four stamps: sent and got by the driver, came and left by
the other. However long either way took, theirs minus ours lies between left - got and came - sent
(Cristian, Distributed Computing 3, 1989; the stamps are those of RFC 5905, section 8). All
exchanges of one second must agree, so that their intervals are cut with each other: a reading is
the middle of what remains, and its bound half of the best way there and back. Between two readings
the offset is taken as linear, after the last one as constant. Two quartz clocks go apart by at most
some DRIFT, which is what may hide beside the line: DRIFT/2 of the time between two readings, DRIFT
of that after the last one. A clock that is slewed harder (adjtimex(2): 500 ppm and more) is seen
where a cut is empty, or where two readings differ by more than their bounds and DRIFT: nothing is
known of when it moved in between, so that the whole of the jump is added to the bound. Slews back
and forth within one second, and such as are below the bound, are not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

DRIFT: Final = 100e-6
"""By how much two clocks differ in rate at most: 50 ppm each, as quartzes are sold."""
WINDOW_NS: Final = 1_000_000_000
READINGS_MAX: Final = 512
_ROUNDING_NS: Final = 2
CLOCK: Final = "clock"
"""The key in the meta file of a journal whose stamps are those of another host."""


@dataclass(frozen=True, slots=True)
class Reading:
    """At `at_ns` of theirs their clock was `offset_ns` +- `bound_ns` ahead of ours."""

    at_ns: int
    offset_ns: int
    bound_ns: int


@dataclass(frozen=True, slots=True)
class Clock:
    """What is known of another host's clock; at least one reading, by time.

    `jump_ns`: the most by which exchanges contradicted each other that are in no reading.
    """

    readings: tuple[Reading, ...]
    jump_ns: int = 0

    @classmethod
    def of(cls, stored: Any) -> Clock:
        """From a meta file; ValueError where it is none."""
        try:
            readings = tuple(Reading(*map(int, each)) for each in stored["readings"])
            jump_ns = int(stored.get("jump_ns", 0))
        except (TypeError, KeyError) as error:
            raise ValueError(f"no readings of a clock: {error}") from None
        if not readings:
            raise ValueError("a clock without a reading")
        return cls(readings, jump_ns)

    def stored(self) -> dict[str, Any]:
        """For a meta file."""
        rows = [[each.at_ns, each.offset_ns, each.bound_ns] for each in self.readings]
        return {"readings": rows, "jump_ns": self.jump_ns}

    def ours(self, theirs: NDArray[np.int64]) -> NDArray[np.int64]:
        """The same instants by our clock, int64[n] ns."""
        first = self.readings[0]
        # Seen from the first one: a double has no room for the nanoseconds of years.
        at = np.array([each.at_ns - first.at_ns for each in self.readings], dtype=np.float64)
        more = np.array([each.offset_ns - first.offset_ns for each in self.readings], np.float64)
        moved = np.interp((theirs - first.at_ns).astype(np.float64), at, more)
        out: NDArray[np.int64] = theirs - first.offset_ns - np.rint(moved).astype(np.int64)
        return out

    def theirs(self, ours_ns: int) -> int:
        """An instant soon to come, by their clock."""
        return ours_ns + self.readings[-1].offset_ns

    def bound_ns(self, first_ns: int | None = None, last_ns: int | None = None) -> int:
        """By how much an instant from `first_ns` to `last_ns` (theirs) may be wrong."""
        at = [each.at_ns for each in self.readings]
        apart = [later - earlier for earlier, later in pairwise(at)]
        hidden = max(apart, default=0) / 2
        if first_ns is not None and last_ns is not None:
            hidden = max(hidden, at[0] - first_ns, last_ns - at[-1])
        jumps = (_jump_ns(earlier, later) for earlier, later in pairwise(self.readings))
        jump = max(self.jump_ns, *jumps, 0)
        return round(max(each.bound_ns for each in self.readings) + jump + DRIFT * hidden)


class Comparing:
    """Makes a Clock of exchanges as they come; for how long they do, the room is the same."""

    def __init__(self) -> None:
        self._kept: list[Reading] = []
        self._every_ns = WINDOW_NS
        self._began = self._last = 0
        self._low: int | None = None
        self._high = self._best = 0
        self._jump = 0

    def add(self, sent_ns: int, came_ns: int, left_ns: int, got_ns: int) -> None:
        """One exchange; see the module."""
        low, high = left_ns - got_ns, came_ns - sent_ns
        if self._low is None:
            self._began, self._low, self._high, self._best = came_ns, low, high, high - low
        self._low, self._high = max(self._low, low), min(self._high, high)
        self._best = min(self._best, high - low)
        self._last = left_ns
        if left_ns - self._began >= self._every_ns:
            self._jump = max(self._jump, self._gap())
            self._keep(self._reading(left_ns))
            self._low = None
            if len(self._kept) > READINGS_MAX:
                del self._kept[1::2]
                self._every_ns *= 2

    def _keep(self, reading: Reading) -> None:
        """Unless an earlier one is the better bound also now, or it is one of earlier ones."""
        while self._kept:
            self._jump = max(self._jump, _jump_ns(self._kept[-1], reading))
            if not _worse(self._kept[-1], reading):
                break
            self._kept.pop()
        if not self._kept or not _worse(reading, self._kept[-1]):
            self._kept.append(reading)

    def _reading(self, until_ns: int) -> Reading:
        assert self._low is not None
        middle = self._began + (until_ns - self._began) // 2
        # The cut is narrower also where the clock was slewed: the best exchange bounds the reading.
        width = max(abs(self._high - self._low), self._best)
        hidden = round(DRIFT * (until_ns - self._began) / 2)
        return Reading(middle, (self._low + self._high) // 2, -(-width // 2) + hidden)

    def _gap(self) -> int:
        """By how much the exchanges of this window contradict each other, beyond DRIFT."""
        assert self._low is not None
        gap = self._low - self._high
        return gap if gap > DRIFT * (self._last - self._began) else 0

    def clock(self) -> Clock | None:
        """What is known by now; None before the first exchange."""
        known, jump = list(self._kept), self._jump
        if self._low is not None:
            jump = max(jump, self._gap())
            if known:
                jump = max(jump, _jump_ns(known[-1], self._reading(self._last)))
        # Two readings close to each other would turn their bounds into a rate.
        if self._low is not None and (not known or self._last - self._began >= WINDOW_NS // 2):
            known.append(self._reading(self._last))
        return Clock(tuple(known), jump) if known else None


def _worse(one: Reading, other: Reading) -> bool:
    """Whether another reading says more of the moment of this one than it does itself."""
    return one.bound_ns > other.bound_ns + DRIFT * abs(one.at_ns - other.at_ns)


def _jump_ns(one: Reading, other: Reading) -> int:
    """By how much two readings differ, where that is more than two quartzes can; else 0."""
    apart_ns = abs(one.offset_ns - other.offset_ns)
    most = one.bound_ns + other.bound_ns + DRIFT * abs(one.at_ns - other.at_ns)
    return apart_ns if apart_ns > most + _ROUNDING_NS else 0


def apart(clocks: Sequence[tuple[Clock, int, int]]) -> int:
    """By how much two instants of different hosts may be wrong against each other, ns.

    Of each clock the first and last instant that it has stamped; the driver's own is exact.
    """
    bounds = sorted(clock.bound_ns(first, last) for clock, first, last in clocks)
    return sum(bounds[-2:])
