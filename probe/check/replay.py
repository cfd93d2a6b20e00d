"""Replay: what came in a gap between two connections is sent again after the reconnect.

The rule (docs/methods.md, Delivery): a gap counts if a run was under way in it. Of events
that are missing and belong to it, all are `replay.none` if none older than the last that is
missing came on a later connection; else some are `replay.lost`. One missing event alone
tells neither, and goes with what the other gaps of the stage showed.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from probe.check.bound import Part, absence, unmeasured
from probe.check.catalogue import finding
from probe.check.delivery import marks
from probe.check.delivery.units import GAP_LOST
from probe.check.witness import run_witnesses
from probe.check.words import at_most, counted, of, percent, were
from probe.stats.rates import zero_bound

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from probe.check.delivery.units import Units
    from probe.check.verdict import Check, Finding
    from probe.check.view import Mask, StageView

_SOME = 2


def replay(view: StageView, units: Units | None) -> Part:
    """`<stage>.replay`."""
    part = Part()
    if not view.stage.expect.replay:
        return part
    under_way = np.unique(units.meanwhile.away[units.meanwhile.away >= 0]) if units else ()
    if units is None or not len(under_way):
        why = "no client came back while a run of it was under way"
        part.checks.append(unmeasured(view, "replay", "absence", why))
        return part
    rows = units.lacking(GAP_LOST)
    gaps = len(units.meanwhile.gaps)
    missing = np.bincount(
        units.meanwhile.away[rows["run"]], weights=rows["count"], minlength=gaps
    ).astype(np.int64)
    n, bad = len(under_way), int((missing > 0).sum())
    message = f"after {of(bad, n, 'reconnect')}"
    if bad:
        message += f" {counted(int(missing.sum()), 'event')} of the gap {were(bad)} missing"
    else:
        message += f", {at_most(zero_bound(n))}, an event of the gap was missing"
    check = absence(view, "replay", message, "reconnect", bad=bad, n=n, missing=True)
    part.checks.append(check)
    if bad:
        part.findings += _findings(units, check, missing, n)
    return part


def _findings(units: Units, check: Check, missing: NDArray[np.int64], n: int) -> list[Finding]:
    answered = np.zeros(len(missing), dtype=np.bool_)
    answered[units.meanwhile.away[_answered(units)]] = True
    none = (missing >= _SOME) & ~answered
    alone = (missing == 1) & ~answered
    if none.any() and not ((missing > 0) & answered).any():
        none |= alone
    lost = (missing > 0) & ~none
    out = []
    for code, mask, words in (
        ("replay.none", none, "nothing came of what had been missed: {events} of {runs}"),
        ("replay.lost", lost, "{events} of what had been missed did not come, of {runs}"),
    ):
        if not mask.any():
            continue
        rows = units.lacking(GAP_LOST)
        rows = rows[mask[units.meanwhile.away[rows["run"]]]]
        runs, number = np.unique(rows["run"]), int(missing[mask].sum())
        said = words.format(events=counted(number, "event"), runs=counted(len(runs), "run"))
        k = int(mask.sum())
        message = f"after {of(k, n, 'reconnect')} ({percent(k / n)}) {said}"
        keys = units.runs["key"][runs[np.argsort(units.runs["begun"][runs], kind="stable")]]
        cases = run_witnesses(units.view, keys, None, partial(marks.lost, units))
        out.append(finding(code, check.id, number, message, witness=cases))
    return out


def _answered(units: Units) -> Mask:
    """Runs with a gap of which something came after it that is older than what is missing."""
    runs, receipts, rules = units.runs, units.receipts, units.rules
    after = np.flatnonzero(units.recovered & (units.meanwhile.away[receipts.run] >= 0))
    out = np.zeros(len(runs), dtype=np.bool_)
    rows = units.lacking(GAP_LOST)
    lacking = np.zeros((len(runs), rules.width), dtype=np.bool_)
    lacking[rows["run"], rows["type"]] = True
    before = lacking @ rules.before.T  # a missing event comes after one of this type
    older = before[receipts.run[after], receipts.type[after]]
    if units.numbers is not None:
        newest = _highest_hole(units)
        # What is missing at the end of a run is newer than all that came of it.
        newest[rows["run"][rows["trailing"]]] = np.iinfo(np.int64).max
        below = receipts.seq[after] < newest[receipts.run[after]]
        older = np.where(units.numbers.sound[receipts.run[after]], below, older)
    out[receipts.run[after[older]]] = True
    return out


def _highest_hole(units: Units) -> NDArray[np.int64]:
    """The highest number that is missing below one that came, int64[runs]; 0 none."""
    receipts = units.receipts
    mine = units.own & (units.meanwhile.away[receipts.run] >= 0) & (receipts.seq > 0)
    run, seq = receipts.run[mine].astype(np.int64), receipts.seq[mine].astype(np.int64)
    order = np.lexsort((seq, run))
    run, seq = run[order], seq[order]
    first = np.append(True, run[1:] != run[:-1])[: len(run)]
    before = np.where(first, 0, np.append(0, seq[:-1])[: len(seq)])
    hole = seq - before > 1
    out = np.zeros(len(units.runs), dtype=np.int64)
    np.maximum.at(out, run[hole], seq[hole] - 1)
    return out
