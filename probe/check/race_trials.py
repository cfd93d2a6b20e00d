"""The trials of a race, put together again from what its actors did.

The rule: whether a trial went wrong, and at which offset, is told by the rows of its actors
(ACTION, DONE, what was odd) and by nothing else; of what the search noted only the reason for
which a trial was made is taken, since no row of an actor can tell it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from probe.check.rows import of_stage
from probe.check.view import FOREVER
from probe.history.records import Kind, Odd, Sought
from probe.model.race import CALIBRATION, Played, told_by

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from probe.check.view import StageView
    from probe.history.columns import Rows
    from probe.model.race import Race, Told
    from probe.stats.window import Stage as Why

_COMPLETE, _FAILED = 0, 1  # DONE.flag
_WHY: Final[dict[int, Why]] = {
    Sought.SWEEP: "sweep",
    Sought.LOCALISE: "localise",
    Sought.CONFIRM: "confirm",
    Sought.CONTROL: "control",
}


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial; `offset_ns` is measured (None: it was not), `bad` are sessions that failed."""

    number: int
    why: Why
    told: Told
    offset_ns: int | None
    bad: tuple[int, ...]


@dataclass(frozen=True)
class Trials:
    """All trials of a race by number.

    `beside` are failed sessions of actors that belong to no one trial, by the actor's name, out
    of `releases`.
    """

    race: Race
    every: tuple[Trial, ...]
    beside: dict[str, tuple[int, ...]] = field(default_factory=dict)
    releases: int = 0

    def of(self, *told: Told) -> list[Trial]:
        """Those that tell one of these."""
        return [trial for trial in self.every if trial.told in told]

    @cached_property
    def placed(self) -> list[Trial]:
        """Those with an outcome at a measured offset: what a fit is made of."""
        return self.of("fine", "anomaly")

    @property
    def offsets_ns(self) -> NDArray[np.int64]:
        """Their offsets, int64[n]."""
        return np.array([trial.offset_ns for trial in self.placed], dtype=np.int64)

    @property
    def anomalies(self) -> NDArray[np.bool_]:
        """Whether each went wrong, bool[n]."""
        return np.array([trial.told == "anomaly" for trial in self.placed], dtype=np.bool_)

    @property
    def whys(self) -> list[Why]:
        """Why each was made, n names."""
        return [trial.why for trial in self.placed]

    def tolerated(self, trial: Trial) -> bool:
        """Whether that it went wrong is within what is promised."""
        limit = self.race.tolerated
        return limit is not None and trial.offset_ns is not None and trial.offset_ns <= limit


class Stretch(NamedTuple):
    """Trials of a stage by number, from `first` to before `until`; `comb` trials a release."""

    first: int
    until: int
    comb: int

    def mine(self, numbers: NDArray[np.integer], *, releases: bool = False) -> NDArray[np.bool_]:
        """Which of these trials (or releases) belong to it."""
        scale = self.comb if releases else 1
        whole = numbers.astype(np.int64) * scale
        return np.asarray((whole >= self.first) & (whole < self.until))


def in_time(view: StageView, kind: Kind) -> Rows:
    """Rows of nobody that were written while the stage went on."""
    rows = view.history.of(kind)
    mine: Rows = rows[(rows["t"] >= view.begun) & (rows["t"] <= view.ended)]
    return mine


def trials_of(view: StageView, race: Race, stretch: Stretch | None = None) -> Trials:
    """The trials of which it is known why they were made; a run cut short leaves some out.

    `stretch`: only these trials, which `race` was played in.
    """
    stretch = stretch or Stretch(0, FOREVER, race.comb)
    names = {k: group.name for k, group in view.groups.items() if group.name != CALIBRATION}
    acted: dict[tuple[int, int], int] = {}
    acts = of_stage(view, Kind.ACTION)
    for row in acts[stretch.mine(acts["a"])]:
        acted[int(row["session"]), int(row["flag"])] = int(row["t"])
    odd = _odd_sessions(view)
    own: dict[int, list[Any]] = {}
    shared: dict[int, list[Any]] = {}
    for row in view.sessions[stretch.mine(view.sessions["trial"])]:
        name = names.get(int(row["population"]))
        if name is None:
            continue
        session, outcome = int(row["session"]), int(row["outcome"])
        finished = outcome == _COMPLETE if outcome in (_COMPLETE, _FAILED) else None
        played = Played((session, 0) in acted, finished, session in odd)
        place = own if race.own(name) else shared
        number = int(row["trial"])
        number = number if race.own(name) else number // stretch.comb
        place.setdefault(number, []).append((name, session, played))
    every = []
    made = in_time(view, Kind.TRIAL)
    for row in made[stretch.mine(made["op"])]:
        number = int(row["op"])
        beside = shared.get(number // stretch.comb, [])
        why = _WHY.get(int(row["a"]), "sweep")
        every.append(_trial(race, number, why, own.get(number, []), beside, acted))
    every.sort(key=lambda trial: trial.number)
    bad: dict[str, list[int]] = {}
    for actors in shared.values():
        for name, session, played in actors:
            if played.reached and (played.finished is False or played.odd):
                bad.setdefault(name, []).append(session)
    failed = {name: tuple(sorted(sessions)) for name, sessions in sorted(bad.items())}
    releases = in_time(view, Kind.RELEASE)
    count = int(stretch.mine(releases["op"], releases=True).sum())
    return Trials(race, tuple(every), failed, count)


def _trial(
    race: Race,
    number: int,
    why: Why,
    own: list[Any],
    beside: list[Any],
    acted: dict[tuple[int, int], int],
) -> Trial:
    name, gate = race.reference()
    swept = _stamp(own, race.swept, race.swept_gate(), acted)
    against = _stamp(own if race.own(name) else beside, name, gate, acted)
    offset = swept - against if swept and against else None
    told = told_by((played for _, _, played in own), placed=offset is not None) if own else "void"
    if any(not played.reached for _, _, played in beside):
        told = "void"
    bad = () if told == "void" else tuple(s for _, s, p in own if not p.finished or p.odd)
    return Trial(number, why, told, offset, bad)


def _stamp(actors: list[Any], name: str, gate: int, acted: dict[tuple[int, int], int]) -> int:
    return next((acted.get((s, gate), 0) for each, s, _ in actors if each == name), 0)


def _odd_sessions(view: StageView) -> set[int]:
    rows = of_stage(view, Kind.ODD, Kind.FOREIGN)
    rows = rows[(rows["kind"] == Kind.FOREIGN) | (rows["flag"] != Odd.SHAPE)]
    return {int(session) for session in np.unique(rows["session"])}
