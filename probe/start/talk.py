"""One connection of our own: opened, asked, listened to, closed; and told phase by phase.

The rule: bounded in every way (time, messages, bytes), and the service is asked no more than it
says here: the opening, the messages that were given, one ping, one close.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from probe.auth.present import NOTHING
from probe.clock import now_ns
from probe.engine.routes import make_proxy, tls_options, user_agent
from probe.engine.stage import on_disk
from probe.errors import ConfigError, Problem
from probe.history.columns import History
from probe.history.journal import Journal
from probe.history.records import Kind
from probe.negotiation.answer import answer_of, request_of
from probe.negotiation.diagnosis import diagnose, outcome
from probe.start.secrets import in_payloads
from probe.start.seen import TEXT, Message, Session, filled
from probe.units import format_duration
from probe.wire.dialing import dial
from probe.wire.ends import End
from probe.wire.request import DEFLATE, Facts, Prepared, new_key
from probe.wire.route import make_route

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from probe.auth.present import Presented
    from probe.model.target import Target
    from probe.redact import Redactor
    from probe.wire.connection import Connection
    from probe.wire.route import Route

S: Final = 1_000_000_000
CLOSE_NS: Final = 3 * S
PONG_NS: Final = 2 * S
REFUSING: Final = frozenset({1008, 3000, 3003, *range(4000, 5000)})  # codes of a Close
_STREAMING: Final = 3
_BOTH: Final = 2  # they and we have said something
_UPGRADE: Final = "upgrade"
_AFTERWARDS: Final = "negotiation.closed_after_accept"
_PHASES: Final = (
    (Kind.RESOLVED, "DNS"), (Kind.TCP, "TCP"), (Kind.TLS, "TLS"), (Kind.HEAD, _UPGRADE),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long and how much, in ns, messages and bytes of one session.

    `within` for the connect, `opening` of silence behind it, `answer` until the first message
    after ours, `quiet` behind the last. Who never falls silent has an opening of `opening_max`.
    `idle` is waited behind it all where nothing has come, or nothing was said: who waits for a
    first message to let a client in says so late (graphql-ws by 3 s).
    """

    within_ns: int = 10 * S
    opening_ns: int = 1 * S
    answer_ns: int = 5 * S
    quiet_ns: int = 1 * S
    opening_max_ns: int = _STREAMING * S
    idle_ns: int = 0
    messages_max: int = 1000
    bytes_max: int = 8 << 20


@dataclass(frozen=True, slots=True)
class Call:
    """One connection, as asked for.

    `sends` are templates, filled with `values`; `ping`: whether one is sent behind it all.
    """

    url: str
    target: Target
    redactor: Redactor
    shown: Presented = NOTHING
    sends: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    bounds: Bounds = Bounds()
    ping: bool = True


@dataclass(frozen=True, slots=True)
class Talk:
    """What came of it, redacted but for the session's messages.

    `phases` with their ns; `means` tells what the answer to the upgrade was; `pong` whether a
    ping was answered, None where none was sent; `end` is how it ended, None for our own close
    unless the service closed with a refusal at the same time; `idle`: it ended in `idle_ns`.
    """

    opened: bool
    phases: tuple[tuple[str, int], ...]
    means: tuple[str, ...]
    end: End | None
    session: Session
    subprotocol: str = field(default="", repr=False)
    """As it was on the wire, where it may hold a token."""
    peer: str = ""
    tls: str = ""
    pong: bool | None = None
    idle: bool = False

    @property
    def answered(self) -> bool:
        """Whether there was an HTTP answer, whichever."""
        return any(name == _UPGRADE for name, _ in self.phases)

    @property
    def told(self) -> str:
        """The phases in one line: `TCP 0.2 ms, upgrade 1.1 ms`."""
        return ", ".join(f"{name} {format_duration(ns)}" for name, ns in self.phases)


class _Ear:
    """Keeps what comes, up to the bounds, and tells whoever waits."""

    def __init__(self, bounds: Bounds) -> None:
        self.kept: list[Message] = []
        self.cut = False
        self.end: End | None = None
        self.last_ns = now_ns()
        self.ponged = False
        self.came = asyncio.Event()
        self._bounds = bounds
        self._bytes = 0

    @property
    def over(self) -> bool:
        """Nothing more will come, or be kept."""
        return self.cut or self.end is not None

    def message(self, t_ns: int, opcode: int, payload: bytes) -> None:
        """A message."""
        self.last_ns = t_ns
        self._bytes += len(payload)
        received = sum(not message.sent for message in self.kept)
        self.cut |= received >= self._bounds.messages_max or self._bytes > self._bounds.bytes_max
        if not self.cut:
            self.kept.append(Message(sent=False, payload=payload, opcode=opcode))
        self.came.set()

    def pong(self, _t_ns: int, _payload: bytes) -> None:
        """A pong."""
        self.ponged = True
        self.came.set()

    def pinged(self, t_ns: int, payload: bytes) -> None:
        """A ping, which has been answered."""

    def ended(self, _t_ns: int, end: End) -> None:
        """The end."""
        self.end = end
        self.came.set()

    async def next(self, deadline_ns: int) -> bool:
        """Whether anything came before the deadline."""
        self.came.clear()
        try:
            async with asyncio.timeout(max(0, deadline_ns - now_ns()) / S):
                await self.came.wait()
        except TimeoutError:
            return False
        return True

    async def silence(self, quiet_ns: int, most_ns: int) -> None:
        """Until nothing has come for a while, it is over, or it took too long."""
        latest = now_ns() + most_ns
        while not self.over and now_ns() < latest:
            if not await self.next(min(max(self.last_ns, now_ns() - 1) + quiet_ns, latest)):
                return


