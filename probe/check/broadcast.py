"""Broadcast: every open connection of a user gets the events of all that user's runs.

The rule (docs/methods.md, Delivery): the unit is a run at another session of the same user
that was ready before the run began and proved that it lived after the run was over: a
sentinel that was sent after that came back, or anything came a second later. What the
session that began the run did not get either is lost, and not missed here. What of two hosts is
nearer than their clocks are known has no order, and such a pair is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from probe.check.bound import Part, absence, unmeasured
from probe.check.catalogue import finding
from probe.check.delivery.coverage import find, overlapping, pair
from probe.check.delivery.receipts import FIRST, identities
from probe.check.witness import run_witness
from probe.check.words import at_most, counted, of, percent, were
from probe.history.records import Kind
from probe.stats.rates import zero_bound

if TYPE_CHECKING:
    from probe.check.delivery.units import Units
    from probe.check.verdict import Check, Finding
    from probe.check.view import StageView
    from probe.history.columns import Rows

Ints = NDArray[np.int64]
AFTER_NS: Final = 1_000_000_000


def broadcast(view: StageView, units: Units | None) -> Part:
    """`<stage>.broadcast`."""
    part = Part()
    if not view.stage.expect.broadcast:
        return part
    if view.resolved.dialect.promises.recipients != "user":
        why = "the dialect promises a run's events to the connection that began it alone"
        part.checks.append(unmeasured(view, "broadcast", "absence", why))
        return part
    run, session = _pairs(units) if units else (np.zeros(0, int), np.zeros(0, int))
    if units is None or not len(run):
        why = "no user had another connection that was open before, during and after a run"
        part.checks.append(unmeasured(view, "broadcast", "absence", why))
        return part
    missed = _missed(units, run, session)
    if view.history.lost:  # they may have come, and their rows are what was lost
        missed = np.zeros_like(missed)
    n, bad = len(run), int((missed > 0).sum())
    message = f"{of(bad, n, 'recipient')}"
    message += f", {at_most(zero_bound(n))}," if not bad else ""
    message += f" of {counted(len(np.unique(run)), 'run')} {were(bad)} left without an event"
    check = absence(view, "broadcast", message, "recipient", bad=bad, n=n, missing=True)
    part.checks.append(check)
    if bad:
        cases = missed > 0
        part.findings.append(
            _finding(units, check, run[cases], session[cases], missed[cases], n)
        )  # fmt: skip
    return part


def _pairs(units: Units) -> tuple[Ints, Ints]:
    """Runs and the other sessions that ought to have all of each, as rows and sessions."""
    view, runs = units.view, units.runs
    coverage = view.history.coverage
    coverage = coverage[np.isin(coverage["session"], view.sessions["session"])]
    user, theirs = identities(view, runs["session"]), identities(view, coverage["session"])
    order = np.argsort(theirs, kind="stable")
    low = np.searchsorted(theirs[order], user, side="left")
    number = np.searchsorted(theirs[order], user, side="right") - low
    number[(runs["ended"] == 0) | units.refused] = 0
    run = np.repeat(np.arange(len(runs)), number)
    offset = np.arange(len(run)) - np.repeat(np.cumsum(number) - number, number)
    other = coverage[order[low[run] + offset]]
    over = runs["ended"][run]
    apart = view.history.clock_bound_ns  # of hosts whose clocks may be wrong by so much
    keep = other["session"] != runs["session"][run]
    keep &= other["ready"] < runs["begun"][run] - apart
    keep &= (other["alive"] > over + AFTER_NS + apart) | (
        _asked(view, coverage)[order[low[run] + offset]] > over + apart
    )
    run, session = run[keep], other["session"][keep]
    stalled = overlapping(
        view.history.stalls, session, runs["begun"][run] - apart,
        runs["ended"][run] + AFTER_NS + apart,
    )  # fmt: skip
    return run[stalled < 0], session[stalled < 0].astype(np.int64)


def _asked(view: StageView, coverage: Rows) -> Ints:
    """When the last sentinel that came back had been sent, int64[coverage]; 0 none."""
    rows = view.history.of(Kind.SENTINEL)
    rows = rows[np.lexsort((rows["t"], rows["flag"], rows["b"], rows["op"], rows["session"]))]
    names = ("session", "op", "b")
    same = np.logical_and.reduce([rows[name][1:] == rows[name][:-1] for name in names])
    back = np.flatnonzero(same & (rows["flag"][1:] == 1) & (rows["flag"][:-1] == 0))
    out = np.zeros(len(coverage), dtype=np.int64)
    at, found = find(
        pair(coverage["session"], coverage["attempt"]), pair(rows["session"], rows["op"])[back]
    )
    np.maximum.at(out, at[found], rows["t"][back[found]])
    return out


def _missed(units: Units, run: Ints, session: Ints) -> Ints:
    """How many events of the run each recipient lacks that its starter has, int64[pairs]."""
    receipts, width = units.receipts, units.rules.width
    codes = (receipts.others[:, 0] << 32) | receipts.others[:, 1]
    theirs = (receipts.kind == FIRST) & (receipts.unit >= len(units.runs))
    code = (receipts.unit[theirs].astype(np.int64) - len(units.runs)) * width
    got = np.bincount(code + receipts.type[theirs], minlength=len(codes) * width)
    got = got.reshape(len(codes), width)
    at, found = find(codes, (run << 32) | session)
    here = np.where(found[:, None], got[at], 0) if len(codes) else 0
    out: Ints = np.maximum(units.seen[run] - here, 0).sum(axis=1).astype(np.int64)
    return out


def _finding(units: Units, check: Check, run: Ints, session: Ints, missed: Ints, n: int) -> Finding:
    view = units.view
    whole = int((missed >= units.seen[run].sum(axis=1)).sum())
    said = "no event" if whole == len(run) else "not every event"
    some = f" ({whole} of them none at all)" if 0 < whole < len(run) else ""
    message = (
        f"{of(len(run), n, 'recipient')} ({percent(len(run) / n)}) got {said} of a run of their "
        f"own user{some}, though connected all the time: {counted(int(missed.sum()), 'event')} "
        f"of {counted(len(np.unique(run)), 'run')}"
    )
    first = int(np.argmin(units.runs["begun"][run]))
    key = int(units.runs["key"][run[first]])
    shown = (run_witness(view, key, int(session[first])), run_witness(view, key, key >> 32))
    cases = tuple(case for case in shown if case is not None)
    return finding("broadcast.missed", check.id, int(missed.sum()), message, witness=cases)
