"""A rig for the wire: dials with a journal of their own against servers that do one exact thing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import uvloop

from probe.clock import now_ns
from probe.history.journal import Journal
from probe.history.records import DTYPE, Kind
from probe.redact import Redactor
from probe.wire import (
    DEFLATE,
    Connection,
    End,
    Facts,
    Prepared,
    accept_for,
    dial,
    make_route,
    new_key,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

SECRET = "a-token-that-nobody-must-see-0123456789"
SOON_NS = 250_000_000
LATE_NS = 8_000_000_000


class Ear:
    """A listener that remembers, in order."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.over: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self.some = asyncio.Event()
        self.connection: Connection | None = None

    def message(self, t_ns: int, opcode: int, payload: bytes) -> None:
        assert not self.over.done()
        self.heard.append((opcode, payload))
        self.some.set()

    def pong(self, t_ns: int, payload: bytes) -> None:
        self.heard.append(("pong", payload))
        self.some.set()

    def pinged(self, t_ns: int, payload: bytes) -> None:
        self.heard.append(("pinged", payload))
        self.some.set()

    def ended(self, t_ns: int, end: End) -> None:
        self.over.set_result(end)  # raises when told twice
        self.some.set()

    async def until(self, count: int) -> list[tuple[Any, ...]]:
        while len(self.heard) < count:
            self.some.clear()
            await self.some.wait()
        return self.heard


class Rig:
    """Dials with a journal of its own; at its end every DIAL must have one END.

    `gated`: with TLS, by our own layer where a dial does not say.
    """

    gated = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "history"
        self.redactor = Redactor(SECRET)
        self.journal = Journal(self.folder, self.redactor)
        self.loop = asyncio.get_running_loop()
        self.troubles: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.troubles.append(context))
        self.session = 0
        self.ear = Ear()

    async def dial(
        self, url: str, after_ns: int = LATE_NS, *, route: Any = None, offer: Any = (), **how: Any
    ) -> Connection | End:
        given = {k: how.pop(k) for k in ("connect_to", "tls", "proxy", "server_name") if k in how}
        route = route or make_route(url, **given)
        extensions = DEFLATE if how.pop("deflate", False) else ""
        key = new_key()
        prepared = Prepared(route, [("Authorization", f"Bearer {SECRET}")])
        request = prepared.build(key, subprotocols=offer, extensions=extensions)
        self.session += 1
        self.ear = how.pop("ear", None) or Ear()
        sending = how.pop("sending", None)
        if callable(sending):
            sending = sending(request)
        return await dial(
            self.loop,
            route,
            request,
            Facts(key, tuple(offer), extensions),
            self.ear,
            self.journal,
            self.session,
            0,
            redactor=self.redactor,
            deadline_ns=now_ns() + after_ns,
            sending=sending,
            **{"gated": self.gated, **how},
        )

    async def connect(self, url: str, **how: Any) -> Connection:
        got = await self.dial(url, **how)
        assert isinstance(got, Connection), got
        return got

    async def fail(self, url: str, after_ns: int = LATE_NS, **how: Any) -> End:
        got = await self.dial(url, after_ns, **how)
        assert isinstance(got, End)
        assert not self.ear.over.done()
        return got

    def rows(self, *kinds: Kind) -> np.ndarray:
        self.journal.flush()
        return self.stored[np.isin(self.stored["kind"], kinds)] if kinds else self.stored

    @property
    def stored(self) -> np.ndarray:
        self.journal.close()
        return np.frombuffer((self.folder / "rows.bin").read_bytes(), DTYPE)

    def text(self, reference: int) -> bytes:
        raw = (self.folder / "texts.bin").read_bytes()
        (size,) = struct.unpack_from("<I", raw, reference)
        return raw[reference + 4 : reference + 4 + size]


def run(
    body: Callable[[Rig], Awaitable[None]], folder: Path, *, troubles: int = 0
) -> tuple[Rig, np.ndarray]:
    """Run `body` on uvloop; the rig and its rows, after the rules that always hold."""

    async def whole() -> Rig:
        rig = Rig(folder)
        async with asyncio.timeout(20):
            await body(rig)
            # What lingers must end by itself, and no other task be left.
            await asyncio.sleep(0.02)
        return rig

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rig = runner.run(whole())
    rig.journal.close()
    rows = np.frombuffer((rig.folder / "rows.bin").read_bytes(), DTYPE)
    dials = rows[rows["kind"] == Kind.DIAL]
    ends = rows[rows["kind"] == Kind.END]
    assert sorted(dials["session"]) == sorted(ends["session"]), "one END per DIAL"
    assert len(set(ends["session"])) == len(ends)
    assert SECRET.encode() not in (rig.folder / "texts.bin").read_bytes()
    assert len(rig.troubles) == troubles, rig.troubles
    return rig, rows


def only(rows: np.ndarray, kind: Kind) -> Any:
    found = rows[rows["kind"] == kind]
    assert len(found) == 1, f"{len(found)} rows of {kind.name}"
    return found[0]


def kinds(rows: np.ndarray) -> list[Kind]:
    return [Kind(int(kind)) for kind in rows["kind"]]


# Servers.

Handler = "Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]"


@contextlib.asynccontextmanager
async def raw(handler: Any, host: str = "127.0.0.1", **how: Any) -> AsyncIterator[int]:
    """A TCP server that does what `handler` says, and then ends the connection."""
    tasks: set[asyncio.Task[Any]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(
            ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError
        ):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(one, host, 0, **how)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def head_of(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def key_of(head: bytes) -> bytes:
    (line,) = [x for x in head.split(b"\r\n") if x.lower().startswith(b"sec-websocket-key:")]
    return line.split(b":")[1].strip()


def answer(head: bytes, *more: bytes, **changed: bytes | None) -> bytes:
    lines = {
        "upgrade": b"Upgrade: websocket",
        "connection": b"Connection: Upgrade",
        "accept": b"Sec-WebSocket-Accept: " + accept_for(key_of(head)),
        **changed,
    }
    kept = [line for line in lines.values() if line is not None]
    return b"\r\n".join([b"HTTP/1.1 101 Switching Protocols", *kept, *more, b"", b""])


def reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def says(data: bytes, *, then: str = "eof") -> Any:
    """Read the request, write `data`, and end by eof, by reset, or not at all."""

    async def handler(reader: Any, writer: Any) -> None:
        await head_of(reader)
        writer.write(data)
        await writer.drain()
        await ending(reader, writer, then)

    return handler


def upgrades(data: bytes = b"", *lines: bytes, then: str = "wait", **changed: bytes | None) -> Any:
    """Answer the upgrade, with `data` in the same segment."""

    async def handler(reader: Any, writer: Any) -> None:
        writer.write(answer(await head_of(reader), *lines, **changed) + data)
        await writer.drain()
        await ending(reader, writer, then)

    return handler


async def ending(reader: Any, writer: Any, then: str) -> None:
    if then == "reset":
        await asyncio.sleep(0.02)  # what was written must arrive first
        reset(writer)
    elif then == "wait":
        while await reader.read(65536):
            pass
    elif then == "hang":
        await asyncio.sleep(60)


def unused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def echo(ws: Any) -> None:
    async for message in ws:
        await ws.send(message)


def server_context(ca, *names, demand=False):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*names).configure_cert(context)
    if demand:
        ca.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
