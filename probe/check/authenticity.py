"""Evidence that a run was real, and sums over all that happened.

The rule (docs/methods.md, Authenticity): who answered, under which certificate, with which server
header, how much was read, how long it took. All of it is quoted from rows and texts.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from probe.check.lines import outcome_words
from probe.check.view import labels
from probe.check.witness import headers_of
from probe.check.words import duration, plain, seconds
from probe.history.records import Kind, Run, Violation
from probe.stats.quantiles import Value, quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probe.check.view import StageView
    from probe.history.columns import History

_HEADS_READ_MAX: Final = 10_000
_SWITCHING: Final = 101
_LAB: Final = 1  # a process as CPU.op numbers them, and none of the probe's own
_RUN_WORDS: Final = {
    0: "unknown",
    **{int(run): run.name.lower().replace("_", " ") for run in Run if run != Run.BEGUN},
}
_SESSION_WORDS: Final = {-1: "no end recorded", 0: "complete", 1: "failed", 2: "stopped"}


def authenticity(history: History) -> dict[str, Any]:
    """See the module; figures carry their unit in their name."""
    rows, attempts = history.rows, history.attempts
    traffic, cpu = history.of(Kind.TRAFFIC), history.of(Kind.CPU)
    statuses = attempts["status"][attempts["head"] > 0]
    upgraded = attempts[(attempts["head"] > 0) & (attempts["status"] == _SWITCHING)]
    wrong = (upgraded["violations"] & Violation.ACCEPT) != 0
    own = [cpu[cpu["op"] == number] for number in np.unique(cpu["op"]) if number != _LAB]
    kinds, requests = rows["kind"], history.of(Kind.SENT)["a"]
    span = int(rows["t"].max() - rows["t"].min()) if len(rows) else 0
    return {
        "peers": _peers(history),
        "servers": _servers(history),
        "connections": int((attempts["tcp"] > 0).sum()),
        "statuses": _counts(statuses),
        "accept_keys_verified": int((~wrong).sum()),
        "accept_keys_wrong": int(wrong.sum()),
        "messages_received": int((kinds == Kind.GOT).sum()),
        "messages_sent": int((kinds == Kind.PUT).sum()),
        "bytes_received": int(traffic["b"][traffic["flag"] == 1].sum()),
        "bytes_sent": int(traffic["b"][traffic["flag"] == 0].sum() + requests.sum()),
        "events": _events(history),
        "ping_round_trip": _round_trips(history),
        "cpu_s": _sum([_cpu_s(rows) for rows in own]),
        "memory_peak_mib": _sum([round(int(rows["b"].max()) / 2**20, 3) for rows in own]),
        "wall_s": seconds(span),
        "rows": len(rows),
        "host": history.meta.get("host", {}),
        **_clocks(history),
    }


def _clocks(history: History) -> dict[str, Any]:
    """Where workers read other clocks than the driver's, how well those are known."""
    hosts = [str(host) for host in history.meta.get("hosts", [])]
    if not hosts:
        return {}
    bound = duration(history.clock_bound_ns)
    told = f"known to {bound}; instants of different hosts that are nearer have no order"
    return {"hosts": hosts, "clocks": f"those of {', '.join(hosts)} are {told}"}


def counts(views: Sequence[StageView]) -> dict[str, Any]:
    """summary["counts"]: clients, attempts, outcomes by name, runs."""
    sessions, attempts, runs = [], [], []
    for view in views:
        sessions.append(view.sessions)
        attempts.append(view.attempts)
        runs.append(view.runs)
    if not views:
        return {"clients": 0, "attempts": 0, "runs": 0}
    all_sessions, all_attempts = np.concatenate(sessions), np.concatenate(attempts)
    all_runs = np.concatenate(runs)
    return {
        "clients": len(all_sessions),
        "clients_by_end": _named(all_sessions["outcome"], _SESSION_WORDS),
        "attempts": len(all_attempts),
        "outcomes": {
            outcome_words(int(k)): n
            for k, n in sorted(Counter(all_attempts["outcome"].tolist()).items())
        },
        "ways": dict(labels(all_attempts)),
        "runs": len(all_runs),
        "runs_by_end": _named(all_runs["outcome"], _RUN_WORDS),
    }


def _named(values: Any, words: dict[int, str]) -> dict[str, int]:
    return {words.get(k, str(k)): n for k, n in sorted(Counter(values.tolist()).items())}


def _counts(values: Any) -> dict[str, int]:
    return {str(k): n for k, n in sorted(Counter(values.tolist()).items())}


def _peers(history: History) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in history.of(Kind.PEER):
        text = history.text(int(row["b"]))
        try:
            told = json.loads(text)
        except ValueError:
            continue
        if isinstance(told, dict):
            kind = "service" if int(row["flag"]) else "endpoint"
            found.setdefault(plain(text, 4096), {"kind": kind, **told})
    return [found[key] for key in sorted(found)]


def _servers(history: History) -> list[str]:
    """Distinct Server headers of the kept heads."""
    references = np.unique(history.attempts["response_text"])
    heads = [history.text(int(r)) for r in references[references > 0][:_HEADS_READ_MAX]]
    return sorted({plain(value) for head in heads for value in headers_of(head, b"server")})


def _events(history: History) -> dict[str, int]:
    names = history.names("types")
    rows = history.rows
    got = rows["flag"][rows["kind"] == Kind.GOT]
    flags = np.bincount(got, minlength=len(names) + 1).tolist()
    by_name = dict(zip(names, flags[1:], strict=False))
    return {**by_name, "other": flags[0]}


def _round_trips(history: History) -> dict[str, Any]:
    pings, pongs = history.of(Kind.PING), history.of(Kind.PONG)
    sent = {(int(r["session"]), int(r["op"]), int(r["b"])): int(r["t"]) for r in pings}
    took = []
    for row in pongs:
        at = sent.pop((int(row["session"]), int(row["op"]), int(row["b"])), None)
        if at is not None:
            took.append(int(row["t"]) - at)
    out: dict[str, Any] = {"pings": len(pings), "n": len(took)}
    if took:
        found = quantile(np.array(took, dtype=np.int64), 0.5)
        middle = found.estimate
        out |= {
            "min_s": seconds(min(took)),
            "median_s": seconds(middle.ns) if isinstance(middle, Value) else None,
            "max_s": seconds(max(took)),
        }
    return out


def _sum(values: Sequence[float | None]) -> float | None:
    """Over all processes of the probe; None where of one it is not known."""
    known = [value for value in values if value is not None]
    return round(sum(known), 3) if known and len(known) == len(values) else None


def _cpu_s(rows: Any) -> float | None:
    """CPU seconds of a process: each sample speaks of the time since the one before."""
    rows = rows[np.argsort(rows["t"], kind="stable")]
    if len(rows) < 2:  # noqa: PLR2004 -- a span has two ends
        return None
    spans = np.diff(rows["t"]) / 1e9
    return round(float((spans * rows["a"][1:]).sum() / 1000), 3)
