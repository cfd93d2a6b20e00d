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
        blocks.append(table(f"{stage}: figures", _WHAT, list(race_rows(race))))
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
    return figure("rates", title, note, data, table("Rates as numbers", _HEADER, rows))


def spikes(summary: Mapping[str, Any]) -> list[Block]:
    """How many clients were served in time about a spike; [] where there was none."""
    return [_drawn(plot, _points(plot.points), plot.title) for plot in spike_plots(summary)]


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
        blocks.append(table(f"{stage}: what was found", _WHAT, list(capacity_rows(told))))
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
        f"Held to: {curve.held_to or 'nothing that was told'}; {curve.knee.replace(' (*)', '')}. "
        f"Above: {curve.quantile} with its one-sided bounds, dashed where no upper one is known, "
        "at the top edge where it failed; below: what share was served. Shaded: between what is "
        "proven within and what is proven beyond, open to the right where nothing was."
    )
    keys = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[figures.cell(key, row.get(key)) for key in keys] for row in rows]
    names = [figures.words(key) for key in keys]
    behind = table(f"{curve.name}: levels as numbers", names, cells)
    return figure("capacity", f"{curve.name}: capacity", note, data, behind)
