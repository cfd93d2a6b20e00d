"""Rates over offsets and times: race windows, success since a restart, the levels of a capacity.

The rule: what is drawn is what the summary holds and the SVG files show (`probe.report.plots`);
each rate stands with its interval, and a service's limit with both its ends or with none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from probe.report import figures
from probe.report.curve import capacity_rows, curves_of
from probe.report.page.blocks import Block, code, figure, nothing, table
from probe.report.plots import plots_of, spike_plots
from probe.report.race_rows import race_rows
from probe.report.races import SHRUNK_HEADER, shrunk_rows, shrunk_toml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from probe.report.curve import Curve
    from probe.report.plots import Plot, Point

_WHAT: Final = ("what", "value")
_HEADER: Final = ("where", "n", "rate", "95 % interval")
_OF_PHASES: Final = ("clients", "in_time", "goodput_rate", "attempts", "amplification")
_LEAST, _BESIDE, _NARROW = 0.02, 0.75, 0.5  # shares of the axis, of the stretch, of the axis


def since_restart(summary: Mapping[str, Any]) -> list[Block]:
    """How often clients got in, by the time since the restart; [] where nothing was restarted."""
    plots = plots_of({"success_since_restart": summary.get("success_since_restart")})
    return [_drawn(plot, _turned(plot), f"{plot.name}: clients that got in") for plot in plots]


def _turned(plot: Plot) -> list[list[Any]]:
    """The plot tells who was turned away; the page, who got in."""
    return [
        [p.from_s, p.to_s, p.n, 1 - p.rate, 1 - p.high, 1 - p.low, p.label] for p in plot.points
    ]


def races(summary: Mapping[str, Any]) -> list[Block]:
    """Every race: its window, its figures, what was tried to make it smaller."""
    told = summary.get("races") or {}
    plots = {plot.name: plot for plot in plots_of({"races": told})}
    blocks: list[Block] = []
    for stage, race in told.items():
        plot = plots.get(str(stage))
        if plot is None:
            blocks.append(nothing(f"no trial of {stage} could be placed"))
        else:
            blocks.append(_drawn(plot, _points(plot.points), plot.title))
        blocks.append(table(f"{stage}: figures", _WHAT, list(race_rows(race)), folded=True))
        if rows := shrunk_rows(race):
            blocks.append(table(f"{stage}: made smaller", SHRUNK_HEADER, rows, folded=True))
    if small := shrunk_toml(summary):
        blocks.append(code(small.splitlines(), "The race made smaller, a scenario of its own"))
    return blocks


def _points(points: Sequence[Point]) -> list[list[Any]]:
    return [[p.from_s, p.to_s, p.n, p.rate, p.low, p.high, p.label] for p in points]


def _drawn(plot: Plot, points: list[list[Any]], title: str) -> Block:
    told = plot.told
    marks = _points(plot.marks)
    data = {
        "axis": plot.axis + (f", counted from {plot.since}" if plot.since else ""),
        "from_s": plot.from_s,
        "to_s": plot.to_s,
        "points": points,
        "marks": marks,
        "posterior": [list(each) for each in plot.posterior],
        "spike": list(plot.spike) if plot.spike else None,
        "told": [told.value_s, told.low_s, told.high_s, told.width_s] if told else None,
        "trials": [[at, int(wrong)] for at, wrong in plot.trials],
        "closer": _closer(plot),
    }
    rows = [
        [
            p[6] or f"{figures.duration(p[0])} .. {figures.duration(p[1])}",
            f"{p[2]:,}",
            figures.percent(p[3]),
            figures.interval((p[4], p[5]), "rate"),
        ]
        for p in (*points, *marks)
    ]
    note = "Each rate with its 95 % interval; faint where it rests on fewer than 5 trials."
    if plot.trials:
        note += " Each trial is a stroke: above where it went wrong, below where it held."
    if data["closer"]:
        note += " Below, the same closer to what was found."
    return figure("rates", title, note, data, table("Rates as numbers", _HEADER, rows))


def _closer(plot: Plot) -> list[float] | None:
    """Both ends of a stretch about what was found, s, where it is narrow on the whole axis."""
    told = plot.told
    if told is None:
        return None
    half = (told.width_s or 0.0) / 2
    low, high = min(told.low_s, told.value_s - half), max(told.high_s, told.value_s + half)
    room = max(high - low, (plot.to_s - plot.from_s) * _LEAST) * _BESIDE
    low, high = max(low - room, plot.from_s), min(high + room, plot.to_s)
    return [low, high] if high - low < _NARROW * (plot.to_s - plot.from_s) else None


def spikes(summary: Mapping[str, Any]) -> list[Block]:
    """How many clients were served in time about a spike; [] where there was none."""
    phases = summary.get("after_spike") or {}
    return [
        each
        for plot in spike_plots(summary)
        for each in (
            _drawn(plot, _points(plot.points), plot.title),
            *_phases(plot.name, phases.get(plot.name) or ()),
        )
    ]


def _phases(stage: str, rows: Sequence[Mapping[str, Any]]) -> list[Block]:
    """Before, during and after the spike, with what the retries cost."""
    cells = [
        [
            row["phase"],
            f"{figures.duration(row['from_s'])} to {figures.duration(row['to_s'])}",
            *(figures.cell(key, row[key]) for key in _OF_PHASES),
        ]
        for row in rows
    ]
    header = ["the spike", "time", "clients", "in time", "share", "attempts", "attempts per client"]
    return [table(f"{stage}: before, during, after", header, cells)] if cells else []


def knees(summary: Mapping[str, Any]) -> list[str]:
    """Where the knee of each climb lies, in a line."""
    return [
        f"{curve.name}: {_knee(curve)}{f'; held to: {curve.held_to}' if curve.held_to else ''}"
        for curve in curves_of(summary)
    ]


def _knee(curve: Curve) -> str:
    return curve.knee.replace(" (*)", "")


def capacity(summary: Mapping[str, Any]) -> list[Block]:
    """The levels of each climb with the service's limit; [] where nobody climbed."""
    blocks: list[Block] = []
    curves = {curve.name: curve for curve in curves_of(summary)}
    for stage, told in (summary.get("capacity") or {}).items():
        curve = curves.get(str(stage))
        if curve is None:
            blocks.append(nothing(f"no level of {stage} was played to its end"))
        else:
            blocks.append(_curve(curve, summary["levels"][stage]))
        known = [row for row in capacity_rows(told) if row[1] != figures.MISSING]
        blocks.append(table(f"{stage}: what was found", _WHAT, known, folded=True))
    return blocks


def _curve(curve: Curve, rows: Sequence[Mapping[str, Any]]) -> Block:
    points = [
        [each.level, each.quantile_s, each.low_s, each.high_s, each.goodput,
         "out" if each.out else each.status]
        for each in curve.levels
    ]  # fmt: skip
    data = {
        "points": points,
        "low": curve.low,
        "high": curve.high,
        "within_s": curve.within_s,
        "unit": curve.unit,
    }
    note = (
        f"Held to: {curve.held_to or 'nothing that was told'}; {_knee(curve)}. Above: "
        f"{curve.quantile} with its one-sided bounds, dashed where no upper one is known, at the "
        "top edge where it failed. Below: what share was served."
    )
    keys = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[figures.cell(key, row.get(key)) for key in keys] for row in rows]
    names = [figures.words(key) for key in keys]
    behind = table(f"{curve.name}: levels as numbers", names, cells)
    return figure("capacity", f"{curve.name}: capacity", note, data, behind)
