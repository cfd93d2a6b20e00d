"""A hub per user: the open connections, the cursor, the log, the runs, the budget.

All connections of a user get every event of all that user's runs from the moment they are
ready; what came before, a connection can ask for (`missed`), as far as the log reaches.
Runs belong to the hub and not to a connection, so they outlive it. A hub in which nobody
and nothing is left is kept for those who come back, until there are too many such.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from probe.lab.limits import Bucket, FixedWindow

if TYPE_CHECKING:
    from collections.abc import Callable

    from probe.lab.fate import Fate
    from probe.lab.limits import Limit
    from probe.lab.messages import Asked, Event
    from probe.lab.outbound import Outbound

LOG_EVENTS_MAX: Final = 1_000
IDLE_HUBS_MAX: Final = 5_000
_BESIDE_THOUGHTS: Final = 4  # the events of a run that are no thought


@dataclass(slots=True, eq=False)
class Member:
    """One ready connection. `close` takes code and reason, `reset` ends it with a TCP reset."""

    connection_id: str
    user_id: str
    endpoint: str
    outbound: Outbound
    close: Callable[[int, str], None]
    reset: Callable[[], None]
    ready_ns: int = field(default_factory=time.perf_counter_ns)
    joined: int = 0  # the user's cursor when it became ready
    runs: int = 0  # started on it
    replayed: int = 0  # events
    limited: int = 0  # messages


@dataclass(slots=True, eq=False)
class Hub:
    """What one user has; `cursor` is that of the last event."""

    user_id: str
    bucket: Bucket
    window: FixedWindow  # instead of it, for the defect limit_resets_at_edge
    cursor: int = 0
    log: deque[Event] = field(default_factory=lambda: deque(maxlen=LOG_EVENTS_MAX))
    members: dict[str, Member] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    mixed: int = 0  # hits of mixed_shapes, whose shapes alternate

    def missed(self, member: Member, after: int) -> list[Event]:
        """The events in the log that came after that cursor and before this member did.

        Those that came later it was given as they came, and nothing is given twice.
        """
        return [event for event in self.log if after < event.cursor <= member.joined]


@dataclass(slots=True, eq=False)
class Run:
    """One run: what was asked, who started it, its fate, and how far it has come."""

    number: int  # in this life
    asked: Asked
    hub: Hub
    starter: Member
    fate: Fate
    began_ns: int = field(default_factory=time.perf_counter_ns)
    next: int = 0  # index of the event that comes next
    sent: int = 0  # events made, without one that drop_event took
    counts: Counter[str] = field(default_factory=Counter)
    paused: bool = False  # for late_event
    hung: bool = False
    missed_told: bool = False
    only: str = ""  # the connection that alone gets its events (takeover_race)
    shown_id: str = ""  # the run_id in its events, where that is another's (double_run_mixup)
    early_ns: int = 0  # after connection_ready, where that is why it is hit (subscribe_race)

    @property
    def total(self) -> int:
        """How many events the whole run has."""
        return self.fate.thoughts + _BESIDE_THOUGHTS


class Hubs:
    """The hubs of all users; `members` are all ready connections in the order they came."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.shared = Bucket(limit, time.perf_counter_ns())  # for the defect rate_limit_global
        self.members: dict[str, Member] = {}
        self._hubs: dict[str, Hub] = {}
        self._idle: dict[str, None] = {}  # users of whom nothing is left, the longest ago first

    def join(self, member: Member) -> Hub:
        """Make a connection a member of its user's hub: from here on it gets all events."""
        user_id = member.user_id
        hub = self._hubs.get(user_id)
        if hub is None:
            now_ns = time.perf_counter_ns()
            limits = Bucket(self.limit, now_ns), FixedWindow(self.limit, now_ns)
            hub = self._hubs[user_id] = Hub(user_id, *limits)
        self._idle.pop(user_id, None)
        member.joined = hub.cursor
        hub.members[member.connection_id] = self.members[member.connection_id] = member
        return hub

    def leave(self, hub: Hub, member: Member) -> None:
        """The connection is over."""
        del hub.members[member.connection_id], self.members[member.connection_id]
        self.tidy(hub)

    def tidy(self, hub: Hub) -> None:
        """Note that a hub may be without a use; forget the one that was so for longest."""
        if hub.members or hub.runs:
            return
        self._idle[hub.user_id] = None
        while len(self._idle) > IDLE_HUBS_MAX:
            longest = next(iter(self._idle))
            del self._idle[longest], self._hubs[longest]

    def all(self) -> list[Hub]:
        """Every hub there is."""
        return list(self._hubs.values())
