"""The levels of a capacity stage, from rows to what the search for the knee was told.

The rule: what the search knows comes from the rows alone, in the order in which levels were
played, and of each level from what was written from its begin to its end; so the run, which
reads only what is new, and whoever judges it later come to the same. A level counts only when
it was played to its end by a probe that was fit then: its own heartbeat, processor and pauses,
its clients dialled (or asked) in time and all of them, none stopped by a ceiling or a limit of
this machine. What comes while it settles is not measured.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from probe.check.asked import questions
from probe.check.fitness_load import late_allowed
from probe.check.fitness_machine import OWN, Notes, machine, quantile_ns
from probe.check.latency import sample
from probe.check.rows import place
from probe.check.view import views
from probe.check.words import counted, duration
from probe.history.records import MICRO, Kind, Level, Outcome
from probe.model.capacity import LEVELS_MAX
from probe.stats.fit import ACHIEVED_MIN
from probe.stats.knee import Course, Search
from probe.stats.levels import FAILED_NS, Limits, Measured
from probe.units import rate_hz

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from probe.check.view import StageView
    from probe.history.columns import History, Rows
    from probe.model.capacity import Capacity
    from probe.model.resolved import Resolved

COMPLETE: Final = 0  # DONE.flag
SETTLED: Final = 0  # SETTLED.flag


@dataclass(frozen=True, slots=True)
class Run:
    """One repeat of a level, played from its time zero + `settle` to its end (ns of the clock).

    `rate_per_s` is the level: of connections how many there are. `unfit` says why it does not
    count, "" if it does. `n` clients or questions; `in_flight` is how many were under way on
    average, by a gauge that was read every 10 ms (NaN where there is none), `offered_per_s`
    how many began, `done_per_s` how many were completed, or answered, per second, `stay_ns` how
    long one took on average. Of questions, `lost` had no connection, or it ended before the
    answer, and `late` had none within the patience; `sessions` int64[n] are whose they were.
    """

    number: int
    rate_per_s: float
    measured: Measured
    unfit: str
    n: int
    in_flight: float
    offered_per_s: float
    done_per_s: float
    stay_ns: float
    lost: int = 0
    late: int = 0
    sessions: NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True)
class Climb:
    """All repeats, and the search that was told of each."""

    rule: Capacity
    most_per_s: float
    search: Search
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class _Played:
    """One level's own part of the rows, with its time zero and the row of its end."""

    number: int
    level: float
    zero: int
    settled: np.void
    in_flight: float
    view: StageView

    @property
    def end(self) -> int:
        return int(self.settled["t"])


