"""A connection against real servers, good and bad, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import resource
import socket
import struct
import threading

import aiohttp.web
import pytest
import trustme
from websockets.asyncio.server import serve
from websockets.typing import Subprotocol

from probe.clock import now_ns
from probe.history.records import Kind, Outcome, Phase, Violation
from probe.wire import End, Limits, Proxy, TlsOptions, accept_for, make_route
from tests.wire_rig import (
    LATE_NS,
    SECRET,
    SOON_NS,
    Ear,
    Rig,
    answer,
    echo,
    ending,
    head_of,
    kinds,
    only,
    raw,
    reset,
    run,
    says,
    server_context,
    unused_port,
    upgrades,
)

# The good.


def test_a_whole_life_against_websockets(tmp_path):
    async def body(rig):
        async with serve(
            echo, "127.0.0.1", 0, subprotocols=[Subprotocol("b"), Subprotocol("a")]
        ) as server:
            port = server.sockets[0].getsockname()[1]
            c = await rig.connect(f"ws://127.0.0.1:{port}/x?q=1", offer=["a", "b"], keep_heads=True)
            assert c.peer_address == ("127.0.0.1", port)
            assert (c.response.status, c.subprotocol, c.phase) == (101, "b", Phase.OPEN)
            assert c.tls_info is None
            assert c.send_text("grüße".encode()) > 0
            assert c.send_binary(b"\xff\x00") > 0
            assert c.ping(b"p") > 0
            big = b"z" * 300_000
            assert c.send_binary(big) > 0
            heard = await rig.ear.until(4)
            assert sorted(map(str, heard)) == sorted(
                map(str, [(1, "grüße".encode()), (2, b"\xff\x00"), (2, big), ("pong", b"p")])
            )
            c.phase = Phase.READY
            c.close(1000, b"done")
            assert not c.send_text(b"too late")
            assert await rig.ear.over == End(Outcome.NORMAL, Phase.READY, 1000, b"done", by="us")
            assert c.closed
            assert c.local_address is None

    rig, rows = run(body, tmp_path)
    order = [Kind.DIAL, Kind.RESOLVED, Kind.TCP, Kind.SENT, Kind.HEAD, Kind.FIRST]
    assert kinds(rows) == [*order, Kind.CLOSE, Kind.CLOSE, Kind.END]
    assert list(rows["t"]) == sorted(rows["t"])
    assert list(rows["flag"][-3:]) == [0, 1, Phase.READY]
    assert only(rows, Kind.TCP)["a"] > 0
    sent = rig.text(only(rows, Kind.SENT)["b"])
    assert sent.startswith(b"GET /x?q=1 HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"Authorization: Bearer x-xxxxx" in sent
    assert len(sent) == only(rows, Kind.SENT)["a"]
    assert rig.text(only(rows, Kind.HEAD)["b"]).endswith(b"\r\n\r\n")


def test_aiohttp_closes_with_a_code_and_a_reason(tmp_path):
    async def handler(request):
        ws = aiohttp.web.WebSocketResponse()
        await ws.prepare(request)
        await ws.send_str((await ws.receive_str()) + "!")
        await ws.close(code=4401, message=b"who are you")
        return ws

    async def body(rig):
        app = aiohttp.web.Application()
        app.router.add_get("/ws", handler)
        runner = aiohttp.web.AppRunner(app)
        await runner.setup()
        site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        c = await rig.connect(f"ws://127.0.0.1:{port}/ws")
        c.send_text(b"hi")
        end = await rig.ear.over
        assert rig.ear.heard == [(1, b"hi!")]
        assert end == End(Outcome.CLOSED, Phase.OPEN, 4401, b"who are you", by="peer")
        await runner.cleanup()

    rig, rows = run(body, tmp_path)
    received, sent = rows[rows["kind"] == Kind.CLOSE]
    assert (received["flag"], received["a"], rig.text(received["b"])) == (1, 4401, b"who are you")
    assert (sent["flag"], sent["a"]) == (0, 4401)


def test_heads_of_a_right_101_are_kept_only_when_asked(tmp_path):
    async def body(rig):
        async with raw(upgrades()) as port:
            (await rig.connect(f"ws://127.0.0.1:{port}/")).abort()
            await rig.ear.over

    _, rows = run(body, tmp_path)
    assert (only(rows, Kind.SENT)["b"], only(rows, Kind.HEAD)["b"]) == (0, 0)


def test_compression_goes_both_ways_and_is_bounded(tmp_path):
    async def bomb(ws):
        await ws.send(await ws.recv())
        await ws.send("x" * 100_000)
        await ws.wait_closed()

    async def body(rig):
        async with serve(bomb, "127.0.0.1", 0, compression="deflate") as server:
            port = server.sockets[0].getsockname()[1]
            url = f"ws://127.0.0.1:{port}/"
            c = await rig.connect(url, deflate=True, max_message=50_000)
            c.send_text(b"abc" * 1000)
            end = await rig.ear.over
            assert rig.ear.heard == [(1, b"abc" * 1000)]
            assert (end.outcome, end.code) == (Outcome.TOO_LARGE, 1009)
            assert c.response.all(b"sec-websocket-extensions")

    run(body, tmp_path)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_addresses_of_both_families_and_names(tmp_path, host):
    async def body(rig):
        async with raw(upgrades(), "::1" if ":" in host else "127.0.0.1") as port:
            shown = f"[{host}]" if ":" in host else host
            c = await rig.connect(f"ws://{shown}:{port}/")
            assert c.peer_address is not None
            assert c.peer_address[1] == port
            c.abort()

    run(body, tmp_path)


def test_the_second_address_is_tried_and_the_answer_is_shared(tmp_path):
    async def body(rig):
        async with raw(upgrades()) as port:
            cache = {("two.test", 80): [("127.0.0.1", unused_port()), ("127.0.0.1", port)]}
            for _ in range(2):
                c = await rig.connect("ws://two.test/", dns_cache=cache)
                assert c.peer_address == ("127.0.0.1", port)
                c.abort()
            found: dict[tuple[str, int], list[tuple[str, int]]] = {}
            c = await rig.connect("ws://x.test/", connect_to=f"localhost:{port}", dns_cache=found)
            assert list(found) == [("localhost", port)]
            c.abort()

    _, rows = run(body, tmp_path)
    assert list(rows[rows["kind"] == Kind.RESOLVED]["a"][:2]) == [2, 2]


# The bad, before the 101.

NOBODY_SPEAKS = [
    pytest.param(says(b"", then="hang"), Outcome.TIMEOUT, 0, "timeout", "no byte", id="silent"),
    pytest.param(says(b"", then="reset"), Outcome.RESET, 104, "drop", "", id="reset"),
    pytest.param(says(b""), Outcome.EOF, 0, "drop", "", id="eof"),
    pytest.param(says(b"HTTP/1.1 101 S\r\nUp"), Outcome.EOF, 0, "drop", "18 bytes", id="cut head"),
    pytest.param(
        says(b"HTTP/1.1 101 S\r\nUp", then="hang"),
        Outcome.TIMEOUT,
        0,
        "timeout",
        "18",
        id="slow head",
    ),
    pytest.param(
        says(b"HTTP/1.1 101 S\r\n", then="reset"), Outcome.RESET, 104, "drop", "", id="rst head"
    ),
    pytest.param(
        says(b"SSH-2.0-x\r\n", then="hang"), Outcome.NOT_HTTP, 0, "peer", "SSH-2.0", id="ssh"
    ),
    pytest.param(
        says(b"\x15\x03\x01\0\2\2", then="hang"), Outcome.NOT_HTTP, 0, "peer", "", id="tls"
    ),
    pytest.param(
        says(b"HTTP/1.1 101 S\r\nbad header\r\n\r\n"),
        Outcome.NOT_HTTP,
        0,
        "peer",
        "bad header",
        id="line",
    ),
    pytest.param(
        says(b"HTTP/1.1 101 S\n\n", then="hang"), Outcome.NOT_HTTP, 0, "peer", "", id="bare LF"
    ),
    pytest.param(
        says(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 9000, then="hang"),
        Outcome.TOO_LARGE,
        0,
        "peer",
        "32768",
        id="endless",
    ),
    pytest.param(
        says(b"HTTP/1.1 503 Busy\r\nContent-Length: 3\r\n\r\nnow"),
        Outcome.STATUS,
        503,
        "peer",
        "503 Busy",
        id="503",
    ),
    pytest.param(
        says(b"HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\nnow", then="hang"),
        Outcome.STATUS,
        403,
        "peer",
        "deadline",
        id="body hangs",
    ),
    pytest.param(
        says(b"HTTP/1.1 500 Oh\r\nContent-Length: 9\r\n\r\nnow", then="reset"),
        Outcome.STATUS,
        500,
        "peer",
        "reset",
        id="body reset",
    ),
]


@pytest.mark.parametrize(("handler", "outcome", "code", "by", "detail"), NOBODY_SPEAKS)
def test_what_a_peer_does_instead_of_upgrading(tmp_path, handler, outcome, code, by, detail):
    async def body(rig):
        async with raw(handler) as port:
            end = await rig.fail(f"ws://127.0.0.1:{port}/", SOON_NS)
            assert (end.outcome, end.phase) == (outcome, Phase.UPGRADE)
            assert (end.code, end.by) == (code, by)
            assert detail in end.detail

    rig, rows = run(body, tmp_path)
    end = only(rows, Kind.END)
    assert (end["flag"], end["a"]) == (Phase.UPGRADE, outcome)
    assert detail.encode() in (rig.text(end["b"]) if end["b"] else b"")
    assert rig.text(only(rows, Kind.SENT)["b"]).startswith(b"GET / ")
    if outcome is Outcome.STATUS:
        head = only(rows, Kind.HEAD)
        assert head["a"] == code
        assert rig.text(head["b"]).endswith(b"now")


def test_a_listener_that_is_not_there_and_a_network_that_is_not(tmp_path):
    async def body(rig):
        end = await rig.fail(f"ws://127.0.0.1:{unused_port()}/")
        assert (end.outcome, end.phase, end.by) == (Outcome.REFUSED, Phase.TCP, "peer")
        end = await rig.fail("ws://224.0.0.1/")
        assert (end.outcome, end.phase) == (Outcome.UNREACHABLE, Phase.TCP)
        route = make_route("ws://x.test/")
        end = await rig.fail("", route=dataclasses.replace(route, connect_host="no such name"))
        assert (end.outcome, end.phase) == (Outcome.RESOLVE_FAILED, Phase.RESOLVE)

    run(body, tmp_path)


@contextlib.contextmanager
def deaf():
    """A port that answers no SYN: its queue is full."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def test_tcp_timeouts_are_the_deadlines_or_the_phases(tmp_path):
    async def body(rig):
        with deaf() as port:
            for how in ({"after_ns": SOON_NS}, {"limits": Limits(tcp_ns=SOON_NS)}):
                begun = now_ns()
                end = await rig.fail(f"ws://127.0.0.1:{port}/", **how)
                assert (end.outcome, end.phase, end.by) == (Outcome.TIMEOUT, Phase.TCP, "timeout")
                assert SOON_NS <= now_ns() - begun < LATE_NS
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0
            async with raw(upgrades()) as good:
                cache = {("two.test", 80): [("127.0.0.1", port), ("127.0.0.1", good)]}
                c = await rig.connect("ws://two.test/", dns_cache=cache, after_ns=4 * SOON_NS)
                c.abort()

    run(body, tmp_path)


