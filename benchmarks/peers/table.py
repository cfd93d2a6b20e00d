"""Tables of what `measure` found; pure.

As in `benchmarks.table`: no number without its range, and a ratio is taken pair by pair within a
repeat, here against the probe: how many times as much the probe does, or needs.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.table import _markdown, _range, _ratios

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from benchmarks.peers.work import Kind

Measurement = dict[str, Any]
BASE = "probe"


@dataclass(frozen=True, slots=True)
class Metric:
    """A number of a work; `of` gives None where a tool does not tell it."""

    kind: Kind
    title: str
    of: Callable[[Measurement], float | None]


def _per_cpu_s(m: Measurement) -> float:
    return float(m["per_cpu_s"])


def _slope_kb(m: Measurement) -> float:
    return float(m["slope_kb"])


def _whole_kb(which: str) -> Callable[[Measurement], float]:
    def of(m: Measurement) -> float:
        n = str(m[which])
        return float(m["rss_kb"][n] / m["open"][n])

    return of


def _within_ms(m: Measurement) -> float:
    return float(m["within_ms"])


def _error(word: str, kind: str = "error_ms") -> Callable[[Measurement], float | None]:
    def of(m: Measurement) -> float | None:
        return m[kind].get(word) if m[kind] else None

    return of


METRICS = (
    Metric("connects", "connects per CPU-second (more is better)", _per_cpu_s),
    Metric("hold", "KB more for each connection, {small} to {large} (less is better)", _slope_kb),
    Metric("hold", "KB of the whole tool / connections at {small}", _whole_kb("small")),
    Metric("hold", "KB of the whole tool / connections at {large}", _whole_kb("large")),
    Metric("burst", "messages per CPU-second, bursts (more is better)", _per_cpu_s),
    Metric("single", "messages per CPU-second, one per read (more is better)", _per_cpu_s),
    Metric("upgrade", "{n} at once came within, ms (+-10)", _within_ms),
    Metric("upgrade", "connect as told, error p50, ms, {n} at once", _error("p50")),
    Metric("upgrade", "connect as told, error p99, ms, {n} at once", _error("p99")),
    Metric("upgrade", "connect as told, error of the mean, ms, {n} at once", _error("mean")),
    Metric("upgrade", "upgrade phase, error p50, ms", _error("p50", "phase_error_ms")),
    Metric("upgrade", "upgrade phase, error p99, ms", _error("p99", "phase_error_ms")),
)  # fmt: skip


def tables(measurements: Iterable[Measurement], tools: Sequence[str]) -> str:
    """All tables as Markdown, one for each metric that was measured; tools in this order."""
    by_kind: dict[str, list[Measurement]] = defaultdict(list)
    for m in measurements:
        by_kind[m["kind"]].append(m)
    parts = [_table(metric, by_kind[metric.kind], tools) for metric in METRICS]
    return "\n".join(part for part in parts if part)


def _table(metric: Metric, measurements: list[Measurement], tools: Sequence[str]) -> str:
    values: dict[str, dict[int, float]] = defaultdict(dict)
    title = metric.title
    for m in measurements:
        value = metric.of(m)
        if value is not None:
            values[m["tool"]][m["repeat"]] = value
            sizes = {word: f"{m[word]:,}" for word in ("small", "large", "n") if _is_size(m, word)}
            title = metric.title.format_map(defaultdict(lambda: "?", sizes))
    if not values:
        return ""
    base = values.get(BASE, {})
    rows = [
        [tool, _range(list(of.values())), _range(_ratios(base, of)), str(len(of))]
        for tool, of in ((tool, values[tool]) for tool in tools if tool in values)
    ]
    return (
        f"### {title}\n\n{_markdown([['tool', 'median [range]', f'{BASE} / it', 'runs'], *rows])}\n"
    )


def _is_size(m: Measurement, word: str) -> bool:
    return isinstance(m.get(word), int)
