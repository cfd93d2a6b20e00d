"""Plots of a rate over time or offset: as lines of text, and as one SVG file.

The rule: every rate stands with its interval, and where nothing was tried nothing is drawn.
The text is ASCII and fits 96 columns; the SVG needs no script, no font and no network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Final

from probe.report import figures

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BAR: Final = 40
_WIDTH, _HEIGHT = 760, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 20, 44, 48
_TICKS: Final = 5
_KEYS: Final = frozenset({"from_s", "to_s", "n", "rate", "low", "high"})
_HEAD: Final = (
    f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
    f'viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12">'
)
_INK, _POSTERIOR, _MARK = "#1f3b57", "#c9dbe8", "#b03a2e"


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
class Plot:
    """One plot. `posterior` is (where, relative density); `marks` are fresh trials."""

    name: str
    title: str
    axis: str
    from_s: float
    to_s: float
    points: tuple[Point, ...]
    posterior: tuple[tuple[float, float], ...] = ()
    marks: tuple[Point, ...] = ()


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


def picture_name(plot: Plot) -> str:
    """The name of its SVG file in the run's folder."""
    return f"window-{plot.name}.svg"


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
    """The rates in one line, a sign for each stretch: `.` none, 1 to 9 tenths, `#` all."""
    signs = [" "] * BAR
    for point in plot.points:
        middle = ((point.from_s + point.to_s) / 2 - plot.from_s) / (plot.to_s - plot.from_s)
        place = min(max(int(middle * BAR), 0), BAR - 1)
        tenth = int(point.rate * 10)
        signs[place] = "#" if tenth > 9 else str(tenth) if tenth else ",."[point.rate == 0]  # noqa: PLR2004
    ends = figures.duration(plot.from_s), figures.duration(plot.to_s)
    return f"{ends[0]} |{''.join(signs)}| {ends[1]}"


def svg(plot: Plot) -> bytes:
    """The plot as an SVG document."""
    parts = [
        _HEAD,
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        _label(_LEFT, 20, plot.title, size=14),
        *_posterior(plot),
        *_axes(plot),
        *(line for point in plot.points for line in _error_bar(plot, point, _INK)),
        *(line for point in plot.marks for line in _error_bar(plot, point, _MARK)),
        *_legend(plot),
        "</svg>\n",
    ]
    return "\n".join(parts).encode()


def _named(value: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(value, Mapping):
        yield from ((str(k), v) for k, v in value.items() if isinstance(v, Mapping))


def _race(stage: str, race: Mapping[str, Any]) -> Plot:
    low, high = (float(each) for each in race["range_s"])
    points = tuple(
        Point(r["from_s"], r["to_s"], r["n"], r["rate"], r["low"], r["high"])
        for r in race.get("curve", ())
    )
    posterior = tuple((p["at_s"], p["relative"]) for p in race.get("posterior", ()))
    title = f"{stage}: how often a {race.get('noun', 'trial')} {race.get('anomaly', '')}".strip()
    axis = "offset"
    return Plot(stage, title, axis, low, high, points, posterior, tuple(_marks(race)))


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


def _bar(point: Point) -> str:
    low, high = round(point.low * (BAR - 1)), round(point.high * (BAR - 1))
    signs = ["=" if low <= k <= high else " " for k in range(BAR)]
    signs[min(max(round(point.rate * (BAR - 1)), 0), BAR - 1)] = "#"
    return "".join(signs)


def _spark(plot: Plot) -> str:
    """Where the mass lies: the place of the densest tenth of the grid."""
    dense = [at for at, relative in plot.posterior if relative > 0.1]  # noqa: PLR2004
    return f"mostly from {figures.duration(min(dense))} to {figures.duration(max(dense))}"


def _x(plot: Plot, at_s: float) -> float:
    share = (at_s - plot.from_s) / (plot.to_s - plot.from_s)
    return _LEFT + min(max(share, 0.0), 1.0) * (_WIDTH - _LEFT - _RIGHT)


def _y(rate: float) -> float:
    return _HEIGHT - _BOTTOM - rate * (_HEIGHT - _TOP - _BOTTOM)


def _axes(plot: Plot) -> list[str]:
    out = []
    for k in range(_TICKS):
        rate = k / (_TICKS - 1)
        y = _y(rate)
        out.append(_line(_LEFT, y, _WIDTH - _RIGHT, y, "#dddddd"))
        out.append(_label(_LEFT - 8, y + 4, f"{rate * 100:g} %", anchor="end"))
        at_s = plot.from_s + rate * (plot.to_s - plot.from_s)
        words = figures.duration(round(at_s, 9))
        anchor = "middle" if k < _TICKS - 1 else "end"  # there is no room beyond the last one
        x = _x(plot, at_s) + (_RIGHT if anchor == "end" else 0)
        out.append(_label(x, _HEIGHT - _BOTTOM + 18, words, anchor=anchor))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    return [*out, _label(middle, _HEIGHT - 10, plot.axis, anchor="middle")]


def _posterior(plot: Plot) -> list[str]:
    if not plot.posterior:
        return []
    corners = [(_x(plot, at), _y(relative)) for at, relative in plot.posterior]
    corners = [(corners[0][0], _y(0)), *corners, (corners[-1][0], _y(0))]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    return [f'<polygon points="{path}" fill="{_POSTERIOR}" stroke="none"/>']


def _error_bar(plot: Plot, point: Point, colour: str) -> list[str]:
    x = _x(plot, (point.from_s + point.to_s) / 2)
    words = f"{point.n} trials, {figures.percent(point.rate)}"
    title = f"<title>{escape(words)}</title>"
    dot = f'<circle cx="{x:.1f}" cy="{_y(point.rate):.1f}" r="3" fill="{colour}">{title}</circle>'
    return [_line(x, _y(point.low), x, _y(point.high), colour), dot]


def _legend(plot: Plot) -> list[str]:
    words = ["points: rate with its 95 % interval"]
    words += ["shaded: posterior of the centre"] if plot.posterior else []
    words += ["red: fresh trials at the window and at the control"] if plot.marks else []
    return [_label(_LEFT, 36, "; ".join(words), size=11)]


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _label(x: float, y: float, words: str, *, anchor: str = "start", size: int = 12) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"'
    return f"<text {place}>{escape(words)}</text>"
