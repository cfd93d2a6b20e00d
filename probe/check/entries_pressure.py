"""Findings about what a service does under strain: of connections, limits, queues and modes.

Rows of the table of `catalogue`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from probe.check.entry import Entry

if TYPE_CHECKING:
    from collections.abc import Mapping

_STAYS: Final = "docs/field.md, connections that end"
_PRESSURE: Final = "docs/methods.md, Pressure; docs/field.md, queue overflow"
_LIMITS: Final = "docs/methods.md, Pressure"
_LARGE: Final = "RFC 6455 section 7.4.1 (1009)"
_MODES: Final = "docs/methods.md, Pressure; docs/field.md, modes"
_DRIFT: Final = "docs/methods.md, Pressure"
_HEALTH: Final = "docs/field.md, dependencies"

PRESSURE: Final[Mapping[str, Entry]] = {
    "service.gone": Entry(
        "critical",
        "witness",
        {
            "": "the service stopped serving: see its log at this moment",
            "refused": "the process ended (a crash, a kill for memory, a deploy): nothing listens "
            "any more",
            "silent": "the process is there and does not answer: a blocked loop, a deadlock, or a "
            "network that drops",
            "reset": "connections are ended as soon as they are made: a proxy that lost its "
            "backend, or a process that is going down",
            "status": "something still answers HTTP and lets nobody in: a proxy that lost its "
            "backend, or a service that says that it cannot serve",
        },
        "docs/field.md, total outage",
        "clients were let in before",
    ),
    "session.closed": Entry(
        "major",
        "witness",
        {
            "": "the service ends connections that are in use: an idle timeout, a limit on their "
            "age, or an error",
            "midrun": "the service ends connections while it is at work for them: its handler "
            "raises, or it is going down",
        },
        _STAYS,
    ),
    "session.dropped": Entry(
        "major",
        "witness",
        {
            "": "TCP ends without a Close: a crash, a proxy's timeout, or a balancer that moved "
            "the client",
            "midrun": "TCP ends without a Close in the midst of a run: a worker that died, or a "
            "proxy's timeout on silence",
        },
        _STAYS,
    ),
    "session.protocol": Entry(
        "critical",
        "witness",
        {
            "": "the service sends frames that no client may read: text that is not UTF-8, bits "
            "or codes that nobody agreed on, or a message without end",
            "midrun": "what a run sends breaks the protocol: text that is not UTF-8, or frames "
            "that two tasks write at once",
        },
        "RFC 6455 sections 5.1, 5.2, 5.4, 8.1 and 10.4",
    ),
    "ping.unanswered": Entry(
        "major",
        "witness",
        {
            "": "the service does not answer pings: its loop is blocked, or its library's answer "
            "is switched off; proxies then take the connection for dead"
        },
        "RFC 6455 section 5.5.3",
    ),
    "pressure.queue_small": Entry(
        "critical",
        "witness",
        {"": "the queue of a connection is shorter than what is promised for a slow reader"},
        _PRESSURE,
        "runs of a smaller size came whole under the same stall",
    ),
    "pressure.silent_drop": Entry(
        "critical",
        "witness",
        {
            "": "events for a slow reader are thrown away and nobody is told: the client cannot "
            "know that it has to ask again"
        },
        _PRESSURE,
    ),
    "rate_limit.silent": Entry(
        "major",
        "witness",
        {
            "": "messages over the limit are thrown away and nobody is told: a client waits for "
            "an answer that never comes"
        },
        _LIMITS,
    ),
    "rate_limit.global": Entry(
        "critical",
        "witness",
        {
            "": "one budget is shared by all users: a single client that sends too much locks the "
            "others out"
        },
        _LIMITS,
    ),
    "rate_limit.stuck": Entry(
        "major",
        "witness",
        {"": "a limit that was hit once is not lifted when its time is over"},
        _LIMITS,
    ),
    "large.refused": Entry(
        "major",
        "witness",
        {"": "a message within the promised size is refused: a smaller limit, maybe a proxy's"},
        _LARGE,
    ),
    "large.no_answer": Entry(
        "major",
        "witness",
        {"": "a large message is neither answered nor refused: it is thrown away, or it hangs"},
        _LARGE,
    ),
    "large.accepted_over": Entry(
        "minor",
        "witness",
        {"": "messages over the promised size are taken: the limit is not kept, or another one"},
        _LARGE,
    ),
    "modes.differ": Entry(
        "major",
        "comparison",
        {"": "the endpoints are not served by the same code, or are configured apart"},
        _MODES,
        "the other endpoints, under the same load",
    ),
    "health.degraded": Entry(
        "major",
        "witness",
        {"": "the service works without all its parts: what needs the named one will fail"},
        _HEALTH,
    ),
    "health.slow": Entry(
        "minor",
        "witness",
        {
            "": "health takes long: it waits for a slow dependency, or the service is short of "
            "workers; a balancer may take it for dead"
        },
        _HEALTH,
    ),
    "drift.slower": Entry(
        "major",
        "comparison",
        {
            "": "the same load takes longer the longer it lasts: something piles up, such as "
            "tasks, listeners, rows or log"
        },
        _DRIFT,
    ),
    "drift.larger": Entry(
        "major",
        "comparison",
        {"": "the service's memory grows under a flat load: what belongs to a session is kept"},
        _DRIFT,
    ),
}
