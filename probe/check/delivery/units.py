"""Units: each event of each run at the session that began it, and what became of it.

The rule is the table of docs/methods.md, Delivery, and these exclusions: what a stall of
ours covers belongs to the checks of pressure, what a gap covers to those of replay; a run
with late events has neither lost nor hung; of one whose connection the peer ended, and of
one that was silent past its deadline, the rest may never have been made, and is unknown.
Missing events are counted by type: holes in a promised numbering first, by what is missing,
then what is known to be needed. Where the journal dropped rows, whatever is missing is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from probe.check.delivery.classes import classify, refused_at
from probe.check.delivery.coverage import Meanwhile, meanwhile, overlapping
from probe.check.delivery.numbers import Numbers, numbers_of
from probe.check.delivery.receipts import (
    DUPLICATED,
    FOREIGN,
    PHANTOM,
    UNEXPECTED,
    Receipts,
    receipts_of,
)
from probe.history.tables import FOREVER

if TYPE_CHECKING:
    from probe.check.delivery.rules import Rules
    from probe.check.view import Mask, StageView
    from probe.history.columns import Rows

LOST, GAP_LOST, UNKNOWN, STALLED = range(4)
MISSING: Final = np.dtype(
    [("run", "<i4"), ("type", "<i2"), ("what", "<i2"), ("count", "<i4"), ("trailing", "?")]
)
Ints = NDArray[np.int64]
Table = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Units:
    """The runs of one stage with all that came of them.

    `seen` int32[runs, columns]: events that count, at the session that began the run;
    `missing`: MISSING, those that did not come; `hung` bool[runs].
    """

    view: StageView
    rules: Rules
    runs: Rows
    receipts: Receipts
    seen: Table
    missing: Rows
    hung: Mask
    refused: Mask
    meanwhile: Meanwhile
    numbers: Numbers | None
    """Only where they are promised."""

    @cached_property
    def own(self) -> Mask:
        """Receipts that count, at the session that began their run."""
        return self.receipts.own(len(self.runs))

    @cached_property
    def recovered(self) -> Mask:
        """Of those, the ones that came on a later connection than the run was begun on."""
        return np.asarray(self.own & (self.receipts.op > self.runs["attempt"][self.receipts.run]))

    @cached_property
    def clusters(self) -> tuple[Ints, Ints]:
        """Sessions that began runs, and the place of each run's among them."""
        sessions, place = np.unique(self.runs["session"], return_inverse=True)
        return sessions.astype(np.int64), place.reshape(-1)

    def lacking(self, what: int) -> Rows:
        """Rows of `missing` of one class."""
        rows: Rows = self.missing[self.missing["what"] == what]
        return rows

    def marked(self, what: str) -> Ints:
        """Receipts of one class, as places."""
        receipts = self.receipts
        match what:
            case "late":
                mask = receipts.late
            case "reordered":
                mask = receipts.reordered
            case _:
                kinds = {"duplicated": DUPLICATED, "unexpected": UNEXPECTED, "phantom": PHANTOM}
                mask = receipts.kind == (kinds | {"foreign": FOREIGN})[what]
        return np.flatnonzero(mask)


def units_of(view: StageView, rules: Rules) -> Units:
    """See the module; O(n log n) in the rows of the stage."""
    runs = view.runs
    receipts = receipts_of(view, rules, runs)
    classify(view, rules, runs, receipts)
    life = meanwhile(view, runs)
    _excuse(view, runs, receipts, life)
    width = rules.width
    own = receipts.own(len(runs))
    code = receipts.run[own].astype(np.int64) * width + receipts.type[own]
    seen = np.bincount(code, minlength=len(runs) * width).astype(np.int32)
    seen = seen.reshape(len(runs), width)
    refused = refused_at(view, runs) < FOREVER
    numbers = None
    if rules.promises.numbered:
        numbers = numbers_of(rules, len(runs), receipts, view.history.lost)
    inner, trailing = _holes(rules, runs, seen, numbers)
    # One refused before anything came of it was never due.
    never = refused & ~seen.any(axis=1)
    inner[never] = trailing[never] = 0
    torn = bool(view.history.lost)
    missing, hung = _judged(
        rules, runs, receipts, seen, (inner, trailing), life, refused, numbers, torn=torn
    )  # fmt: skip
    return Units(
        view, rules, runs, receipts, seen, missing, hung, refused, life, numbers
    )  # fmt: skip


def _excuse(view: StageView, runs: Rows, receipts: Receipts, life: Meanwhile) -> None:
    """What came while we read nothing is not late."""
    late = np.flatnonzero(receipts.late)
    if not len(late) or not len(view.history.stalls):
        return
    stalled = life.stalled[receipts.run[late]]
    theirs = receipts.unit[late] >= len(runs)
    session = runs["session"][receipts.run[late]].copy()
    if theirs.any():
        session[theirs] = receipts.others[receipts.unit[late[theirs]] - len(runs), 1]
        begun = runs["begun"][receipts.run[late]]
        stalled |= overlapping(view.history.stalls, session, begun, receipts.t[late]) >= 0
    receipts.late[late[stalled]] = False


