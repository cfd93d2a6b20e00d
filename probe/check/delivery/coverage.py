"""What each run's session went through meanwhile: how long it lived, was away, or read nothing.

One entry per run of a stage. `alive` is the last proof of life of the connections that could
have carried the run: that on which it was begun and, if the session was away meanwhile, the
later ones. An absence of ours (a stall) or of the session (a gap) excuses what is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from probe.history.records import Outcome
from probe.history.tables import FOREVER

if TYPE_CHECKING:
    from probe.check.view import Mask, StageView
    from probe.history.columns import Rows

AWAY: Final = np.dtype(
    [("session", "<u4"), ("attempt", "<u4"), ("since", "<i8"), ("until", "<i8")]
)  # attempt: the one that ended
Ints = NDArray[np.int64]
Narrow = NDArray[Any]
_OURS: Final = (-1, Outcome.NORMAL, Outcome.CANCELLED, Outcome.LOCAL)


@dataclass(frozen=True, eq=False)
class Meanwhile:
    """See the module. Arrays over runs; `away` is the gap (row of `gaps`) they had, -1 none."""

    alive: Ints
    closed_in_order: Ints
    """When the peer's Close came: nothing can come after it; 0 never."""
    cut_by_peer: Mask
    """The connection ended, and not by our doing."""
    stalled: Mask
    away: Ints
    gaps: Rows
    order: Ints
    """Which run of its connection this is, from 0."""
    again: Mask
    """Begun on a connection that was not the session's first ready one."""


def meanwhile(view: StageView, runs: Rows) -> Meanwhile:
    """See the module."""
    coverage, attempts = view.history.coverage, view.attempts
    ready = coverage[np.isin(coverage["session"], view.sessions["session"])]
    over = np.where(runs["ended"] > 0, runs["ended"], runs["over"])
    over = np.where(over > 0, over, FOREVER)
    gaps = gaps_of(view, ready)
    away = overlapping(gaps, runs["session"], runs["begun"], over)
    at, found = find(pair(ready["session"], ready["attempt"]), _begun_on(runs))
    alive = np.where(found, _take(ready["alive"], at), runs["begun"])
    # After a gap any later connection of the session may show that it lives.
    again = np.zeros(len(runs), dtype=np.bool_)
    sessions, first = np.unique(ready["session"], return_index=True)
    if len(sessions):
        place, known = find(sessions, runs["session"])
        last = np.maximum.reduceat(ready["alive"], first)
        alive = np.where((away >= 0) & known, last[place], alive)
        again = known & (runs["attempt"] > ready["attempt"][first][place])
    on, there = find(pair(attempts["session"], attempts["attempt"]), _begun_on(runs))
    outcome = np.where(there, _take(attempts["outcome"], on), -1)
    stalls = view.history.stalls
    return Meanwhile(
        alive=alive,
        closed_in_order=np.where(there, _take(attempts["close_at"], on), 0),
        cut_by_peer=there & ~np.isin(outcome, _OURS),
        stalled=overlapping(stalls, runs["session"], runs["begun"], over) >= 0,
        away=away,
        gaps=gaps,
        order=_numbers(runs),
        again=again,
    )


def gaps_of(view: StageView, ready: Rows) -> Rows:
    """AWAY: from the end of one connection that was ready to the next ready of its session."""
    attempts = view.attempts
    at, found = find(
        pair(attempts["session"], attempts["attempt"]), pair(ready["session"], ready["attempt"])
    )
    end = np.where(found, _take(attempts["end"], at), 0)
    next_ = (ready["session"][1:] == ready["session"][:-1]) & (end[:-1] > 0)
    out = np.zeros(int(next_.sum()), dtype=AWAY)
    out["session"], out["attempt"] = ready["session"][:-1][next_], ready["attempt"][:-1][next_]
    out["since"], out["until"] = end[:-1][next_], ready["ready"][1:][next_]
    return out


def overlapping(spans: Rows, sessions: Narrow, since: Ints, until: Ints) -> Ints:
    """The first of `spans` of the same session that touches [since, until]; -1 for none.

    Spans of one session follow each other and do not overlap.
    """
    out = np.full(len(sessions), -1, dtype=np.int64)
    if not len(spans) or not len(sessions):
        return out
    # Rank of (session, time) over both, so that one search serves all sessions.
    order = np.lexsort((spans["since"], spans["session"]))
    spans = spans[order]
    who = np.concatenate([spans["session"], sessions])
    when = np.concatenate([spans["until"], since])
    kind = np.append(np.ones(len(spans), np.int8), np.zeros(len(sessions), np.int8))
    merged = np.lexsort((kind, when, who))  # at one instant the asker stands before the span
    before = np.cumsum(merged < len(spans))
    place = np.empty(len(merged), dtype=np.int64)
    place[merged] = before
    next_ = place[len(spans) :]
    inside = np.minimum(next_, len(spans) - 1)
    hit = (next_ < len(spans)) & (spans["session"][inside] == sessions)
    hit &= spans["since"][inside] <= until
    out[hit] = order[inside[hit]]
    return out


def pair(session: Narrow, attempt: Narrow) -> Ints:
    """One number for a session and its attempt; sorts as the two do."""
    return (session.astype(np.int64) << 32) | attempt.astype(np.int64)


def find(keys: Narrow, wanted: Narrow) -> tuple[Ints, Mask]:
    """Places of `wanted` in sorted `keys`, and which of them are there."""
    if not len(keys):
        return np.zeros(len(wanted), dtype=np.int64), np.zeros(len(wanted), dtype=np.bool_)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return at, np.asarray(keys[at] == wanted)


def _begun_on(runs: Rows) -> Ints:
    return pair(runs["session"], runs["attempt"])


def _take(column: Narrow, at: Ints) -> Ints:
    return column[at] if len(column) else np.zeros(len(at), dtype=np.int64)


def _numbers(runs: Rows) -> Ints:
    """The place of each run on its connection, by key."""
    key = _begun_on(runs)
    starts = np.flatnonzero(np.append(True, key[1:] != key[:-1])) if len(key) else key
    lengths = np.diff(np.append(starts, len(key)))
    return np.arange(len(key)) - np.repeat(starts, lengths)
