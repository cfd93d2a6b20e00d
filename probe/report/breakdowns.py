"""The breakdowns of a summary as plain tables: the health matrix, and what was delivered.

The rule: names of events, endpoints and services stand as they are; a class of which there
is no case in a whole stage is left out of its tables, but for what came and what was lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from probe.report import figures

Table = Mapping[str, Mapping[str, Any]]
_ALWAYS: Final = ("runs", "delivered", "lost")
_LABELS: Final = {
    "types": "event type",
    "endpoints": "endpoint",
    "phases": "phase of the session",
    "tenths": "tenth of the stage",
}
_PHASES: Final = {
    "first": "first run after ready",
    "steady": "later",
    "reconnect": "after a reconnect",
    "closing": "during close",
}
_TIMES: Final = {
    "first_event": "start of a run to its first event",
    "gap": "between two events of a run",
    "run": "start of a run to its end",
}
_USUAL: Final = frozenset({"delivered", "recovered", "elsewhere", "stalled"})
_CLASSES: Final = {"gap_lost": "missed while the client was away"}
_QUANTILES: Final = ("p50", "p95", "p99")
_NOTHING: Final[tuple[object, ...]] = (None, "", [], {}, ())


@dataclass(frozen=True, slots=True)
class Breakdown:
    """One table: what it is of, its header, its cells."""

    title: str
    header: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]


def health_tables(health: object) -> list[Breakdown]:
    """Services, endpoints and token endpoint of each stage that asked them.

    What none of them tells has no column.
    """
    out: list[Breakdown] = []
    for stage, parts in _stages(health):
        for name, one in (("services", "service"), ("endpoints", "endpoint"), ("tokens", "tokens")):
            rows = parts.get(name)
            rows = [rows] if isinstance(rows, Mapping) and rows else rows
            if isinstance(rows, list | tuple) and rows:
                keys = [
                    key
                    for key in dict.fromkeys(key for row in rows for key in row)
                    if any(row.get(key) not in _NOTHING for row in rows)
                ]
                header = tuple(figures.words(key) for key in keys)
                cells = tuple(
                    tuple(figures.cell(key, row.get(key)) for key in keys) for row in rows
                )
                out.append(Breakdown(f"{stage}: {one}", header, cells))
    return out


def health_lines(health: object) -> list[str]:
    """One line a stage: each service with its state, and how many endpoints let clients in."""
    lines = []
    for stage, parts in _stages(health):
        told = [_service(row) for row in parts.get("services") or ()]
        doors = parts.get("endpoints") or ()
        if doors:
            let_in = sum(1 for row in doors if row.get("good"))
            told.append(f"{let_in} of {len(doors)} endpoints let clients in")
        if told:
            lines.append(f"{stage}: {', '.join(told)}")
    return lines


def _service(row: Mapping[str, Any]) -> str:
    ill = f" ({figures.cell('ill', row['ill'])})" if row.get("ill") else ""
    took = next((f" in {figures.cell(k, row[k])}" for k in row if k.startswith("took")), "")
    return f"{row.get('service')} {row.get('state')}{ill}{took}"


def delivery_tables(delivery: object) -> list[Breakdown]:
    """What came by event type, endpoint, phase and time, and how long it took."""
    out: list[Breakdown] = []
    for stage, parts in _stages(delivery):
        for key, label in _LABELS.items():
            table = parts.get(key)
            if isinstance(table, Mapping) and len(table) > (key != "types"):
                out.append(_classes(stage, label, table))
        times = parts.get("times")
        if isinstance(times, Mapping) and times:
            header = ("what", "n", *_QUANTILES)
            cells = tuple(
                (
                    _TIMES.get(str(name), str(name)),
                    figures.cell("n", row.get("n")),
                    *(figures.cell(q, row.get(q)) for q in _QUANTILES),
                )
                for name, row in times.items()
            )
            out.append(Breakdown(f"{stage}: times", header, cells))
    return out


def delivery_lines(delivery: object) -> list[str]:
    """One line a stage: what came of what was due, and each class that has cases."""
    lines = []
    for stage, parts in _stages(delivery):
        totals, runs = parts.get("totals"), parts.get("runs")
        if not isinstance(totals, Mapping) or not runs:
            continue
        came, again = int(totals.get("delivered", 0)), int(totals.get("recovered", 0))
        odd = [
            f"{count:,} {_CLASSES.get(name, figures.words(name))}"
            for name, count in totals.items()
            if count and name not in _USUAL
        ]
        replayed = f" ({again:,} of them after a reconnect)" if again else ""
        lines.append(
            f"{stage}: {came:,} events of {int(runs):,} runs came{replayed}; "
            + (", ".join(odd) if odd else "none was lost, late or out of order")
        )
    return lines


def _classes(stage: str, label: str, table: Table) -> Breakdown:
    keys = list(dict.fromkeys(key for row in table.values() for key in row))
    kept = [
        key
        for key in keys
        if key in _ALWAYS or any(row.get(key) for row in table.values())
    ]  # fmt: skip
    kept.sort(key=lambda key: _ALWAYS.index(key) if key in _ALWAYS else len(_ALWAYS))
    cells = tuple(
        (_PHASES.get(name, name), *(figures.cell(key, row.get(key)) for key in kept))
        for name, row in table.items()
    )
    return Breakdown(f"{stage}: by {label}", (label, *map(figures.words, kept)), cells)


def _stages(part: object) -> list[tuple[str, Mapping[str, Any]]]:
    if not isinstance(part, Mapping):
        return []
    return [(str(name), inner) for name, inner in part.items() if isinstance(inner, Mapping)]
