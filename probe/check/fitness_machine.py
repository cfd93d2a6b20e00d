"""Was this machine fit to measure: the fitness that the watch's own rows tell.

The rule (docs/methods.md, Fitness): each process of the probe is judged by itself, and the
worst one is told, since a mean over processes would hide it. Limits stand in
`probe.stats.fit`. What was not recorded cannot vouch for anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from probe.check.words import percent
from probe.history.records import Kind, Memory
from probe.stats.fit import (
    CPU_FOR_NS,
    CPU_INVALID,
    CPU_TAINT,
    DESCRIPTORS_LEFT,
    LAG_INVALID_NS,
    LAG_SHARE,
    LAG_TAINT_NS,
    MEMORY_LEFT,
    MS,
    PAUSE_TAINT_NS,
    STALL_NS,
    STEAL_TAINT,
    lags_by_time,
    longest_above,
)
from probe.stats.quantiles import Value, quantile
from probe.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probe.history.columns import Rows

OWN: Final = (Kind.LAG, Kind.CPU, Kind.STEAL, Kind.GC, Kind.LIMIT, Kind.MEMORY)
LAB: Final = 1
"""The number of the lab's process in rows."""
_MIB: Final = 2**20
_WHOSE: Final = {Memory.MACHINE: "this machine", Memory.GROUP: "this container"}


class Notes:
    """Taints, reasons for invalid, and figures, being collected."""

    def __init__(self) -> None:
        self.taints: list[str] = []
        self.invalid: list[str] = []
        self.figures: dict[str, Any] = {}


def machine(notes: Notes, rows: Rows, limit_ns: int | None) -> None:
    """Judge the rows `OWN`; `limit_ns` is the smallest latency limit that gates."""
    _heartbeat(notes, rows, limit_ns)
    _processor(notes, rows)
    _steal(notes, rows)
    _pauses(notes, rows)
    _descriptors(notes, rows)
    _memory(notes, rows)


def ms(ns: float) -> float:
    """Milliseconds, for a figure."""
    return round(float(ns) / MS, 6)


def quantile_ns(values: Any, q: float) -> int:
    """The estimate alone, ns; 0 where there is none."""
    found = quantile(values, q).estimate
    return found.ns if isinstance(found, Value) else 0


def _of(rows: Rows, kind: Kind) -> Rows:
    mine: Rows = rows[rows["kind"] == kind]
    return mine


def _each(rows: Rows, column: str = "op") -> Iterator[tuple[str, Rows]]:
    """The rows of each process of the probe by time, with its name in a sentence."""
    for process in np.unique(rows[column]).tolist():
        if process != LAB:
            mine = rows[rows[column] == process]
            name = "the probe" if process == 0 else f"worker {process - 1}"
            yield name, mine[np.argsort(mine["t"], kind="stable")]


def _heartbeat(notes: Notes, rows: Rows, limit_ns: int | None) -> None:
    every = _of(rows, Kind.LAG)
    notes.figures["heartbeats"] = len(every)
    beating = dict(_each(every))
    silent = [name for name, _ in _each(_of(rows, Kind.CPU)) if name not in beating]
    if not beating or silent:
        by = f" by {', '.join(silent)}" if beating else ""
        notes.taints.append(f"no heartbeat was recorded{by}")
    if not beating:
        return
    told = []
    for name, mine in beating.items():
        lags = mine["b"].astype(np.int64)
        lived = lags_by_time(lags)
        told.append((quantile_ns(lived, 0.99), quantile_ns(lived, 0.5), int(lags.max()), name))
    p99, p50, _, worst = max(told)
    longest, whose = max((each[2], each[3]) for each in told)
    notes.figures |= {
        "heartbeat_lag_p50_ms": ms(p50),
        "heartbeat_lag_p99_ms": ms(p99),
        "heartbeat_lag_max_ms": ms(longest),
    }
    bound, why = LAG_TAINT_NS, ""
    if limit_ns is not None and limit_ns * LAG_SHARE < bound:
        bound = int(limit_ns * LAG_SHARE)
        why = f", 10 % of the limit {format_duration(limit_ns)}"
    words = f"heartbeat lag p99 {format_duration(p99)} of {worst} is over "
    remedy = "; free this machine, or lower the load"
    if p99 > LAG_INVALID_NS:
        notes.invalid.append(words + format_duration(LAG_INVALID_NS) + remedy)
    elif p99 > bound:
        notes.taints.append(words + format_duration(bound) + why + remedy)
    if longest >= STALL_NS:
        notes.taints.append(
            f"{whose} stood still for {format_duration(longest)}: it was stopped, or got no core"
        )


