"""Curve: what every shape becomes, load over time as straight lines between points.

Open load is a rate of arrivals (points of ns and hertz) and beside it single arrivals at
fixed instants, for what a rate cannot say: so many at once, or a recording. Closed load is
a number of clients (points of ns and clients). Two points that share a time are a step.
A shape is written in a short form; planning, judging and showing read this alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from math import floor
from typing import TYPE_CHECKING, Annotated, Final

import numpy as np
from pydantic import AfterValidator

from probe.model.base import Duration
from probe.units import canonical_duration, canonical_rate

if TYPE_CHECKING:
    from numpy.typing import NDArray

Point = tuple[int, float]


def some_time(ns: int) -> int:
    """The same, where it is more than nothing; else ValueError."""
    if not ns:
        raise ValueError("this takes no time; allowed: more than 0")
    return ns


Lasting = Annotated[Duration, AfterValidator(some_time)]
"""A duration that is not 0."""
S: Final = 1_000_000_000
MIDDLE: Final = 0.5
"""Even arrivals in the middle of their gaps."""
START: Final = 1e-9
"""At the start of their gaps; a hair beyond, so that rounding adds none at the end."""
END: Final = 1 - 1e-9
"""At the end of their gaps; a hair before, so that rounding drops none there."""
_WRITTEN_MAX: Final = 8


def _none() -> NDArray[np.int64]:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Load over time; times in ns since the shape's own beginning, levels in hertz or clients.

    `instants` are arrivals at fixed times, ascending; only open load has any. `even` is whether
    the others are evenly spaced and not drawn (None: the form does not say), `first` the place of
    the first even one in its gap, `loops` whether clients play again and again until the end.
    """

    open: bool
    points: tuple[Point, ...]
    instants: NDArray[np.int64] = field(default_factory=_none)
    even: bool | None = None
    first: float = MIDDLE
    loops: bool = False

    @property
    def span_ns(self) -> int:
        """From the shape's beginning to its last point or arrival."""
        last = int(self.instants[-1]) if len(self.instants) else 0
        return max(self.points[-1][0], last)

    @property
    def mass(self) -> float:
        """The integral of the levels over seconds: of a rate the number of arrivals."""
        return sum((t1 - t0) / S * (a + b) / 2 for (t0, a), (t1, b) in pairwise(self.points))

    @property
    def expected(self) -> float:
        """How many clients it brings: of open Poisson load the mean, of closed load every rise."""
        if self.open:
            return self.mass + len(self.instants)
        rises = (max(floor(b) - floor(a), 0) for (_, a), (_, b) in pairwise(self.points))
        return floor(self.points[0][1]) + sum(rises)

    @property
    def top(self) -> float:
        """The highest level."""
        return max(level for _, level in self.points)

    @property
    def flat(self) -> bool:
        """Whether the load never changes."""
        return len({level for _, level in self.points}) == 1 and not len(self.instants)

    def written(self) -> str:
        """The same as a scenario says it without a short form, as far as that is short."""
        parts: list[str] = []
        if not self.open or self.mass:
            parts += self._levels()
        if self.open and self.mass and self.even is not None:
            parts.append(f'arrivals = "{"even" if self.even else "poisson"}"')
        if len(self.instants):
            parts.append(f"{len(self.instants):,} arrivals at instants of their own")
        if self.loops:
            parts.append("once = false")
        return ", ".join(parts)

    def _levels(self) -> list[str]:
        name = "rate" if self.open else "clients"
        if self.flat:
            lasts = f'lasts = "{canonical_duration(self.span_ns)}"'
            return [f"{name} = {self._level(self.top)}", *([lasts] if self.span_ns else [])]
        if len(self.points) > _WRITTEN_MAX:
            return [f"a {name}_curve of {len(self.points):,} points"]
        pairs = (f'["{canonical_duration(t)}", {self._level(level)}]' for t, level in self.points)
        return [f"{name}_curve = [{', '.join(pairs)}]"]

    def _level(self, level: float) -> str:
        return f'"{canonical_rate(level)}"' if self.open else f"{level:g}"


class Track:
    """A curve put together piece by piece, as tools do that list phases."""

    __slots__ = ("_bursts", "_points", "now_ns")

    def __init__(self) -> None:
        self.now_ns = 0
        self._points: list[Point] = []
        self._bursts: list[NDArray[np.int64]] = []

    def line(self, lasts_ns: int, start: float, end: float) -> None:
        """From one level to another; a step where it lasts no time."""
        self._points.append((self.now_ns, start))
        self.now_ns += lasts_ns
        self._points.append((self.now_ns, end))

    def pause(self, lasts_ns: int) -> None:
        """Nothing for this long."""
        self.line(lasts_ns, 0.0, 0.0)

    def burst(self, offsets_ns: NDArray[np.int64], lasts_ns: int) -> None:
        """Arrivals at fixed offsets into a piece that lasts so long."""
        self._bursts.append(self.now_ns + offsets_ns)
        self.pause(lasts_ns)

    def spread(self, count: int, lasts_ns: int) -> None:
        """So many arrivals, evenly over this time, in the middle of their gaps."""
        self.burst(
            np.rint((np.arange(count) + 0.5) * (lasts_ns / count)).astype(np.int64), lasts_ns
        )

    def points(self) -> tuple[Point, ...]:
        """What was put together, without the points that say nothing new."""
        kept: list[Point] = []
        for point in self._points:
            if kept and kept[-1] == point:
                continue
            if len(kept) > 1 and kept[-2][1] == kept[-1][1] == point[1]:
                kept.pop()
            kept.append(point)
        return tuple(kept) if len(kept) > 1 else (*kept, *kept)

    def instants(self) -> NDArray[np.int64]:
        """All arrivals at fixed instants, ascending."""
        return np.sort(np.concatenate(self._bursts)) if self._bursts else _none()
