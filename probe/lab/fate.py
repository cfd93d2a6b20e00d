"""The fate of a run: which defects it will meet, and at which of its events.

It is drawn whole when the run starts, once for each defect that is on, so it depends on
how many runs were started before and on nothing that happens later. What could not be
done in the end (an event was dropped that was to be sent twice) is no hit: the ledger is
told when a defect is done, not when it is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from probe.lab.table import EVENTS, TABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from probe.lab.defects import Defects, Draw

_NONE: Final[frozenset[str]] = frozenset()
# The types of event at which, or right after which, a defect can have its moment.
_MOMENTS: Final[Mapping[str, Sequence[str]]] = MappingProxyType(
    {
        **{
            name: TABLE[name].targets
            for name in ("drop_event", "duplicate_event", "reorder_event", "late_event")
        },
        "inconsistent_ids": EVENTS[1:],
        "hung_run": EVENTS[:3],
        "missing_field": ("tool_completed",),
        "wrong_type": ("tool_completed",),
        "event_after_end": ("agent_completed",),
        "close_1011_midrun": EVENTS[:4],
        "drop_tcp_midrun": EVENTS[:4],
    }
)


@dataclass(frozen=True, slots=True)
class Fate:
    """`thoughts` is how many the run will have; `missed` is the connection it avoids, or "".

    `moments` has the names of defects by the index (from 0) of the event they wait for.
    """

    thoughts: int
    missed: str
    moments: Mapping[int, frozenset[str]]

    def at(self, index: int) -> frozenset[str]:
        """The defects that wait for that event."""
        return self.moments.get(index, _NONE)


def kind_at(index: int, thoughts: int) -> str:
    """The type of a run's event of that index; one more than the run has is a thought."""
    if index == 0:
        return EVENTS[0]
    behind = index - thoughts  # 1 is the event after the last thought
    return EVENTS[behind + 1] if 1 <= behind <= len(EVENTS) - 2 else EVENTS[1]


def draw_fate(
    defects: Defects,
    thoughts: int,
    *,
    legacy: bool,
    first: bool,
    others: Sequence[str],
    early: bool = False,
) -> Fate:
    """Draw for a run at /ws/legacy or not, the first of its connection or not.

    `others` are the user's connections beside that which starts the run; `early` runs were
    started in the window of subscribe_race.
    """
    found: dict[int, set[str]] = {}
    if legacy and defects.hits("mode_differs"):
        thoughts += 1
        found[thoughts] = {"mode_differs"}
    for name, kinds in _MOMENTS.items():
        drawn = defects.draw(name)
        if drawn is not None:
            found.setdefault(_moment(drawn, kinds, thoughts), set()).add(name)
    if first and defects.hits("drop_first_event"):
        found.setdefault(0, set()).add("drop_first_event")
    if early:
        found.setdefault(0, set()).add("subscribe_race")
    missing = defects.draw("broadcast_misses_one")
    missed = others[missing.pick(len(others), "connection")] if missing and others else ""
    moments = {index: frozenset(names) for index, names in found.items()}
    return Fate(thoughts, missed, moments)


def _moment(drawn: Draw, kinds: Sequence[str], thoughts: int) -> int:
    """The index of the event: its type is given or drawn, and among many thoughts, which."""
    kind = drawn.target or kinds[drawn.pick(len(kinds), "type")]
    match EVENTS.index(kind):
        case 0:
            return 0
        case 1:
            return 1 + drawn.pick(thoughts, "which")
        case place:
            return thoughts + place - 1
