"""Where it went wrong: the classes of events by type, endpoint, time and phase, and times.

summary["delivery"][stage]. Of missing events and of receipts each has one class; phases are
those of a session when the run was begun: `first` is the first run after the first ready,
`reconnect` any after a later one or with a gap within, `closing` one that we cut off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from probe.check.delivery.receipts import FIRST
from probe.check.delivery.units import GAP_LOST, LOST, STALLED, UNKNOWN
from probe.check.latency import SHOWN, figures
from probe.history.records import Run
from probe.stats.quantiles import quantile
from probe.stats.series import dependence

if TYPE_CHECKING:
    from probe.check.delivery.units import Units

Ints = NDArray[np.int64]
TENTHS: Final = 10
PHASES: Final = ("steady", "first", "reconnect", "closing")
SAMPLES_MAX: Final = 1_000_000
_MISSING: Final = {"lost": LOST, "gap_lost": GAP_LOST, "unknown": UNKNOWN, "stalled": STALLED}
_MARKED: Final = ("duplicated", "late", "reordered", "unexpected", "phantom", "foreign")


def breakdown(units: Units) -> dict[str, Any]:
    """The tables of one stage; JSON-able, its size does not grow with the runs."""
    view, runs = units.view, units.runs
    endpoints = endpoints_of(units)
    names = [view.endpoint(k) for k in range(int(endpoints.max(initial=0)) + 1)]
    phases = phases_of(units)
    return {
        "runs": len(runs),
        "sessions": len(units.clusters[0]),
        "ends": {
            "ended": int((runs["ended"] > 0).sum()),
            "hung": int(units.hung.sum()),
            "refused": int(units.refused.sum()),
            "cut_off": int((runs["outcome"] == Run.CUT_OFF).sum()),
        },
        "alien": len(units.receipts.alien),
        "nameless": len(units.receipts.nameless),
        "totals": {key: sum(row) for key, row in _by_type(units).items()},
        "types": _table(units.rules.names, _by_type(units)),
        "endpoints": _table(names, by_run(units, endpoints, len(names))),
        "tenths": _table([str(k) for k in range(TENTHS)], by_run(units, _tenths(units), TENTHS)),
        "phases": _table(PHASES, by_run(units, phases, len(PHASES))),
        "times": times(units),
    }


def _table(names: Any, sums: dict[str, list[int]]) -> dict[str, dict[str, int]]:
    """By name and then class, without names of which there is nothing."""
    rows = {name: {key: row[k] for key, row in sums.items()} for k, name in enumerate(names)}
    return {name: row for name, row in rows.items() if any(row.values())}


def _by_type(units: Units) -> dict[str, list[int]]:
    width, receipts = units.rules.width, units.receipts
    out = {
        "delivered": np.bincount(receipts.type[units.own], minlength=width),
        "recovered": np.bincount(receipts.type[units.recovered], minlength=width),
        "elsewhere": np.bincount(
            receipts.type[(receipts.kind == FIRST) & (receipts.unit >= len(units.runs))],
            minlength=width,
        ),
    }
    for name, what in _MISSING.items():
        rows = units.lacking(what)
        out[name] = np.bincount(rows["type"], weights=rows["count"], minlength=width)
    for name in _MARKED:
        out[name] = np.bincount(receipts.type[units.marked(name)], minlength=width)
    return {name: row.astype(np.int64).tolist() for name, row in out.items()}


def by_run(units: Units, category: Ints, n: int) -> dict[str, list[int]]:
    """Sums of every class over runs of one category each, int64[runs] below `n`."""
    receipts = units.receipts
    out = {
        "runs": np.bincount(category, minlength=n),
        "delivered": np.bincount(category, weights=units.seen.sum(axis=1), minlength=n),
        "hung": np.bincount(category[units.hung], minlength=n),
    }
    for name, what in _MISSING.items():
        rows = units.lacking(what)
        out[name] = np.bincount(category[rows["run"]], weights=rows["count"], minlength=n)
    for name in _MARKED:
        out[name] = np.bincount(category[receipts.run[units.marked(name)]], minlength=n)
    return {name: row.astype(np.int64).tolist() for name, row in out.items()}


def endpoints_of(units: Units) -> Ints:
    """The endpoint of each run, int64[runs]."""
    sessions = units.view.sessions
    if not len(sessions):
        return np.zeros(len(units.runs), dtype=np.int64)
    at = np.minimum(np.searchsorted(sessions["session"], units.runs["session"]), len(sessions) - 1)
    return np.maximum(sessions["endpoint"][at].astype(np.int64), 0)


def phases_of(units: Units) -> Ints:
    """The phase of each run, as an index into PHASES."""
    life, runs = units.meanwhile, units.runs
    out = np.zeros(len(runs), dtype=np.int64)
    out[life.order == 0] = PHASES.index("first")
    out[life.again | (life.away >= 0)] = PHASES.index("reconnect")
    out[runs["outcome"] == Run.CUT_OFF] = PHASES.index("closing")
    return out


def _tenths(units: Units) -> Ints:
    span = max(units.view.ended - units.view.begun, 1)
    since = np.clip(units.runs["begun"] - units.view.begun, 0, span - 1)
    return np.asarray(since // -(-span // TENTHS))


def times(units: Units) -> dict[str, Any]:
    """Time to the first event, between events, and of whole runs."""
    runs, receipts = units.runs, units.receipts
    judged = ~units.refused & ~units.meanwhile.stalled
    lived = np.maximum(units.meanwhile.alive - runs["begun"], 0)
    own = np.flatnonzero(units.own & judged[receipts.run])
    run, t = receipts.run[own], receipts.t[own]
    heads = np.flatnonzero(np.append(True, run[1:] != run[:-1]))[: len(run)]
    silent = judged.copy()
    silent[run[heads]] = False
    within = np.flatnonzero(run[1:] == run[:-1])
    step = -(-len(within) // SAMPLES_MAX) or 1
    within = within[::step]
    ended = judged & (runs["ended"] > 0)
    out = {
        "first_event": _times(t[heads] - runs["begun"][run[heads]], lived[silent]),
        "gap": _times(t[within + 1] - t[within], lived[:0]),
        "run": _times((runs["ended"] - runs["begun"])[ended], lived[judged & ~ended]),
    }
    if step > 1:
        out["gap"]["note"] = f"of every {step}th gap"
    return {name: table for name, table in out.items() if table["n"]}


def _times(took: Ints, censored: Ints) -> dict[str, Any]:
    # Sorted once: the quantiles sort again, and what is sorted takes no time.
    series = took[:SAMPLES_MAX].astype(np.float64)
    took, censored = np.sort(np.maximum(took, 0)), np.sort(censored)
    out: dict[str, Any] = {"n": len(took) + len(censored), "censored": len(censored)}
    for q in SHOWN:
        entry = figures(quantile(took, q, censored=censored))
        if entry["enough"] and dependence(series, q).too_high:
            entry["note"] = "samples depend on each other: the interval is too narrow"
        out[f"p{q * 100:g}"] = entry
    return out
