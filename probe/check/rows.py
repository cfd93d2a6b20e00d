"""Rows of one stage, and which connection they belong to.

The rule: a row belongs to the stage of its client's population. A connection is named by
one number, its session in the upper 32 bits and its attempt in the lower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from probe.check.view import gone_at
from probe.history.records import Kind
from probe.history.records import Outcome as Ended

if TYPE_CHECKING:
    from probe.check.view import Mask, StageView
    from probe.history.columns import Rows

Ints = NDArray[np.int64]
BREACH: Final = (Ended.PROTOCOL_ERROR, Ended.TOO_LARGE)
UNASKED: Final = (Ended.CLOSED, Ended.RESET, Ended.EOF, *BREACH)


def of_stage(view: StageView, *kinds: Kind) -> Rows:
    """The stage's rows of some kinds, in the order of writing."""
    rows: Rows = view.history.rows[places_of(view, *kinds)]
    return rows


def places_of(view: StageView, *kinds: Kind) -> NDArray[np.int32]:
    """Where they stand among all rows: of 10^7 rows only the columns that are needed are read."""
    places = view.history.places(*kinds)
    return places[among(view.history.rows["session"][places], view.sessions["session"])]


def among(values: NDArray[np.integer], chosen: NDArray[np.integer]) -> Mask:
    """Which of `values` (sessions) stand in `chosen`."""
    if not len(values) or not len(chosen):
        return np.zeros(len(values), dtype=np.bool_)
    # A table of sessions instead of a sort: there may be 10^7 rows and few sessions.
    beyond = int(chosen.max()) + 1
    table = np.zeros(beyond + 1, dtype=np.bool_)
    table[chosen] = True
    return np.asarray(table[np.minimum(values, beyond)])


def connection(rows: Rows, op: str = "op") -> Ints:
    """The connection of each row; of attempts with `op` "attempt"."""
    return (rows["session"].astype(np.int64) << 32) | rows[op].astype(np.int64)


def place(keys: Ints, wanted: Ints) -> tuple[Ints, Mask]:
    """Positions of `wanted` in the sorted `keys`, and which of them are there."""
    if not len(keys):
        return np.zeros(len(wanted), dtype=np.int64), np.zeros(len(wanted), dtype=np.bool_)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return at, np.asarray(keys[at] == wanted)


def over_restart(view: StageView, attempts: Rows) -> Mask:
    """Connections that were still there when the next restart began: we ended those."""
    out = np.zeros(len(attempts), dtype=np.bool_)
    for trial in view.trials:
        out |= (attempts["trial"] == trial.number) & (attempts["end"] >= trial.until)
    return out


def lost_unasked(attempts: Rows) -> Mask:
    """Connections that were ready, and that the peer closed, dropped or broke unasked."""
    return np.asarray((attempts["ready"] > 0) & np.isin(attempts["outcome"], UNASKED))


def lived_until(view: StageView, attempts: Rows) -> Ints:
    """Until when each connection was surely there, ns: its loss, our Close, or its end.

    One without an end was there until the last row that came from the peer.
    """
    sent = of_stage(view, Kind.CLOSE)
    sent = sent[sent["flag"] == 0]
    until = gone_at(attempts).astype(np.int64)
    keys = connection(attempts, "attempt")
    at, found = place(keys, connection(sent))
    first = np.full(len(attempts), np.iinfo(np.int64).max)
    np.minimum.at(first, at[found], sent["t"][found])
    until = np.minimum(until, first)
    cover = view.history.coverage
    at, found = place(connection(cover, "attempt"), keys)
    alive = np.where(found, cover["alive"][at], attempts["ready"]) if len(cover) else until
    return np.where(attempts["outcome"] < 0, alive, until)
