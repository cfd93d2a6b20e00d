"""Findings about races: what goes wrong only at certain offsets between two actions.

Rows of the table of `catalogue`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from probe.check.entry import Entry

if TYPE_CHECKING:
    from collections.abc import Mapping

_WINDOWS: Final = "docs/methods.md, Race windows"
_FIELD: Final = "docs/field.md, "
_FAR: Final = "trials at offsets far from these hold"


def _race(cause: str, source: str = _WINDOWS, severity: str = "critical") -> Entry:
    assert severity in ("critical", "major")
    return Entry(
        "critical" if severity == "critical" else "major", "witness", {"": cause}, source, _FAR
    )


_WINDOW: Final = (
    "two actions that are each handled well disturb each other when they come this close: "
    "look for what one checks and the other changes, with a wait in between"
)
_STEP: Final = (
    "what the one action brings about holds only after this long: a cache, a poll, a replica"
)

OWN: Final[Mapping[str, Entry]] = {
    "race.": Entry("critical", "witness", {"": _WINDOW, "step": _STEP}, _WINDOWS, _FAR)
}
"""A race that a scenario names itself: `race.` and its name; the cause goes by its shape."""

RACES: Final[Mapping[str, Entry]] = {
    "race.window": _race(_WINDOW),
    "race.step": _race(_STEP),
    "race.actor": _race(
        "an action that the others are held against does not itself come through: see its reason"
    ),
    "race.early_frames_lost": _race(
        "messages that come while the token is still being judged are read and thrown away; keep "
        "them until it is, or refuse them with a Close",
        _FIELD + "authentication races",
    ),
    "race.early_frames_served": _race(
        "messages are served before the token is judged: accept the upgrade only after that",
        _FIELD + "authentication races",
    ),
    "race.token_reuse": _race(
        "two connections with one token that come at once share a state that only one may have: "
        "the second is accepted and never served",
        _FIELD + "token reuse",
    ),
    "race.revoked_connects": _race(
        "a revoked token still gets in: the judgement of tokens rests on a cache that the "
        "revocation does not reach",
        "RFC 7009 section 2",
    ),
    "race.revoked_stays": _race(
        "sessions that were open when their token was revoked live on: nothing tells them",
        "RFC 7009 section 2",
    ),
    "race.refresh_loses": _race(
        "while a new token is being taken, what the client sends is dropped",
        _FIELD + "token life",
        "major",
    ),
    "race.reconnect_ghost": _race(
        "after a connection is lost its user's events still go to the dead one for a while: the "
        "old entry is removed only when a write fails or a timeout passes",
        _FIELD + "lost events",
        "major",
    ),
    "race.close_loses": _race(
        "closing one connection of a user disturbs what is being sent to the others",
        _FIELD + "lost events",
        "major",
    ),
    "race.double_run": _race(
        "two runs of one thread that begin at once are told apart by a key that both share",
        _FIELD + "inconsistent ids",
    ),
    "race.subscribe": _race(
        "the client is told that it is ready before it is subscribed to its own events",
        _FIELD + "lost events",
        "major",
    ),
    "race.breaker": _race(
        "one user's failed logins open a circuit breaker for everybody: count them by user, or by "
        "what fails, and let good users pass",
        _FIELD + "circuit breaker",
    ),
    "race.breaker_sticks": _race(
        "the circuit breaker does not close again by itself: nobody gets in until a restart",
        _FIELD + "circuit breaker",
    ),
    "race.half_open": _race(
        "a circuit breaker that is half-open tries one user and refuses all others until that is "
        "decided: let through as many as can be served, or have the others wait (where the first "
        "is refused as well, it is still open)",
        _FIELD + "circuit breaker; retry ladder",
    ),
    "race.cap": _race(
        "connections are checked against a cap and counted only later, with a wait in between: "
        "check and count in one step, such as an atomic increment that is taken back",
        _FIELD + "several clients of one user",
    ),
    "race.limit_edge": _race(
        "messages are counted in fixed windows, so that twice the limit is served around the edge "
        "between two of them: use a token bucket or a sliding window",
        _FIELD + "several clients of one user",
        "major",
    ),
    "loop.blocked": Entry(
        "major",
        "witness",
        {
            "": "something blocks the service's event loop, so that all clients wait for one: a "
            "synchronous call where an asynchronous one belongs",
            "connects": "judging a token blocks the service's event loop: all who are connected "
            "wait while others log in",
            "runs": "a dependency is called synchronously when a run starts: all who are connected "
            "wait for it",
        },
        _FIELD + "authentication races; dependencies",
        "pings at other times are answered at once",
    ),
}
