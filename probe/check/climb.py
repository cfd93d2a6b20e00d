"""The levels of a capacity stage, from rows to what the search for the knee was told.

The rule: what the search knows comes from the rows alone, in the order in which levels were
played, so that the run and whoever judges it later come to the same. A level counts only when
it was played to its end by a probe that was fit then: its own heartbeat, processor and pauses,
its clients dialled in time and all of them, none stopped by a ceiling or a limit of this
machine. What comes while it settles is not measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from probe.check.fitness_load import late_allowed
from probe.check.fitness_machine import OWN, Notes, machine, quantile_ns
from probe.check.latency import sample
from probe.check.rows import place
from probe.check.words import counted, duration
from probe.history.records import MICRO, Kind, Level, Outcome
from probe.model.capacity import LEVELS_MAX
from probe.stats.fit import ACHIEVED_MIN
from probe.stats.knee import Course, Search
from probe.stats.levels import FAILED_NS, Limits, Measured
from probe.units import rate_hz

if TYPE_CHECKING:
    from probe.check.latency import Sample
    from probe.check.view import StageView
    from probe.history.columns import Rows
    from probe.model.capacity import Capacity

COMPLETE: Final = 0  # DONE.flag
SETTLED: Final = 0  # SETTLED.flag


@dataclass(frozen=True, slots=True)
class Run:
    """One repeat of a level, played from `zero` + `settle` to `end` (ns of the clock).

    `unfit` says why it does not count, "" if it does. `in_flight` is how many clients were under
    way on average, by a gauge that was read every 10 ms (NaN where there is none), `done_per_s`
    how many completed their script per second, `stay_ns` how long a client was there on average.
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


@dataclass(frozen=True, slots=True)
class Climb:
    """All repeats, and the search that was told of each."""

    rule: Capacity
    most_per_s: float
    search: Search
    runs: tuple[Run, ...]


def climb(view: StageView) -> Climb:
    """What the rows say of a capacity stage so far; `search.next()` is where it goes on."""
    rule = view.stage.capacity
    assert rule is not None
    allowed = view.resolved.target.get("safety", {}).get("rate_max")
    most = min(rule.most, rate_hz(allowed)) if allowed is not None else rule.most
    search = Search(
        Limits(rule.within, rule.quantile, rule.goodput),
        Course(
            min(rule.begin, most), most, rule.factor, rule.closeness,
            repeats_min=rule.repeats, repeats_max=2 * rule.repeats + 2, runs_max=LEVELS_MAX,
        ),
    )  # fmt: skip
    runs = tuple(_runs(view, rule))
    for each in runs:
        search.tell(each.measured)
    return Climb(rule, most, search, runs)


def _runs(view: StageView, rule: Capacity) -> list[Run]:
    levels = view.history.of(Kind.LEVEL)
    levels = levels[levels["a"] == view.index]
    gauges = {int(row["op"]): int(row["b"]) / MICRO for row in levels[levels["flag"] == Level.OVER]}
    levels = levels[levels["flag"] == Level.BEGUN]
    zeros = _by_trial(view, Kind.ANCHOR)
    ends = _by_trial(view, Kind.SETTLED)
    samples = sample(view, view.attempts, rule.phase)
    found = []
    for row in levels[np.argsort(levels["op"], kind="stable")]:
        number = int(row["op"])
        zero, end = zeros.get(number), ends.get(number)
        if zero is not None and end is not None:
            rate = int(row["b"]) / MICRO
            run = _run(view, rule, number, rate, (int(zero["b"]), end), samples)
            found.append(replace(run, in_flight=gauges.get(number, math.nan)))
    return found


def _by_trial(view: StageView, kind: Kind) -> dict[int, np.void]:
    rows = view.history.of(kind)
    return {int(row["op"]): row for row in rows[rows["a"] == view.index]}


def _run(
    view: StageView, rule: Capacity, number: int, rate: float, span: tuple[int, np.void],
    samples: Sample,
) -> Run:  # fmt: skip
    zero, settled = span
    since, until, end = zero + rule.settle, zero + rule.span_ns(rate), int(settled["t"])
    mine = samples.rows["trial"] == number
    mine &= (samples.rows["attempt"] == 0) & (samples.rows["intended"] >= since)
    rows, took, kind = samples.rows[mine], samples.took[mine], samples.kind[mine]
    latency = np.where(kind == 2, FAILED_NS, took).astype(np.int64)  # noqa: PLR2004 -- see Sample
    sessions = view.sessions[view.sessions["trial"] == number]
    at, known = place(sessions["session"].astype(np.int64), rows["session"].astype(np.int64))
    done = known & (sessions["outcome"][at] == COMPLETE) if len(sessions) else known
    unfit = _unfit(view, rule, sessions, (zero, end), settled)
    measured = Measured(rate, latency, censored=kind == 1, good=done, fit=not unfit)
    began = sessions["intended"].astype(np.int64)
    left = np.where(sessions["done"] > 0, sessions["done"], end).astype(np.int64)
    inside = (left >= since) & (left < until)
    whole = (until - since) / 1e9
    finished = int((inside & (sessions["outcome"] == COMPLETE)).sum())
    offered = (began >= since) & (began < until)
    stay = float((left - began)[offered].mean()) if offered.any() else 0.0
    came = int(offered.sum()) / whole
    return Run(number, rate, measured, unfit, len(rows), math.nan, came, finished / whole, stay)


def _unfit(
    view: StageView, rule: Capacity, sessions: Rows, span: tuple[int, int], settled: np.void
) -> str:
    """Why this repeat proves nothing of the service, or ""."""
    if int(settled["flag"]) != SETTLED:
        return f"it was cut off: {view.text(settled['b'])}"
    planned = len(sessions)
    dialled = sessions[sessions["dial"] > 0]
    if len(dialled) < ACHIEVED_MIN * planned or not planned:
        refused = [view.text(why) for why in sessions["why"][sessions["dial"] == 0] if why]
        said = f" ({refused[0]})" if refused else ""
        return f"only {len(dialled):,} of {counted(planned, 'client')} were let go{said}"
    numbers = dialled["session"]
    local = view.attempts[
        (view.attempts["outcome"] == Outcome.LOCAL) & np.isin(view.attempts["session"], numbers)
    ]
    if len(local):
        detail = view.text(local[0]["detail_text"])
        return f"{counted(len(local), 'connection')} failed at this machine's own limits ({detail})"
    late = quantile_ns(dialled["dial"] - dialled["intended"], 0.99)
    allowed = late_allowed(rule.within)
    if late > allowed:
        return f"clients were dialled {duration(late)} late (p99), {duration(allowed)} is allowed"
    rows = view.history.of(*OWN)
    rows = rows[(rows["t"] >= span[0]) & (rows["t"] <= span[1])]
    notes = Notes()
    machine(notes, rows, rule.within)
    return next(iter((*notes.invalid, *notes.taints)), "")
