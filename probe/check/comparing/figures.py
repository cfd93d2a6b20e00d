"""The figures that a run is compared by, stage by stage, each with its interval.

The rule (docs/compare.md): a figure stands for what the service did, so that lags of the probe
are none, and a stage whose numbers mean something else at every level (a climb, a search) has
its own. Heads are judged as one family; what stands below a head says where its change sits,
and is judged only where the head itself was found to differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from probe.check.delivery.completeness import shares_of
from probe.check.delivery.rules import rules_of
from probe.check.delivery.units import units_of
from probe.check.everybody import all_in, retrying
from probe.check.latency import sample, settled
from probe.check.restart import first_good
from probe.stats.quantiles import smallest_n
from probe.stats.sides import blocks_of, quantile_side, rate_side, told_side

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from probe.check.view import StageView
    from probe.stats.compare import Side

Scale = Literal["log", "share", "span"]
PHASES: Final = {
    "connect": (0.5, 0.95, 0.99),
    "tcp": (0.5, 0.95),
    "tls": (0.5, 0.95),
    "upgrade": (0.5, 0.95),
    "first_event": (0.5, 0.95),
}
OF_CONNECT: Final = ("tcp", "tls", "upgrade")
RUN: Final = (0.5, 0.95)
SAMPLES_MIN: Final = 40
COMPLETE: Final = 0
End = Literal["", "at least", "at most"]


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """One figure of one run.

    `side` is on the scale: ln of ns or of a rate per second ("log"), a share, or seconds
    ("span"). `more_is_worse` says which way is bad. `each` says whether n reaches for this
    figure of one run to stand beside those of other runs. `head` is the name of the figure it
    stands below, "" for a head. `counts` are hits and trials by cluster, of shares alone;
    `samples` ns and which quantile, of times alone. `end`: where the value is one end of what is
    known, and the other is open.
    """

    stage: str
    name: str
    scale: Scale
    side: Side
    n: int
    more_is_worse: bool = True
    each: bool = True
    head: str = ""
    counts: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
    samples: tuple[NDArray[np.float64], float] | None = None
    end: End = ""

    @property
    def id(self) -> str:
        """`users.connect p95`."""
        return f"{self.stage}.{self.name}"


def figures_of(view: StageView, summary: Mapping[str, Any]) -> list[Figure]:
    """All figures of a stage that ran; `summary` is that of the run's judgement."""
    if view.skipped:
        return []
    match view.stage.activity:
        case "load":
            rows = [*_restarts(view), *_latencies(view), *_runs(view)]
            rows += [*_success(view), *_deliveries(view)]
        case "capacity":
            rows = [*_knee(view, summary)]
        case "race":
            rows = [*_window(view, summary)]
        case _:
            rows = []
    return rows


def _latencies(view: StageView) -> Iterator[Figure]:
    rows = settled(view)
    for phase, quantiles in PHASES.items():
        chosen = sample(view, rows, phase)
        n = len(chosen.took)
        if n < SAMPLES_MIN or not (chosen.kind == 0).any():
            continue
        series = chosen.series
        groups = blocks_of(n)
        if view.stage.anchor == "restart":
            groups = np.unique(chosen.rows["trial"], return_inverse=True)[1].astype(np.int64)
        for q in quantiles:
            side = quantile_side(series, groups, q)
            if math.isfinite(side.value):
                yield Figure(
                    view.name,
                    f"{phase.replace('_', ' ')} p{q * 100:g}",
                    "log",
                    side,
                    n,
                    each=n >= smallest_n(q, side="upper"),
                    head="connect" if phase in OF_CONNECT else "",
                    samples=(series, q),
                )


def _runs(view: StageView) -> Iterator[Figure]:
    """From the message that starts a run to the event that ends it; +inf where that never came."""
    rows = view.runs[np.argsort(view.runs["begun"], kind="stable")]
    took = np.where(rows["ended"] > 0, rows["ended"] - rows["begun"], np.inf).astype(np.float64)
    if len(rows) < SAMPLES_MIN:
        return
    for q in RUN:
        side = quantile_side(took, blocks_of(len(rows)), q)
        if math.isfinite(side.value):
            each = len(rows) >= smallest_n(q, side="upper")
            yield Figure(
                view.name, f"run p{q * 100:g}", "log", side, len(rows), each=each, samples=(took, q)
            )


