"""What a hostile server may do: each has one definite, named outcome, in time and in bounds.

One table. The server is a real socket in a thread; what it repeats it repeats until the client
is gone, so an answer without an end is one. Three rules hold for every row: the outcome is the
one that is named; it comes without our having to wait for more than the deadline; and what it
costs in memory stays under a bound that no row's own size comes near.
"""

from __future__ import annotations

import asyncio
import select
import socket
import struct
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from probe.clock import now_ns
from probe.history.records import Kind, Outcome, Phase
from probe.wire import Connection, Limits, TlsOptions
from tests.servers import Server, close_frame, frame, read_head, switch
from tests.wire_rig import Ear, only, run, server_context

GROWTH_BYTES_MAX = 24 * 1024 * 1024
MESSAGE_MAX = 1 << 20
DEADLINE_NS = 600_000_000
LATE_NS = 10_000_000_000
LIMITS = Limits(close_ns=300_000_000, linger_ns=100_000_000)


# What a server does. `server.over` is set when the test is over.


def does(*steps: Any) -> Any:
    """Each step is bytes to send or a function of (server, socket)."""

    def serve(server: Server, sock: socket.socket) -> None:
        for step in steps:
            if isinstance(step, bytes):
                sock.sendall(step)
            else:
                step(server, sock)

    return serve


def request(server: Server, sock: socket.socket) -> None:
    read_head(server, sock)


def hello(server: Server, sock: socket.socket) -> None:
    """The client speaks first, in TLS as well."""
    assert sock.recv(65536)


def upgrade(server: Server, sock: socket.socket) -> None:
    sock.sendall(switch(read_head(server, sock)))


def upgrade_twice(server: Server, sock: socket.socket) -> None:
    sock.sendall(2 * switch(read_head(server, sock)))


