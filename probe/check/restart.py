"""Restarts: how long until somebody is in again, and a table of all restarts.

The rule (docs/methods.md, Latency): the unit is the restart, not the connection. A restart that was
not watched for as long as the limit allows, and in which nobody got in, is unknown. Times
count from the trial's time zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from probe.check.bound import Part, rate_check, unmeasured
from probe.check.catalogue import finding
from probe.check.everybody import NO_RESTART, all_in, retrying
from probe.check.gap import gap_of, health_switch, ws_switch
from probe.check.verdict import Check, Outcome
from probe.check.view import FOREVER, decided, good, labels
from probe.check.witness import witnesses
from probe.check.words import counted, duration, of, seconds
from probe.stats.success import success_curve

if TYPE_CHECKING:
    from probe.check.view import StageView, Trial
    from probe.stats.switch import GapInterval, SwitchInterval

BIN_NS: Final = 100_000_000
BINS_MAX: Final = 600
_GAVE_UP: Final = 1
_HEALTHY: Final = 1
_SETTLED_WORDS: Final = {0: "settled", 1: "gave up", -1: "no end recorded"}


def recovery(view: StageView) -> Part:
    """`<stage>.recovery`: the first good connection after a restart came in time."""
    part = Part()
    if view.stage.anchor == "restart":
        part.summary["recovery"] = {view.name: _recovery_summary(view)}
    limit = view.stage.expect.recovery
    if limit is None:
        return part
    within = FOREVER if limit.within is None else limit.within
    fine, slow, never, unknown = 0, [], [], 0
    for trial in view.trials:
        first = first_good(view, trial)
        watched = trial.end - trial.zero
        if first is not None and first <= within:
            fine += 1
        elif first is not None:
            slow.append((first, trial))
        elif watched >= within or (trial.settled == _GAVE_UP and limit.within is None):
            never.append(trial)
        else:
            unknown += 1
    n = len(view.trials)
    check = rate_check(
        view,
        "recovery",
        f"let the first client in within {duration(limit.within)}",
        "restart",
        k=fine,
        n=n,
        unknown=unknown,
        limit=limit.rate,
        required=limit.required,
        nothing=NO_RESTART,
    )
    part.checks.append(check)
    if check.verdict is Outcome.PASS:
        return part
    if slow:
        times = sorted(first for first, _ in slow)
        words = (
            f"after {of(len(slow), n, 'restart')} the first client got in only after "
            f"{duration(float(np.median(times)))} (median; at most {duration(times[-1])}); the "
            f"limit is {duration(limit.within)}"
        )
        late = [view.of_trial(view.welcome, trial) for _, trial in slow]
        rows = np.concatenate([each[good(each)][:1] for each in late])
        part.findings.append(
            finding("restart.slow", check.id, len(slow), words, witness=witnesses(view, rows))
        )
    if never:
        rows = np.concatenate([view.of_trial(view.welcome, trial) for trial in never])
        ways = ", ".join(f"{number:,} {label}" for label, number in labels(rows)[:3])
        longest = max(trial.end - trial.zero for trial in never)
        words = (
            f"after {of(len(never), n, 'restart')} no client got in, watched for up to "
            f"{duration(longest)}; attempts ended: {ways or 'none was made'}"
        )
        cases = witnesses(view, rows) if len(rows) else ()
        part.findings.append(
            finding("restart.never_ready", check.id, len(never), words, witness=cases)
        )
    return part


def seen(view: StageView, trial: Trial) -> bool:
    """Whether anything showed that the service went away: a client or health turned away."""
    rows = view.of_trial(view.attempts, trial)
    rows = rows[rows["dial"] >= trial.zero]
    health = view.health
    health = health[(health["b"] >= trial.zero) & (health["t"] <= trial.end)]
    return bool((~good(rows) & decided(rows)).any() or (health["flag"] != _HEALTHY).any())


def restarts_seen(view: StageView) -> Part:
    """`<stage>.restarts_seen`: the control without which a good restart proves nothing."""
    part = Part()
    if view.stage.anchor != "restart":
        return part
    n = len(view.trials)
    if not n:
        part.checks.append(unmeasured(view, "restarts_seen", "witness", NO_RESTART))
        return part
    unseen = [trial.number for trial in view.trials if not seen(view, trial)]
    message = f"after {of(n - len(unseen), n, 'restart')} the service was seen to be away"
    if unseen:
        message += (
            f"; restart {unseen[0]} turned nobody away: either nothing restarted, or nothing "
            "can be said of how it starts"
        )
    part.checks.append(
        Check(
            id=f"{view.name}.restarts_seen",
            stage=view.name,
            required=True,
            verdict=Outcome.INCONCLUSIVE if unseen else Outcome.PASS,
            evidence="witness",
            n=n,
            message=message,
        )
    )
    return part


def first_good(view: StageView, trial: Trial) -> int | None:
    """When the first client got in after a restart, ns since time zero.

    A restart by command takes its time to take the old instance down; who got in before
    anybody failed got into that one and does not count.
    """
    rows = view.of_trial(view.welcome, trial)
    rows = rows[rows["dial"] >= trial.zero]
    failed = rows["dial"][~good(rows) & decided(rows)]
    since = int(failed.min()) if len(failed) else trial.zero
    ready = rows["ready"][good(rows) & (rows["dial"] >= since)]
    return int(ready.min()) - trial.zero if len(ready) else None


def _recovery_summary(view: StageView) -> dict[str, Any]:
    times = [first_good(view, trial) for trial in view.trials]
    known = np.array([t for t in times if t is not None], dtype=np.int64)
    some = len(known) > 0
    return {
        "n": len(times),
        "never": len(times) - len(known),
        "failed_restarts": len(view.failed_restarts),
        "median_s": seconds(float(np.median(known))) if some else None,
        "min_s": seconds(int(known.min())) if some else None,
        "max_s": seconds(int(known.max())) if some else None,
    }


def restarts(view: StageView) -> Part:
    """summary["restarts"], one entry per restart, and summary["success_since_restart"]."""
    part = Part()
    if view.stage.anchor != "restart":
        return part
    part.summary["restarts"] = [_entry(view, trial) for trial in view.trials]
    curve = _curve(view)
    if curve:
        part.summary["success_since_restart"] = {view.name: curve}
    return part


def _entry(view: StageView, trial: Trial) -> dict[str, Any]:
    rows = view.of_trial(view.attempts, trial)
    healthy, works, gap = health_switch(view, trial), ws_switch(view, trial), gap_of(view, trial)
    everybody = all_in(view, trial)
    return {
        "stage": view.name,
        "trial": trial.number,
        "zero_offset_s": seconds(trial.zero - view.begun),
        "ended": trial.why or _SETTLED_WORDS.get(trial.settled, "unknown"),
        "watched_s": seconds(trial.end - trial.zero),
        "first_healthy_s": _middle(healthy, trial.zero),
        "first_healthy_interval_s": _ends(healthy, trial.zero),
        "ws_good_s": _ends(works, trial.zero),
        "ws_good_estimate_s": _middle(works, trial.zero),
        "gap_s": _ends(gap, 0),
        "gap_estimate_s": _middle(gap, 0),
        "flapped": gap.flapped,
        "first_good_session_s": seconds(first_good(view, trial)),
        "everybody_in_s": seconds(everybody.all_in_ns),
        "retrying_clients": everybody.clients,
        "attempts": len(rows),
        "outcomes": dict(labels(rows)),
    }


def _ends(found: SwitchInterval | GapInterval, zero: int) -> list[float | None]:
    ends = (found.low_ns, found.high_ns)
    return [None if end is None else seconds(end - zero) for end in ends]


def _middle(found: SwitchInterval | GapInterval, zero: int) -> float | None:
    if found.low_ns is None or found.high_ns is None:
        return None
    return seconds((found.low_ns + found.high_ns) / 2 - zero)


def _curve(view: StageView) -> list[dict[str, Any]]:
    """Success of clients that try once, by time since the restart; of all if none does."""
    rows = view.welcome
    once = rows[~np.isin(rows["population"], retrying(view))]
    rows = once if len(once) else rows
    zeros = {trial.number: trial.zero for trial in view.trials}
    rows = rows[np.isin(rows["trial"], list(zeros)) & decided(rows)]
    if not len(rows):
        return []
    since = rows["dial"] - np.array([zeros[k] for k in rows["trial"].tolist()], dtype=np.int64)
    last = min(max(int(since.max()), 0) // BIN_NS + 1, BINS_MAX)
    edges = np.arange(last + 1, dtype=np.int64) * BIN_NS
    found = success_curve(since, good(rows), edges)
    out = []
    for place in np.flatnonzero(found.n).tolist():
        here = rows[(since >= edges[place]) & (since < edges[place + 1])]
        out.append(
            {
                "from_s": seconds(int(edges[place])),
                "to_s": seconds(int(edges[place + 1])),
                "n": int(found.n[place]),
                "good": int(found.k[place]),
                "rate": float(found.rate[place]),
                "low": float(found.low[place]),
                "high": float(found.high[place]),
                "kinds": dict(labels(here)),
            }
        )
    return out


def failed_restarts(view: StageView) -> str:
    """One sentence about restarts that did not take place; "" if all did."""
    failed = view.failed_restarts
    if not failed:
        return ""
    return f"{counted(len(failed), 'restart')} did not take place ({failed[0] or 'no reason told'})"
