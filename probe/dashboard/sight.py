"""Collecting what the run tells and what its journals say, and making a view of it.

What a stage or a level shows is of itself alone: with each the percentiles begin anew. Rates are
those of the last seconds.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import numpy as np

from probe.clock import now_ns
from probe.dashboard.connects import Connects
from probe.dashboard.course import Course
from probe.dashboard.light import Fitness
from probe.dashboard.seen import Troubles
from probe.dashboard.view import Quantile, Trouble, View
from probe.history.records import Kind, Level
from probe.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from probe.dashboard.tail import Piece
    from probe.dashboard.told import Facts, Judged, Now, Over
    from probe.dashboard.view import Phase

OVER_S: Final = 5.0
SERIES_MAX: Final = 300
TROUBLES_MAX: Final = 12
_COST: Final = 20
_SECOND_NS: Final = 1_000_000_000
_UNKNOWN: Final = "rows came faster than they could be looked at"


class Sight:
    """Collects what is told and what is read, and makes a view of it."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.course = Course(facts.stages)
        self.connects = Connects()
        self.troubles = Troubles()
        self.fitness = Fitness()
        self.now: Now | None = None
        self.over: Over | None = None
        self.judged: Judged | None = None
        self.stopping = False
        self._recent: deque[Now] = deque()
        self._series: deque[tuple[float, ...]] = deque(maxlen=SERIES_MAX)
        self._second: Now | None = None
        self._quantiles: tuple[Quantile, ...] = ()
        self._due_ns = 0

    def hear(self, now: Now) -> None:
        """What the run's loop has told of itself."""
        self.now = now
        self._recent.append(now)
        while now.t_ns - self._recent[0].t_ns > OVER_S * _SECOND_NS and len(self._recent) > 2:  # noqa: PLR2004 -- a difference needs two
            self._recent.popleft()
        if self._second is None or now.t_ns - self._second.t_ns >= _SECOND_NS:
            if self._second is not None:
                rates = _rates(self._second, now)
                at = (now.t_ns - self.facts.began_ns) / _SECOND_NS
                self._series.append((round(at, 1), *rates, float(now.alive)))
            self._second = now

    def read(self, pieces: Sequence[Piece]) -> None:
        """New rows of all journals, the driver's first."""
        at_ns = now_ns()
        for piece in pieces:
            if piece.passed:
                self.connects.known = False
                self.troubles.missed(piece.passed, at_ns)
            few = piece.rows[piece.rows["kind"] != Kind.GOT]  # messages are by far the most
            for part in _parts(few) if not piece.journal.name else [few]:
                if len(part) and _begins(part[0]):
                    self.connects.clear()
                    self._quantiles, self._due_ns = (), 0
                    self.fitness.begin()
                self.course.take(part)
                stage = self.course.stage
                if stage is not None and stage.anchor == "restart" and _anchors(part[0]):
                    self.connects.restarted()
                self.connects.take(part, piece.rows, piece.journal.name)
                self.fitness.take(part)
            self.troubles.take(few, piece.journal, at_ns)

    def view(self) -> View | None:
        """All of it at this moment; None before the run has told anything."""
        now = self.now
        if now is None:
            return None
        at_ns = now_ns()
        stage = self.course.stage
        judged = self.judged
        light = self.fitness.light(
            now.unfit,
            self._told_ns(at_ns),
            at_ns,
            climbs=stage is not None and stage.activity == "capacity",
        )
        run = None if self.over else self.course.of_run(now, at_ns)
        elapsed = (now.t_ns if self.over else at_ns) - self.facts.began_ns
        share = 1.0 if self.over is not None and self.over.how == "complete" else None
        if run is not None and run.about_ns is not None:
            share = round(elapsed / max(elapsed + run.about_ns, 1), 4)
        return View(
            state=self._state(now),
            title=self.facts.title,
            target=self.facts.target,
            run_id=self.facts.run_id,
            seed=self.facts.seed,
            report=self.facts.report,
            elapsed=format_duration(max(elapsed // _SECOND_NS, 0) * _SECOND_NS),
            stage=stage.name if stage is not None else "",
            activity=stage.activity if stage is not None else "",
            place=f"stage {self.course.index + 1} of {len(self.facts.stages)}" if stage else "",
            details=tuple(self._details(now)),
            left=tuple(self._left(now, at_ns)),
            share=share,
            clients=tuple(self._clients(now)),
            rates=tuple(self._speeds()),
            connect_of=now.level.shown if now.level is not None and stage else "",
            connect=self._percentiles(at_ns),
            connect_on=tuple(self._rests_on(at_ns)),
            fit=light.state,
            reasons=light.reasons,
            lag=self._lag(now),
            troubles=tuple(
                Trouble(each.name, each.count, _ago(at_ns - each.at_ns), each.newest)
                for each in self.troubles.most(TROUBLES_MAX)
            ),
            kinds=self.troubles.kinds,
            series=self._drawn(),
            verdict=judged.verdict if judged else "",
            headline=judged.headline if judged else "",
            why=judged.reasons if judged else (),
            ended=self.over.how if self.over else "",
        )

    def _told_ns(self, at_ns: int) -> int:
        return at_ns if self.over or self.now is None else self.now.t_ns

    def _state(self, now: Now) -> Phase:
        if self.judged is not None:
            return "judged"
        if self.over is not None:
            return "judging"
        if now.stopping or self.stopping:
            return "stopping"
        return "running" if self.course.stage is not None else "starting"

    def _details(self, now: Now) -> list[str]:
        stage = self.course.stage
        if stage is None or now.stage.partition(" ")[0] != stage.name:
            return []
        if now.anomalies is not None:
            wrong = f"{now.anomalies:,} went wrong"
            return [f"trial {now.trial:,} of at most {now.trials:,}", wrong]
        if stage.activity == "capacity":
            level = now.level
            if level is None:
                return ["the first level comes"]
            repeat = f"time {level.again} here"
            if level.again <= level.repeats:
                repeat = f"repeat {level.again} of {level.repeats}"
            low = f"within up to {level.within}" if level.within else "none within yet"
            high = f"beyond from {level.beyond}" if level.beyond else "none beyond yet"
            last = [f"last {level.last}"] if level.last else []
            return [f"level {level.shown}", f"play {now.trial:,}", repeat, *last, low, high]
        if stage.trials > 1:
            what = "restart" if stage.anchor == "restart" else "trial"
            return [f"{what} {now.trial:,} of {stage.trials:,}"]
        return []

    def _left(self, now: Now, at_ns: int) -> list[str]:
        if self.over is not None:
            return []
        level = self.course.of_level(now, at_ns)
        stage, run = self.course.of_stage(now, at_ns), self.course.of_run(now, at_ns)
        found = [f"level {level.words}"] if level is not None and level.about_ns else []
        if stage is not None and len(self.facts.stages) > 1:
            found.append(f"stage {stage.words}")
        if run is not None:
            found.append(f"run {run.words}")
        return found

    def _clients(self, now: Now) -> list[str]:
        stages = self.facts.stages
        planned = sum(stage.clients for stage in stages)
        of = f" of {planned:,}"
        if any(stage.activity == "race" or stage.anchor == "restart" for stage in stages):
            of = f" of at most {planned:,}"  # fewer may do
        if any(stage.activity == "capacity" for stage in stages):
            of = ""
        found = [f"{now.launched:,}{of} let go", f"{now.alive:,} here now", f"{now.ready:,} got in"]
        if now.failed:
            found.append(f"{now.failed:,} failed")
        return found

    def _speeds(self) -> list[str]:
        if len(self._recent) < 2 or self.over is not None:  # noqa: PLR2004 -- a difference needs two
            return []
        began, ready, messages = _rates(self._recent[0], self._recent[-1])
        return [
            f"{_number(began)} clients/s", f"{_number(ready)} ready/s",
            f"{_number(messages)} messages/s",
        ]  # fmt: skip

    @property
    def _gated(self) -> bool:
        """Whether a race is under way, in which gates hold connects back."""
        stage = self.course.stage
        return stage is not None and stage.activity == "race"

    def _percentiles(self, at_ns: int) -> tuple[Quantile, ...]:
        if not self.connects.known or self._gated:
            return ()
        if at_ns >= self._due_ns:
            self._quantiles = tuple(
                Quantile(each.name, each.words, each.between) for each in self.connects.quantiles()
            )
            took = now_ns() - at_ns
            self._due_ns = at_ns + max(_SECOND_NS, _COST * took)
        return self._quantiles

    def _rests_on(self, at_ns: int) -> list[str]:
        if not self.connects.known:
            return [f"not known: {_UNKNOWN}"]
        if self._gated:
            return []
        failed = f", {self.connects.failed:,} failed" if self.connects.failed else ""
        stage = self.course.stage
        boots = " since the restarts" if stage is not None and stage.anchor == "restart" else ""
        found = [f"of {self.connects.n:,} connects{boots}{failed}"]
        count, oldest = self.connects.under_way(at_ns)
        if count and self.over is None:
            found.append(f"{count:,} under way, the oldest for {format_duration(oldest)}")
        return found

    def _lag(self, now: Now) -> str:
        words = f"lag {format_duration(now.lag_ns_max)} at most"
        late, dialled = self.connects.late, self.connects.dialled
        if not late or self._gated:
            return words
        return f"{words}, {late:,} of {dialled:,} dialled over 0.1 s late"

    def _drawn(self) -> dict[str, list[float]]:
        columns = zip(*self._series, strict=True) if self._series else [()] * 5
        names = ("at_s", "clients_per_s", "ready_per_s", "messages_per_s", "here")
        return {name: list(column) for name, column in zip(names, columns, strict=True)}


def _begins(row: np.void) -> bool:
    """Whether a stage or a level begins with this row: what it shows is of itself alone."""
    if row["kind"] == Kind.STAGE:
        return bool(row["flag"] == 0)
    return bool(row["kind"] == Kind.LEVEL and row["flag"] == Level.BEGUN)


def _anchors(row: np.void) -> bool:
    """Whether a trial begins with this row."""
    return bool(row["kind"] == Kind.ANCHOR)


def _parts(rows: NDArray[np.void]) -> list[NDArray[np.void]]:
    """The rows cut where a stage, a level or a trial begins."""
    kinds, begun = rows["kind"], rows["flag"] == 0
    begins = ((kinds == Kind.STAGE) | (kinds == Kind.LEVEL)) & begun
    cuts = np.flatnonzero(begins | (kinds == Kind.ANCHOR))
    return [part for part in np.split(rows, cuts) if len(part)]


def _rates(before: Now, after: Now) -> tuple[float, float, float]:
    seconds = max((after.t_ns - before.t_ns) / _SECOND_NS, 1e-9)
    pairs = (
        (before.launched, after.launched),
        (before.ready, after.ready),
        (before.messages, after.messages),
    )
    began, ready, messages = (round((b - a) / seconds, 1) for a, b in pairs)
    return began, ready, messages


def _number(value: float) -> str:
    """A rate as it is read: one digit behind the point below ten."""
    return f"{value:.1f}" if 0 < value < 10 else f"{value:,.0f}"  # noqa: PLR2004 -- see above


def _ago(ns: int) -> str:
    if ns < _SECOND_NS:
        return "just now"
    return f"{format_duration(max(ns // _SECOND_NS, 0) * _SECOND_NS)} ago"
