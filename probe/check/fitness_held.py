"""What the probe's memory did while the most connections were open: told, never a veto.

The rule: only the time counts in which nothing but time went on. That is the longest stretch in
which 99 % of the most connections of the run were open; where it is shorter than 30 s, nothing
is told. Memory is *flat* if the median of its last third is at most 2 % above that of its
first third, in the process of the probe that grew most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from probe.check.fitness_machine import LAB
from probe.check.view import FOREVER
from probe.history.records import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probe.check.fitness_machine import Notes
    from probe.check.view import StageView
    from probe.history.columns import Rows

SHARE: Final = 0.99
LEAST_NS: Final = 30_000_000_000
FLAT_PERCENT: Final = 2.0
_THIRDS: Final = 3
_MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Stretch:
    """`connections` were open at most; `SHARE` of them from `begin` to `end`, monotonic ns."""

    connections: int
    begin: int
    end: int


def held(notes: Notes, rows: Rows, views: Sequence[StageView]) -> None:
    """Put the figures `held_…` among the notes; `rows` are the watch's."""
    found = longest(views)
    if found is None or found.end - found.begin < LEAST_NS:
        return
    notes.figures |= {
        "held_connections": found.connections,
        "held_s": round((found.end - found.begin) / 1e9, 3),
    }
    rows = rows[(rows["kind"] == Kind.CPU) & (rows["op"] != LAB)]
    rows = rows[(rows["t"] >= found.begin) & (rows["t"] <= found.end)]
    third = (found.end - found.begin) // _THIRDS
    ends = []
    for process in np.unique(rows["op"]).tolist():
        mine = rows[rows["op"] == process]
        first = mine["b"][mine["t"] <= found.begin + third]
        last = mine["b"][mine["t"] >= found.end - third]
        if len(first) and len(last) and np.median(first) > 0:
            ends.append((float(np.median(first)), float(np.median(last))))
    if ends:
        grown = max((last - first) / first for first, last in ends)
        notes.figures |= {
            "held_memory_first_third_mib": round(sum(each[0] for each in ends) / _MIB, 3),
            "held_memory_last_third_mib": round(sum(each[1] for each in ends) / _MIB, 3),
            "held_memory_growth_percent": round(100 * grown, 3),
        }


def longest(views: Sequence[StageView]) -> Stretch | None:
    """The longest stretch of that; None where no connection became ready."""
    parts = [view.attempts[view.attempts["ready"] > 0] for view in views]
    over = max((view.ended for view in views), default=0)
    begins = np.concatenate([part["ready"] for part in parts] or [np.zeros(0, np.int64)])
    ends = np.concatenate([part["end"] for part in parts] or [np.zeros(0, np.int64)])
    if not len(begins):
        return None
    ends = np.where(ends > 0, ends, FOREVER).clip(max=max(over, int(begins.max())))
    times = np.concatenate([begins, ends])
    by: Any = np.concatenate([np.ones(len(begins), np.int64), -np.ones(len(ends), np.int64)])
    order = np.lexsort((by, times))
    times, alive = times[order], by[order].cumsum()
    most = int(alive.max())
    enough = alive >= SHARE * most
    # Each stretch begins where it becomes enough, and ends with the change that makes it less.
    change = np.diff(enough.astype(np.int64), prepend=0, append=0)
    since, until = np.flatnonzero(change == 1), np.flatnonzero(change == -1)
    lasts = times[np.minimum(until, len(times) - 1)] - times[since]
    at = int(np.argmax(lasts))
    begin = int(times[since[at]])
    return Stretch(most, begin, begin + int(lasts[at]))
