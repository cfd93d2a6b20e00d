"""Where a run is, and how long it may take yet.

The rule: "about" only where the plan says how long (the instants of a load) or what came before
shows it (the restarts so far); else "at most", which is the stage's budget and the patience its
sessions then have. A stage may always end sooner.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from probe.history.records import Kind
from probe.units import format_duration

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from probe.dashboard.told import Now, StageFacts

_BEGIN: Final = 0  # STAGE.flag
_PACE_MIN: Final = 5
_SECOND_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Left:
    """Time that is left, ns; `about_ns` None where only the most is known."""

    most_ns: int
    about_ns: int | None = None

    @property
    def words(self) -> str:
        """Such as "about 12 s" or "at most 4 min 5 s"."""
        if self.about_ns is not None:
            return f"about {_whole(self.about_ns)}"
        return f"at most {_whole(self.most_ns)}"


@dataclass(slots=True)
class Course:
    """`index` of the stage that was begun last, -1 before the first; `zeros` of its trials."""

    stages: tuple[StageFacts, ...]
    index: int = -1
    begun_ns: int = 0
    over: bool = True
    zeros: list[int] = field(default_factory=list)

    @property
    def stage(self) -> StageFacts | None:
        """The stage that was begun last."""
        return self.stages[self.index] if 0 <= self.index < len(self.stages) else None

    def take(self, rows: NDArray[np.void]) -> None:
        """STAGE and ANCHOR rows of the driver, in the order of writing."""
        kinds = rows["kind"]
        for t, _, op, kind, flag, a, b in rows[
            (kinds == Kind.STAGE) | (kinds == Kind.ANCHOR)
        ].tolist():
            if kind == Kind.STAGE and flag == _BEGIN:
                self.index, self.begun_ns, self.over, self.zeros = op, t, False, []
            elif kind == Kind.STAGE:
                self.over = True
            elif a == self.index:
                self.zeros.append(b)

    def of_stage(self, now: Now, now_ns: int) -> Left | None:
        """Until the stage is over; None where none is under way."""
        stage = self.stage
        if stage is None or self.over:
            return None
        most = max(self.begun_ns + stage.budget_ns + stage.patience_ns - now_ns, 0)
        if stage.activity == "race":
            tried = now.trial
            if tried >= _PACE_MIN:
                pace = (now_ns - self.begun_ns) // tried
                most = min(most, max(now.trials - tried, 0) * pace)
            return Left(most)
        if stage.activity == "capacity" or not self.zeros:
            return Left(most)
        return self._of_trials(stage, most, now_ns)

    def _of_trials(self, stage: StageFacts, most_ns: int, now_ns: int) -> Left:
        tried, zero = len(self.zeros), self.zeros[-1]
        more = max(stage.trials - tried, 0)
        cycle = (zero - self.zeros[0]) // (tried - 1) if tried > 1 else None
        if stage.anchor == "restart":
            if cycle is None:
                return Left(most_ns)
            return _about(max(zero + cycle - now_ns, 0) + more * cycle, most_ns)
        last = zero + stage.span_ns
        if now_ns < last or more:
            about = max(last - now_ns, 0) + more * (cycle or stage.span_ns)
            return _about(about, most_ns)
        return Left(min(most_ns, max(last + stage.patience_ns - now_ns, 0)))

    def of_run(self, now: Now, now_ns: int) -> Left | None:
        """Until all stages are over; None once the last one is."""
        here = self.of_stage(now, now_ns)
        later = self.stages[self.index + 1 :]
        if here is None and not later:
            return None
        parts = [here or Left(0, 0), *map(_planned, later)]
        about = [part.about_ns for part in parts if part.about_ns is not None]
        known = len(about) == len(parts)
        return Left(sum(part.most_ns for part in parts), sum(about) if known else None)

    def of_level(self, now: Now, now_ns: int) -> Left | None:
        """Until the level of a climb has been offered its load."""
        stage = self.stage
        if now.level is None or stage is None or stage.activity != "capacity" or not self.zeros:
            return None
        left = max(self.zeros[-1] + now.level.span_ns - now_ns, 0)
        return Left(left, left)


def _planned(stage: StageFacts) -> Left:
    """A stage that has not begun."""
    most = stage.budget_ns + stage.patience_ns
    if stage.activity == "load" and stage.anchor == "start" and stage.span_ns:
        return _about(stage.trials * stage.span_ns, most)
    return Left(most)


def _about(about_ns: int, most_ns: int) -> Left:
    """What takes longer than it may will be cut off by its budget."""
    return Left(most_ns, about_ns if about_ns <= most_ns else None)


def _whole(ns: int) -> str:
    """In whole seconds, rounded up: it is no measurement."""
    return format_duration(-(-ns // _SECOND_NS) * _SECOND_NS)
