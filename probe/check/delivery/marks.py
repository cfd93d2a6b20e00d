"""What the witness of a run points at: the events that are wrong, and where others never came.

The rule: a gap has a line of its own between what came before it and what came after. It has a
number where the numbers of the run can be relied on, and the name of what is missing where that
is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from probe.check.delivery.units import GAP_LOST, LOST
from probe.check.witness import Marks, message
from probe.check.words import counted
from probe.history.records import Kind

if TYPE_CHECKING:
    from probe.check.delivery.units import Units
    from probe.check.witness import Message
    from probe.history.columns import Rows

POINTS_MAX: Final = 20
Ints = NDArray[np.int64]


def marked(units: Units, key: int, places: Ints) -> Marks:
    """Those of the receipts at `places` that are of the run."""
    receipts = units.receipts
    mine = places[receipts.run[places] == _place(units, key)][:POINTS_MAX]
    wanted = set(
        zip(receipts.t[mine].tolist(), receipts.type[mine].tolist(), receipts.seq[mine].tolist(),
            strict=True)
    )  # fmt: skip
    rows = _messages(units, key)
    found = zip(rows["t"].tolist(), _types(units, rows).tolist(), _numbers(rows).tolist(),
                strict=True)  # fmt: skip
    return Marks(frozenset(message(rows[k]) for k, one in enumerate(found) if one in wanted))


def hung(units: Units, key: int) -> Marks:
    """What came last, and that nothing came behind it."""
    rows = _messages(units, key)
    last = message(rows[-1]) if len(rows) else None
    return Marks(frozenset([last] if last else []), end=(last, "nothing more came of it"))


def lost(units: Units, key: int) -> Marks:
    """Where events of the run are missing, and what stands on either side."""
    place, rows = _place(units, key), _messages(units, key)
    missing = units.missing
    missing = missing[(missing["run"] == place) & np.isin(missing["what"], (LOST, GAP_LOST))]
    if not len(rows):
        return Marks(end=(None, f"{_named(units, missing)} never came"))
    trailing = missing[missing["trailing"]]
    inner = missing[~missing["trailing"]]
    points: set[Message] = set()
    absent: dict[Message, str] = {}
    for behind, words in _gaps(units, place, rows, inner):
        absent[message(rows[behind])] = f"{words} never came"
        points |= {message(rows[k]) for k in (behind - 1, behind) if k >= 0}
    end = None
    if len(trailing):
        end = (message(rows[-1]), f"{_named(units, trailing)} never came")
        points.add(message(rows[-1]))
    return Marks(frozenset(points), absent, end)


def _gaps(units: Units, place: int, rows: Rows, inner: Rows) -> list[tuple[int, str]]:
    """For each gap the row behind it, and what is missing there."""
    if not len(inner):
        return []
    numbers = units.numbers
    holes: list[tuple[int, int, int]] = []
    if numbers is not None and numbers.sound[place]:
        holes = _holes(_numbers(rows), numbers.seq[numbers.run == place])
    if holes:
        alone = len(holes) == 1 and len(inner) == 1
        name = f" ({units.rules.names[int(inner[0]['type'])]})" if alone else ""
        return [(k, f"{_sequence(low, high)}{name}") for k, low, high in holes][:POINTS_MAX]
    types = _types(units, rows)
    at: dict[int, list[int]] = {}
    for k, row in enumerate(inner):
        later = np.flatnonzero(units.rules.before[int(row["type"])][types])
        at.setdefault(int(later[0]) if len(later) else len(rows) - 1, []).append(k)
    return [(behind, _named(units, inner[here])) for behind, here in at.items()]


def _holes(sequence: Ints, known: Ints) -> list[tuple[int, int, int]]:
    """(row behind it, first, last) of the numbers that are missing below the highest."""
    known = np.unique(known)
    steps = np.diff(known, prepend=0)
    out = []
    for k in np.flatnonzero(steps > 1):
        low, high = int(known[k] - steps[k]) + 1, int(known[k]) - 1
        behind = np.flatnonzero(sequence > high)
        if len(behind):
            out.append((int(behind[0]), low, high))
    return out


def _sequence(low: int, high: int) -> str:
    return f"sequence {low}" if low == high else f"sequence {low} to {high}"


def _named(units: Units, missing: Rows) -> str:
    """Their types one behind the other, with a number where it is more than one."""
    names = units.rules.names
    parts = [
        names[int(row["type"])]
        if int(row["count"]) == 1
        else f"{counted(int(row['count']), 'event')} of {names[int(row['type'])]}"
        for row in missing
    ]
    return ", ".join(parts) or "an event"


def _messages(units: Units, key: int) -> Rows:
    """What came of the run at the session that began it, as it came."""
    rows = units.view.history.frames(key >> 32)
    mine: Rows = rows[(rows["kind"] == Kind.GOT) & (rows["b"] == key)]
    return mine


def _place(units: Units, key: int) -> int:
    return int(np.searchsorted(units.runs["key"], key))


def _types(units: Units, rows: Rows) -> Ints:
    column = units.rules.column
    found: Ints = column[np.minimum(rows["flag"], len(column) - 1)]
    return found


def _numbers(rows: Rows) -> Ints:
    found: Ints = np.maximum(rows["a"], 0).astype(np.int64)
    return found
