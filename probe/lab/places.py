"""The cap on a user's connections: who comes beyond it is refused.

A user may set a cap of their own (`account`); without one only the lab's bound on all
sessions holds. Done right, a connection is counted in the very step that checks it against
the cap. With the defect cap_race it is counted only a while after, as it is where the count
stands in a store of its own: all that come in between get in. A session whose token is
judged late (`unjudged`) is not counted: nobody knows whose it is.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from probe.lab.defects import Defects

USERS_MAX: Final = 20_000
CAP_RACE: Final = "cap_race"


class FullError(Exception):
    """The user has as many connections as they may have."""


@dataclass(slots=True, eq=False)
class Place:
    """One connection that was let in.

    `over_ns` is how long after the one before it, where it is beyond the cap; `timer` what is
    to count it, where it is not counted yet.
    """

    user_id: str
    over_ns: int | None
    timer: asyncio.TimerHandle | None = None


class Places:
    """The connections of all users, and their caps; beyond a bound the oldest is forgotten."""

    def __init__(self, defects: Defects) -> None:
        self._defects = defects
        self._caps: dict[str, int] = {}
        self._open: Counter[str] = Counter()
        self._counted: Counter[str] = Counter()
        self._last_ns: dict[str, int] = {}  # when the last one was let in

    def allow(self, user_id: str, most: int) -> None:
        """Set how many connections the user may have; those that are open stay."""
        self._caps.pop(user_id, None)  # so that the order is that of time
        self._caps[user_id] = most
        if len(self._caps) > USERS_MAX:
            del self._caps[next(iter(self._caps))]

    def take(self, user_id: str) -> Place:
        """Let one more connection of that user in; FullError when there are enough."""
        now_ns = time.perf_counter_ns()
        cap = self._caps.get(user_id)
        if cap is not None and self._counted[user_id] >= cap:
            raise FullError
        over = cap is not None and self._open[user_id] >= cap
        place = Place(user_id, now_ns - self._last_ns[user_id] if over else None)
        self._open[user_id] += 1
        self._last_ns[user_id] = now_ns
        gap_ns = self._defects.duration_ns(CAP_RACE)
        if cap is None or gap_ns is None:
            self._count(place)
        else:
            loop = asyncio.get_running_loop()
            place.timer = loop.call_later(gap_ns / 1e9, self._count, place)
        return place

    def leave(self, place: Place) -> None:
        """That connection is over."""
        user_id = place.user_id
        if place.timer is None:
            self._counted[user_id] -= 1
        else:
            place.timer.cancel()
        self._open[user_id] -= 1
        if not self._open[user_id]:
            del self._open[user_id], self._counted[user_id], self._last_ns[user_id]

    def _count(self, place: Place) -> None:
        place.timer = None
        self._counted[place.user_id] += 1
