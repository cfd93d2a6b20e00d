"""How long connects took: the distribution, its course over time, and where the time went.

The rule: the samples are those that the checks judge (`probe.check.latency`), and what they leave
out is told. A quantile stands where n is large enough for its interval, and a curve ends where
connects failed or timed out. A waterfall shows connections that took place, not sums of quantiles.
Of a race, which holds its connects back on purpose, there is no latency here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from probe.check.delivery.coverage import pair
from probe.check.latency import Sample, sample, settled, told
from probe.check.words import counted
from probe.report import figures
from probe.report.page.blocks import Block, figure, nothing, table, words
from probe.stats.quantiles import Value, nearest_rank, quantile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from probe.check.view import StageView
    from probe.history.columns import Rows
    from probe.report.page.recorded import Recorded
    from probe.stats.quantiles import Level

NINES_STEP: Final = 0.1
NINES_MAX: Final = 5.0
COLUMNS, LINES = 72, 24
Ints = NDArray[np.int64]
PHASES: Final = (
    ("waited in the probe", "intended", "dial"),
    ("resolve", "dial", "resolved"),
    ("TCP", "resolved", "tcp"),
    ("TLS", "tcp", "tls"),
    ("prepare", "tls", "sent"),
    ("upgrade", "sent", "head"),
    ("until ready", "head", "ready"),
)
_QUANTILES: Final = (0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999)
_TOLD: Final = (("median", 0.5), ("p95", 0.95))


def latency(recorded: Recorded, summary: Mapping[str, Any]) -> list[Block]:
    """Three figures over all stages that connected anybody."""
    held = [view.name for view in recorded.views if _holds_back(view) and len(view.attempts)]
    told_ = f"Connects of {', '.join(held)} are not in here: the probe held them back at a gate."
    remark = [words(told_, "quiet")] if held else []
    views = [view for view in recorded.views if not _holds_back(view)]
    samples = {view.name: _connects(view) for view in views}
    early = {view.name: _early(view) for view in views}
    samples = {name: each for name, each in samples.items() if len(each.took)}
    if not samples:
        return remark or [nothing("no connect was held to a latency")]
    return [
        *remark,
        _curve(samples, summary, early),
        _heat(recorded, samples, np.concatenate(list(early.values()))),
        _waterfall(samples, summary),
    ]


def _holds_back(view: StageView) -> bool:
    return view.stage.activity == "race"


def _connects(view: StageView) -> Sample:
    return sample(view, settled(view), "connect")


def _early(view: StageView) -> Ints:
    """When those were due who came before the restarted service let clients in (ns)."""
    rows, later = view.welcome, settled(view)
    keys, counted_ = (pair(each["session"], each["attempt"]) for each in (rows, later))
    due: Ints = rows["intended"][~np.isin(keys, counted_)]
    return due


def _curve(
    samples: Mapping[str, Sample], summary: Mapping[str, Any], early: Mapping[str, Ints]
) -> Block:
    """Percentiles with a logarithmic tail: x is -log10(1-q), so that p90, p99 are 1 and 2."""
    lines, rows, ends = [], [], []
    for name, each in samples.items():
        points = []
        for nines in np.arange(NINES_STEP, NINES_MAX, NINES_STEP).tolist():
            q = 1 - 10**-nines
            found = quantile(each.values, q, censored=each.censored, failed=each.failed)
            if not found.enough:
                continue
            if not isinstance(found.estimate, Value):
                break
            low, high = _s(found.low), _s(found.high)
            points.append([round(nines, 3), found.estimate.ns / 1e9, low, high])
        if points:
            lines.append({"name": f"{name} (n {len(each.took):,})", "points": points})
        if said := _left_out(each, len(early[name]), dependent=_dependent(summary, name)):
            ends.append(f"{name}: {said}")
        rows += _percentiles(name, each)
    if not lines:
        return nothing("too few connects for any percentile with its interval")
    note = "Median and tail of connect, from its intended start, with 95 % intervals; a curve stops"
    note += " where n is too small for the next percentile."
    note += "".join(f" {end}." for end in ends)
    behind = table(
        "Percentiles as numbers", ["stage", "percentile", "connect", "95 % interval"], rows
    )
    return figure("percentiles", "Connect latency, distribution", note, {"lines": lines}, behind)


def _left_out(each: Sample, early: int, *, dependent: bool) -> str:
    """What a curve does not show, and what its intervals do not."""
    bad = len(each.took) - len(each.values)
    said = []
    if early:
        said.append(
            f"{counted(early, 'attempt')} from before the service let clients in are left out"
        )
    if bad:
        said.append(
            f"{bad:,} of {len(each.took):,} failed or timed out, and rank behind all others"
        )
    if dependent:
        said.append("samples depend on each other, so the intervals are too narrow")
    return "; ".join(said)


def _dependent(summary: Mapping[str, Any], stage: str) -> bool:
    """Whether the checks say of a quantile of connect that its interval is too narrow."""
    phases = (summary.get("latency") or {}).get(stage) or {}
    told_of = (phases.get("connect") or {}).values()
    return any(isinstance(each, dict) and "note" in each for each in told_of)


def _percentiles(name: str, each: Sample) -> list[list[str]]:
    """The usual ones in words, also where n is too small or what failed ranks there."""
    rows = []
    for q in _QUANTILES:
        found = quantile(each.values, q, censored=each.censored, failed=each.failed)
        ends = figures.interval((_s(found.low), _s(found.high)), "s") if found.enough else ""
        rows.append([name, f"p{q * 100:g}", told(found), ends or figures.MISSING])
    return rows


def _s(level: Level | None) -> float | None:
    return level.ns / 1e9 if isinstance(level, Value) else None


def _heat(recorded: Recorded, samples: Mapping[str, Sample], early: Ints) -> Block:
    """Counts by time (columns) and latency (lines, logarithmic), and a line of what failed."""
    at = np.concatenate([each.rows["intended"] for each in samples.values()]) - recorded.zero
    before = early - recorded.zero
    took = np.concatenate([each.took for each in samples.values()])
    kind = np.concatenate([each.kind for each in samples.values()])
    fine = kind == 0
    if not fine.any():
        return nothing("no connect succeeded, so that there is no latency over time")
    begin = int(min(at.min(), before.min(initial=at.min())))
    span = max(int(max(at.max(), before.max(initial=0))) - begin, 1)
    column = ((at - begin) * COLUMNS // (span + 1)).astype(np.int64)
    nines = np.log10(np.maximum(took[fine], 1_000).astype(np.float64))
    low, high = math.floor(nines.min() * 4) / 4, math.ceil(nines.max() * 4 + 1e-9) / 4
    line = np.clip(((nines - low) / max(high - low, 0.25) * LINES).astype(np.int64), 0, LINES - 1)
    counts = np.bincount(column[fine] * LINES + line, minlength=COLUMNS * LINES)
    failed = np.bincount(column[~fine], minlength=COLUMNS)
    away = np.bincount((before - begin) * COLUMNS // (span + 1), minlength=COLUMNS)
    start, step = begin / 1e9, (span + 1) / 1e9 / COLUMNS
    data = {
        "from_s": start,
        "step_s": step,
        "low": low - 9,
        "high": max(high, low + 0.25) - 9,
        "cells": [[k // LINES, k % LINES, n] for k, n in enumerate(counts.tolist()) if n],
        "columns": COLUMNS,
        "lines": LINES,
        "failed": failed.tolist(),
        "early": away.tolist() if len(before) else [],
    }
    note = (
        f"Connects by their intended start, {COLUMNS} columns of {figures.duration(step)}; the "
        "stronger, the more. On top those that failed or timed out."
    )
    if len(before):
        note += (
            f" Above them, in grey, the {counted(len(before), 'attempt')} from before a restarted "
            "service let clients in: they are no latencies, and stand under Since the restart."
        )
    rows = _heat_rows(column, took, fine, away, start, step)
    header = ["since the start", "connects", "median", "slowest", "failed or timed out"]
    header += ["before it let clients in"] if len(before) else []
    rows = [row[: len(header)] for row in rows]
    behind = table("Connect latency over time as numbers", header, rows)
    return figure("heat", "Connect latency over time", note, data, behind)


def _heat_rows(
    column: Any, took: Any, fine: Any, away: Any, start: float, step: float
) -> list[list[str]]:
    rows = []
    for first in range(0, COLUMNS, 6):
        here = (column >= first) & (column < first + 6)
        early = int(away[first : first + 6].sum())
        if not here.any() and not early:
            continue
        seen = np.sort(took[here & fine])
        n = len(seen)
        middle = figures.duration(seen[nearest_rank(n, 0.5) - 1] / 1e9) if n else figures.MISSING
        most = figures.duration(seen[-1] / 1e9) if n else figures.MISSING
        begin, end = start + first * step, start + (first + 6) * step
        span = f"{figures.duration(begin)} to {figures.duration(end)}"
        bad = int((here & ~fine).sum())
        rows.append([span, f"{n:,}", middle, most, f"{bad:,}", f"{early:,}"])
    return rows


def _waterfall(samples: Mapping[str, Sample], summary: Mapping[str, Any]) -> Block:
    """The connection at the median, at p95 and the slowest of each stage, phase by phase."""
    bars = [
        bar
        for stage, each in samples.items()
        for bar in _bars(stage, each.rows[each.kind == 0], each.values)
    ]
    if not bars:
        return nothing("no connect succeeded, so that there is none to take apart")
    note = (
        "Connections that took place: of each stage the one at the median of connect, at p95 and "
        "the slowest; each phase from the end of the one before. The table has each phase's own "
        "quantiles, which do not add up."
    )
    header = ["stage", "phase", "n", "p50", "p95", "p99"]
    rows = [
        [stage, phase, figures.cell("n", row.get("n"))]
        + [figures.cell(q, row.get(q)) for q in header[3:]]
        for stage, phases in (summary.get("latency") or {}).items()
        for phase, row in phases.items()
    ]
    behind = table("Phases of the connect as numbers", header, rows)
    names = [name for name, _, _ in PHASES]
    return figure("waterfall", "Where the time of a connect went", note,
                  {"bars": bars, "phases": names}, behind)  # fmt: skip


def _bars(stage: str, rows: Rows, took: Any) -> list[dict[str, Any]]:
    order = np.argsort(took, kind="stable")
    bars: list[dict[str, Any]] = []
    if not len(order):
        return bars
    chosen = {int(order[nearest_rank(len(order), q) - 1]): name for name, q in _TOLD}
    for place, name in (chosen | {int(order[-1]): "slowest"}).items():
        row = rows[place]
        parts, since = [], int(row["intended"])
        for number, (_, _, stamp) in enumerate(PHASES):
            at = int(row[stamp])
            if at > 0 and at >= since:
                parts.append([number, (since - int(row["intended"])) / 1e9, (at - since) / 1e9])
                since = at
        who = f"session {row['session']}, attempt {row['attempt']}"
        bars.append({"stage": stage, "name": name, "who": who, "parts": parts,
                     "took": figures.duration(int(took[place]) / 1e9)})  # fmt: skip
    return bars
