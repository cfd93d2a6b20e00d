"""Runs that were begun while nothing was read: what came of each once reading went on.

The rule: a run is *squeezed* if it began while its own connection was not being read. What
came of it is every distinct event of it that its session got, whenever. It is settled once a
sentinel that was sent after the pause came back (its answer comes behind everything that was
waiting), or its end came, or the connection lived on for the dialect's `quiet`; before that a
missing event is unknown. A run of which events came behind the sentinel was still being sent
when reading went on: that it came whole says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from probe.check.rows import Ints, among, connection, lived_until, of_stage, place
from probe.history.records import Kind, Run

if TYPE_CHECKING:
    from probe.check.view import Mask, StageView
    from probe.history.columns import Rows
    from probe.model.dialect import Dialect

_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Squeezed:
    """Squeezed runs, each with its own place in every array.

    `size` how many repeated events were asked for, `whole` how many events it has in all,
    `came` how many distinct ones came, `known` whether what is missing is lost, `waited`
    whether all of it was waiting when reading went on, `told` whether a message said meanwhile
    that events were dropped.
    """

    runs: Rows
    size: Ints
    whole: Ints
    came: Ints
    known: Mask
    waited: Mask
    told: Mask

    @property
    def lost(self) -> Mask:
        """Runs of which something was surely lost."""
        return np.asarray((self.came < self.whole) & self.known)

    @property
    def clean(self) -> Mask:
        """Runs that came whole after all of it had waited."""
        return np.asarray((self.came >= self.whole) & self.waited)


def squeezed(view: StageView) -> Squeezed:
    """The squeezed runs of a stage."""
    stalls = view.history.stalls
    stalls = stalls[among(stalls["session"], view.sessions["session"])]
    runs = view.runs[among(view.runs["session"], stalls["session"])]
    runs = runs[runs["outcome"] != Run.REFUSED]
    at = np.full(len(runs), -1, dtype=np.int64)
    for k, stall in enumerate(stalls):  # a pause is a step of a script: there are few
        at[_within(runs, stall)] = k
    runs, at = runs[at >= 0], at[at >= 0]
    got = of_stage(view, Kind.GOT)
    got = got[among(got["session"], runs["session"])]
    expected, came = _counts(view.resolved.dialect, runs, got)
    back = of_stage(view, Kind.SENTINEL)
    back = back[among(back["session"], runs["session"])]
    lived = _lived(view, runs)
    marks = [
        _marks(view, back, run, stalls[k], until)
        for run, k, until in zip(runs, at, lived, strict=True)
    ]
    ends = np.array([until for _, until in marks], dtype=np.int64)
    told = [
        # Of what was still being sent when reading went on, more may be dropped until its end.
        _told(
            view.resolved.dialect, got, run, int(stalls["since"][k]), max(until, int(run["ended"]))
        )
        for run, k, (_, until) in zip(runs, at, marks, strict=True)
    ]
    waited = _last(runs, got) <= ends
    # What is missing may be what the journal dropped.
    known = np.array([known and not view.history.lost for known, _ in marks], dtype=np.bool_)
    return Squeezed(
        runs,
        runs["size"].astype(np.int64),
        expected,
        came,
        known & (waited | (runs["ended"] > 0)),
        waited,
        np.array(told, dtype=np.bool_),
    )


def _within(runs: Rows, stall: Any) -> Mask:
    same = (runs["session"] == stall["session"]) & (runs["attempt"] == stall["attempt"])
    return np.asarray(same & (runs["begun"] >= stall["since"]) & (runs["begun"] <= stall["until"]))


def _counts(dialect: Dialect, runs: Rows, got: Rows) -> tuple[Ints, Ints]:
    """How many events each run has, and how many distinct ones of them its session got."""
    at, found = place(runs["key"], got["b"])
    if len(runs):
        found &= runs["session"][at] == got["session"]
    at, got = at[found], got[found]
    numbered = got["a"] > 0
    events = np.stack([at, got["flag"].astype(np.int64), got["a"].astype(np.int64)], axis=1)
    events = np.concatenate([np.unique(events[numbered], axis=0), events[~numbered]])
    expected = np.zeros(len(runs), dtype=np.int64)
    came = np.zeros(len(runs), dtype=np.int64)
    for step in dialect.run.steps if dialect.run else ():
        if step.times.startswith("0"):
            continue
        wanted = runs["size"].astype(np.int64) if step.times == "1..*" else np.ones_like(expected)
        mine = events[events[:, 1] == dialect.types.index(step.type) + 1, 0]
        expected += wanted
        came += np.minimum(np.bincount(mine, minlength=len(runs)), wanted)
    return expected, came


def _last(runs: Rows, got: Rows) -> Ints:
    """When the last event of each run came, ns."""
    out = np.zeros(len(runs), dtype=np.int64)
    at, found = place(runs["key"], got["b"])
    np.maximum.at(out, at[found], got["t"][found])
    return out


def _lived(view: StageView, runs: Rows) -> list[int]:
    """Until when the connection of each run was there, ns."""
    attempts = view.attempts[among(view.attempts["session"], runs["session"])]
    at, found = place(connection(attempts, "attempt"), connection(runs, "attempt"))
    lived = lived_until(view, attempts)
    return [int(lived[k]) if there else 0 for k, there in zip(at, found, strict=True)]


def _marks(view: StageView, rows: Rows, run: Any, stall: Any, lived: int) -> tuple[bool, int]:
    """Whether a run is settled, and until when it may have been told of drops.

    `rows` are SENTINEL rows, `lived` is until when its connection was there (ns).
    """
    rows = rows[(rows["session"] == run["session"]) & (rows["op"] == run["attempt"])]
    sent = rows["b"][(rows["flag"] == 0) & (rows["t"] >= stall["until"])]
    back = rows["t"][(rows["flag"] == 1) & np.isin(rows["b"], sent)]
    if len(back):
        return True, int(back.min())
    rule = view.resolved.dialect.run
    quiet = rule.quiet if rule is not None else _NEVER
    over = run["ended"] > 0 or lived - int(stall["until"]) >= quiet
    return bool(over), lived


def _told(dialect: Dialect, got: Rows, run: Any, since: int, until: int) -> bool:
    """Whether a message within these instants, ns, told of drops."""
    if dialect.dropped is None:
        return False
    mine = got[(got["session"] == run["session"]) & (got["op"] == run["attempt"])]
    mine = mine[mine["flag"] == dialect.types.index(dialect.dropped) + 1]
    return bool(((mine["t"] >= since) & (mine["t"] <= until)).any())
