"""Runs: did every event of a run come, each once, in the dialect's order, in time.

The rule (docs/methods.md, Runs): events cluster by session, so the unit of the gate is the
session that began runs: good if all of them are complete, bad if one surely is not, else
unknown. A run that the peer cut off is incomplete; one that we cut off is unknown. Order is
that of arrival: stamps of one chunk are equal, and rows keep the order in which they came.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from probe.check.bound import Part, rate_check
from probe.check.catalogue import finding
from probe.check.verdict import Outcome
from probe.check.witness import witnesses
from probe.check.words import counted, duration, of
from probe.history.records import Kind
from probe.history.records import Outcome as Ended

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from probe.check.verdict import Finding
    from probe.check.view import Mask, StageView
    from probe.history.columns import Rows

_UNKNOWN, _COMPLETE, _INCOMPLETE, _LATE, _CUT_OFF = range(5)
_OURS: Final = (-1, Ended.NORMAL, Ended.CANCELLED, Ended.LOCAL)
GOOD, BAD, OPEN = 1, 0, -1


@dataclass(frozen=True)
class Judged:
    """The runs of a stage with their events.

    `counts` int64[runs, types]: how often each type came; `ordered` bool[runs]: the events
    that came did so in the dialect's order; `fate` int64[runs]: GOOD, BAD or OPEN.
    """

    view: StageView
    runs: Rows
    counts: NDArray[np.int64]
    ordered: Mask

    @cached_property
    def once(self) -> Mask:
        """Each event came, and exactly once."""
        return np.asarray((self.counts == 1).all(axis=1))

    @cached_property
    def twice(self) -> Mask:
        """Some event came more than once."""
        return np.asarray((self.counts > 1).any(axis=1))

    @cached_property
    def cut_by_peer(self) -> Mask:
        """The connection ended before the run did, and not by our doing."""
        attempts, runs = self.view.attempts, self.runs
        ours = attempts[np.isin(attempts["outcome"], _OURS)]
        cut = runs["outcome"] == _CUT_OFF
        return np.asarray(cut & ~np.isin(_key(runs, "attempt"), _key(ours, "attempt")))

    @cached_property
    def fate(self) -> NDArray[np.int64]:
        """What is sure about each run."""
        outcome = self.runs["outcome"]
        bad = np.isin(outcome, (_INCOMPLETE, _LATE)) | self.cut_by_peer
        whole = self.once & self.ordered
        bad |= (outcome == _COMPLETE) & ~whole
        fine = (outcome == _COMPLETE) & whole
        return np.where(bad, BAD, np.where(fine, GOOD, OPEN))


def judged(view: StageView) -> Judged:
    """Put the received events to the runs of the stage; O(rows log rows)."""
    runs, events = view.runs, view.resolved.dialect.run
    names = events.events if events else ()
    first = view.resolved.dialect.types.index(names[0]) if names else 0
    got = view.history.of(Kind.GOT)
    got = got[(got["b"] >= 0) & (got["flag"] > first) & (got["flag"] <= first + len(names))]
    keys = np.stack([_key(runs, "attempt"), runs["run"].astype(np.int64)], axis=1)
    theirs = np.stack([_key(got, "op"), got["b"].astype(np.int64)], axis=1)
    both, place = np.unique(np.concatenate([keys, theirs]), axis=0, return_inverse=True)
    place = place.reshape(-1)
    row_of = np.full(len(both), -1, dtype=np.int64)
    row_of[place[: len(keys)]] = np.arange(len(keys))
    at = row_of[place[len(keys) :]]
    got, at = got[at >= 0], at[at >= 0]
    kind = got["flag"].astype(np.int64) - first - 1
    width = max(len(names), 1)
    counts = np.bincount(at * width + kind, minlength=len(runs) * width)
    order = np.lexsort((got["t"], at))  # stable: rows of one chunk keep their order
    at, kind = at[order], kind[order]
    backwards = (at[1:] == at[:-1]) & (kind[1:] < kind[:-1])
    ordered = np.ones(len(runs), dtype=np.bool_)
    ordered[at[1:][backwards]] = False
    return Judged(view, runs, counts.reshape(len(runs), width), ordered)


def _key(rows: Rows, op: str) -> NDArray[np.int64]:
    key: NDArray[np.int64] = (rows["session"].astype(np.int64) << 32) | rows[op].astype(np.int64)
    return key


def runs(view: StageView) -> Part:
    """`<stage>.runs`, and summary["events"]."""
    part = Part()
    limit = view.stage.expect.runs
    if not len(view.runs) and limit is None:
        return part
    found = judged(view)
    if len(found.runs):
        part.summary["events"] = {view.name: _events(found)}
    if limit is None:
        return part
    sessions, place = np.unique(found.runs["session"], return_inverse=True)
    place = place.reshape(-1)
    bad = np.bincount(place, weights=found.fate == BAD, minlength=len(sessions)) > 0
    open_ = np.bincount(place, weights=found.fate == OPEN, minlength=len(sessions)) > 0
    complete = int((found.fate == GOOD).sum())
    check = rate_check(
        view,
        "runs",
        f"had all their runs complete ({of(complete, len(found.runs), 'run')})",
        "session",
        k=int((~bad & ~open_).sum()),
        n=len(sessions),
        unknown=int((~bad & open_).sum()),
        limit=limit.rate,
        required=limit.required,
        nothing="no run was begun",
    )
    part.checks.append(check)
    if check.verdict is not Outcome.PASS:
        part.findings += _findings(found, check.id)
    return part


def _events(found: Judged) -> dict[str, Any]:
    names = found.view.resolved.dialect.run
    sums = found.counts.sum(axis=0).tolist()
    outcome = found.runs["outcome"]
    return {
        "runs": len(found.runs),
        "complete": int((found.fate == GOOD).sum()),
        "incomplete": int(((found.fate == BAD) & (outcome != _LATE)).sum()),
        "late": int((outcome == _LATE).sum()),
        "unknown": int((found.fate == OPEN).sum()),
        "events": dict(zip(names.events if names else (), sums, strict=False)),
    }


def _findings(found: Judged, check: str) -> list[Finding]:
    late = found.runs["outcome"] == _LATE
    bad = (found.fate == BAD) & ~late
    lacking = bad & ((found.counts == 0).any(axis=1) | found.cut_by_peer)
    out = []
    for code, mask in (
        ("run.incomplete", lacking),
        ("run.late", late),
        ("run.duplicated", bad & found.twice & ~lacking),
        ("run.out_of_order", bad & ~found.ordered & ~lacking),
    ):
        if mask.any():
            out.append(_finding(found, code, check, mask))
    return out


def _finding(found: Judged, code: str, check: str, mask: Mask) -> Finding:
    view, n, number = found.view, len(found.runs), int(mask.sum())
    rule = view.resolved.dialect.run
    assert rule is not None, "a plan refuses runs where the dialect has none"
    pattern = ""
    missing = (found.counts[mask] == 0).sum(axis=0)
    named = ", ".join(
        f"{rule.events[k]} ({int(missing[k]):,}x)" for k in np.argsort(-missing, kind="stable")
        if missing[k]
    )  # fmt: skip
    match code:
        case "run.incomplete":
            words = f"lacked events: {named or 'its end'}"
            cut = int((mask & found.cut_by_peer).sum())
            if cut:
                words += f"; {counted(cut, 'run')} ended with the connection"
                pattern = "closed" if 2 * cut > number else ""
        case "run.late":
            words = (
                f"did not end within {duration(rule.within)}; missing by then: {named or 'none'}"
            )
        case "run.duplicated":
            words = "got an event twice: " + ", ".join(
                f"{rule.events[k]} ({int(times)}x)"
                for k, times in enumerate((found.counts[mask] > 1).sum(axis=0)) if times
            )  # fmt: skip
        case _:
            words = f"got their events in another order than {', '.join(rule.events)}"
    attempts = view.attempts
    cases = attempts[np.isin(_key(attempts, "attempt"), _key(found.runs[mask], "attempt"))]
    message = f"{of(number, n, 'run')} {words}"
    return finding(code, check, number, message, witness=witnesses(view, cases), pattern=pattern)
