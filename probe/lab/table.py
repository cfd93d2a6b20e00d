"""The table of defects: what each does, what its value means, until when it can be set.

A defect is a row here and one decision point in the code. `unit` is "rate" (the
probability of a hit at its decision point, 0 to 1), "switch" (a rate of which anything
above 0 is on), "count", "duration" or "window" (see `windows`); `drawn` says what the
decision point is. A row with `targets` also takes RATE@EVENT, which fixes the type of the
event that is hit.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from probe.lab.defect import Defect
from probe.lab.table_handshakes import HANDSHAKES
from probe.lab.table_races import RACES

if TYPE_CHECKING:
    from collections.abc import Mapping

# The events of a run in their order; a run has one of each, but any number of the second.
EVENTS: Final = (
    "agent_started",
    "agent_thinking",
    "tool_executing",
    "tool_completed",
    "agent_completed",
)


_WINDOW: Final = "handshake between listening and ready"
_NOT_FIRST: Final = EVENTS[1:]

_BOOT: Final = (
    Defect(
        "cold_start_1011",
        "between listening and ready a handshake is accepted with 101, and closed with 1011 a "
        "few milliseconds later",
        drawn=_WINDOW,
    ),
    Defect(
        "cold_start_hang",
        "between listening and ready a handshake is accepted with 101, and then nothing is sent, "
        "not even a pong, until the client goes or the lab stops",
        drawn=_WINDOW,
    ),
    Defect(
        "cold_start_drop",
        "between listening and ready a handshake is answered with a TCP reset",
        drawn=_WINDOW,
    ),
    Defect(
        "health_lies",
        "health says healthy as soon as the lab listens; WebSockets work only this much later",
        "duration",
        "400ms",
        settable="start",
    ),
    Defect(
        "slow_boot",
        "ready, and healthy with it, come this much later",
        "duration",
        "6s",
        settable="start",
    ),
)

_EVENTS: Final = (
    Defect(
        "drop_event",
        "one event is never sent to anybody; its sequence and cursor are used up",
        drawn="run",
        targets=EVENTS,
    ),
    Defect(
        "drop_first_event",
        "the first event of the first run started on a connection is not sent to it",
        drawn="connection that starts a run",
    ),
    Defect(
        "duplicate_event",
        "one event is sent twice in a row, byte for byte",
        drawn="run",
        targets=EVENTS,
    ),
    Defect(
        "reorder_event",
        "one event, not the first, is sent before its predecessor; sequence and cursor tell "
        "the true order",
        drawn="run",
        targets=_NOT_FIRST,
    ),
    Defect(
        "late_event",
        "before one event, not the first, the run pauses for 1.5 s",
        drawn="run",
        targets=_NOT_FIRST,
    ),
    Defect(
        "nested_payload",
        "all fields of an event but type and timestamp stand under payload",
        drawn="event",
    ),
    Defect(
        "data_payload",
        "all fields of an event but type and timestamp stand under data",
        drawn="event",
    ),
    Defect(
        "mixed_shapes",
        "events of a user that are hit alternate: under payload, under data, under payload",
        drawn="event",
    ),
    Defect("missing_field", "tool_completed lacks its results", drawn="run"),
    Defect("wrong_type", "the duration of tool_completed is a string", drawn="run"),
    Defect(
        "inconsistent_ids",
        "one event, not the first, carries another thread_id",
        drawn="run",
    ),
    Defect(
        "hung_run",
        "the run stops for ever after an agent_started, agent_thinking or tool_executing",
        drawn="run",
    ),
    Defect(
        "event_after_end",
        "right behind agent_completed comes one more agent_thinking of the run",
        drawn="run",
    ),
    Defect(
        "cross_user_leak",
        "an event is also sent to one connection of another user",
        drawn="event",
        all_users=True,
    ),
    Defect(
        "mode_differs",
        "a run started at /ws/legacy has one agent_thinking more than was asked for",
        drawn="run at /ws/legacy",
    ),
)

_CONNECTIONS: Final = (
    Defect(
        "queue_overflow",
        "the outbound queue of a connection holds only this many events; drops are announced",
        "count",
        "100",
    ),
    Defect(
        "silent_drop_under_backpressure",
        "what a full outbound queue dropped is not announced",
        drawn="overflow of a connection's queue, from the first drop to room again",
    ),
    Defect(
        "lost_on_reconnect",
        "one of the replayed events is left out, though counted in replayed",
        drawn="resume",
    ),
    Defect("no_replay", "nothing is replayed, and so it is told", drawn="resume"),
    Defect(
        "broadcast_misses_one",
        "one other connection of the user gets no event of a run",
        drawn="run",
    ),
    Defect(
        "rate_limit_silent",
        "a message over the limit is not answered",
        drawn="limited message",
    ),
    Defect(
        "limit_resets_at_edge",
        "messages are counted in fixed windows from a first one on (2 s at 200/400), so that "
        "twice the burst is let in around the edge of one",
        "switch",
        "1",
    ),
    Defect(
        "rate_limit_global", "all users share one budget of messages", "switch", "1", all_users=True
    ),
    Defect(
        "close_1011_midrun",
        "after an event before the last, the connection that started the run is closed with 1011",
        drawn="run",
    ),
    Defect(
        "drop_tcp_midrun",
        "after an event before the last, the connection that started the run is reset",
        drawn="run",
    ),
    Defect("no_pong", "a WebSocket ping is not answered", drawn="WebSocket ping"),
    Defect(
        "endless_queue",
        "the queue of a capacity has no bound, neither of places nor of time; without a capacity "
        "there is no queue",
        "switch",
        settable="start",
    ),
)

_HEALTH: Final = (
    Defect(
        "slow_dependency",
        "health answers only after this long: degraded, 200",
        "duration",
        "5s",
    ),
    Defect(
        "health_503",
        "health answers unhealthy, 503, while all else works",
        drawn="health request",
    ),
)

TABLE: Final[Mapping[str, Defect]] = MappingProxyType(
    {row.name: row for row in (*_BOOT, *HANDSHAKES, *RACES, *_EVENTS, *_CONNECTIONS, *_HEALTH)}
)

# Consulted in this order; the first that hits is what the client gets.
COLD_START: Final = ("cold_start_drop", "cold_start_1011", "cold_start_hang")


def table_json() -> list[dict[str, object]]:
    """The table as plain values, for `--list-defects`."""
    return [
        {
            "name": row.name,
            "meaning": row.meaning,
            "unit": row.unit,
            "default": row.default,
            "drawn": row.drawn,
            "targets": row.targets,
            "settable": row.settable,
            "all_users": row.all_users,
        }
        for row in TABLE.values()
    ]
