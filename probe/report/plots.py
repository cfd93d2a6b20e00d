"""Plots of a rate over time or offset: what they show, and the same as lines of text.

The rule: every rate stands with its interval, and where nothing was tried nothing is drawn.
The text is ASCII and fits 96 columns; `picture` draws the SVG.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from probe.check.race_words import some
from probe.report import figures

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BAR: Final = 40
STRIP: Final = 40
STRIP_SIGNS: Final = "in tenths (. none, # all):"
_ROOM: Final = 0.15  # of the way between two offsets, beside each
_PLACED: Final = ("fine", "anomaly")  # a trial that was void at an offset has not held there
_KEYS: Final = frozenset({"from_s", "to_s", "n", "rate", "low", "high"})


@dataclass(frozen=True, slots=True)
class Point:
    """A rate over [low_s, high_s] of the axis, from `n` trials, with its 95 % interval."""

    from_s: float
    to_s: float
    n: int
    rate: float
    low: float
    high: float
    label: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What the finding tells: an edge or a centre with its 95 % interval, and a window's width."""

    value_s: float
    low_s: float
    high_s: float
    width_s: float | None = None


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot. `posterior` is (where, relative density); `marks` are fresh trials.

    `told` is what was found, `trials` each trial's measured offset and whether it went wrong;
    `since` is what offsets count from; `spike` when the load was higher.
    """

    name: str
    title: str
    axis: str
    from_s: float
    to_s: float
    points: tuple[Point, ...]
    posterior: tuple[tuple[float, float], ...] = ()
    marks: tuple[Point, ...] = ()
    told: Told | None = None
    trials: tuple[tuple[float, bool], ...] = ()
    since: str = ""
    kind: str = "window"
    spike: tuple[float, float] | None = None


def plots_of(summary: Mapping[str, Any]) -> list[Plot]:
    """Every plot that a summary has the figures for."""
    races = [_race(stage, race) for stage, race in _named(summary.get("races"))]
    since = summary.get("success_since_restart")
    restarts = [
        _restart(str(name), rows)
        for name, rows in (since.items() if isinstance(since, Mapping) else ())
        if rows and all(row.keys() >= _KEYS for row in rows if isinstance(row, Mapping))
    ]
    return [plot for plot in (*races, *restarts) if plot.points or plot.marks]


def spike_plots(summary: Mapping[str, Any]) -> list[Plot]:
    """How many clients were served in time, over a stage with a spike."""
    stages = summary.get("goodput_over_time")
    return [
        _spike(str(name), rows)
        for name, rows in (stages.items() if isinstance(stages, Mapping) else ())
        if rows
    ]


def picture_name(plot: Plot) -> str:
    """The name of its SVG file in the run's folder."""
    return f"{plot.kind}-{plot.name}.svg"


def text_lines(plot: Plot) -> list[str]:
    """The plot as lines: `=` spans the interval, `#` is the rate."""
    lines = [plot.title, f"{plot.axis:>23}      n   rate   0 %{'100 %':>{BAR - 3}}"]
    for point in (*plot.points, *plot.marks):
        where = f"{figures.duration(point.from_s)} .. {figures.duration(point.to_s)}"
        where = point.label or where
        rate = figures.percent(point.rate)
        lines.append(f"{where:>23} {point.n:>6} {rate:>7}  |{_bar(point)}|")
    if plot.posterior:
        lines.append(f"{'posterior of the centre':>23} {_spark(plot)}")
    return lines


def strip(plot: Plot) -> str:
    """The rates in one line, a sign for each stretch, as STRIP_SIGNS says."""
    signs = [" "] * STRIP
    for point in plot.points:
        middle = ((point.from_s + point.to_s) / 2 - plot.from_s) / (plot.to_s - plot.from_s)
        place = min(max(int(middle * STRIP), 0), STRIP - 1)
        tenths = min(max(math.ceil(point.rate * 10), 0), 9)
        signs[place] = "#" if point.rate == 1 else str(tenths) if tenths else "."
    ends = figures.duration(plot.from_s), figures.duration(plot.to_s)
    return f"{ends[0]} |{''.join(signs)}| {ends[1]}"