def _success(view: StageView) -> Iterator[Figure]:
    """Of all intended clients: one that hung until it was stopped is none that is left out."""
    rows = view.sessions[view.wanted(view.sessions)]
    rows = rows[np.argsort(rows["intended"], kind="stable")]
    if len(rows):
        good = (rows["outcome"] == COMPLETE).astype(np.int64)
        yield _share(view, "success", good, np.ones_like(good), blocks_of(len(rows)))


def _deliveries(view: StageView) -> Iterator[Figure]:
    rules = rules_of(view.resolved.dialect)
    if rules is None or not len(view.runs):
        return
    shares = shares_of(units_of(view, rules))
    columns = shares.judged()
    # Sessions stand by their number, which is the order of time within a population.
    groups = blocks_of(len(shares.delivered))
    if columns:
        hits, trials = shares.delivered[:, columns].sum(axis=1), shares.all[:, columns].sum(axis=1)
        yield _share(view, "delivered", hits, trials, groups)
    for k in columns:
        came, due = shares.delivered[:, k], shares.all[:, k]
        yield _share(view, f"delivered {rules.names[k]}", came, due, groups, head="delivered")


def _share(
    view: StageView,
    name: str,
    hits: NDArray[np.int64],
    trials: NDArray[np.int64],
    groups: NDArray[np.int64],
    *,
    head: str = "",
) -> Figure:
    """By session where nothing failed; failures come in bursts, and then by block of time."""
    if (hits < trials).any() and len(hits):
        hits = np.bincount(groups, weights=hits).astype(np.int64)
        trials = np.bincount(groups, weights=trials).astype(np.int64)
    n = int(trials.sum())
    return Figure(
        view.name, name, "share", rate_side(hits, trials), n,
        more_is_worse=False, head=head, counts=(hits, trials),
    )  # fmt: skip


def _restarts(view: StageView) -> Iterator[Figure]:
    if not view.trials:
        return
    first = [first_good(view, trial) for trial in view.trials]
    times: dict[str, list[int | None]] = {"first client in p50": first}
    if retrying(view):
        found = [all_in(view, trial) for trial in view.trials]
        times["everybody in p50"] = [each.all_in_ns for each in found if each.clients]
    for name, each in times.items():
        series = np.array([math.inf if t is None else float(t) for t in each])
        if len(series) and np.isfinite(series).any():
            side = quantile_side(series, np.arange(len(series)), 0.5)
            if math.isfinite(side.value):
                yield Figure(view.name, name, "log", side, len(series))


def _knee(view: StageView, summary: Mapping[str, Any]) -> Iterator[Figure]:
    found = (summary.get("capacity") or {}).get(view.name) or {}
    low, high = found.get("low_per_s"), found.get("high_per_s")
    if not low and not high:
        return
    ends = math.log(low) if low else -math.inf, math.log(high) if high else math.inf
    # With one end open it is "at least" or "at most": the value is what was proven, and no more,
    # and stands beside no others as if it were the knee.
    value = (ends[0] + ends[1]) / 2 if low and high else ends[0] if low else ends[1]
    end: End = "" if low and high else "at least" if low else "at most"
    yield Figure(
        view.name, "knee", "log", told_side(value, *ends), 1,
        more_is_worse=False, each=not end, end=end,
    )  # fmt: skip


def _window(view: StageView, summary: Mapping[str, Any]) -> Iterator[Figure]:
    found = (summary.get("races") or {}).get(view.name) or {}
    step = found.get("shape") == "step"
    span = found.get("centre" if step else "exposure")
    if isinstance(span, dict) and found.get("found"):
        name = "edge" if step else "exposure"
        side = told_side(span["value_s"], span["low_s"], span["high_s"])
        worse = not found.get("rising", False)
        yield Figure(view.name, name, "span", side, found["trials"], more_is_worse=worse)
    elif not step and found.get("exposure_most_s") is not None:
        side = told_side(0.0, 0.0, float(found["exposure_most_s"]))
        yield Figure(view.name, "exposure", "span", side, found["trials"])