class Climbing:
    """A climb of a stage that goes on: each call reads only what is new since the one before."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._read = 0
        self._told: set[int] = set()
        self._climb: Climb | None = None

    def climb(self, history: History, resolved: Resolved) -> Climb:
        """What `climb` says of the whole history, which has grown since the last call."""
        # Rows of several processes are merged anew each time, and have no place of their own.
        since = 0 if history.meta.get("workers") else self._read
        self._read = len(history.rows)
        part = replace(history, rows=history.rows[since:])
        view = next(each for each in views(part, resolved) if each.name == self._stage)
        found = self._climb or _begun(view)
        news = [run for run in _runs(view, found.rule) if run.number not in self._told]
        for each in news:
            found.search.tell(each.measured)
        self._told |= {each.number for each in news}
        self._climb = replace(found, runs=(*found.runs, *news))
        return self._climb


def climb(view: StageView) -> Climb:
    """What the rows say of a capacity stage so far; `search.next()` is where it goes on."""
    found = _begun(view)
    runs = tuple(_runs(view, found.rule))
    for each in runs:
        found.search.tell(each.measured)
    return replace(found, runs=runs)


def _begun(view: StageView) -> Climb:
    rule = view.stage.capacity
    assert rule is not None
    safety = view.resolved.target.get("safety", {})
    rate = safety.get("rate_max")
    most = rule.highest(None if rate is None else rate_hz(rate), safety.get("clients_max"))
    search = Search(
        Limits(rule.within, rule.quantile, rule.goodput),
        Course(
            min(rule.begin, most), most, rule.factor, rule.closeness,
            repeats_min=rule.repeats, repeats_max=2 * rule.repeats + 2, runs_max=LEVELS_MAX,
            whole=rule.of == "connections",
        ),
    )  # fmt: skip
    return Climb(rule, most, search, ())


def _runs(view: StageView, rule: Capacity) -> Iterator[Run]:
    for played in _played(view):
        run = _of_questions if rule.stays else _of_clients
        yield run(played, rule)


def _played(view: StageView) -> Iterator[_Played]:
    """Levels that came to their end, in the order of playing, each with its own rows alone."""
    history = view.history
    places = history.places(Kind.LEVEL)
    places = places[history.rows["flag"][places] == Level.BEGUN]
    for lo, hi in itertools.pairwise([*places.tolist(), len(history.rows)]):
        begun, rows = history.rows[lo], history.rows[lo:hi]
        if int(begun["a"]) != view.index:
            continue
        number = int(begun["op"])
        told = rows[np.isin(rows["kind"], (Kind.ANCHOR, Kind.SETTLED, Kind.LEVEL))]
        told = told[(told["a"] == view.index) & (told["op"] == number)]
        zero, end = (told[told["kind"] == kind] for kind in (Kind.ANCHOR, Kind.SETTLED))
        if not (len(zero) and len(end)):
            continue
        over = told[(told["kind"] == Kind.LEVEL) & (told["flag"] == Level.OVER)]
        gauge = int(over[0]["b"]) / MICRO if len(over) else math.nan
        rows = rows[rows["t"] <= end[0]["t"]]
        yield _Played(
            number, int(begun["b"]) / MICRO, int(zero[0]["b"]), end[0], gauge,
            replace(view, history=replace(history, rows=rows)),
        )  # fmt: skip


def _of_clients(played: _Played, rule: Capacity) -> Run:
    """Clients that came: the latency of a phase, and whether their script was completed."""
    view, since, until = played.view, *_measured(played, rule)
    samples = sample(view, view.attempts, rule.phase)
    mine = samples.rows["trial"] == played.number
    mine &= (samples.rows["attempt"] == 0) & (samples.rows["intended"] >= since)
    rows, took, kind = samples.rows[mine], samples.took[mine], samples.kind[mine]
    latency = np.where(kind == 2, FAILED_NS, took).astype(np.int64)  # noqa: PLR2004 -- see Sample
    sessions = _mine(played)
    at, known = place(sessions["session"].astype(np.int64), rows["session"].astype(np.int64))
    done = known & (sessions["outcome"][at] == COMPLETE) if len(sessions) else known
    dialled = sessions[sessions["dial"] > 0]
    unfit = _unfit(played, rule, dialled["dial"] - dialled["intended"], "dialled")
    began = sessions["intended"].astype(np.int64)
    left = np.where(sessions["done"] > 0, sessions["done"], played.end).astype(np.int64)
    inside = (left >= since) & (left < until) & (sessions["outcome"] == COMPLETE)
    offered = (began >= since) & (began < until)
    return Run(
        played.number, played.level,
        Measured(played.level, latency, censored=kind == 1, good=done, fit=not unfit),
        unfit, len(rows), played.in_flight,
        offered_per_s=int(offered.sum()) / ((until - since) / 1e9),
        done_per_s=int(inside.sum()) / ((until - since) / 1e9),
        stay_ns=float((left - began)[offered].mean()) if offered.any() else 0.0,
    )  # fmt: skip


def _of_questions(played: _Played, rule: Capacity) -> Run:
    """Connections that stayed: answers to their questions, from the intended instants on."""
    since, until = _measured(played, rule)
    each = questions(played.view, rule, played.number, (since, until))
    latency = np.where(each.lost, FAILED_NS, each.took)
    there = each.sent > 0
    unfit = _unfit(played, rule, (each.sent - each.intended)[there], "asked")
    whole = (until - since) / 1e9
    inside = (each.answered >= since) & (each.answered < until)
    # The gauge lets go of what is not answered when the level ends.
    stay = np.where(each.answered > 0, each.answered, played.end) - each.sent
    return Run(
        played.number, played.level,
        Measured(played.level, latency, censored=each.late, fit=not unfit),
        unfit, len(latency), played.in_flight,
        offered_per_s=int(there.sum()) / whole,
        done_per_s=int(inside.sum()) / whole,
        stay_ns=float(stay[there].mean()) if there.any() else 0.0,
        lost=int(each.lost.sum()), late=int(each.late.sum()), sessions=each.session,
    )  # fmt: skip


def _measured(played: _Played, rule: Capacity) -> tuple[int, int]:
    """The time that is measured, ns, [from, to)."""
    return played.zero + rule.settle, played.zero + rule.span_ns(played.level)


def _mine(played: _Played) -> Rows:
    """The clients that this level let in."""
    sessions = played.view.sessions
    mine: Rows = sessions[sessions["trial"] == played.number]
    return mine


def _unfit(played: _Played, rule: Capacity, late_ns: NDArray[np.int64], did: str) -> str:
    """Why this repeat proves nothing of the service, or ""."""
    view, settled, sessions = played.view, played.settled, _mine(played)
    if int(settled["flag"]) != SETTLED:
        return f"it was cut off: {view.text(settled['b'])}"
    planned = len(sessions)
    dialled = sessions[sessions["dial"] > 0]
    if len(dialled) < ACHIEVED_MIN * planned or not (planned or rule.stays):
        refused = [view.text(why) for why in sessions["why"][sessions["dial"] == 0] if why]
        said = f" ({refused[0]})" if refused else ""
        return f"only {len(dialled):,} of {counted(planned, 'client')} were let go{said}"
    local = view.attempts[
        (view.attempts["outcome"] == Outcome.LOCAL)
        & np.isin(view.attempts["session"], dialled["session"])
    ]
    if len(local):
        detail = view.text(local[0]["detail_text"])
        return f"{counted(len(local), 'connection')} failed at this machine's own limits ({detail})"
    late, allowed = quantile_ns(late_ns, 0.99), late_allowed(rule.within)
    if late > allowed:
        return f"clients were {did} {duration(late)} late (p99), {duration(allowed)} is allowed"
    rows = view.history.of(*OWN)
    rows = rows[(rows["t"] >= played.zero) & (rows["t"] <= played.end)]
    notes = Notes()
    machine(notes, rows, rule.within)
    return next(iter((*notes.invalid, *notes.taints)), "")
