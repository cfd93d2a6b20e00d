"""The questions of one level whose connections stay: what they were answered, and how soon.

The rule: a question counts from its intended time, so that one that was sent late is late, and
every question of the measured time counts. One that could not be sent, or whose connection
ended before its answer, has failed; one without an answer within the patience is censored
there, also where the answer came later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from probe.check.rows import place
from probe.history.records import Kind, Level

if TYPE_CHECKING:
    from probe.check.view import Mask, StageView
    from probe.history.columns import Rows
    from probe.model.capacity import Capacity

Ints = NDArray[np.int64]
_FOREVER: Final = np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False, slots=True)
class Questions:
    """Those of the measured time, by intended time; int64[n] stamps in ns, 0 for never.

    `session` is whose connection was asked. `lost` bool[n]: not sent, or its connection ended
    before an answer; `late` bool[n]: no answer within the patience, though the connection was
    there. `took` int64[n] is from the intended time to the answer, else to the patience.
    """

    session: Ints
    intended: Ints
    sent: Ints
    answered: Ints
    took: Ints
    lost: Mask
    late: Mask


def questions(view: StageView, rule: Capacity, number: int, span: tuple[int, int]) -> Questions:
    """Of the level of that number; `span` is the time that is measured (ns, [from, to))."""
    history = view.history
    rows = history.of(Kind.LEVEL)
    rows = rows[(rows["flag"] == Level.ASKED) & (rows["a"] == number)]
    rows = rows[(rows["t"] >= span[0]) & (rows["t"] < span[1])]
    rows = rows[np.argsort(rows["t"], kind="stable")]
    intended, names = rows["t"].astype(np.int64), _named(rows)
    there = rows["b"] > 0
    if rule.of == "connections":
        puts, answers = history.of(Kind.PING), history.of(Kind.PONG)
    else:
        marks = history.of(Kind.SENTINEL)
        puts, answers = marks[marks["flag"] == 0], marks[marks["flag"] == 1]
    sent = np.where(there, _first(names, puts, np.zeros_like(intended)), 0)
    answered = np.where(there, _first(names, answers, sent), 0)
    until = intended + rule.patience
    ends = history.of(Kind.END)
    gone = _first_of(rows["session"].astype(np.int64), ends["session"].astype(np.int64), ends["t"])
    in_time = (answered > 0) & (answered <= until)
    lost = ~in_time & ((sent == 0) | ((gone > 0) & (gone <= until)))
    took = np.where(in_time, answered, until) - intended
    return Questions(
        rows["session"].astype(np.int64), intended, sent, np.where(in_time, answered, 0),
        np.maximum(took, 0), lost, ~in_time & ~lost,
    )  # fmt: skip


def _named(rows: Rows) -> Ints:
    """Session and number of a question, an answer, as one number."""
    return (rows["session"].astype(np.int64) << 32) | rows["b"].astype(np.int64)


def _first(names: Ints, rows: Rows, since: Ints) -> Ints:
    """When each was first in `rows`, 0 for never, or before `since`."""
    found = _first_of(names, _named(rows), rows["t"])
    return np.where(found >= since, found, 0)


def _first_of(names: Ints, others: Ints, stamps: Ints) -> Ints:
    order = np.lexsort((stamps, others))
    keys, first = np.unique(others[order], return_index=True)
    at, found = place(keys, names)
    if not len(keys):
        return np.zeros(len(names), dtype=np.int64)
    return np.where(found, stamps[order][first][at], 0).astype(np.int64)
