"""Runs that were: each with its verdict and three main figures, and the course of a figure.

The rule: what is listed is what the run's own files said when it was judged. A run whose probe
was not fit shows no times; a figure that a run does not have is left out, and never 0. Success is
that of the scenario's own checks: who was refused in a matrix, a race or a restart did not fail.
A course is one scenario against one target, and says "too few" before it says that something
changed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from probe.report import figures
from probe.stats.course import RUNS_MIN, change_points

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MAIN: Final = 3
ROWS: Final = 7
SMALL: Final = 0.05
"""A change of a time or a rate below this is not told, however sure it is."""
SMALL_SHARE: Final = 0.01


@dataclass(frozen=True, slots=True)
class Main:
    """One main figure: seconds, a share or a rate per second."""

    name: str
    value: float
    unit: str

    @property
    def text(self) -> str:
        """`connect p95 3.4 ms`."""
        return f"{self.name} {figures.amount(self.value, self.unit)}"


@dataclass(frozen=True, slots=True)
class Past:
    """One run as it was listed; `started` is ISO 8601, UTC."""

    run_id: str
    scenario: str
    target: str
    started: str
    verdict: str
    headline: str
    fit: bool
    main: tuple[Main, ...]


def past_of(verdict: Mapping[str, Any], summary: Mapping[str, Any]) -> Past:
    """From verdict.json and summary.json as they were read; what is missing stays empty."""
    fit = bool((verdict.get("fitness") or {}).get("fit"))
    main = [each for each in _main(verdict, summary) if fit or each.unit == "rate"]
    return Past(
        run_id=str(verdict.get("run_id", "")),
        scenario=str(verdict.get("scenario", "")),
        target=str(verdict.get("target", "")),
        started=str(verdict.get("started", "")),
        verdict=str(verdict.get("verdict", "")),
        headline=str(verdict.get("headline", "")),
        fit=fit,
        main=tuple(main[:MAIN]),
    )


def _main(verdict: Mapping[str, Any], summary: Mapping[str, Any]) -> Iterator[Main]:
    """What a run was made for comes first: its knee, its window, its recovery, its latency."""
    yield from _knees(summary)
    yield from _windows(summary)
    for found in (summary.get("recovery") or {}).values():
        if found.get("median_s") is not None:
            yield Main("first client in", found["median_s"], "s")
    if not summary.get("capacity"):
        yield from _connect(summary)
    yield from _success(verdict)
    yield from _delivered(summary)


def _knees(summary: Mapping[str, Any]) -> Iterator[Main]:
    for found in (summary.get("capacity") or {}).values():
        low, high = found.get("low_per_s"), found.get("high_per_s")
        # A proven end is no knee, and stands in no course beside one.
        if low and high:
            yield Main("knee", math.sqrt(low * high), "/s")
        elif low or high:
            yield Main("knee at least" if low else "knee at most", low or high, "/s")


def _windows(summary: Mapping[str, Any]) -> Iterator[Main]:
    for found in (summary.get("races") or {}).values():
        step = found.get("shape") == "step"
        span = found.get("centre" if step else "exposure")
        if isinstance(span, dict) and found.get("found"):
            yield Main("edge" if step else "exposure", span["value_s"], "s")


def _success(verdict: Mapping[str, Any]) -> Iterator[Main]:
    """Of all clients that a check of success counted."""
    done, clients = 0.0, 0
    for check in verdict.get("checks") or ():
        own = check.get("id") == f"{check.get('stage')}.success"
        if own and check.get("n") and check.get("estimate") is not None:
            done += check["estimate"] * check["n"]
            clients += check["n"]
    if clients:
        yield Main("success", done / clients, "rate")


def _delivered(summary: Mapping[str, Any]) -> Iterator[Main]:
    came = due = 0
    for stage in (summary.get("delivery") or {}).values():
        for part in (stage.get("endpoints") or {}).values():
            came += part.get("delivered", 0)
            # What nobody knows of did not come for all that is known.
            due += sum(part.get(key, 0) for key in ("delivered", "lost", "unknown"))
    if due:
        yield Main("delivered", came / due, "rate")


def _connect(summary: Mapping[str, Any]) -> Iterator[Main]:
    """Of the stage with most connects."""
    phases = [stage.get("connect") or {} for stage in (summary.get("latency") or {}).values()]
    most = max(phases, key=lambda phase: phase.get("n", 0), default={})
    p95 = (most.get("p95") or {}).get("estimate_s")
    if p95 is not None:
        yield Main("connect p95", p95, "s")


@dataclass(frozen=True, slots=True)
class Course:
    """One figure over the fit runs of one scenario and target, oldest first.

    `shifts` are (place of the first run after it, text); None: too few runs to say.
    """

    scenario: str
    target: str
    name: str
    unit: str
    runs: tuple[str, ...]
    values: tuple[float, ...]
    shifts: tuple[tuple[int, str], ...] | None


def courses(past: Sequence[Past]) -> list[Course]:
    """All of them; `past` in any order."""
    groups: dict[tuple[str, str, str, str], list[tuple[str, str, float]]] = {}
    for run in sorted(past, key=lambda each: each.started):
        for each in run.main if run.fit else ():
            key = run.scenario, run.target, each.name, each.unit
            groups.setdefault(key, []).append((run.run_id, run.started, each.value))
    return [_course(key, rows) for key, rows in groups.items()]


def _course(key: tuple[str, str, str, str], rows: list[tuple[str, str, float]]) -> Course:
    scenario, target, name, unit = key
    values = np.array([value for _, _, value in rows])
    by_log = unit != "rate" and bool((values > 0).all())
    found = change_points(np.log(values) if by_log else values)
    small = math.log1p(SMALL) if by_log else SMALL_SHARE if unit == "rate" else 0.0
    plain = math.exp if by_log else float
    shifts = None
    if found is not None:
        shifts = tuple(
            (each.at, _words(unit, plain(each.before), plain(each.after), rows[each.at][1]))
            for each in found
            if abs(each.after - each.before) > small
        )
    return Course(
        scenario, target, name, unit, tuple(run for run, _, _ in rows), tuple(values.tolist()),
        shifts,
    )  # fmt: skip


def _words(unit: str, before: float, after: float, since: str) -> str:
    old, new = figures.amount(before, unit), figures.amount(after, unit)
    return f"{old} before, {new} since {since[:16].replace('T', ' ')}"


def plot(course: Course, width: int, *, ascii_only: bool = False) -> list[str]:
    """The course as lines of text at most `width` wide: a column a run, the newest right."""
    dot, rule, mark = ("o", "-", "^") if ascii_only else ("•", "─", "▲")
    low, high = min(course.values), max(course.values)
    title = f"{course.scenario} -> {course.target}: {course.name}, {len(course.values)} runs"
    if low == high:
        return [f"{title}, all {figures.amount(low, course.unit)}"]
    labels = [figures.amount(high, course.unit), figures.amount(low, course.unit)]
    margin = max(map(len, labels)) + 1
    room = max(1, width - margin - 2)
    values = course.values[-room:]
    skipped = len(course.values) - len(values)
    span = (high - low) or 1.0
    grid = [[" "] * len(values) for _ in range(ROWS)]
    places = [round((ROWS - 1) * (high - value) / span) for value in values]
    shifts = [at - skipped for at, _ in course.shifts or () if at > skipped]
    ends = [0, *shifts, len(values)]
    for begin, end in pairwise(ends):
        middle = float(np.median(values[begin:end]))
        row = round((ROWS - 1) * (high - middle) / span)
        for column in range(begin, end):
            grid[row][column] = rule
    for column, row in enumerate(places):
        grid[row][column] = dot
    out = [title]
    for number, cells in enumerate(grid):
        label = labels[0] if number == 0 else labels[1] if number == ROWS - 1 else ""
        out.append(f"{label:>{margin}} |{''.join(cells)}".rstrip())
    if shifts:
        marks = "".join(mark if column in shifts else " " for column in range(len(values)))
        out.append(f"{'':>{margin}}  {marks}".rstrip())
    return [*out, *(f"  {line}" for line in said(course))]


def said(course: Course) -> list[str]:
    """What a course shows, in words."""
    if course.shifts is None:
        return [f"too few runs to say whether it changed: {RUNS_MIN} are needed"]
    return [f"changed: {words}" for _, words in course.shifts] or ["no change was found"]
