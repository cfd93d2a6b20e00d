"""Races in the reports: their figures as a table, their plots, and `windows.json`.

The rule: what was found is kept so that it can be tried again alone; what was not found is
kept with its bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from probe.report import figures
from probe.report.plots import plots_of, strip

_LEFT_OUT: Final = ("curve", "posterior")


def race_lines(summary: Mapping[str, Any]) -> list[str]:
    """One line a race: how many trials, and the rates over the range of offsets."""
    shown = {plot.name: strip(plot) for plot in plots_of({"races": summary.get("races")})}
    lines = []
    for stage, race in _races(summary):
        bad, n = race.get("anomalies", 0), race.get("trials", 0)
        line = f"{stage}: {bad:,} of {n:,} trials went wrong"
        lines.append(f"{line}  {shown[stage]}" if race.get("curve") else line)
    return lines


def race_rows(race: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A race's figures, one (name, value) each."""
    rows = []
    for key, value in race.items():
        if key in _LEFT_OUT or value is None:
            continue
        match value:
            case {"value_s": at, "low_s": low, "high_s": high}:
                ends = f"{figures.duration(low)} to {figures.duration(high)}"
                rows.append((figures.words(key), f"{figures.duration(at)} (95 %: {ends})"))
            case _:
                rows.append((figures.words(key), figures.cell(key, value)))
    return rows


def windows(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What `windows.json` holds: every race by its stage, found or not, without its curve."""
    return {
        stage: {key: value for key, value in race.items() if key not in _LEFT_OUT}
        for stage, race in _races(summary)
    }


def _races(summary: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    races = summary.get("races")
    if not isinstance(races, Mapping):
        return []
    return [(str(name), race) for name, race in races.items() if isinstance(race, Mapping)]
