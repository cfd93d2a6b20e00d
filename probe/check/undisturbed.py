"""Whether what some clients ask for makes all others wait: pings of who is only connected.

The rule: a ping that waits longer than the limit is slow; slow pings whose waits overlap, on
whatever connections, are one disturbance. One in whose time our own heartbeat was late by half
the limit is ours and is left out. One alone may be the machine's, and leaves it open; from two
on it is the service's. What others had asked for just then tells the likely cause.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from probe.check.bound import Part, absence, unmeasured
from probe.check.catalogue import finding
from probe.check.race_trials import in_time
from probe.check.rows import connection, lived_until, of_stage, place
from probe.check.verdict import Check, Outcome
from probe.check.witness import witnesses
from probe.check.words import counted, duration
from probe.history.records import Kind, Put

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from probe.check.rows import Ints
    from probe.check.view import StageView
    from probe.history.columns import Rows

BEFORE_NS: Final = 20_000_000
"""What was asked for this long before the first slow ping may have caused it."""
ENOUGH: Final = 2


@dataclass(frozen=True, slots=True)
class Disturbance:
    """From when until when, the longest wait (ns), and the places of its pings."""

    since: int
    until: int
    longest: int
    places: tuple[int, ...]


def undisturbed(view: StageView) -> Part:
    """`<stage>.undisturbed`: nobody waits for what others ask for."""
    part = Part()
    limit = view.stage.expect.undisturbed
    if not limit:
        return part
    sent = of_stage(view, Kind.PING)
    sent = sent[np.argsort(sent["t"], kind="stable")]
    if not len(sent):
        part.checks.append(unmeasured(view, "undisturbed", "absence", "no ping was sent"))
        return part
    took, known = _waits(view, sent)
    every = _disturbances(sent, took, limit, view.history.clock_bound_ns)
    ours = [each for each in every if _own_lag(view, each) * 2 >= limit]
    real = [each for each in every if each not in ours]
    part.checks.append(_check(view, real, len(ours), took[known], limit))
    if len(real) >= ENOUGH:
        keys = connection(view.attempts, "attempt")
        worst = max(real, key=lambda each: each.longest)
        at, found = place(keys, connection(sent[list(worst.places)]))
        cases = view.attempts[np.unique(at[found])]
        message, pattern = part.checks[-1].message, _pattern(view, real)
        part.findings.append(
            finding(
                "loop.blocked", f"{view.name}.undisturbed", len(real), message,
                witness=witnesses(view, cases), pattern=pattern,
            )
        )  # fmt: skip
    return part


def _waits(view: StageView, sent: Rows) -> tuple[Ints, NDArray[np.bool_]]:
    """How long each ping waited (ns), and of which that is known to be all of it.

    One without an answer waited at least until its connection was over.
    """
    answers = {
        (int(row["session"]), int(row["op"]), int(row["b"])): int(row["t"])
        for row in of_stage(view, Kind.PONG)
    }
    names = zip(
        sent["session"].tolist(), sent["op"].tolist(), sent["b"].tolist(), strict=True
    )  # fmt: skip
    came = np.array([answers.get(name, 0) for name in names], dtype=np.int64)
    attempts = view.attempts
    at, found = place(connection(attempts, "attempt"), connection(sent))
    until = np.where(found, lived_until(view, attempts)[at], sent["t"]) if len(attempts) else came
    took = np.where(came > 0, came, until) - sent["t"]
    return np.maximum(took, 0), came > 0


def _disturbances(sent: Rows, took: Ints, limit: int, apart: int) -> list[Disturbance]:
    """Slow pings, those that overlap together; `sent` is by time.

    Also those that may overlap, since clocks are known to `apart` ns: two disturbances are a
    finding, and one is none.
    """
    out: list[Disturbance] = []
    for k in np.flatnonzero(took > limit).tolist():
        since, wait = int(sent["t"][k]), int(took[k])
        if out and since <= out[-1].until + apart:
            last = out.pop()
            until, longest = max(last.until, since + wait), max(last.longest, wait)
            out.append(Disturbance(last.since, until, longest, (*last.places, k)))
        else:
            out.append(Disturbance(since, since + wait, wait, (k,)))
    return out


def _own_lag(view: StageView, each: Disturbance) -> int:
    """Our own heartbeat's worst lag in that time, ns."""
    rows, apart = in_time(view, Kind.LAG), view.history.clock_bound_ns
    begun = rows["t"] - rows["b"]
    mine = rows[(rows["t"] >= each.since - apart) & (begun <= each.until + apart)]
    return int(mine["b"].max()) if len(mine) else 0


def _check(view: StageView, real: list[Disturbance], ours: int, took: Ints, limit: int) -> Check:
    n = len(took)
    worst = duration(int(took.max()) if n else 0)
    tail = f"; {ours} more came while the probe itself was late" if ours else ""
    if not real:
        message = f"no ping of {n:,} waited longer than {worst}; {duration(limit)} is allowed{tail}"
    else:
        longest = duration(max(each.longest for each in real))
        message = (
            f"{counted(len(real), 'time')} clients that were only connected waited for up to "
            f"{longest}, {duration(limit)} is allowed{tail}"
        )
    bad = len(real) if len(real) >= ENOUGH else 0
    check = absence(
        view, "undisturbed", message, "ping", bad=bad, n=n, missing=True, load_sensitive=True
    )
    if real and not bad:
        words = f"{message}; once may be the machine's"
        return _open(check, words)
    return check


def _open(check: Check, message: str) -> Check:
    return Check(
        check.id, check.stage, check.required, Outcome.INCONCLUSIVE, "absence", check.n, message,
        load_sensitive=True, smallest=check.smallest,
    )  # fmt: skip


def _pattern(view: StageView, real: list[Disturbance]) -> str:
    """What was asked for in most of these times: connects or runs, else ""."""
    puts = of_stage(view, Kind.PUT)
    kinds = {
        "runs": puts["t"][puts["flag"] == Put.START],
        "connects": of_stage(view, Kind.SENT)["t"],
    }
    hits = {
        name: sum(
            bool(((times >= each.since - BEFORE_NS) & (times <= each.until)).any()) for each in real
        )
        for name, times in kinds.items()
    }
    # A client that starts runs has connected before: runs go first.
    for name in ("runs", "connects"):
        if 2 * hits[name] > len(real):
            return name
    return ""
