"""Races in the reports: a line each, `windows.json`, `trials-NAME.csv`, `shrunk.toml`.

The rule: what was found is kept so that it can be tried again alone; what was not found is
kept with its bound. A race made smaller is a scenario of its own, which `probe run` takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import tomli_w

from probe.report import figures
from probe.report.plots import STRIP_SIGNS, plots_of, strip

SHRUNK: Final = "shrunk.toml"
SHRUNK_HEADER: Final = (
    "tried",
    "beside",
    "measured",
    "at the offset",
    "at the control",
    "p",
    "what came of it",
)
TRIAL_COLUMNS: Final = ("trial", "planned_ms", "measured_ms", "outcome", "stage")
_LEFT_OUT: Final = ("curve", "posterior", "made")
_ITS_OWN: Final = "shrunk"


def race_lines(summary: Mapping[str, Any]) -> list[str]:
    """How many trials went wrong; where any did, also a line of the rates over the offsets."""
    shown = {plot.name: plot for plot in plots_of({"races": summary.get("races")})}
    lines, explained = [], False
    for stage, race in _races(summary):
        bad, n = race.get("anomalies", 0), race.get("trials", 0)
        line = f"{stage}: {bad:,} of {n:,} trials went wrong"
        small = race.get(_ITS_OWN)
        if small and small["scenario"]:
            line += f"; {_of(small)} still show it: {SHRUNK}"
        if bad and race.get("curve"):
            line += "" if explained else f"; by offset, {STRIP_SIGNS}"
            lines += [line, f"  {strip(shown[stage])}"]
            explained = True
        else:
            lines.append(line)
    return lines


def trials_csv(summary: Mapping[str, Any]) -> dict[str, str]:
    """Of each race every trial, as the text of a CSV file by its name; empty where unknown."""
    out = {}
    for stage, race in _races(summary):
        made = race.get("made") or {}
        if made.get("trial"):
            rows = zip(*(made[name] for name in TRIAL_COLUMNS), strict=True)
            lines = [TRIAL_COLUMNS, *(["" if x is None else str(x) for x in row] for row in rows)]
            out[f"trials-{stage}.csv"] = "".join(f"{','.join(line)}\n" for line in lines)
    return out


def windows(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What `windows.json` holds: every race by its stage, found or not, without its trials."""
    out = {}
    for stage, race in _races(summary):
        out[stage] = {key: value for key, value in race.items() if key not in _LEFT_OUT}
        if small := race.get(_ITS_OWN):
            kept = {key: value for key, value in small.items() if key != "scenario"}
            out[stage][_ITS_OWN] = kept
    return out


def shrunk_rows(race: Mapping[str, Any]) -> list[list[str]]:
    """What was tried to make a race smaller, in order, and what came of it; see SHRUNK_HEADER."""
    small = race.get(_ITS_OWN) or {}
    rows = []
    for row in small.get("tried", ()):
        void = f" ({row['void']} void)" if row["void"] else ""
        rows.append(
            [f"without {row['what']}", f"{row['beside']} more", *_cells(row), row["came"] + void]
        )
    if small.get("trials"):
        name = f"what is left, {_of(small)}, on fresh trials"
        came = "confirmed" if small["confirmed"] else "not confirmed"
        rows.append([name, "", *_cells(small), came])
    blank = [""] * (len(SHRUNK_HEADER) - 2)
    rows += ([f"without {what}", *blank, "not tried"] for what in small.get("not_tried", ()))
    return rows


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [
        figures.duration(row["measured_s"]),
        f"{row['hits']} of {row['trials']}",
        f"{row['control_hits']} of {row['control_trials']}",
        f"{row['p_value']:.2g}",
    ]


def shrunk_toml(summary: Mapping[str, Any]) -> str:
    """The races that were made smaller, as one scenario file; "" where none was.

    Each plays the smallest race that fresh trials confirmed, at its one offset and its control.
    """
    found = [race[_ITS_OWN]["scenario"] for _, race in _races(summary) if race.get(_ITS_OWN)]
    scenarios = [each for each in found if each]
    if not scenarios:
        return ""
    whole = dict(scenarios[0])
    whole["stages"] = {name: each for data in scenarios for name, each in data["stages"].items()}
    return tomli_w.dumps(whole)


def _of(small: Mapping[str, Any]) -> str:
    clients = f"{small['clients']:,} of {small['clients_before']:,} clients"
    steps = f" and {small['steps']} of {small['steps_before']} steps"
    return clients + (steps if small["steps_before"] else "")


def _races(summary: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    races = summary.get("races")
    if not isinstance(races, Mapping):
        return []
    return [(str(name), race) for name, race in races.items() if isinstance(race, Mapping)]