async def talk(call: Call) -> Talk:
    """One connection from dial to close. ConfigError for a URL or options that cannot be."""
    route = _route(call)
    with tempfile.TemporaryDirectory(prefix="probe-") as folder:
        journal = Journal(Path(folder) / "history", call.redactor, {})
        try:
            return await _talk(call, route, journal)
        finally:
            journal.close(ended="complete")


def _route(call: Call) -> Route:
    target = call.target
    try:
        return make_route(
            call.url, connect_to=target.network.connect_to, host=target.network.host,
            server_name=target.tls.server_name, tls=tls_options(target.tls),
            proxy=make_proxy(target.network),
        )  # fmt: skip
    except ValueError as error:
        raise ConfigError(Problem("URL", "", str(error))) from None


async def _talk(call: Call, route: Route, journal: Journal) -> Talk:
    shown, target = call.shown, call.target
    extensions = DEFLATE if target.network.deflate else ""
    key, ear = new_key(), _Ear(call.bounds)
    headers = (("User-Agent", user_agent("start")), *target.network.headers.items())
    request = Prepared(route, headers).build(
        key, subprotocols=shown.subprotocols, headers=shown.headers, extensions=extensions,
        resource=shown.resource(route.resource),
    )  # fmt: skip
    result = await dial(
        asyncio.get_running_loop(), route, request, Facts(key, shown.subprotocols, extensions), ear,
        journal, 0, 0, redactor=call.redactor, deadline_ns=now_ns() + call.bounds.within_ns,
        keep_heads=True,
    )  # fmt: skip
    if isinstance(result, End):
        phases, means = await _told(call, route, journal)
        return Talk(False, phases, means, result, Session(()))
    peer = result.peer_address
    tls = result.tls_info
    pong = await _converse(call, ear, result)
    idle = not ear.over and len({message.sent for message in ear.kept}) < _BOTH
    if idle:
        await ear.silence(call.bounds.idle_ns, call.bounds.idle_ns)
    session = Session(tuple(ear.kept), cut=ear.cut)
    end = ear.end if ear.end is not None and ear.end.by != "us" else None
    for secret in in_payloads(m.payload for m in session.messages if not m.sent):
        call.redactor.add(secret)
    if session.cut:
        result.abort()  # there is more to read than is wanted, up to the answer to a Close
    if result.end is None:
        result.close(1000)
        await _until_ended(ear)
        result.abort()
        if ear.end is not None and ear.end.code in REFUSING:  # crossed ours: no answer to a 1000
            end = ear.end
    phases, means = await _told(call, route, journal)
    return Talk(
        True, phases, means, end, session,
        subprotocol=result.subprotocol or "",
        peer=f"{peer[0]}:{peer[1]}" if peer else "",
        tls=f"{tls.version}, {tls.cipher}, certificate sha256 {tls.fingerprint}" if tls else "",
        pong=pong, idle=idle and end is not None,
    )  # fmt: skip


async def _converse(call: Call, ear: _Ear, connection: Connection) -> bool | None:
    """The opening, each message with its answer, a ping; whether that was answered."""
    bounds = call.bounds
    if call.shown.first_message is not None:
        connection.send_text(call.shown.first_message)
        ear.kept.append(Message(sent=True, payload=call.shown.first_message, opening=True))
    await ear.silence(bounds.opening_ns, bounds.opening_max_ns)
    for number, template in enumerate(call.sends):
        if ear.over:
            break
        values = {**call.values, "run": f"{call.values.get('run', 'probe')}-{number}"}
        text, places = filled(template, values)
        payload = text.encode()
        connection.send_text(payload)
        ear.kept.append(Message(True, payload, TEXT, template, places))
        if await ear.next(now_ns() + bounds.answer_ns):
            await ear.silence(bounds.quiet_ns, bounds.answer_ns)
    if ear.over or not call.ping:
        return None
    connection.ping(b"probe")
    deadline = now_ns() + PONG_NS
    while not ear.ponged and ear.end is None and now_ns() < deadline:
        await ear.next(deadline)
    return ear.ponged if ear.ponged or ear.end is None else None


async def _until_ended(ear: _Ear) -> None:
    deadline = now_ns() + CLOSE_NS
    while ear.end is None and now_ns() < deadline:
        await ear.next(deadline)


async def _told(
    call: Call, route: Route, journal: Journal
) -> tuple[tuple[tuple[str, int], ...], tuple[str, ...]]:
    """The phases with their times, and what the answer to the upgrade means."""
    await on_disk(journal)
    history = History.open(journal.folder)
    attempt = history.attempts[0]
    answer, request = answer_of(history, attempt), request_of(history, attempt)
    known = [call.redactor.text(each) for each in call.shown.subprotocols]
    remarks = [
        # What became of it stands in the outcome; only what follows from it is left to say.
        remark.words.rpartition(": ")[2] if remark.code == _AFTERWARDS else remark.words
        for remark in diagnose(request, answer, known)
    ]
    return tuple(_phases(history, named=not route.connect_literal)), (outcome(answer), *remarks)


def _phases(history: History, *, named: bool) -> Iterator[tuple[str, int]]:
    rows = {Kind(row["kind"]): int(row["t"]) for row in history.rows}
    last = rows[Kind.DIAL]
    for kind, name in _PHASES:
        if kind in rows:
            if named or kind is not Kind.RESOLVED:
                yield name, rows[kind] - last
            last = rows[kind]
