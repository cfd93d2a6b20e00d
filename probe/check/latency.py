"""Latency: quantiles of phases with their intervals, and gates over them.

The rule (docs/methods.md, Latency): a timeout is right-censored at its own time, another failure is
infinite, neither is dropped; a client that we stopped, or whose end was not recorded, is
censored where its rows end. A phase counts the attempts that entered it. In a stage that
counts from restarts only clients intended after the target let clients in are counted, so
that a boot is not mistaken for a latency. Where n is too small no number is told but what
is missing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from probe.check.bound import VERDICTS, Part, missing, smallest, unmeasured
from probe.check.catalogue import finding
from probe.check.gap import ws_switch
from probe.check.verdict import Check, Outcome
from probe.check.view import good
from probe.check.witness import witnesses
from probe.check.words import duration, of, seconds
from probe.history.records import Kind, Phase
from probe.history.records import Outcome as Ended
from probe.stats.quantiles import Failed, MoreThan, Value, gate_quantile, quantile
from probe.stats.series import block_bootstrap_quantile, dependence

if TYPE_CHECKING:
    from probe.check.view import StageView
    from probe.history.columns import Rows
    from probe.model.scenario import LatencyLimit
    from probe.stats.quantiles import Level, Quantile

PHASES: Final = ("lag", "resolve", "tcp", "tls", "upgrade", "ready", "connect", "first_event")
SHOWN: Final = (0.5, 0.95, 0.99)
RESAMPLED_MAX: Final = 20_000
RESAMPLES: Final = 399
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """One phase's samples in the order of intended time.

    `took` int64[n] ns; `kind` int64[n]: 0 a value, 1 censored at `took`, 2 failed (infinite).
    """

    rows: Rows
    took: Ints
    kind: Ints

    @property
    def values(self) -> Ints:
        """Latencies that were seen, ns."""
        return np.asarray(self.took[self.kind == 0])

    @property
    def censored(self) -> Ints:
        """Bounds of the timeouts, ns."""
        return np.asarray(self.took[self.kind == 1])

    @property
    def failed(self) -> int:
        """How many never succeeded."""
        return int((self.kind == 2).sum())  # noqa: PLR2004 -- see the class

    @property
    def series(self) -> NDArray[np.float64]:
        """In time order, +inf for what was lost."""
        return np.where(self.kind == 0, self.took.astype(np.float64), np.inf)


def latency(view: StageView) -> Part:
    """`<stage>.latency.<phase>.<quantile>[.<population>]`, and the tables of every phase."""
    part = Part()
    rows = settled(view)
    samples = {phase: sample(view, rows, phase) for phase in PHASES}
    table = {p: _table(view, k, s) for k, (p, s) in enumerate(samples.items()) if len(s.took)}
    if table:
        part.summary["latency"] = {view.name: table}
    for limit in view.stage.expect.latency:
        chosen = samples[limit.phase]
        if limit.population is not None:
            chosen = sample(view, _of_population(view, rows, limit.population), limit.phase)
        _gate(view, part, limit, chosen)
    return part


def settled(view: StageView) -> Rows:
    """The attempts whose latencies count."""
    rows = view.welcome
    if view.stage.anchor != "restart":
        return rows
    keep = np.zeros(len(rows), dtype=np.bool_)
    for trial in view.trials:
        since = ws_switch(view, trial).high_ns
        if since is not None:
            keep |= (rows["trial"] == trial.number) & (rows["intended"] >= since)
    late: Rows = rows[keep]
    return late


def sample(view: StageView, rows: Rows, phase: str) -> Sample:
    """The samples of one phase from attempts."""
    rows = rows[rows["outcome"] != Ended.LOCAL]
    # An address needs no resolving, and then has no such stamp.
    beyond = (rows["phase"] >= Phase.TCP) | (rows["tcp"] > 0)
    resolved = np.where((rows["resolved"] == 0) & beyond, rows["dial"], rows["resolved"])
    base, stamp = {
        "lag": (rows["intended"], rows["dial"]),
        "resolve": (np.where(resolved == rows["dial"], 0, rows["dial"]), rows["resolved"]),
        "tcp": (resolved, rows["tcp"]),
        "tls": (np.where(_over_tls(view, rows), rows["tcp"], 0), rows["tls"]),
        "upgrade": (rows["sent"], rows["head"]),
        "ready": (rows["dial"], rows["ready"]),
        "connect": (rows["intended"], rows["ready"]),
        "first_event": (np.where(_spoke(view, rows), rows["ready"], 0), rows["event"]),
    }[phase]
    if phase == "lag":
        rows, base, stamp = (each[rows["attempt"] == 0] for each in (rows, base, stamp))
    seen = stamp > 0
    if phase in ("ready", "connect"):
        # Taken away at once is not ready, whenever the stamp says it was.
        seen = seen & good(rows)
    entered = base > 0
    ours = np.isin(rows["outcome"], (-1, Ended.TIMEOUT, Ended.CANCELLED))
    # A phase that was reached has its value, whatever came later.
    kind = np.where(seen, 0, np.where(ours, 1, 2))
    last = np.where(rows["end"] > 0, rows["end"], base)
    took = np.maximum(np.where(seen, stamp, last) - base, 0)
    order = np.argsort(rows["intended"], kind="stable")
    order = order[entered[order]]
    return Sample(rows[order], took[order].astype(np.int64), kind[order].astype(np.int64))


def _over_tls(view: StageView, rows: Rows) -> NDArray[np.bool_]:
    names = range(int(rows["endpoint"].max()) + 1 if len(rows) else 0)
    secure = [index for index in names if view.url(index).startswith("wss:")]
    return np.isin(rows["endpoint"], secure)


def _spoke(view: StageView, rows: Rows) -> NDArray[np.bool_]:
    """Attempts that got an event after ready, or asked for one."""
    puts = view.history.of(Kind.PUT)
    keys = (puts["session"].astype(np.int64) << 32) | puts["op"]
    mine = (rows["session"].astype(np.int64) << 32) | rows["attempt"]
    return np.asarray((rows["event"] > 0) | np.isin(mine, keys))


def _of_population(view: StageView, rows: Rows, name: str) -> Rows:
    index = [k for k, group in view.groups.items() if group.name == name]
    mine: Rows = rows[np.isin(rows["population"], index)]
    return mine


def _gate(view: StageView, part: Part, limit: LatencyLimit, chosen: Sample) -> None:
    q_name = f"p{limit.quantile * 100:g}"
    what = f"latency.{limit.phase}.{q_name}"
    if limit.population is not None:
        what += f".{limit.population}"
    n = len(chosen.took)
    if not n:
        why = f"no connection entered the phase {limit.phase}"
        part.checks.append(unmeasured(view, what, "bound", why, required=limit.required))
        return
    gate = gate_quantile(
        chosen.values, limit.quantile, limit.within,
        censored=chosen.censored, failed=chosen.failed,
    )  # fmt: skip
    shown = _quantile(chosen, limit.quantile)
    verdict = VERDICTS[gate.decision]
    message = (
        f"{q_name} of {limit.phase} is {told(shown)}; {of(gate.k, n, 'connection')} within "
        f"{duration(limit.within)}"
    )
    if verdict is Outcome.INCONCLUSIVE:
        message += f"; {missing(gate, 'connection')}"
    low, high = shown.low, shown.high
    part.checks.append(
        Check(
            f"{view.name}.{what}", view.name, limit.required, verdict, "bound", n, message,
            estimate=_level_s(shown.estimate) if shown.enough else None,
            interval=(_level_s(low), _level_s(high, upper=True)),
            limit=seconds(limit.within),
            unit="s",
            load_sensitive=True,
            smallest=smallest(n, "connection"),
            p_value=gate.p_fail,
        )
    )  # fmt: skip
    late = (chosen.kind > 0) | (chosen.took > limit.within)
    if late.any() and verdict is not Outcome.PASS:
        did = "failed or took" if (chosen.kind > 0).any() else "took"
        words = (
            f"{of(int(late.sum()), n, 'connection')} {did} more than {duration(limit.within)} in "
            f"phase {limit.phase}; {q_name} is {told(shown)}"
        )
        worst = np.where(chosen.kind > 0, np.inf, chosen.took.astype(np.float64))
        cases = witnesses(view, chosen.rows[late], worst[late])
        part.findings.append(
            finding(
                "latency.over_limit", f"{view.name}.{what}", int(late.sum()), words, witness=cases
            )
        )


def _quantile(chosen: Sample, q: float) -> Quantile:
    return quantile(chosen.values, q, censored=chosen.censored, failed=chosen.failed)


def told(shown: Quantile) -> str:
    """A quantile in words; below its n, what is missing."""
    if not shown.enough or shown.estimate is None:
        return f"not known (needs {shown.n_needed:,}, has {shown.n:,})"
    return level_words(shown.estimate)


def level_words(level: Level | None) -> str:
    """`12.3 ms`, `more than 5 s`, `failed`, `unknown`."""
    match level:
        case Value(ns):
            return duration(ns)
        case MoreThan(ns):
            return f"more than {duration(ns)}"
        case Failed():
            return "failed"
        case _:
            return "unknown"


def _level_s(level: Level | None, *, upper: bool = False) -> float | None:
    """Seconds of a level; a level that is no number is None (no number is made of it)."""
    match level:
        case Value(ns):
            return seconds(ns)
        case MoreThan(ns) if not upper:
            return seconds(ns)
        case _:
            return None


def figures(shown: Quantile) -> dict[str, Any]:
    """A quantile with its interval for a summary; below its n no number but what is missing."""
    return {
        "text": told(shown),
        "enough": shown.enough,
        "needed": shown.n_needed,
        "estimate_s": _level_s(shown.estimate, upper=True) if shown.enough else None,
        "low_s": _level_s(shown.low) if shown.enough else None,
        "high_s": _level_s(shown.high, upper=True) if shown.enough else None,
        "high": level_words(shown.high) if shown.enough else "unknown",
    }


def _table(view: StageView, number: int, chosen: Sample) -> dict[str, Any]:
    out: dict[str, Any] = {
        "n": len(chosen.took),
        "censored": len(chosen.censored),
        "failed": chosen.failed,
    }
    for q in SHOWN:
        shown = _quantile(chosen, q)
        entry = figures(shown)
        if shown.enough:
            entry |= _dependent(view, number, chosen, q)
        out[f"p{q * 100:g}"] = entry
    return out


def _dependent(view: StageView, number: int, chosen: Sample, q: float) -> dict[str, Any]:
    """The remark, and the interval from blocks, where samples depend on each other."""
    found = dependence(chosen.series, q)
    if not found.too_high:
        return {}
    worst = max(r for r in (found.values, found.exceedance) if not math.isnan(r))
    note = (
        f"lag-1 autocorrelation {worst:.2f} is above {found.limit:.2f}: the interval is too narrow"
    )
    if len(chosen.took) > RESAMPLED_MAX:
        return {"note": f"{note}; not resampled, since n is above {RESAMPLED_MAX:,}"}
    seed = np.random.SeedSequence(
        [int(view.history.meta.get("seed", 0)), view.index, number, round(q * 10_000)]
    )
    blocks = block_bootstrap_quantile(
        chosen.series, q, np.random.Generator(np.random.PCG64(seed)), resamples=RESAMPLES
    )
    return {
        "note": f"{note}; block bootstrap beside it, which still under-covers tails at small n",
        "block_low_s": seconds(blocks.low_ns),
        "block_high_s": seconds(blocks.high_ns),
    }