def _processor(notes: Notes, rows: Rows) -> None:
    each = list(_each(_of(rows, Kind.CPU)))
    if not each:
        return
    notes.figures |= {
        "cpu_max_percent_of_core": max(int(mine["a"].max()) for _, mine in each) / 10,
        "cpu_mean_percent_of_core": round(max(float(mine["a"].mean()) for _, mine in each) / 10, 3),
        "memory_peak_mib": round(sum(int(mine["b"].max()) for _, mine in each) / _MIB, 3),
    }
    for level, notes_of in ((CPU_INVALID, notes.invalid), (CPU_TAINT, notes.taints)):
        longest, name = max((longest_above(m["t"], m["a"] > level), name) for name, m in each)
        if longest >= CPU_FOR_NS:
            notes_of.append(
                f"{name} used over {level // 10} % of its core for {format_duration(longest)}; "
                "lower the load, or share it among more processes"
            )
            return


def _steal(notes: Notes, rows: Rows) -> None:
    """By process, since workers may be on different hosts."""
    means = [(float(mine["a"].mean()), name) for name, mine in _each(_of(rows, Kind.STEAL))]
    if not means:
        return
    mean, name = max(means)
    notes.figures["steal_percent_of_machine"] = round(mean / 10, 3)
    if mean > STEAL_TAINT:
        notes.taints.append(
            f"the host took {percent(mean / 1000)} of the machine of {name} (steal); "
            "run on one that nobody shares"
        )


def _pauses(notes: Notes, rows: Rows) -> None:
    rows = _of(rows, Kind.GC)
    longest, name = max(
        ((int(mine["b"].max()), name) for name, mine in _each(rows, "flag")),
        default=(0, ""),
    )
    notes.figures |= {"gc_pauses": len(rows), "gc_pause_max_ms": ms(longest)}
    if longest > PAUSE_TAINT_NS:
        notes.taints.append(
            f"a garbage collection paused {name} for {format_duration(longest)}; "
            "see what a script keeps, or whether it calls for one"
        )


def _descriptors(notes: Notes, rows: Rows) -> None:
    rows = _of(rows, Kind.LIMIT)
    for name, mine in _each(rows[rows["flag"] == 0]):
        used, allowed = int(mine["a"].max()), int(mine["b"][-1])
        if used >= notes.figures.get("descriptors_in_use_max", 0):
            notes.figures |= {"descriptors_in_use_max": used, "descriptors_limit": allowed}
        if allowed - used < DESCRIPTORS_LEFT:
            notes.taints.append(
                f"{name} used {used:,} of {allowed:,} descriptors, and what fails for want of "
                f"one is no failure of the target; raise the limit (ulimit -n {2 * used})"
            )
    ports = rows[rows["flag"] == 1]
    if len(ports):
        notes.figures["local_ports_limit"] = int(ports["b"].max())


def _memory(notes: Notes, rows: Rows) -> None:
    rows = _of(rows, Kind.MEMORY)
    for flag, whose in _WHOSE.items():
        mine = rows[rows["flag"] == flag]
        if not len(mine):
            continue
        least = mine[np.argmin(mine["a"])]
        left = f"{int(least['b']) / _MIB:,.0f} MiB"
        notes.figures[f"memory_left_mib_of_{flag.name.lower()}"] = round(int(least["b"]) / _MIB, 3)
        if int(least["a"]) < MEMORY_LEFT:
            notes.taints.append(
                f"only {left} of memory was left to {whose} ({percent(int(least['a']) / 1000)}); "
                "hold fewer connections, or free some"
            )
    for name, mine in _each(rows[rows["flag"] == Memory.SWAPPED]):
        swapped = int(mine["b"].max())
        notes.figures["swapped_mib"] = max(
            round(swapped / _MIB, 3), notes.figures.get("swapped_mib", 0.0)
        )
        if swapped:
            notes.taints.append(
                f"{swapped / _MIB:,.1f} MiB of {name} were in swap; free some memory"
            )