def deflates(server: Server, sock: socket.socket) -> None:
    head = switch(read_head(server, sock))
    sock.sendall(head[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")


def hang(server: Server, sock: socket.socket) -> None:
    """Read and say nothing."""
    while sock.recv(65536):
        pass


def reset(server: Server, sock: socket.socket) -> None:
    time.sleep(0.03)  # what was written must arrive first
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def half_close(server: Server, sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)
    hang(server, sock)


def for_ever(data: bytes) -> Any:
    def serve(server: Server, sock: socket.socket) -> None:
        block = data * max(1, 65536 // len(data))
        while not server.over.is_set():
            sock.sendall(block)

    return serve


def drip(data: bytes, every_s: float = 0.1) -> Any:
    """A byte at a time."""

    def serve(server: Server, sock: socket.socket) -> None:
        for byte in data:
            sock.sendall(bytes([byte]))
            if server.over.wait(every_s):
                return

    return serve


def switch_with(**changed: str) -> Any:
    """A 101 in which header lines are replaced, or left out if empty."""

    def serve(server: Server, sock: socket.socket) -> None:
        lines = switch(read_head(server, sock)).decode().split("\r\n")
        for name, value in changed.items():
            wanted = name.replace("_", "-")
            lines = [line for line in lines if not line.lower().startswith(wanted + ":")]
            if value:
                lines.insert(1, f"{wanted}: {value}")
        sock.sendall("\r\n".join(lines).encode("latin-1"))

    return serve


def for_pings(server: Server, sock: socket.socket) -> None:
    for _ in range(600):
        sock.sendall((b"\x89\x7d" + b"x" * 125) * 200)


def bomb(size: int) -> bytes:
    """One compressed frame that unfolds to `size` zeros, made a part at a time."""
    part = 1 << 20
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    payload = b"".join(packer.compress(bytes(part)) for _ in range(size // part))
    payload += packer.flush(zlib.Z_SYNC_FLUSH)
    return b"\xc2\x7f" + len(payload).to_bytes(8) + payload


# What our side does once it is open.


async def closes(c: Connection) -> None:
    c.close()


@dataclass(frozen=True)
class Row:
    """What is served, and how that must end; `then` is done by us once it is open."""

    name: str
    serve: Any
    outcome: Outcome
    phase: Phase
    code: int = 0
    by: str = "peer"
    detail: str = ""
    then: Any = None
    secure: bool = False
    deflate: bool = False
    floods: bool = False


UP, OPEN, TLS = Phase.UPGRADE, Phase.OPEN, Phase.TLS
EOF, RESET, TIMEOUT = Outcome.EOF, Outcome.RESET, Outcome.TIMEOUT
NOT_HTTP, LARGE, STATUS = Outcome.NOT_HTTP, Outcome.TOO_LARGE, Outcome.STATUS
BAD, PROTOCOL, CLOSED = Outcome.BAD_UPGRADE, Outcome.PROTOCOL_ERROR, Outcome.CLOSED
NORMAL, TLS_FAILED = Outcome.NORMAL, Outcome.TLS_FAILED

OK_HEAD = b"HTTP/1.1 200 OK\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WINDOW = "permessage-deflate; server_max_window_bits=99"
SETTINGS = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64"

# fmt: off
INSTEAD_OF_AN_ANSWER = [
    Row("garbage", does(request, b"\x07\xf3\0garbage\xff" * 9, hang), NOT_HTTP, UP),
    Row("endless garbage", does(request, for_ever(b"\x9c\0xyz")), NOT_HTTP, UP),
    Row("http/2 settings", does(request, SETTINGS, hang), NOT_HTTP, UP),
    Row("http/2 preface", does(request, PREFACE, hang), NOT_HTTP, UP, detail="PRI"),
    Row("a tls alert", does(request, b"\x15\x03\x03\0\x02\x02\x0a", hang), NOT_HTTP, UP),
    Row("http/0.9", does(request, b"<html>hello", hang), NOT_HTTP, UP, detail="<html>"),
    Row("101 in http/1.0", does(request, b"HTTP/1.0 101 S\r\n\r\n", hang), NOT_HTTP, UP),
    Row("status 42", does(request, b"HTTP/1.1 42 S\r\n\r\n", hang), NOT_HTTP, UP),
    Row("a folded header", does(request, OK_HEAD + b"A: b\r\n c\r\n\r\n", hang), NOT_HTTP, UP),
    Row("NUL in a header", does(request, OK_HEAD + b"A: b\0\r\n\r\n", hang), NOT_HTTP, UP),
    Row("only line feeds", does(request, b"HTTP/1.1 101 S\n" * 9, hang), NOT_HTTP, UP),
    Row("silence", does(request, hang), TIMEOUT, UP, by="timeout", detail="no byte"),
    Row("a byte at a time",
        does(request, drip(OK_HEAD * 9)), TIMEOUT, UP, by="timeout", detail="bytes of a head"),
    Row("eof", does(request), EOF, UP, by="drop"),
    Row("half-close before the request", does(half_close), EOF, UP, by="drop"),
    Row("eof within the head", does(request, OK_HEAD), EOF, UP, by="drop", detail="17 bytes"),
    Row("half-close", does(request, half_close), EOF, UP, by="drop"),
    Row("reset", does(request, reset), RESET, UP, 104, "drop"),
    Row("reset before the request", does(reset), RESET, UP, 104, "drop"),
    Row("reset within the head", does(request, OK_HEAD, reset), RESET, UP, 104, "drop"),
]
ANSWERS = [
    Row("endless headers", does(request, OK_HEAD, for_ever(b"A: b\r\n")), LARGE, UP),
    Row("an endless header", does(request, OK_HEAD + b"A: ", for_ever(b"b")), LARGE, UP),
    Row("an endless status line", does(request, b"HTTP/1.1 200 ", for_ever(b"b")), LARGE, UP),
    Row("a head of 33 KB", does(request, OK_HEAD + b"A: b\r\n" * 5600 + b"\r\n", hang), LARGE, UP),
    Row("1xx without end",
        does(request, for_ever(b"HTTP/1.1 103 Early\r\nA: b\r\n\r\n")), LARGE, UP,
        detail="interim"),
    Row("1xx, a byte at a time",
        does(request, drip(b"HTTP/1.1 100 C\r\n\r\n" * 9)), TIMEOUT, UP, by="timeout"),
    Row("an endless body", does(request, OK_HEAD + b"\r\n", for_ever(b"x")), STATUS, UP, 200),
    Row("an endless chunked body",
        does(request, OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", for_ever(b"1\r\nx\r\n")),
        STATUS, UP, 200),
    Row("an endless chunk extension",
        does(request, OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", for_ever(b"x")), STATUS,
        UP, 200),
    Row("a body of 10^20 bytes that does not come",
        does(request, b"HTTP/1.1 503 No\r\nContent-Length: 1" + b"0" * 20 + b"\r\n\r\nx", hang),
        STATUS, UP, 503, detail="cut by the deadline"),
    Row("a body, a byte at a time",
        does(request, b"HTTP/1.1 403 No\r\nContent-Length: 99\r\n\r\n", drip(b"x" * 99)), STATUS,
        UP, 403, detail="cut by the deadline"),
    Row("eof within a body",
        does(request, b"HTTP/1.1 403 No\r\nContent-Length: 99\r\n\r\nx"), STATUS, UP, 403),
    Row("reset within a body",
        does(request, b"HTTP/1.1 403 No\r\nContent-Length: 99\r\n\r\nx", reset), STATUS, UP, 403,
        detail="reset"),
]
BAD_101S = [
    Row("101 without headers", does(request, b"HTTP/1.1 101 S\r\n\r\n", hang), BAD, UP, 101),
    Row("wrong accept", does(switch_with(sec_websocket_accept="AAAA"), hang), BAD, UP, 101),
    Row("no accept", does(switch_with(sec_websocket_accept=""), hang), BAD, UP, 101),
    Row("two upgrades", does(switch_with(upgrade="websocket, h2c"), hang), BAD, UP, 101),
    Row("no connection", does(switch_with(connection=""), hang), BAD, UP, 101),
    Row("deflate that was not offered",
        does(switch_with(sec_websocket_extensions="permessage-deflate"), hang), BAD, UP, 101),
    Row("an extension nobody knows",
        does(switch_with(sec_websocket_extensions="x-evil"), hang), BAD, UP, 101, deflate=True),
    Row("a window of 99 bits",
        does(switch_with(sec_websocket_extensions=WINDOW), hang),
        BAD, UP, 101, deflate=True),
]


def frames(
    name: str, data: bytes, outcome: Outcome = PROTOCOL, code: int = 1002, **more: Any
) -> Row:
    """These bytes behind the 101, then nothing."""
    return Row(name, does(upgrade, data, hang), outcome, OPEN, code, **more)


def invalid_close(code: int) -> Row:
    return frames(f"close {code}", close_frame(code), code=code, detail=f"close code {code}")


FRAMES = [
    Row("a 101 twice", does(upgrade_twice, hang), PROTOCOL, OPEN, 1002),
    frames("a second 101 that is short", b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    frames("a second 101 that has just begun", b"HT"),
    frames("http/2 preface, open", PREFACE),
    frames("http/2 settings, open", SETTINGS),
    frames("a masked frame", b"\x81\x82\0\0\0\0hi"),
    frames("2^63 bytes", b"\x82\x7f\x80" + bytes(7) + b"x" * 99, LARGE, 1009),
    frames("2^63-1 bytes", b"\x82\x7f\x7f" + b"\xff" * 7 + b"x" * 99, LARGE, 1009),
    frames("2^64-1 bytes", b"\x82\x7f" + b"\xff" * 8, LARGE, 1009),
    frames("2^63 bytes of text", b"\x81\x7f\x80" + bytes(7), LARGE, 1009),
    frames("2^63 bytes in a fragment", b"\x01\x01a\x80\x7f\x80" + bytes(7), LARGE, 1009),
    frames("one byte over the limit", b"\x82\x7f" + (MESSAGE_MAX + 1).to_bytes(8), LARGE, 1009),
    frames("invalid UTF-8", frame(1, b"\xc3\x28"), code=1007),
    frames("a surrogate", frame(1, b"\xed\xa0\x80"), code=1007),
    frames("invalid UTF-8 over fragments", b"\x01\x01\xc3\x80\x01\x28", code=1007),
    frames("UTF-8 cut short", b"\x01\x01\xc3\x80\x00", code=1007),
    frames("RSV1 without deflate", b"\xc1\x01a"),
    frames("RSV2", b"\xa1\x01a"),
    frames("RSV3", b"\x91\x01a"),
    frames("RSV1 on a ping", b"\xc9\x00"),
    frames("opcode 3", b"\x83\x00"),
    frames("opcode 11", b"\x8b\x00"),
    frames("opcode 15, 2^63 bytes", b"\x8f\x7f\x80" + bytes(7)),
    frames("a ping of 126 bytes", b"\x89\x7e\x00\x7e" + b"x" * 126),
    frames("a ping of 126 bytes, only its header", b"\x89\x7e\x00\x7e"),
    frames("a pong of 2^63 bytes", b"\x8a\x7f\x80" + bytes(7), LARGE, 1009),
    frames("a close of 126 bytes", b"\x88\x7e\x00\x7e\x03\xe8" + b"x" * 124),
    frames("a fragmented ping", b"\x09\x00"),
    frames("a fragmented close", b"\x08\x00"),
    frames("a continuation of nothing", b"\x80\x01a"),
    frames("a message within a message", b"\x01\x01a\x81\x01b"),
    frames("close 1005 and no more", b"\x88\x00", CLOSED, 1005),
    *map(invalid_close, (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)),
    frames("half a close code", b"\x88\x01\x03"),
    frames("a reason that is no UTF-8", close_frame(1000, b"\xff"), code=1007),
    frames("data behind a close", close_frame(1000) + frame(1, b"x") * 99, CLOSED, 1000),
    frames("two closes", close_frame(4001) + close_frame(4002), CLOSED, 4001),
    Row("a flood behind a close",
        does(upgrade, close_frame(1000), for_ever(b"\x81\x01a")), CLOSED, OPEN, 1000),
    Row("eof, open", does(upgrade), EOF, OPEN, by="drop"),
    Row("half-close, open", does(upgrade, half_close), EOF, OPEN, by="drop"),
    Row("eof within a frame", does(upgrade, b"\x81\x7daaa"), EOF, OPEN, by="drop"),
    Row("reset, open", does(upgrade, reset), RESET, OPEN, 104, "drop"),
    Row("reset within a frame", does(upgrade, b"\x81\x7daaa", reset), RESET, OPEN, 104, "drop"),
    Row("reset within a message", does(upgrade, b"\x01\x01a", reset), RESET, OPEN, 104, "drop"),
    Row("reset behind a close", does(upgrade, close_frame(1001), reset), CLOSED, OPEN, 1001),
]
ENDLESS = [
    Row("fragments without end",
        does(upgrade, b"\x01\x01a", for_ever(b"\0\x01a")), LARGE, OPEN, 1009),
    Row("empty fragments without end",
        does(upgrade, b"\x01\0", for_ever(b"\0\0")), LARGE, OPEN, 1009),
    Row("pings between fragments without end",
        does(upgrade, b"\x01\0", for_ever(b"\0\0\x89\x00")), LARGE, OPEN, 1009),
    Row("a bomb of 1 GB", does(deflates, bomb(1 << 30), hang), LARGE, OPEN, 1009, deflate=True),
    Row("a bomb in fragments",
        does(deflates, b"\x42" + bomb(1 << 24)[1:], for_ever(b"\0\0")), LARGE, OPEN, 1009,
        deflate=True),
    Row("no deflate stream",
        does(deflates, b"\xc2\x04\xff\xff\xff\xff", hang), PROTOCOL, OPEN, 1002, deflate=True),
    Row("a frame that never ends",
        does(upgrade, b"\x82\x7e\xff\xff", drip(b"x" * 99)), TIMEOUT, OPEN, by="timeout",
        detail="Close", then=closes),
    Row("deaf to a close",
        does(upgrade, hang), TIMEOUT, OPEN, by="timeout", detail="Close", then=closes),
    Row("a flood instead of a close",
        does(upgrade, for_ever(frame(2, bytes(60_000)))), TIMEOUT, OPEN, by="timeout",
        detail="Close", then=closes),
    Row("eof instead of a close",
        does(upgrade, lambda _, sock: sock.recv(9)), NORMAL, OPEN, by="us", detail="EOF",
        then=closes),
    Row("reset instead of a close",
        does(upgrade, lambda _, sock: sock.recv(9), reset), NORMAL, OPEN, by="us", detail="RESET",
        then=closes),
    Row("a flood of pings that reads nothing",
        does(upgrade, b"\x89\x7d" + b"x" * 125, for_pings, b"\x83\0", hang), PROTOCOL, OPEN, 1002,
        floods=True),
]
IN_TLS = [
    Row("plain HTTP where TLS is", does(b"HTTP/1.1 400 No\r\n\r\n", hang), TLS_FAILED, TLS),
    Row("garbage where TLS is", does(b"\xff" * 99, hang), TLS_FAILED, TLS),
    Row("silence where TLS is", does(hang), TIMEOUT, TLS, by="timeout"),
    Row("eof where TLS is", does(hello), EOF, TLS, by="drop"),
    Row("reset where TLS is", does(hello, reset), RESET, TLS, 104, "drop"),
    Row("a TLS record that never ends",
        does(hello, b"\x16\x03\x03\x40\0", drip(b"\x02" * 99)), TIMEOUT, TLS, by="timeout"),
]

# fmt: on

TABLE = [*INSTEAD_OF_AN_ANSWER, *ANSWERS, *BAD_101S, *FRAMES, *ENDLESS]


def peak_reset() -> None:
    """From here the kernel counts the peak anew."""
    Path("/proc/self/clear_refs").write_text("5")


def memory(which: str) -> int:
    """VmHWM (the peak) or VmRSS of this process, bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(which):
            return int(line.split()[1]) * 1024
    raise AssertionError(which)


class Counts(Ear):
    """A listener that keeps nothing, so that all that grows is the wire's."""

    def message(self, t_ns: int, opcode: int, payload: bytes) -> None:
        pass

    pong = pinged = lambda self, t_ns, payload: None


def meet(row: Row, folder: Path, url: str, **more: Any) -> Any:
    """Dial it; the rig, its rows, and how many bytes the process grew at its peak."""
    grown = 0

    async def body(rig: Any) -> None:
        nonlocal grown
        peak_reset()
        before = memory("VmRSS")
        begun = now_ns()
        after_ns = DEADLINE_NS if row.outcome is TIMEOUT or "deadline" in row.detail else LATE_NS
        got = await rig.dial(
            url,
            after_ns,
            limits=LIMITS,
            max_message=MESSAGE_MAX,
            deflate=row.deflate,
            ear=Counts(),
            **more,
        )
        assert isinstance(got, Connection) == (row.phase is OPEN), got
        if isinstance(got, Connection):
            if row.then is not None:
                await row.then(got)
            end = await rig.ear.over
            assert got.end == end
            if row.floods:
                await asyncio.sleep(3 * LIMITS.linger_ns / 1e9)  # what is unsent is given up
        else:
            end = got
        assert (end.outcome, end.phase, end.code, end.by) == (
            row.outcome,
            row.phase,
            row.code,
            row.by,
        ), end
        assert row.detail in end.detail
        assert now_ns() - begun < LATE_NS
        grown = memory("VmHWM") - before

    _, rows = run(body, folder)
    end = only(rows, Kind.END)
    assert (end["a"], end["flag"]) == (row.outcome, row.phase)
    return grown


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_a_hostile_server_has_a_definite_outcome(tmp_path, row):
    with Server(row.serve) as server:
        grown = meet(row, tmp_path, f"ws://127.0.0.1:{server.port}/")
    assert grown < GROWTH_BYTES_MAX
    assert not server.errors


def test_a_peer_that_reads_nothing_does_not_keep_our_socket(tmp_path):
    """What is left to be written, our Close among it, is given up soon after the end."""
    gone: list[int] = []

    def serve(server: Server, sock: socket.socket) -> None:
        does(upgrade, for_pings, b"\x83\0")(server, sock)
        poll = select.poll()
        poll.register(sock, 0)  # hang-up and error alone: nothing is read
        gone.extend(events for _, events in poll.poll(10_000))

    async def body(rig: Any) -> None:
        until = now_ns() + LATE_NS
        connection = await rig.dial(url, LATE_NS, limits=LIMITS, ear=Counts())
        end = await rig.ear.over
        assert (end.outcome, connection.closed) == (PROTOCOL, True)
        while not gone and now_ns() < until:  # noqa: ASYNC110 -- another thread is waited for
            await asyncio.sleep(0.01)

    with Server(serve) as server:
        url = f"ws://127.0.0.1:{server.port}/"
        run(body, tmp_path)
    assert gone
    assert gone[0] & select.POLLHUP


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    ca = trustme.CA()
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(path)
    return ca, TlsOptions(ca_file=str(path))


@pytest.mark.parametrize("gated", [False, True], ids=["loop's TLS", "ours"])
@pytest.mark.parametrize("row", IN_TLS, ids=lambda row: row.name)
def test_a_hostile_peer_where_tls_should_be(tmp_path, authority, row, gated):
    with Server(row.serve) as server:
        url = f"wss://127.0.0.1:{server.port}/"
        grown = meet(row, tmp_path, url, tls=authority[1], gated=gated)
    assert grown < GROWTH_BYTES_MAX


WITHIN_TLS = [
    row
    for row in TABLE
    if row.name
    in {
        "garbage",
        "endless headers",
        "an endless body",
        "2^63 bytes",
        "eof, open",
        "half-close",
        "fragments without end",
        "a bomb of 1 GB",
        "a flood instead of a close",
        "reset, open",
        "a flood of pings that reads nothing",
    }
]


@pytest.mark.parametrize("row", WITHIN_TLS, ids=lambda row: row.name)
def test_the_same_within_tls_of_our_own(tmp_path, authority, row):
    with Server(row.serve, tls=server_context(authority[0], "127.0.0.1")) as server:
        url = f"wss://127.0.0.1:{server.port}/"
        grown = meet(row, tmp_path, url, tls=authority[1], gated=True)
    assert grown < GROWTH_BYTES_MAX


def test_the_bound_would_see_what_is_kept():
    """A test that cannot fail is a defect: what is held on to is counted."""
    peak_reset()
    before = memory("VmRSS")
    kept = bytes(b"x" * (2 * GROWTH_BYTES_MAX))
    assert memory("VmHWM") - before > GROWTH_BYTES_MAX
    del kept
