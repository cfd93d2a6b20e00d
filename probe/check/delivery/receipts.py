"""Receipts: every event of a run that came to anybody, in segments by who got it.

The rule: receipts stand by unit (run and recipient) and then as they came; stamps of one
chunk are equal, and rows of one session keep the order in which they came. A *leg* is a
connection, or its part behind the answer to a request for replay: what is live may come
before that answer, and is newer than what follows it. What each receipt is, `classes` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from probe.check.delivery.coverage import pair
from probe.history.records import Kind, Put

if TYPE_CHECKING:
    from probe.check.delivery.rules import Rules
    from probe.check.view import Mask, StageView
    from probe.history.columns import Rows

FIRST, DUPLICATED, UNEXPECTED, PHANTOM, FOREIGN = range(5)
_NOT_OURS: Final = -2  # GOT.b
Ints = NDArray[np.int64]
Narrow = NDArray[Any]  # as narrow as its docstring says


@dataclass(frozen=True, eq=False)
class Receipts:
    """Columns of n receipts, by unit and then as they came.

    `run` int32[n] row of the runs table; `unit` int32[n]: below the number of runs it is
    the run at the session that began it, else `others[unit - runs]` is (run, session);
    `type` int16[n] column of Rules; `seq` int32[n], 0 none; `t` int64[n] ns; `op` int32[n]
    attempt; `leg` int32[n]; `kind` uint8[n] class; `late` and `reordered` bool[n], of FIRST
    only. `alien`: rows of events of runs that nobody here has begun; `nameless`: rows of
    events that name no run, of types that name theirs elsewhere in the stage.
    """

    run: Narrow
    unit: Narrow
    type: Narrow
    seq: Narrow
    t: Ints
    op: Narrow
    leg: Narrow
    kind: Narrow
    late: Mask
    reordered: Mask
    others: Ints
    alien: Rows
    nameless: Rows

    def __len__(self) -> int:
        return len(self.run)

    def own(self, runs: int) -> Mask:
        """Which came to the session that began the run, and count."""
        return np.asarray((self.unit < runs) & (self.kind == FIRST))


def receipts_of(view: StageView, rules: Rules, runs: Rows) -> Receipts:
    """The receipts of the runs of a stage."""
    rows = view.history.rows
    got = view.history.places(Kind.GOT)
    keys = rows["b"][got]
    bare, mine, keys = got[keys == -1], got[keys != -1], keys[keys != -1]
    column = _columns(rules, rows["flag"][mine])
    seq = np.maximum(rows["a"][mine], 0)
    # Where the service names its runs, others of the same user may rightly bring theirs.
    known = rules.names_runs or rules.promises.recipients == "session"
    strange = (keys == _NOT_OURS) & (column < rules.width - 1) & known
    alien = rows[mine[strange]]
    at, found = _places(runs["key"], keys)
    # A message of another type counts only where it takes up a number.
    found &= (column < rules.width - 1) | (seq > 0)
    mine, run = mine[found], at[found]
    unit, others = _units(run, rows["session"][mine], runs)
    order = _order(unit, rows["t"], mine)
    return Receipts(
        run=run[order],
        unit=unit[order],
        type=column[found][order],
        seq=seq[found][order],
        t=rows["t"][mine[order]],
        op=rows["op"][mine[order]].astype(np.int32),
        leg=_legs(view, mine)[order],
        kind=np.zeros(len(run), dtype=np.uint8),
        late=np.zeros(len(run), dtype=np.bool_),
        reordered=np.zeros(len(run), dtype=np.bool_),
        others=others,
        alien=alien[_of_stage(view, alien)],
        nameless=_nameless(view, rules, rows[bare], rows, mine),
    )


def _columns(rules: Rules, flags: NDArray[np.uint16]) -> Narrow:
    column: Narrow = rules.column[np.minimum(flags, len(rules.column) - 1)].astype(np.int16)
    return column


def _nameless(view: StageView, rules: Rules, rows: Rows, every: Rows, named: Narrow) -> Rows:
    """Those of `rows` whose type is one of a run, and which the rows at `named` name."""
    column = _columns(rules, rows["flag"])
    events = column < rules.width - 1
    if not events.any():  # as nearly always
        return rows[:0]
    rows, column = rows[events], column[events]
    mine, others = _of_stage(view, rows), every[named]
    names = np.unique(_columns(rules, others["flag"][_of_stage(view, others)]))
    return rows[mine & np.isin(column, names)]


def identities(view: StageView, sessions: Narrow) -> Ints:
    """The user of each session, int64[n]; -1 for one that is not known."""
    table = view.history.sessions
    at, found = _places(table["session"], sessions)
    return np.where(found, table["identity"][at], -1) if len(table) else at - 1


def _units(run: Narrow, session: Narrow, runs: Rows) -> tuple[Narrow, Ints]:
    """The unit of each receipt, and (run, session) of those who did not begin the run."""
    unit = run.astype(np.int32)
    theirs = np.flatnonzero(session != runs["session"][run])
    code = (run[theirs].astype(np.int64) << 32) | session[theirs]
    codes, place = np.unique(code, return_inverse=True)
    unit[theirs] = len(runs) + place.reshape(-1)
    return unit, np.stack([codes >> 32, codes & 0xFFFFFFFF], axis=1)


def _legs(view: StageView, mine: Ints) -> Narrow:
    """Twice the attempt, and one more behind the answer to a request for replay."""
    rows, replay = view.history.rows, view.resolved.dialect.replay
    leg = rows["op"][mine].astype(np.int32) * 2
    later = np.flatnonzero(leg > 0)  # nothing is replayed to the first
    if replay is None or not len(later):
        return leg
    if replay.answer is None:
        marks = (rows["kind"] == Kind.PUT) & (rows["flag"] == Put.RESUME)
    else:
        answer = view.resolved.dialect.types.index(replay.answer) + 1
        marks = (rows["kind"] == Kind.GOT) & (rows["flag"] == answer)
    places = np.flatnonzero(marks)
    keys, first = np.unique(pair(rows["session"][places], rows["op"][places]), return_index=True)
    at, found = _places(keys, pair(rows["session"][mine[later]], rows["op"][mine[later]]))
    behind = later[found][mine[later[found]] > places[first][at[found]]]
    leg[behind] += 1
    return leg


def _order(unit: Narrow, t: Ints, mine: Ints) -> Ints:
    """By unit and then as they came: stamps of one chunk are equal, and keep their order."""
    order = np.argsort(unit, kind="stable")
    times, units = t[mine[order]], unit[order]
    if ((times[1:] < times[:-1]) & (units[1:] == units[:-1])).any():
        order = np.lexsort((t[mine], unit))
    return order


def _of_stage(view: StageView, rows: Rows) -> Mask:
    return np.isin(rows["session"], view.sessions["session"])


def _places(keys: Ints, wanted: Ints) -> tuple[Narrow, Mask]:
    """Rows of `wanted` in sorted `keys`, and which of them are there."""
    if not len(keys):
        return np.zeros(len(wanted), dtype=np.int32), np.zeros(len(wanted), dtype=np.bool_)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1).astype(np.int32)
    return at, np.asarray(keys[at] == wanted)
