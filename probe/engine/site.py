"""Site: what all clients of one run share, made before the first socket opens.

Routes and prepared requests per endpoint, the dialect's reader, the journal, the wheel of
deadlines, live counters, and the ceiling on clients. Every request names the run, so that
the service's own logs can be joined: `User-Agent: probe/VERSION (run ID)` and a W3C
`traceparent` whose trace is the run and whose span is session and attempt. A run id that we
make is `NONCE-SESSION-NUMBER`, so whoever meets it can tell whose it is.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from probe.contract.reading import Reader, reader_of
from probe.engine.everybody import Everybody
from probe.engine.routes import user_agent
from probe.engine.words import Words, words_of
from probe.history.records import Kind, run_key
from probe.wire.request import DEFLATE, Prepared

if TYPE_CHECKING:
    import asyncio

    from probe.auth.tokens import Tokens
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
HEADS_EACH: Final = 5
"""Heads of right handshakes that are kept, for each message that is: one without messages must
not keep, redact and read every head of a load."""
NOT_OURS: Final = -2
ODD_WORDS_MAX: Final = 500
_SESSION_MAX: Final = 2**32
_NUMBER_MAX: Final = 2**31


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
    unfit: dict[str, str] = field(default_factory=dict)
    """What of this machine is over its limit by now, in a few words each (see Watch)."""
    anomalies: int | None = None
    """Trials of the race that is under way that went wrong so far; None: there is no race."""


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
    words: Words
    read: Reader | None
    reads_binary: bool
    nonce: str
    ids: re.Pattern[str]
    ids_in_bytes: re.Pattern[bytes]
    trace: str
    extensions: str
    keep_left: int
    heads_left: int
    http: Http
    live: Live
    seed: int = 0
    tokens: Tokens | None = None
    """Where another token comes from in the midst of a session; set once the source is open."""
    bound: dict[str, int] = field(default_factory=dict)
    """Run keys by the ids that the service gave, where it names the runs."""
    everybody: Everybody = field(default_factory=Everybody)
    odd_words: set[str] = field(default_factory=set)
    peers_left: int = PEERS_MAX
    peers_seen: set[tuple[str, str]] = field(default_factory=set)
    nonce_bytes: bytes = field(init=False)
    trace_bytes: bytes = field(init=False)
    scans: bool = field(init=False)
    """Whether messages are searched for ids of other sessions."""

    def __post_init__(self) -> None:
        self.nonce_bytes = self.nonce.encode()
        self.trace_bytes = self.trace.encode()
        self.scans = self.dialect.run is not None

    def key_of(self, run_id: str) -> int:
        """The run key of an id that any session of this run made or learnt; else NOT_OURS."""
        match = self.ids.fullmatch(run_id)
        if match is None:
            return self.bound.get(run_id, NOT_OURS)
        session, number = int(match[1]), int(match[2])
        if session >= _SESSION_MAX or number >= _NUMBER_MAX:
            return NOT_OURS
        return run_key(session, number)

    def keys_in(self, payload: bytes) -> set[int]:
        """Run keys of all ids of ours that stand anywhere in a message."""
        found = (self.key_of(match[0].decode()) for match in self.ids_in_bytes.finditer(payload))
        return {key for key in found if key != NOT_OURS}

    def odd_word(self, text: str) -> int:
        """Keep a sentence on what was odd; of too many different ones no more than the place.

        A contract broken in every message, each time with other values, must not use up the
        room of the texts.
        """
        if text not in self.odd_words:
            if len(self.odd_words) < ODD_WORDS_MAX:
                self.odd_words.add(text)
            else:
                text = text.partition(":")[0]
        return self.journal.word(text)

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
    seed: int = 0,
) -> Site:
    """Everything that clients share; `keep` messages are kept whole as evidence, and heads."""
    headers = (("User-Agent", user_agent(run_id)), *target.network.headers.items())
    doors = tuple(
        Door(name, index, route, Prepared(route, headers))
        for index, (name, route) in enumerate(routes.items())
    )
    digest = hashlib.sha256(run_id.encode()).hexdigest()
    nonce = f"probe-{digest[:8]}"
    pattern = nonce + r"-(0|[1-9]\d{0,9})-(0|[1-9]\d{0,9})"
    return Site(
        loop=loop,
        wheel=wheel,
        journal=journal,
        redactor=redactor,
        target=target,
        dialect=dialect,
        doors=doors,
        words=words_of(dialect),
        read=reader_of(dialect),
        reads_binary=dialect.framing not in ("json", "opaque"),
        nonce=nonce,
        ids=re.compile(pattern, re.ASCII),
        ids_in_bytes=re.compile(pattern.encode()),
        trace=digest[:32],
        extensions=DEFLATE if target.network.deflate else "",
        keep_left=keep,
        heads_left=HEADS_EACH * keep,
        http=http,
        live=live,
        seed=seed,
    )
