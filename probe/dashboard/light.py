"""Whether this machine is fit to measure, as far as that can be told while the run goes on.

The limits are those of `probe.stats.fit`, as the check's are, and so are the words of what is
merely unfit, which the run's own watch tells. What would make the run INVALID is counted here,
from its rows. It says "so far": the verdict on it comes with the run's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from probe.history.records import Kind
from probe.stats import fit
from probe.units import format_duration

if TYPE_CHECKING:
    from numpy.typing import NDArray

State = Literal["off", "fit", "unfit", "invalid"]
LAB: Final = 1
SILENT_NS: Final = 1_500_000_000
_TOLD_EACH_NS: Final = 250_000_000


@dataclass(frozen=True, slots=True)
class Light:
    """`off`: nothing is measured yet. `reasons` are why it is not fit; the gravest first."""

    state: State
    reasons: tuple[str, ...] = ()


@dataclass(slots=True)
class _Process:
    """Of one process: heartbeats in units of time, those far too late, and time at its limit."""

    beats: int = 0
    far: int = 0
    held_ns: int = 0
    longest_ns: int = 0
    told_ns: int = 0


@dataclass(slots=True)
class Fitness:
    """Counts while the stages run; `begin` with the first one."""

    measuring: bool = False
    lost: int = 0
    _each: dict[int, _Process] = field(default_factory=dict)

    def begin(self) -> None:
        """A stage has begun: what was before is the start, in which nothing is measured."""
        if not self.measuring:
            self.measuring = True
            self._each.clear()

    def take(self, rows: NDArray[np.void]) -> None:
        """Rows of one journal, in the order of writing."""
        kinds = rows["kind"]
        self.lost += int(rows["a"][kinds == Kind.GAP].sum())
        lags = rows[kinds == Kind.LAG]
        for process in np.unique(lags["op"]).tolist():
            lived = fit.lags_by_time(lags["b"][lags["op"] == process])
            mine = self._each.setdefault(process, _Process())
            mine.beats += len(lived)
            mine.far += int((lived > fit.LAG_INVALID_NS).sum())
        for t, _, process, _, _, permille, _ in rows[kinds == Kind.CPU].tolist():
            mine = self._each.setdefault(process, _Process())
            over = permille > fit.CPU_INVALID and mine.told_ns and process != LAB
            mine.held_ns = mine.held_ns + t - mine.told_ns if over else 0
            mine.longest_ns = max(mine.longest_ns, mine.held_ns)
            mine.told_ns = t

    def light(self, unfit: tuple[str, ...], told_ns: int, now_ns: int, *, climbs: bool) -> Light:
        """`told_ns`: when the run's loop was heard of last; `climbs`: levels are under way.

        Of a climb the last level may well be too much for this machine: it is told, and vetoes
        that level alone.
        """
        if now_ns - told_ns > SILENT_NS:
            silent = format_duration(now_ns - told_ns - _TOLD_EACH_NS)
            return Light("invalid", (f"the run has not moved for {silent}", *unfit))
        if not self.measuring:
            return Light("off", unfit)
        grave = tuple(self._grave())
        slight = (f"{self.lost:,} rows lost",) if self.lost else ()
        state: State = "fit"
        if grave or unfit or slight:
            state = "invalid" if grave and not climbs else "unfit"
        return Light(state, (*grave, *unfit, *slight))

    def _grave(self) -> list[str]:
        found: list[str] = []
        for process, mine in sorted(self._each.items()):
            name = "" if process == 0 else f" (worker {process - 1})"
            if mine.far > mine.beats / 100:
                limit = format_duration(fit.LAG_INVALID_NS)
                found.append(f"lag over {limit} for {mine.far / mine.beats:.1%} of the time{name}")
            if mine.longest_ns >= fit.CPU_FOR_NS:
                held = format_duration(mine.longest_ns)
                found.append(f"CPU over {fit.CPU_INVALID // 10} % for {held}{name}")
        return found
