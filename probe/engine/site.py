"""Site: what all clients of one run share, made before the first socket opens.

Routes and prepared requests per endpoint, the dialect's reader, the journal, the wheel of
deadlines, live counters, and the ceiling on clients. Every request names the run, so that
the service's own logs can be joined: `User-Agent: probe/VERSION (run ID)` and a W3C
`traceparent` whose trace is the run and whose span is session and attempt.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from probe.engine.reader import Read, message_reader
from probe.engine.routes import user_agent
from probe.history.records import Kind
from probe.wire.request import DEFLATE, Prepared

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from probe.engine.http import Http
    from probe.history.journal import Journal
    from probe.model.dialect import Dialect
    from probe.model.target import Target
    from probe.redact import Redactor
    from probe.wire.connection import Connection
    from probe.wire.deadlines import Wheel
    from probe.wire.response import Response
    from probe.wire.route import Route


PEERS_MAX: Final = 100
"""Connections that are looked at for who answered; more would cost the hot path."""


@dataclass(frozen=True, slots=True)
class Door:
    """One endpoint, ready to be dialled."""

    name: str
    index: int
    route: Route
    prepared: Prepared


@dataclass(slots=True)
class Live:
    """Counters for whoever watches; what is judged comes from the history alone."""

    stage: str = ""
    trial: int = 0
    trials: int = 0
    launched: int = 0
    alive: int = 0
    ready: int = 0
    completed: int = 0
    failed: int = 0
    messages: int = 0
    runs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    newest: str = ""
    lag_ns_max: int = 0


@dataclass(slots=True)
class Site:
    """See the module; one per run and loop."""

    loop: asyncio.AbstractEventLoop
    wheel: Wheel
    journal: Journal
    redactor: Redactor
    target: Target
    dialect: Dialect
    doors: tuple[Door, ...]
    read: Callable[[bytes], Read] | None
    nonce: str
    trace: str
    extensions: str
    keep_left: int
    http: Http
    live: Live
    peers_left: int = PEERS_MAX
    peers_seen: set[tuple[str, str]] = field(default_factory=set)

    def note_peer(self, door: Door, connection: Connection) -> None:
        """Who answered at an endpoint, once per address: evidence that the run was real."""
        self.peers_left -= 1
        address, tls, response = (
            connection.peer_address,
            connection.tls_info,
            connection.response,
        )
        if address is None or (door.name, address[0]) in self.peers_seen:
            return
        self.peers_seen.add((door.name, address[0]))
        facts = {
            "name": door.name,
            "url": door.route.url.partition("?")[0],
            "address": address[0],
            "port": address[1],
            "tls": tls.version if tls else "",
            "cipher": tls.cipher if tls else "",
            "certificate_sha256": tls.fingerprint if tls else "",
            "server": _header(response, b"server"),
            "revision": _header(response, b"x-revision"),
        }
        text = self.journal.text(json.dumps(facts).encode())
        self.journal.note(Kind.PEER, op=door.index, flag=0, b=text)


def _header(response: Response | None, name: bytes) -> str:
    values = response.all(name) if response else []
    return values[0].decode("latin-1")[:200] if values else ""


def make_site(
    loop: asyncio.AbstractEventLoop,
    wheel: Wheel,
    journal: Journal,
    redactor: Redactor,
    target: Target,
    dialect: Dialect,
    *,
    run_id: str,
    http: Http,
    routes: dict[str, Route],
    live: Live,
    keep: int = 0,
) -> Site:
    """Everything that clients share; `keep` messages are kept whole as evidence."""
    headers = (("User-Agent", user_agent(run_id)), *target.network.headers.items())
    doors = tuple(
        Door(name, index, route, Prepared(route, headers))
        for index, (name, route) in enumerate(routes.items())
    )
    digest = hashlib.sha256(run_id.encode()).hexdigest()
    return Site(
        loop=loop,
        wheel=wheel,
        journal=journal,
        redactor=redactor,
        target=target,
        dialect=dialect,
        doors=doors,
        read=message_reader(dialect),
        nonce=f"probe-{digest[:8]}",
        trace=digest[:32],
        extensions=DEFLATE if target.network.deflate else "",
        keep_left=keep,
        http=http,
        live=live,
    )