def _named(value: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(value, Mapping):
        yield from ((str(k), v) for k, v in value.items() if isinstance(v, Mapping))


def _race(stage: str, race: Mapping[str, Any]) -> Plot:
    points = tuple(
        Point(r["from_s"], r["to_s"], r["n"], r["rate"], r["low"], r["high"])
        for r in race.get("curve", ())
    )
    posterior = tuple((p["at_s"], p["relative"]) for p in race.get("posterior", ()))
    made = race.get("made") or {}
    trials = tuple(
        (at_ms / 1e3, outcome == "anomaly")
        for at_ms, outcome in zip(made.get("measured_ms", ()), made.get("outcome", ()), strict=True)
        if at_ms is not None and outcome in _PLACED
    )
    noun, anomaly = race.get("noun", "trial"), race.get("anomaly", "")
    title = f"{stage}: how often {some(str(noun))} {anomaly}".strip()
    marks, low, high = tuple(_marks(race)), *_range(race)
    told, since = _told(race, low, high), str(race.get("since", ""))
    return Plot(stage, title, "offset", low, high, points, posterior, marks, told, trials, since)


def _range(race: Mapping[str, Any]) -> tuple[float, float]:
    """What the axis shows: the range that was searched, or both offsets with room beside them."""
    low, high = (float(each) for each in race["range_s"])
    at, control = race.get("at_s"), race.get("control_s")
    if at is None or control is None or at == control:
        return low, high
    room = abs(at - control) * _ROOM
    return min(at, control) - room, max(at, control) + room


def _told(race: Mapping[str, Any], low_s: float, high_s: float) -> Told | None:
    """What was found, as far as it lies on the axis; None where nothing was localised."""
    centre, width = race.get("centre"), race.get("width")
    if not centre or not race.get("localised"):
        return None
    value, low, high = (float(centre[key]) for key in ("value_s", "low_s", "high_s"))
    wide = float(width["value_s"]) if width else None
    return Told(value, max(low, low_s), min(high, high_s), wide)


def _marks(race: Mapping[str, Any]) -> Iterator[Point]:
    sure, tried = race.get("confirmation") or {}, race.get("tried") or race
    names = (
        ("at_s", "rate", "trials", "fresh"),
        ("control_s", "control_rate", "control_trials", "control"),
    )
    for place, rate, n, label in names:
        if sure.get(rate) and tried.get(place) is not None:
            at = float(tried[place])
            value, low, high = sure[rate]
            yield Point(at, at, int(sure[n]), value, low, high, f"{label}, {figures.duration(at)}")


def _restart(stage: str, rows: Sequence[Mapping[str, Any]]) -> Plot:
    points = tuple(
        Point(r["from_s"], r["to_s"], r["n"], 1 - r["rate"], 1 - r["high"], 1 - r["low"])
        for r in rows
    )
    title = f"{stage}: how often a client was turned away, by the time since the restart"
    return Plot(stage, title, "since the restart", points[0].from_s, points[-1].to_s, points)


def _spike(stage: str, rows: Sequence[Mapping[str, Any]]) -> Plot:
    points = tuple(
        Point(r["from_s"], r["to_s"], r["n"], r["rate"], r["low"], r["high"]) for r in rows
    )
    during = [row for row in rows if row["spike"]]
    spike = (during[0]["from_s"], during[-1]["to_s"]) if during else None
    title = f"{stage}: how many of the clients were served in time, by when they came"
    ends = points[0].from_s, points[-1].to_s
    axis = "since the stage began"
    return Plot(stage, title, axis, *ends, points, kind="spike", spike=spike)


def _bar(point: Point) -> str:
    low, high = round(point.low * (BAR - 1)), round(point.high * (BAR - 1))
    signs = ["=" if low <= k <= high else " " for k in range(BAR)]
    signs[min(max(round(point.rate * (BAR - 1)), 0), BAR - 1)] = "#"
    return "".join(signs)


def _spark(plot: Plot) -> str:
    """Where the mass lies: the place of the densest tenth of the grid."""
    dense = [at for at, relative in plot.posterior if relative > 0.1]  # noqa: PLR2004
    return f"mostly from {figures.duration(min(dense))} to {figures.duration(max(dense))}"
