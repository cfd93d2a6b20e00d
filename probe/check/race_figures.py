"""What a race has to show beside its verdict: the curve, the posterior, the synchrony.

The rule: everything here is drawn from the trials alone, with an interval wherever there is a
rate; a number that was not measured is left out. These are the contents of `windows.json` too.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from probe.check.race_acting import acting_figures, at_the_service
from probe.check.race_trials import in_time
from probe.check.rows import of_stage
from probe.check.words import seconds
from probe.history.records import Kind
from probe.stats.rates import clopper_pearson
from probe.stats.trials import confirmed
from probe.stats.window_curve import curve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from probe.check.race_acting import Between
    from probe.check.race_trials import Trials
    from probe.check.view import StageView
    from probe.stats.window import Fit, Span

BINS: Final = 40
POINTS_MAX: Final = 80
_BY: Final = {0: "told by the scenario", 1: "measured", 2: "assumed: no pings were answered"}
_TOGETHER: Final = 2


def figures(view: StageView, found: Trials, fitted: Fit | None, acting: Between) -> dict[str, Any]:
    """The race as data; times in seconds."""
    race = found.race
    out: dict[str, Any] = {
        "shape": race.shape,
        "noun": race.noun,
        "anomaly": race.anomaly,
        "since": race.against,
        "range_s": [seconds(race.range[0]), seconds(race.range[1])],
        "trials": len(found.placed),
        "anomalies": int(found.anomalies.sum()),
        "void": len(found.of("void")),
        "unplaced": len(found.of("unplaced")),
        **_jitter(view),
        **_synchrony(view),
    }
    if race.at is not None:
        out |= {"at_s": seconds(race.at), "control_s": seconds(race.kept_against)}
        out |= {"confirmation": _at_one(found), "tried": _tried(found)}
    else:
        out["curve"] = _curve(found)
    if fitted is not None:
        out |= _fitted(at_the_service(fitted, acting)) | acting_figures(fitted, acting)
        out["tried"] = _tried(found)
    return out


def _jitter(view: StageView) -> dict[str, Any]:
    rows = view.history.of(Kind.JITTER)
    rows = rows[rows["op"] == view.index]
    if not len(rows):
        return {}
    row = rows[0]
    return {"jitter_s": seconds(int(row["b"])), "jitter_by": _BY.get(int(row["flag"]), "unknown")}


def _fitted(fitted: Fit) -> dict[str, Any]:
    out: dict[str, Any] = {
        "ln_bayes_factor": round(fitted.ln_bf, 3),
        "found": fitted.found,
        "localised": fitted.localised,
        "centre": _span(fitted.centre_ns),
        "width": _span(fitted.width_ns),
        "exposure": _span(fitted.exposure_ns),
        "exposure_most_s": seconds(fitted.exposure_most_ns),
        "rate": None if fitted.rate is None else round(fitted.rate.value, 4),
    }
    if fitted.rising is not None:
        out["rising"] = fitted.rising
    if fitted.confirm is not None:
        sure = fitted.confirm
        out["confirmation"] = _confirmation(
            (sure.k1, sure.n1), (sure.k0, sure.n0), sure.p_value, confirmed=sure.confirmed
        )
    if len(fitted.grid_ns):
        out["posterior"] = thinned(fitted.grid_ns, fitted.density)
    return out


def _at_one(found: Trials) -> dict[str, Any]:
    """The same of trials at one offset and its control, without a search."""
    counts = []
    for why in ("confirm", "control"):
        mine = [t for t in found.of("fine", "anomaly", "unplaced") if t.why == why]
        counts.append((sum(t.told != "fine" for t in mine), len(mine)))
    sure, p_value = confirmed(*counts[0], *counts[1])
    return _confirmation(counts[0], counts[1], p_value, confirmed=sure)


def _confirmation(
    at: tuple[int, int], control: tuple[int, int], p_value: float, *, confirmed: bool
) -> dict[str, Any]:
    """Fresh trials at an offset and at its control, each as (hits, trials)."""
    (k1, n1), (k0, n0) = at, control
    return {
        "hits": k1, "trials": n1, "control_hits": k0, "control_trials": n0,
        "p_value": p_value, "confirmed": confirmed,
        "rate": _rate(k1, n1), "control_rate": _rate(k0, n0),
    }  # fmt: skip


def thinned(grid_ns: NDArray[np.float64], density: NDArray[np.float64]) -> list[dict[str, float]]:
    """A posterior of at most `POINTS_MAX` points, relative to its peak."""
    step = max(1, -(-len(grid_ns) // POINTS_MAX))
    # The densest point of each stretch, so that a narrow peak is never stepped over.
    shown = [k + int(density[k : k + step].argmax()) for k in range(0, len(grid_ns), step)]
    top = float(density.max()) or 1.0
    return [
        {"at_s": round(float(x) / 1e9, 9), "relative": round(float(y) / top, 4)}
        for x, y in zip(grid_ns[shown], density[shown], strict=True)
    ]


def _rate(k: int, n: int) -> list[float]:
    """A rate with its 95 % interval; all of it where there was no trial."""
    if not n:
        return []
    found = clopper_pearson(k, n)
    return [k / n, found.low, found.high]


def _span(span: Span | None) -> dict[str, float] | None:
    if span is None:
        return None
    names = (("value_s", span.value), ("low_s", span.low), ("high_s", span.high))
    return {name: round(ns / 1e9, 9) for name, ns in names}


def _tried(found: Trials) -> dict[str, Any]:
    """Where fresh trials were made: the medians of what was measured."""
    out: dict[str, Any] = {}
    for why, name in (("confirm", "at_s"), ("control", "control_s")):
        mine = [t.offset_ns for t in found.placed if t.why == why and t.offset_ns is not None]
        if mine:
            out[name] = seconds(float(median(mine)))
    return out


def _curve(found: Trials) -> list[dict[str, Any]]:
    """P(anomaly | offset) in bins that hold a trial."""
    low, high = found.race.range
    return [
        {
            "from_s": seconds(each.low_ns), "to_s": seconds(each.high_ns), "n": each.n,
            "hits": each.hits, "rate": each.rate.value, "low": each.rate.low,
            "high": each.rate.high,
        }
        for each in curve(found.offsets_ns, found.anomalies, low, high, BINS)
        if each.n
    ]  # fmt: skip


def _synchrony(view: StageView) -> dict[str, Any]:
    """How simultaneous it was: what was let go against its instant, and the first answers.

    The answers are those to actions that were due at one instant, where there were several.
    """
    out: dict[str, Any] = {}
    releases = in_time(view, Kind.RELEASE)
    spreads = releases["a"][releases["b"] > 0]
    if len(spreads):
        out["release_spread_median_ms"] = round(float(np.median(spreads)) / 1e6, 3)
        out["release_spread_max_ms"] = round(float(spreads.max()) / 1e6, 3)
    answers = _answer_spreads(view)
    if answers:
        out["first_response_spread_median_ms"] = round(median(answers) / 1e6, 3)
    return out


def _answer_spreads(view: StageView) -> list[float]:
    acts = of_stage(view, Kind.ACTION)
    came = of_stage(view, Kind.HEAD, Kind.GOT)
    if not len(acts) or not len(came):
        return []
    order = np.lexsort((came["t"], came["session"]))
    keys = came["session"][order].astype(np.float64) * 1e0
    times = came["t"][order]
    groups: dict[tuple[int, int, int], list[int]] = {}
    zeros = np.sort(in_time(view, Kind.RELEASE)["b"])
    for row in acts:
        low = int(np.searchsorted(keys, float(row["session"]), side="left"))
        high = int(np.searchsorted(keys, float(row["session"]), side="right"))
        place = low + int(np.searchsorted(times[low:high], row["t"], side="right"))
        if place < high:
            release = int(np.searchsorted(zeros, row["t"], side="right"))
            key = release, int(row["flag"]), int(row["b"])
            groups.setdefault(key, []).append(int(times[place]))
    return [float(max(each) - min(each)) for each in groups.values() if len(each) >= _TOGETHER]
