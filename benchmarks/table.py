"""Turns measurements into tables; pure.

The rule: no number stands without its range, and a ratio is taken pair by pair within a repeat,
where both clients met the same weather, never between medians of different runs.

A measurement is the client's line of JSON with `repeat` (int) added.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Measurement = dict[str, Any]
BASES = ("floor", "websockets_asyncio")


@dataclass(frozen=True, slots=True)
class Metric:
    """A number of a job; `of` gives None where the client cannot tell it."""

    job: str
    title: str
    of: Callable[[Measurement], float | None]


def _per_cpu_s(m: Measurement) -> float:
    return float(m["n"] / m["cpu_s"])


def _slope_kb(m: Measurement) -> float:
    return float((m["rss_kb"][str(m["n"])] - m["rss_kb"]["0"]) / m["n"])


def _whole_kb(m: Measurement) -> float:
    return float(m["rss_kb"][str(m["n"])] / m["n"])


def _error(kind: str, quantile: str) -> Callable[[Measurement], float | None]:
    def of(m: Measurement) -> float | None:
        return m[kind][quantile] if m[kind] else None

    return of


METRICS = (
    Metric("connects", "connects per CPU-second (more is better)", _per_cpu_s),
    Metric("idle", "KB per idle connection (less is better)", _slope_kb),
    Metric("idle", "KB of the whole process / connections (less is better)", _whole_kb),
    Metric("burst", "messages per CPU-second, bursts (more is better)", _per_cpu_s),
    Metric("single", "messages per CPU-second, one per read (more is better)", _per_cpu_s),
    Metric("upgrade", "upgrade phase, error p50, ms", _error("phase_error_ms", "p50")),
    Metric("upgrade", "upgrade phase, error p99, ms", _error("phase_error_ms", "p99")),
    Metric("upgrade", "whole connect, error p50, ms", _error("whole_error_ms", "p50")),
    Metric("upgrade", "whole connect, error p99, ms", _error("whole_error_ms", "p99")),
)


def tables(measurements: Iterable[Measurement], clients: Sequence[str]) -> str:
    """All tables as Markdown, one for each metric that was measured; clients in this order."""
    by_job: dict[str, list[Measurement]] = defaultdict(list)
    for m in measurements:
        by_job[m["job"]].append(m)
    parts = [_table(metric, by_job[metric.job], clients) for metric in METRICS]
    return "\n".join(part for part in parts if part)


def _table(metric: Metric, measurements: list[Measurement], clients: Sequence[str]) -> str:
    values: dict[str, dict[int, float]] = defaultdict(dict)
    for m in measurements:
        value = metric.of(m)
        if value is not None:
            values[m["client"]][m["repeat"]] = value
    if not values:
        return ""
    head = ["client", "median [range]", *(f"/ {base}" for base in BASES), "runs"]
    rows = [
        [
            client,
            _range(list(values[client].values())),
            *(_range(_ratios(values[client], values.get(base, {}))) for base in BASES),
            str(len(values[client])),
        ]
        for client in clients
        if client in values
    ]
    return f"{metric.title}\n\n{_markdown([head, *rows])}\n"


def _ratios(values: dict[int, float], base: dict[int, float]) -> list[float]:
    return [
        value / base[repeat]
        for repeat, value in values.items()
        if repeat in base and base[repeat] > 0
    ]


def _range(values: list[float]) -> str:
    if not values:
        return "-"
    return f"{_number(median(values))} [{_number(min(values))} .. {_number(max(values))}]"


def _number(value: float) -> str:
    """Three significant digits, and never fewer digits than the whole part has."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _markdown(rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)