def _holes(rules: Rules, runs: Rows, seen: Table, numbers: Numbers | None) -> tuple[Table, Table]:
    """Missing events by run and column: those before something that came, and the rest."""
    size = np.maximum(runs["size"], 1)[:, None]
    lacking = rules.least * np.where(rules.sized, size, 1) - seen
    lacking = np.maximum(lacking, 0).astype(np.int32)
    later = np.zeros_like(lacking, dtype=np.bool_)
    ended = seen[:, rules.end] > 0
    for k in range(rules.width):
        after = rules.before[k]
        later[:, k] = (seen[:, after] > 0).any(axis=1) | (ended & (k != rules.end))
    inner = np.where(later, lacking, 0)
    trailing = lacking - inner
    if numbers is not None and len(runs):
        _by_numbers(rules, numbers, inner, trailing)
    return inner, trailing


def _by_numbers(rules: Rules, numbers: Numbers, inner: Table, trailing: Table) -> None:
    """Holes in the sequence are missing events, whatever the types say; in place."""
    highest = np.zeros(len(inner), dtype=np.int64)
    np.maximum.at(highest, numbers.run, numbers.seq)
    taken = np.bincount(numbers.run, minlength=len(inner))
    holes = highest - taken - inner.sum(axis=1)
    some = np.flatnonzero(holes > 0)
    left = holes[some]
    for k in range(rules.width):  # in the dialect's order: what is missing first
        take = np.minimum(left, trailing[some, k])
        inner[some, k] += take.astype(np.int32)
        trailing[some, k] -= take.astype(np.int32)
        left = left - take
    inner[some, rules.repeated] += left.astype(np.int32)


def _judged(
    rules: Rules,
    runs: Rows,
    receipts: Receipts,
    seen: Table,
    absent: tuple[Table, Table],
    life: Meanwhile,
    refused: Mask,
    numbers: Numbers | None,
    *,
    torn: bool,
) -> tuple[Rows, Mask]:
    """What is sure of each missing event; and which runs hang. `torn`: rows of ours are lost."""
    inner, trailing = absent
    last = runs["begun"].copy()
    own = receipts.own(len(runs))
    # By unit and time, so that of several the last one stays.
    last[receipts.run[own]] = receipts.t[own]
    covered = life.alive >= np.maximum(last + rules.quiet, runs["begun"] + rules.within)
    late = np.zeros(len(runs), dtype=np.bool_)
    late[receipts.run[receipts.late & own]] = True
    ended = seen[:, rules.end] > 0
    acked = seen.sum(axis=1) > 0
    gap = life.away >= 0
    after = (life.alive > last) | (life.closed_in_order >= last)
    rest = trailing.sum(axis=1)

    open_ = late | (life.cut_by_peer & ~ended & ~covered) | (ended & ~after)
    within = np.where(open_, UNKNOWN, LOST)
    within = np.where(gap, GAP_LOST, within)
    within = np.where(torn, UNKNOWN, within)
    within = np.where(life.stalled, STALLED, within)
    hung = covered & ~late & ~gap & ~life.stalled & ((rest > 1) | ((rest > 0) & ~acked))
    hung &= ~refused & (not torn)
    behind = np.where(covered & ~late & ~hung, LOST, UNKNOWN)
    behind = np.where(gap & covered & ~late, GAP_LOST, behind)
    behind = np.where(refused | torn, UNKNOWN, behind)
    behind = np.where(life.stalled, STALLED, behind)
    parts = [_rows(inner, within, trailing=False), _rows(trailing, behind, trailing=True)]
    missing = np.concatenate([_before_gap(runs, receipts, life, numbers, parts[0]), parts[1]])
    return missing[np.argsort(missing["run"], kind="stable")], hung


def _rows(table: Table, what: Ints, *, trailing: bool) -> Rows:
    run, type_ = np.nonzero(table)
    out = np.zeros(len(run), dtype=MISSING)
    out["run"], out["type"], out["count"] = run, type_, table[run, type_]
    out["what"], out["trailing"] = what[run], trailing
    return out


def _before_gap(
    runs: Rows, receipts: Receipts, life: Meanwhile, numbers: Numbers | None, missing: Rows
) -> Rows:
    """Holes below what had come before the session was away are lost, and not by the gap."""
    gone = missing["what"] == GAP_LOST
    if not gone.any() or numbers is None:
        return missing
    mine = (life.away[receipts.run] >= 0) & receipts.own(len(runs)) & (receipts.seq > 0)
    mine &= numbers.sound[receipts.run] & (receipts.op == runs["attempt"][receipts.run])
    highest = np.zeros(len(runs), dtype=np.int64)
    np.maximum.at(highest, receipts.run[mine], receipts.seq[mine])
    below = np.bincount(
        numbers.run[numbers.seq <= highest[numbers.run]], minlength=len(runs)
    )  # fmt: skip
    lost = highest - below
    out = [missing[~gone]]
    for row in np.unique(missing["type"][gone]):  # a loop over types
        mine_ = missing[gone & (missing["type"] == row)]
        take = np.minimum(lost[mine_["run"]], mine_["count"])
        lost[mine_["run"]] -= take
        sure, rest = mine_.copy(), mine_.copy()
        sure["what"], sure["count"] = LOST, take
        rest["count"] -= take.astype(np.int32)
        out += [sure[sure["count"] > 0], rest[rest["count"] > 0]]
    return np.concatenate(out)