@pytest.mark.usefixtures("tls_kind")
@pytest.mark.parametrize("where", ["tcp", "upgrade", "tls"])
def test_cancelled_by_the_caller(tmp_path, where):
    async def body(rig):
        with deaf() as port:
            async with raw(says(b"", then="hang")) as silent, raw(quiet) as mute:
                urls = {"tcp": f"ws://127.0.0.1:{port}/", "upgrade": f"ws://127.0.0.1:{silent}/"}
                task = asyncio.create_task(rig.dial(urls.get(where, f"wss://127.0.0.1:{mute}/")))
                await asyncio.sleep(0.05)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

    _, rows = run(body, tmp_path)
    end = only(rows, Kind.END)
    assert (end["a"], end["flag"]) == (Outcome.CANCELLED, Phase[where.upper()])


async def quiet(reader, writer):
    await reader.read(65536)
    await asyncio.sleep(60)


def test_our_own_lack_of_descriptors_is_local(tmp_path):
    async def body(rig):
        async with raw(upgrades()) as port:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            free = os.open("/dev/null", os.O_RDONLY)
            os.close(free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
            try:
                end = await rig.fail(f"ws://127.0.0.1:{port}/")
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert (end.outcome, end.phase, end.by) == (Outcome.LOCAL, Phase.TCP, "us")

    run(body, tmp_path)


# Answers with 101.

ACCEPT = b"Sec-WebSocket-Accept: " + accept_for(b"another")
WRONG = [
    ({"accept": ACCEPT}, (), Violation.ACCEPT),
    ({"accept": None}, (), Violation.ACCEPT),
    ({"upgrade": None}, (), Violation.UPGRADE),
    ({"upgrade": b"Upgrade: h2c"}, (), Violation.UPGRADE),
    ({"connection": b"Connection: close"}, (), Violation.CONNECTION),
    ({}, (b"Sec-WebSocket-Protocol: z",), Violation.SUBPROTOCOL_UNOFFERED),
    ({}, (b"Sec-WebSocket-Protocol: a, b",), Violation.SUBPROTOCOL_MALFORMED),
    (
        {},
        (b"Sec-WebSocket-Protocol: a", b"Sec-WebSocket-Protocol: a"),
        Violation.SUBPROTOCOL_MALFORMED,
    ),
    ({}, (b"Sec-WebSocket-Extensions: permessage-deflate",), Violation.EXTENSION),
]


@pytest.mark.parametrize(("changed", "lines", "bit"), WRONG)
def test_a_101_that_does_not_answer_the_request(tmp_path, changed, lines, bit):
    async def body(rig):
        async with raw(upgrades(b"", *lines, **changed)) as port:
            end = await rig.fail(f"ws://127.0.0.1:{port}/", offer=("a", "b"))
            assert (end.outcome, end.phase, end.code) == (Outcome.BAD_UPGRADE, Phase.UPGRADE, 101)
            assert end.detail

    rig, rows = run(body, tmp_path)
    head = only(rows, Kind.HEAD)
    assert int(head["flag"]) & ~Violation.SUBPROTOCOL_NONE == bit
    assert rig.text(head["b"]).startswith(b"HTTP/1.1 101")
    assert rig.text(only(rows, Kind.SENT)["b"])


@pytest.mark.parametrize(
    "handler",
    [
        upgrades(connection=b"Connection: keep-alive, UPGRADE", upgrade=b"upgrade:   WebSocket  "),
        upgrades(b"", b"X-Twice: 1", b"X-Twice: 2"),
    ],
)
def test_a_101_in_other_words_is_right(tmp_path, handler):
    async def body(rig):
        async with raw(handler) as port:
            (await rig.connect(f"ws://127.0.0.1:{port}/", offer=("a",))).abort()

    _, rows = run(body, tmp_path)
    assert only(rows, Kind.HEAD)["flag"] == Violation.SUBPROTOCOL_NONE


def test_interim_answers_and_single_bytes(tmp_path):
    async def handler(reader, writer):
        head = await head_of(reader)
        for byte in b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + answer(head) + b"\x81\x02hi":
            writer.write(bytes((byte,)))
            await asyncio.sleep(0)
        await ending(reader, writer, "wait")

    async def body(rig):
        async with raw(handler) as port:
            c = await rig.connect(f"ws://127.0.0.1:{port}/")
            assert await rig.ear.until(1) == [(1, b"hi")]
            c.abort()

    run(body, tmp_path)


def test_what_comes_with_the_101_is_not_lost(tmp_path):
    data = b"\x81\x02hi\x89\x01p\x82\x01\xff\x88\x05\x0f\xa1bye"

    async def body(rig):
        async with raw(upgrades(data)) as port:
            c = await rig.connect(f"ws://127.0.0.1:{port}/", limits=Limits(linger_ns=SOON_NS))
            end = await rig.ear.over
            assert rig.ear.heard == [(1, b"hi"), ("pinged", b"p"), (2, b"\xff")]
            assert c.end == end == End(Outcome.CLOSED, Phase.OPEN, 4001, b"bye")

    _, rows = run(body, tmp_path)
    head, first = only(rows, Kind.HEAD), only(rows, Kind.FIRST)
    assert (first["t"], first["a"]) == (head["t"], len(data))


# The bad, once it is open.

OPEN_ENDS = [
    pytest.param(b"", "eof", Outcome.EOF, 0, "drop", id="eof"),
    pytest.param(b"", "reset", Outcome.RESET, 104, "drop", id="reset"),
    pytest.param(b"\x81\x82\0\0\0\0hi", "hang", Outcome.PROTOCOL_ERROR, 1002, "peer", id="masked"),
    pytest.param(b"\x83\x00", "hang", Outcome.PROTOCOL_ERROR, 1002, "peer", id="opcode"),
    pytest.param(b"\xc1\x01a", "hang", Outcome.PROTOCOL_ERROR, 1002, "peer", id="rsv"),
    pytest.param(b"\x80\x01a", "hang", Outcome.PROTOCOL_ERROR, 1002, "peer", id="stray"),
    pytest.param(b"\x81\x01\xff", "hang", Outcome.PROTOCOL_ERROR, 1007, "peer", id="utf8"),
    pytest.param(
        b"\x01\x01\xff\x80\0", "hang", Outcome.PROTOCOL_ERROR, 1007, "peer", id="utf8 parts"
    ),
    pytest.param(
        b"\x82\x7f\x7f" + b"\xff" * 7, "hang", Outcome.TOO_LARGE, 1009, "peer", id="2^63-1"
    ),
    pytest.param(b"\x88\0", "wait", Outcome.CLOSED, 1005, "peer", id="no code"),
    pytest.param(b"\x88\x02\x03\xe8", "eof", Outcome.CLOSED, 1000, "peer", id="code and eof"),
    pytest.param(b"\x88\x02\x03\xe8", "reset", Outcome.CLOSED, 1000, "peer", id="code and reset"),
    pytest.param(b"\x88\x02\x03\xe8", "hang", Outcome.CLOSED, 1000, "peer", id="lingers"),
    pytest.param(b"\x88\x02\x03\xee", "wait", Outcome.PROTOCOL_ERROR, 1006, "peer", id="1006"),
    pytest.param(b"\x88\x01\x03", "wait", Outcome.PROTOCOL_ERROR, 1002, "peer", id="half a code"),
]


@pytest.mark.parametrize(("data", "then", "outcome", "code", "by"), OPEN_ENDS)
def test_how_a_peer_ends_an_open_connection(tmp_path, data, then, outcome, code, by):
    async def body(rig):
        async with raw(upgrades(data, then=then)) as port:
            limits = Limits(linger_ns=SOON_NS)
            await rig.connect(f"ws://127.0.0.1:{port}/", limits=limits)
            end = await rig.ear.over
            assert (end.outcome, end.phase, end.code, end.by) == (outcome, Phase.OPEN, code, by)

    _, rows = run(body, tmp_path)
    assert only(rows, Kind.END)["a"] == outcome


def test_a_reset_that_a_write_meets_first_is_still_a_reset(tmp_path):
    """The kernel tells an error once: the read that follows the write sees a bare EOF."""

    def serve_one() -> None:
        sock, _ = listener.accept()
        with sock:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += sock.recv(4096)
            sock.sendall(answer(head) + b"\x81\x01a")
            go.wait(5)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def body(rig):
        c = await rig.connect(f"ws://127.0.0.1:{listener.getsockname()[1]}/")
        assert await rig.ear.until(1) == [(1, b"a")]
        go.set()
        thread.join()  # the loop stands still, so that it cannot read the reset
        assert c.send_text(b"x") == 0
        end = await rig.ear.over
        assert (end.outcome, end.phase, end.by) == (Outcome.RESET, Phase.OPEN, "drop")

    go = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        thread = threading.Thread(target=serve_one)
        thread.start()
        run(body, tmp_path)


async def closes_for_good(reader, writer):
    """Answers our Close and ends TCP, as a server should."""
    writer.write(answer(await head_of(reader)))
    await reader.readexactly(8)
    writer.write(b"\x88\x02\x03\xe8")


async def ignores_close(reader, writer):
    writer.write(answer(await head_of(reader)))
    await asyncio.sleep(60)


async def ends_on_close(reader, writer):
    writer.write(answer(await head_of(reader)))
    await reader.read(100)


async def resets_on_close(reader, writer):
    writer.write(answer(await head_of(reader)))
    await reader.read(100)
    reset(writer)


async def crosses(reader, writer):
    """Sends a message and a Close of its own before it has read ours."""
    writer.write(answer(await head_of(reader)))
    await reader.read(1)
    writer.write(b"\x81\x01m\x88\x02\x03\xe9")
    await ending(reader, writer, "wait")


@pytest.mark.parametrize(
    ("handler", "outcome", "code", "by"),
    [
        (closes_for_good, Outcome.NORMAL, 1000, "us"),
        (ignores_close, Outcome.TIMEOUT, 0, "timeout"),
        (ends_on_close, Outcome.NORMAL, 0, "us"),
        (resets_on_close, Outcome.NORMAL, 0, "us"),
        (crosses, Outcome.NORMAL, 1001, "us"),
    ],
)
def test_how_our_close_ends(tmp_path, handler, outcome, code, by):
    async def body(rig):
        async with raw(handler) as port:
            limits = Limits(close_ns=SOON_NS, linger_ns=SOON_NS)
            c = await rig.connect(f"ws://127.0.0.1:{port}/", limits=limits)
            c.close()
            c.close()
            end = await rig.ear.over
            assert (end.outcome, end.code, end.by) == (outcome, code, by)
            if handler is crosses:
                assert rig.ear.heard == [(1, b"m")]

    _, rows = run(body, tmp_path)
    sent = rows[(rows["kind"] == Kind.CLOSE) & (rows["flag"] == 0)]
    assert list(sent["a"]) == [1000]


def test_abort_and_a_reason_that_is_too_long(tmp_path):
    async def body(rig):
        async with raw(upgrades()) as port:
            c = await rig.connect(f"ws://127.0.0.1:{port}/")
            with pytest.raises(ValueError, match="123"):
                c.close(1000, b"x" * 124)
            c.abort()
            c.abort()
            end = await rig.ear.over
            assert (end.outcome, end.by) == (Outcome.NORMAL, "us")
            assert c.send_text(b"x") == c.ping() == 0

    run(body, tmp_path)


def test_no_message_follows_an_abort_within_the_same_chunk(tmp_path):
    class Aborts(Ear):
        def message(self, t_ns, opcode, payload):
            super().message(t_ns, opcode, payload)
            assert self.connection is not None
            self.connection.abort()

    async def handler(reader, writer):
        writer.write(answer(await head_of(reader)))
        await reader.read(1)
        writer.write(b"\x81\x01a\x81\x01b\x89\x00")
        await ending(reader, writer, "wait")

    async def body(rig):
        async with raw(handler) as port:
            ear = Aborts()
            ear.connection = await rig.connect(f"ws://127.0.0.1:{port}/", ear=ear)
            ear.connection.send_text(b"go")
            await ear.over
            assert ear.heard == [(1, b"a")]

    run(body, tmp_path)


def test_an_error_of_the_program_ends_the_connection_as_ours(tmp_path):
    class Broken(Ear):
        def message(self, t_ns, opcode, payload):
            raise KeyError("a bug")

    async def body(rig):
        async with raw(upgrades(then="wait")) as port, raw(talks) as later:
            with_head = Broken()
            await rig.connect(f"ws://127.0.0.1:{later}/", ear=with_head)
            end = await with_head.over
            assert (end.outcome, end.by) == (Outcome.LOCAL, "us")
            assert "KeyError" in end.detail
            (await rig.connect(f"ws://127.0.0.1:{port}/")).abort()

    run(body, tmp_path, troubles=1)


async def talks(reader, writer):
    writer.write(answer(await head_of(reader)))
    await asyncio.sleep(0.02)
    writer.write(b"\x81\x01a")
    await ending(reader, writer, "wait")


def test_reading_can_be_paused_and_writing_tells_its_backlog(tmp_path):
    async def handler(reader, writer):
        writer.write(answer(await head_of(reader)))
        await reader.readexactly(7)
        writer.write(b"\x81\x01a")
        await asyncio.sleep(0.05)
        writer.write(b"\x81\x01b")
        await asyncio.sleep(60)

    async def body(rig):
        async with raw(handler) as port:
            c = await rig.connect(f"ws://127.0.0.1:{port}/")
            c.pause()
            c.send_text(b"x")
            await asyncio.sleep(0.15)
            assert rig.ear.heard == []
            c.resume()
            assert await rig.ear.until(2) == [(1, b"a"), (1, b"b")]
            assert c.buffered == 0
            while c.buffered < 1_000_000:  # the server reads no more
                assert c.send_binary(b"x" * 500_000)
            c.abort()

    run(body, tmp_path)


def test_a_flood_of_pings_does_not_fill_our_memory(tmp_path):
    async def handler(reader, writer):
        writer.write(answer(await head_of(reader)))
        ping = b"\x89\x7d" + b"x" * 125
        for _ in range(600):
            writer.write(ping * 200)
            await writer.drain()
        writer.write(b"\x81\x04last")
        await asyncio.sleep(60)

    class Counts(Ear):
        def pinged(self, t_ns, payload):
            pass

    async def body(rig):
        async with raw(handler, limit=1024) as port:
            ear = Counts()
            c = await rig.connect(f"ws://127.0.0.1:{port}/", ear=ear)
            assert await ear.until(1) == [(1, b"last")]
            assert c.buffered < 1_100_000
            c.abort()

    run(body, tmp_path)


# TLS, by the event loop and by our own layer: the outcomes are the same.


@pytest.fixture(params=[False, True], ids=["loop", "ours"])
def tls_kind(request, monkeypatch):
    monkeypatch.setattr(Rig, "gated", request.param)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ca")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    ours = ca.issue_cert("client@example.test")
    ours.private_key_and_cert_chain_pem.write_to_path(folder / "client.pem")
    return ca, folder


@pytest.mark.usefixtures("tls_kind")
def test_tls_with_its_own_authority(tmp_path, authority):
    ca, folder = authority

    async def body(rig):
        context = server_context(ca, "localhost", "127.0.0.1")
        async with serve(echo, "127.0.0.1", 0, ssl=context) as server:
            port = server.sockets[0].getsockname()[1]
            tls = TlsOptions(ca_file=str(folder / "ca.pem"))
            for how in ({}, {"connect_to": f"127.0.0.1:{port}", "server_name": "localhost"}):
                url = "wss://some.test/" if how else f"wss://127.0.0.1:{port}/"
                c = await rig.connect(url, tls=tls, **how)
                info = c.tls_info
                assert (info.version, len(info.fingerprint)) == ("TLSv1.3", 64)
                assert info.cipher
                c.send_text(b"hi")
                assert await rig.ear.until(1) == [(1, b"hi")]
                c.close()
                assert (await rig.ear.over).outcome is Outcome.NORMAL
            c = await rig.connect(f"wss://127.0.0.1:{port}/", tls=TlsOptions(verify=False))
            c.abort()

    _, rows = run(body, tmp_path)
    order = [Kind.DIAL, Kind.RESOLVED, Kind.TCP, Kind.TLS, Kind.SENT, Kind.HEAD]
    assert kinds(rows)[: len(order)] == order


@pytest.mark.usefixtures("tls_kind")
def test_certificates_that_do_not_hold(tmp_path, authority):
    ca, folder = authority

    async def body(rig):
        context = server_context(ca, "other.test")
        async with raw(upgrades(), ssl=context) as port:
            url = f"wss://127.0.0.1:{port}/"
            end = await rig.fail(url)
            assert (end.outcome, end.phase, end.by) == (Outcome.CERTIFICATE, Phase.TLS, "us")
            assert "local issuer" in end.detail
            end = await rig.fail(url, tls=TlsOptions(ca_file=str(folder / "ca.pem")))
            assert (end.outcome, end.phase) == (Outcome.CERTIFICATE, Phase.TLS)
            assert "127.0.0.1" in end.detail

    run(body, tmp_path)


@contextlib.contextmanager
def demanding(context):
    """A server in a thread, since asyncio's closes without the alert that says why."""

    def serve_one() -> None:
        with listener, contextlib.suppress(OSError):
            sock, _ = listener.accept()
            with sock, context.wrap_socket(sock, server_side=True) as tls:
                tls.recv(65536)

    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(5)
    thread = threading.Thread(target=serve_one)
    thread.start()
    yield listener.getsockname()[1]
    thread.join()


@pytest.mark.usefixtures("tls_kind")
def test_a_client_certificate_is_shown_when_asked_for(tmp_path, authority):
    ca, folder = authority

    async def body(rig):
        context = server_context(ca, "127.0.0.1", demand=True)
        ca_file = str(folder / "ca.pem")
        with demanding(context) as port:
            end = await rig.fail(f"wss://127.0.0.1:{port}/", tls=TlsOptions(ca_file=ca_file))
        # In TLS 1.3 the alert comes after our side of the handshake is through.
        assert (end.outcome, end.phase) == (Outcome.TLS_FAILED, Phase.UPGRADE)
        assert "CERTIFICATE_REQUIRED" in end.detail
        own = TlsOptions(ca_file=ca_file, client_cert=str(folder / "client.pem"))
        async with raw(upgrades(), ssl=context) as port:
            (await rig.connect(f"wss://127.0.0.1:{port}/", tls=own)).abort()

    run(body, tmp_path)


async def speaks_first(reader, writer):
    writer.write(b"220 mail.test ready\r\n")
    await ending(reader, writer, "wait")


async def bad_request(reader, writer):
    await reader.read(65536)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def resets_hello(reader, writer):
    await reader.read(65536)
    reset(writer)


@pytest.mark.usefixtures("tls_kind")
@pytest.mark.parametrize(
    ("handler", "outcome", "by"),
    [
        (bad_request, Outcome.TLS_FAILED, "peer"),
        (speaks_first, Outcome.TLS_FAILED, "peer"),
        (quiet, Outcome.TIMEOUT, "timeout"),
        (resets_hello, Outcome.RESET, "drop"),
    ],
)
def test_what_a_peer_does_instead_of_tls(tmp_path, handler, outcome, by):
    async def body(rig):
        async with raw(handler) as port:
            end = await rig.fail(f"wss://127.0.0.1:{port}/", SOON_NS)
            assert (end.outcome, end.phase, end.by) == (outcome, Phase.TLS, by)

    run(body, tmp_path)


@pytest.mark.usefixtures("tls_kind")
def test_an_eof_within_tls_is_no_reset(tmp_path, authority):
    ca, folder = authority

    async def eof(reader, writer):
        await reader.read(65536)

    async def body(rig):
        async with raw(eof) as port:
            end = await rig.fail(f"wss://127.0.0.1:{port}/")
            assert (end.outcome, end.phase, end.by) == (Outcome.EOF, Phase.TLS, "drop")
        tls = TlsOptions(ca_file=str(folder / "ca.pem"))
        for then, outcome in (("eof", Outcome.EOF), ("reset", Outcome.RESET)):
            context = server_context(ca, "127.0.0.1")
            async with raw(upgrades(then=then), ssl=context) as port:
                await rig.connect(f"wss://127.0.0.1:{port}/", tls=tls)
                assert (await rig.ear.over).outcome is outcome

    run(body, tmp_path)


# A proxy.


def connects(asked, status=b"200 OK", rest=b""):
    async def handler(reader, writer):
        head = await head_of(reader)
        asked.append(head)
        writer.write(b"HTTP/1.1 " + status + b"\r\n\r\n" + rest)
        if not status.startswith(b"200"):
            return
        host, port = head.split()[1].rsplit(b":", 1)
        far_reader, far_writer = await asyncio.open_connection(host.decode(), int(port))

        async def pump(source, sink):
            with contextlib.suppress(ConnectionError):
                while data := await source.read(65536):
                    sink.write(data)
            sink.close()

        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    return handler


@pytest.mark.usefixtures("tls_kind")
def test_through_a_proxy_plain_and_secure(tmp_path, authority):
    ca, folder = authority

    async def body(rig):
        asked: list[bytes] = []
        context = server_context(ca, "inner.test")
        async with (
            raw(connects(asked)) as between,
            serve(echo, "127.0.0.1", 0) as plain,
            serve(echo, "127.0.0.1", 0, ssl=context) as secure,
        ):
            proxy = Proxy("127.0.0.1", between, f"Basic {SECRET}")
            for server, scheme in ((plain, "ws"), (secure, "wss")):
                port = server.sockets[0].getsockname()[1]
                c = await rig.connect(
                    f"{scheme}://inner.test/",
                    connect_to=f"127.0.0.1:{port}",
                    proxy=proxy,
                    tls=TlsOptions(ca_file=str(folder / "ca.pem")),
                )
                assert asked[-1].startswith(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n".encode())
                assert f"Proxy-Authorization: Basic {SECRET}".encode() in asked[-1]
                c.send_text(b"hi")
                assert await rig.ear.until(1) == [(1, b"hi")]
                c.close()
                await rig.ear.over

    run(body, tmp_path)


@pytest.mark.parametrize(
    ("handler", "outcome", "code"),
    [
        (connects([], b"407 Who"), Outcome.PROXY_FAILED, 407),
        (says(b"SOCKS\r\n", then="hang"), Outcome.PROXY_FAILED, 0),
        (says(b"", then="hang"), Outcome.TIMEOUT, 0),
        (says(b""), Outcome.EOF, 0),
        (None, Outcome.PROXY_FAILED, 111),
    ],
)
def test_what_a_proxy_does_instead(tmp_path, handler, outcome, code):
    async def body(rig):
        async with raw(handler) as port:
            proxy = Proxy("127.0.0.1", port if handler else unused_port())
            end = await rig.fail("ws://inner.test/", SOON_NS, proxy=proxy)
            assert (end.outcome, end.code) == (outcome, code)
            assert end.phase is (Phase.PROXY if handler else Phase.TCP)

    _, rows = run(body, tmp_path)
    assert not len(rows[rows["kind"] == Kind.SENT])


@pytest.mark.usefixtures("tls_kind")
def test_nothing_may_follow_the_proxys_answer_before_tls(tmp_path):
    async def body(rig):
        async with raw(says(b"HTTP/1.1 200 OK\r\n\r\nearly", then="hang")) as port:
            end = await rig.fail("wss://inner.test/", proxy=Proxy("127.0.0.1", port))
            assert (end.outcome, end.phase) == (Outcome.TLS_FAILED, Phase.TLS)
            assert "before the TLS handshake" in end.detail

    run(body, tmp_path)


def test_many_at_once(tmp_path):
    async def body(rig):
        async with serve(echo, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            ears = [Ear() for _ in range(200)]
            url = f"ws://127.0.0.1:{port}/"
            all_of_them = await asyncio.gather(*(rig.connect(url, ear=ear) for ear in ears))
            for c in all_of_them:
                c.send_text(b"x")
            for ear, c in zip(ears, all_of_them, strict=True):
                await ear.until(1)
                c.close()
            ends = await asyncio.gather(*(ear.over for ear in ears))
            assert {end.outcome for end in ends} == {Outcome.NORMAL}

    rig, rows = run(body, tmp_path)
    assert len(rows[rows["kind"] == Kind.HEAD]) == 200
    assert json.loads((rig.folder / "meta.json").read_text())["complete"]
