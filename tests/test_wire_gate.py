"""Bytes that leave later than the rest: held back, in pieces, on TCP and under TLS."""

from __future__ import annotations

import _ssl
import asyncio
import ctypes
import ssl
import sys
from typing import Any

import pytest
import trustme

from probe.clock import now_ns
from probe.history.records import Kind, Outcome, Phase
from probe.wire import Connection, End, Held, Limits, Pieces, TlsOptions, encode
from probe.wire.frames import PING, TEXT
from tests.wire_rig import (
    LATE_NS,
    SOON_NS,
    answer,
    ending,
    kinds,
    only,
    raw,
    reset,
    run,
    server_context,
    unused_port,
)

FRAME = encode(TEXT, b"first")
QUIET_S = 0.05


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    ca = trustme.CA()
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(path)
    return ca, str(path)


@pytest.fixture(params=["tcp", "tls"])
def site(request, authority):
    """`site(handler)` serves it, as `raw`; `site.how(port)` is how to dial there."""
    ca, ca_file = authority
    secure = request.param == "tls"

    class Site:
        is_secure = secure

        def __call__(self, handler):
            return raw(handler, ssl=server_context(ca, "127.0.0.1") if secure else None)

        def url(self, port):
            return f"{'wss' if secure else 'ws'}://127.0.0.1:{port}/"

        how = {"tls": TlsOptions(ca_file=ca_file)} if secure else {}

    return Site()


class Records:
    """A handler that keeps every chunk it reads, and upgrades once the head is whole."""

    def __init__(self, then=None):
        self.chunks: list[bytes] = []
        self.some = asyncio.Event()
        self.then = then
        self.writer: Any = None

    async def __call__(self, reader, writer):
        self.writer = writer
        switched = False
        while data := await reader.read(65536):
            self.chunks.append(data)
            self.some.set()
            head = self.all.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            if not switched and b"\r\n\r\n" in self.all:
                switched = True
                writer.write(answer(head))
            if self.then is not None:
                self.then(self, writer)

    @property
    def all(self):
        return b"".join(self.chunks)

    async def quiet(self):
        """Until nothing has come for a while."""
        while True:
            self.some.clear()
            try:
                await asyncio.wait_for(self.some.wait(), QUIET_S)
            except TimeoutError:
                return

    async def has(self, size):
        while len(self.all) < size:
            self.some.clear()
            await self.some.wait()


async def armed(held):
    told = asyncio.Event()
    held.watch = told.set
    while not held.armed and held.end is None:
        await told.wait()
        told.clear()


def start(rig, url, held, **how):
    """A dial that waits at the gate; its request, as a list to be filled, and its task."""
    requests = []

    def sending(request):
        requests.append(request)
        return held

    return requests, asyncio.create_task(rig.dial(url, sending=sending, **how))


# The upgrade, held back.


@pytest.mark.parametrize(
    ("last", "behind"), [(1, b""), (1, FRAME * 3), (9, FRAME)], ids=["byte", "burst", "more"]
)
def test_nothing_of_what_is_held_arrives_before_and_all_at_once_after(tmp_path, site, last, behind):
    async def body(rig):
        server = Records()
        async with site(server) as port:
            held = Held(last, behind)
            requests, task = start(rig, site.url(port), held, **site.how)
            await armed(held)
            await server.quiet()
            (request,) = requests
            assert server.all == request[:-last]
            assert held.done == len(request) - last
            before = now_ns()
            stamp = held.release()
            assert before <= stamp == held.sent_ns <= now_ns()
            assert not held.armed
            assert not held.release()
            c = await task
            assert isinstance(c, Connection), c
            await server.has(len(request) + len(behind))
            assert server.chunks[-1] == request[-last:] + behind
            assert held.done == len(request)
            assert held.end is None
            assert c.send_text(b"x")
            await server.has(len(request) + len(behind) + 7)
            c.abort()
            stamps.append(stamp)

    stamps: list[int] = []
    _, rows = run(body, tmp_path)
    order = [Kind.DIAL, Kind.RESOLVED, Kind.TCP, *([Kind.TLS] if site.is_secure else [])]
    assert kinds(rows) == [*order, Kind.SENT, Kind.HEAD, Kind.END]
    assert only(rows, Kind.SENT)["t"] == stamps[0]
    assert list(rows["t"]) == sorted(rows["t"])


def early(data, then):
    """Answers an unfinished request with `data`."""

    async def handler(reader, writer):
        await reader.read(65536)
        await asyncio.sleep(QUIET_S)
        writer.write(data)
        await writer.drain()
        await ending(reader, writer, then)

    return handler


async def early_101(reader, writer):
    """Answers before the end: all but the last line break is there, so the key is known."""
    head = await reader.read(65536)
    writer.write(answer(head + b"\n"))
    await ending(reader, writer, "hang")


EARLY = [
    pytest.param(early(b"", "eof"), Outcome.EOF, 0, "drop", "", id="eof"),
    pytest.param(early(b"", "reset"), Outcome.RESET, 104, "drop", "reset", id="reset"),
    pytest.param(
        early(b"HTTP/1.1 408 Late\r\nContent-Length: 0\r\n\r\n", "eof"),
        Outcome.STATUS,
        408,
        "peer",
        "408 Late",
        id="408",
    ),
    pytest.param(early(b"nonsense", "hang"), Outcome.NOT_HTTP, 0, "peer", "nonsense", id="garbage"),
    pytest.param(early_101, Outcome.BAD_UPGRADE, 101, "peer", "", id="101"),
    pytest.param(early(b"", "hang"), Outcome.CANCELLED, 0, "us", "", id="never released"),
]


@pytest.mark.parametrize(("handler", "outcome", "code", "by", "detail"), EARLY)
def test_an_end_before_the_release_is_definite_and_known(
    tmp_path, site, handler, outcome, code, by, detail
):
    async def body(rig):
        async with site(handler) as port:
            held = Held()
            limits = Limits(upgrade_ns=SOON_NS // 10)  # which counts from the release
            after_ns = SOON_NS if by == "us" else LATE_NS
            requests, task = start(
                rig, site.url(port), held, after_ns=after_ns, limits=limits, **site.how
            )
            end = await task
            assert isinstance(end, End)
            assert (end.outcome, end.phase, end.code, end.by) == (outcome, Phase.UPGRADE, code, by)
            size = len(requests[0])
            assert f"{size - 1} of the {size} bytes of our request" in end.detail
            assert detail in end.detail
            assert held.end is end
            assert held.armed_ns
            assert (held.armed, held.release(), held.sent_ns) == (False, 0, 0)

    rig, rows = run(body, tmp_path)
    end = only(rows, Kind.END)
    assert end["a"] == outcome
    assert b"of our request" in rig.text(end["b"])
    assert Kind.SENT not in kinds(rows)


def test_the_limit_of_the_upgrade_counts_from_the_release(tmp_path, site):
    async def body(rig):
        async with site(early(b"", "hang")) as port:
            held = Held()
            _, task = start(
                rig, site.url(port), held, limits=Limits(upgrade_ns=SOON_NS // 2), **site.how
            )
            await armed(held)
            await asyncio.sleep(SOON_NS / 1e9)
            stamp = held.release()
            end = await task
            assert (end.outcome, end.by, end.detail) == (
                Outcome.TIMEOUT, "timeout", "no byte had come",
            )  # fmt: skip
            assert now_ns() - stamp >= SOON_NS // 2

    _, rows = run(body, tmp_path)
    assert Kind.SENT in kinds(rows)


def test_a_dial_that_never_stands_has_fallen_out(tmp_path):
    async def body(rig):
        held = Held()
        _, task = start(rig, f"ws://127.0.0.1:{unused_port()}/", held)
        end = await task
        assert end.outcome is Outcome.REFUSED
        assert held.end is end
        assert not held.armed_ns
        with pytest.raises(ValueError, match="one use"):
            await rig.dial("ws://127.0.0.1:1/", sending=held)
        with pytest.raises(ValueError, match="cannot be held back"):
            await rig.dial("ws://127.0.0.1:1/", sending=Held(10_000))
        with pytest.raises(ValueError, match="16384"):
            await rig.dial("ws://127.0.0.1:1/", sending=Held(1, bytes(16_384)))

    _, rows = run(body, tmp_path)
    assert len(rows[rows["kind"] == Kind.DIAL]) == 1, "a misuse is told before anything is dialled"


def test_a_caller_that_gives_up_has_fallen_out(tmp_path, site):
    async def body(rig):
        async with site(early(b"", "hang")) as port:
            held = Held()
            _, task = start(rig, site.url(port), held, **site.how)
            await armed(held)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert held.end is not None
            assert held.end.outcome is Outcome.CANCELLED
            assert not held.release()

    run(body, tmp_path)


# A frame, held back.


def test_a_held_frame_is_alone_on_its_connection(tmp_path, site):
    """What the owner sends meanwhile is refused, and a pong comes behind it."""

    def then(server, writer):
        if server.all.endswith(b"\r\n\r\n"):
            writer.write(b"\x89\x01p" * 3)

    async def body(rig):
        server = Records(then)
        async with site(server) as port:
            c = await rig.connect(site.url(port), gated=True, **site.how)
            size = len(server.all)
            await rig.ear.until(3)
            await server.quiet()
            size = len(server.all)
            held = c.hold(FRAME)
            assert held.armed
            assert 0 < held.rtt_ns < 1_000_000_000
            server.writer.write(b"\x89\x01q")
            await rig.ear.until(4)
            assert c.send_text(b"no") == c.ping() == 0
            assert c.buffered == 7
            await server.quiet()
            assert server.all[size:] == FRAME[:-1]
            assert held.release()
            assert held.rtt_ns == 0
            assert c.send_text(b"yes")
            await server.has(size + len(FRAME) + 7 + 9)
            assert server.all[size:][: len(FRAME)] == FRAME
            assert server.all[size + len(FRAME)] == 0x8A, "the pong comes before what was sent next"
            assert server.all[size + len(FRAME) + 7] == 0x81
            assert c.buffered == 0
            c.close()
            await asyncio.sleep(QUIET_S)
            assert server.all[-8] == 0x88
            c.abort()

    run(body, tmp_path)


def test_a_pong_that_was_put_off_follows_without_another_write(tmp_path, site):
    async def body(rig):
        server = Records()
        async with site(server) as port:
            c = await rig.connect(site.url(port), gated=True, **site.how)
            held = c.hold(FRAME)
            server.writer.write(b"\x89\x01p")
            await rig.ear.until(1)
            await server.quiet()
            size = len(server.all)
            held.release()
            await server.has(size + 1 + 7)
            assert server.all[size + 1] == 0x8A
            c.abort()

    run(body, tmp_path)


def test_what_was_let_go_gives_the_connection_back_only_with_follow(tmp_path, site):
    """In a tight loop there is only the write; what waited behind it comes afterwards."""

    async def body(rig):
        server = Records()
        async with site(server) as port:
            c = await rig.connect(site.url(port), gated=True, **site.how)
            held = c.hold(FRAME)
            held.follow()
            assert held.armed, "not before it was let go"
            assert not c.send_text(b"no")
            server.writer.write(b"\x89\x01p")
            await rig.ear.until(1)
            await server.quiet()
            size = len(server.all)
            stamp = held.let_go()
            assert stamp == held.sent_ns > 0
            assert (held.armed, held.let_go()) == (False, 0)
            assert not c.send_text(b"no")
            await server.has(size + 1)
            await server.quiet()
            assert len(server.all) == size + 1, "the pong waits for follow"
            held.follow()
            held.follow()
            await server.has(size + 1 + 7)
            assert server.all[size + 1] == 0x8A
            assert c.send_text(b"yes")
            assert c.hold(FRAME).armed
            c.abort()

    run(body, tmp_path)


@pytest.mark.parametrize("count", [2, 300])
def test_a_burst_is_seen_all_or_not_at_all(tmp_path, site, count):
    async def body(rig):
        server = Records()
        burst = b"".join(encode(TEXT, b"%d" % i) for i in range(count))
        async with site(server) as port:
            c = await rig.connect(site.url(port), gated=True, **site.how)
            await server.quiet()
            size, chunks = len(server.all), len(server.chunks)
            held = c.hold(burst, len(burst))
            await server.quiet()
            assert len(server.all) == size
            assert held.release()
            await server.has(size + len(burst))
            assert server.chunks[chunks:] == [burst]
            c.abort()

    run(body, tmp_path)


@pytest.mark.parametrize("ends", ["close", "eof", "reset", "ours", "abort", "violates"])
def test_a_held_frame_of_a_connection_that_ends(tmp_path, site, ends):
    async def body(rig):
        server = Records()
        async with site(server) as port:
            limits = Limits(linger_ns=SOON_NS // 4)
            c = await rig.connect(site.url(port), gated=True, limits=limits, **site.how)
            await server.quiet()
            size = len(server.all)
            held = c.hold(FRAME)
            await server.quiet()
            told = []
            held.watch = lambda: told.append(held.end)
            if ends == "close":
                server.writer.write(b"\x88\x02\x03\xe8")
            elif ends == "eof":
                server.writer.close()
            elif ends == "reset":
                reset(server.writer)
            elif ends == "violates":
                server.writer.write(b"\x83\x00")
            else:
                c.close() if ends == "ours" else c.abort()
            end = await rig.ear.over
            assert held.end == end
            assert told == [end]
            assert held.release() == 0
            outcome = {
                "close": Outcome.CLOSED, "eof": Outcome.EOF, "reset": Outcome.RESET,
                "violates": Outcome.PROTOCOL_ERROR,
            }.get(ends, Outcome.NORMAL)  # fmt: skip
            assert end.outcome is outcome
            await server.quiet()
            assert server.all[size:] == FRAME[:-1], "no Close within a frame"
            late = c.hold(FRAME)
            assert late.end == end
            assert not late.release()

    _, rows = run(body, tmp_path)
    assert not len(rows[(rows["kind"] == Kind.CLOSE) & (rows["flag"] == 0)])


def test_what_cannot_be_held_is_said(tmp_path, site):
    async def body(rig):
        server = Records()
        async with site(server) as port:
            c = await rig.connect(site.url(port), **site.how)
            if site.is_secure:
                with pytest.raises(ValueError, match="gated=True"):
                    c.hold(FRAME)
                assert c.send_text(b"still in order")
            else:
                held = c.hold(FRAME)
                with pytest.raises(ValueError, match="already"):
                    c.hold(FRAME)
                assert held.release()
            for data, last in ((FRAME, 0), (b"", 1), (bytes(20_000), 17_000)):
                with pytest.raises(ValueError, match="held back"):
                    c.hold(data, last)
            c.close()
            late = c.hold(FRAME)
            assert late.end is not None
            assert not late.armed
            c.abort()

    run(body, tmp_path)


def test_armed_is_what_the_kernel_has_and_not_what_waits_for_room(tmp_path, site):
    async def body(rig):
        reads = asyncio.Event()

        async def handler(reader, writer):
            writer.write(answer(await reader.readuntil(b"\r\n\r\n")))
            await reads.wait()
            await ending(reader, writer, "wait")

        async with site(handler) as port:
            c = await rig.connect(site.url(port), gated=True, **site.how)
            while c.buffered < 1_000_000:
                c.send_binary(bytes(100_000))
                if c.buffered >= 1_000_000:
                    await asyncio.sleep(QUIET_S)  # what there is room for is taken
            held = c.hold(FRAME)
            await asyncio.sleep(QUIET_S)
            assert not held.armed
            assert not held.release()
            reads.set()
            await asyncio.wait_for(armed(held), LATE_NS / 1e9)
            assert c.buffered == 0
            assert held.release()
            c.abort()

    run(body, tmp_path)


# In pieces.


def test_pieces_are_writes_of_their_own_and_sent_is_the_last_byte_of_the_head(tmp_path, site):
    pause = 20_000_000

    async def body(rig):
        server = Records()
        async with site(server) as port:

            def sending(request):
                requests.append(request)
                half = len(request) // 2
                return Pieces(
                    (
                        (request[:half], 0),
                        (request[half:], pause),
                        (FRAME[:3], pause),
                        (FRAME[3:], pause),
                    )
                )

            c = await rig.connect(site.url(port), sending=sending, **site.how)
            assert not c.send_text(b"not within a frame")
            (request,) = requests
            await server.has(len(request) + len(FRAME))
            half = len(request) // 2
            assert server.chunks == [request[:half], request[half:], FRAME[:3], FRAME[3:]]
            assert c.send_text(b"now")
            c.abort()

    requests: list[bytes] = []
    _, rows = run(body, tmp_path)
    sent = only(rows, Kind.SENT)
    begun = only(rows, Kind.TLS if site.is_secure else Kind.TCP)
    assert sent["t"] - begun["t"] >= pause
    assert only(rows, Kind.HEAD)["t"] >= sent["t"]
    assert sent["a"] == len(requests[0])


def test_a_request_in_single_bytes(tmp_path, site):
    async def body(rig):
        server = Records()
        async with site(server) as port:
            c = await rig.connect(
                site.url(port), sending=lambda data: Pieces.cut(data, 1, 200_000), **site.how
            )
            assert len(server.chunks) > 10
            c.abort()

    run(body, tmp_path)


def test_bytes_in_the_same_segment_as_the_head(tmp_path, site):
    async def body(rig):
        server = Records()
        async with site(server) as port:
            c = await rig.connect(
                site.url(port), sending=lambda data: Pieces(((data + FRAME, 0),)), **site.how
            )
            assert server.chunks[0].endswith(b"\r\n\r\n" + FRAME)
            assert c.send_text(b"free")
            c.abort()

    run(body, tmp_path)


@pytest.mark.parametrize(("handler", "outcome", "code", "by", "detail"), EARLY)
def test_an_answer_before_all_pieces_are_sent_is_read_and_kept(
    tmp_path, site, handler, outcome, code, by, detail
):
    async def body(rig):
        async with site(handler) as port:
            after_ns = SOON_NS if by == "us" else LATE_NS
            end = await rig.fail(
                site.url(port),
                after_ns,
                sending=lambda data: Pieces(((data[:-1], 0), (data[-1:], LATE_NS))),
                **site.how,
            )
            assert (end.outcome, end.phase, end.code, end.by) == (outcome, Phase.UPGRADE, code, by)
            assert "bytes of our request had been sent" in end.detail
            assert detail in end.detail

    rig, rows = run(body, tmp_path)
    if code in {101, 408}:
        assert rig.text(only(rows, Kind.HEAD)["b"]).startswith(b"HTTP/1.1 %d" % code)


def test_pieces_stop_where_the_connection_ends(tmp_path, site):
    async def closes(reader, writer):
        writer.write(answer(await reader.readuntil(b"\r\n\r\n")) + b"\x88\x02\x03\xe8")
        await ending(reader, writer, "wait")

    async def body(rig):
        async with site(closes) as port:
            await rig.connect(
                site.url(port),
                sending=lambda data: Pieces(((data, 0), (FRAME[:2], 0), (FRAME[2:], LATE_NS))),
                limits=Limits(linger_ns=SOON_NS // 4),
                **site.how,
            )
            end = await rig.ear.over
            assert (end.outcome, end.code) == (Outcome.CLOSED, 1000)

    _, rows = run(body, tmp_path)
    assert only(rows, Kind.CLOSE)["flag"] == 1, "no Close of ours within a frame"


def test_pieces_that_do_not_begin_with_the_request_are_refused(tmp_path):
    async def body(rig):
        for pieces in (((b"GET", 0),), (), ((b"", 0),)):
            with pytest.raises(ValueError, match=r"pieces|piece"):
                await rig.dial("ws://127.0.0.1:1/", sending=Pieces(pieces))
        with pytest.raises(ValueError, match="not negative"):
            await rig.dial("ws://127.0.0.1:1/", sending=lambda data: Pieces(((data, -1),)))

    run(body, tmp_path)


# TLS that speaks for itself.


def ask_for_key_update(tls):
    """Let a server's session say KeyUpdate with its next write, asking for one of ours.

    The module `ssl` cannot, OpenSSL can; where the pointer is, CPython's source tells.
    """
    pointer = ctypes.c_void_p.from_address(id(tls._sslobj) + 3 * ctypes.sizeof(ctypes.c_void_p))
    assert LIBSSL.SSL_key_update(pointer, 1) == 1


try:
    LIBSSL = ctypes.CDLL(_ssl.__file__)
    HAS_KEY_UPDATE = sys.implementation.name == "cpython" and bool(LIBSSL.SSL_key_update)
except (OSError, AttributeError):
    HAS_KEY_UPDATE = False


class Session:
    """The server's side of TLS, step by step: what a handler reads is its plaintext."""

    def __init__(self, context, reader, writer):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.reader, self.writer = reader, writer

    async def until(self, step):
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self.flush()
                data = await self.reader.read(65536)
                if not data:
                    raise ConnectionError from None
                self.incoming.write(data)
            else:
                self.flush()
                return done

    def flush(self):
        self.writer.write(self.outgoing.read())

    async def read_head(self):
        head = b""
        while b"\r\n\r\n" not in head:
            head += await self.until(lambda: self.tls.read(65536))
        return head

    def say(self, data):
        self.tls.write(data)
        self.flush()


@pytest.mark.skipif(not HAS_KEY_UPDATE, reason="this Python's OpenSSL cannot be reached")
def test_an_answer_to_a_key_update_waits_behind_the_held_record(tmp_path, authority):
    """Were it written first, the held record would come with a number that is gone."""
    ca, ca_file = authority
    got: list[bytes] = []

    async def handler(reader, writer):
        session = Session(server_context(ca, "127.0.0.1"), reader, writer)
        await session.until(session.tls.do_handshake)
        session.say(answer(await session.read_head()))
        assert await session.until(lambda: session.tls.read(65536)) == FRAME
        for _ in range(3):
            ask_for_key_update(session.tls)
            session.say(b"\x89\x01p")
        while len(b"".join(got)) < len(FRAME) + 3 * 7 + 11:
            got.append(await session.until(lambda: session.tls.read(65536)))
        session.say(b"\x81\x02ok")
        await ending(reader, writer, "wait")

    async def body(rig):
        async with raw(handler) as port:
            url = f"wss://127.0.0.1:{port}/"
            c = await rig.connect(url, gated=True, tls=TlsOptions(ca_file=ca_file))
            assert c.send_raw(FRAME)
            held = c.hold(FRAME)
            await rig.ear.until(3)
            assert c.outlet.transport.get_write_buffer_size(), "no answer to a KeyUpdate waits"
            assert held.release()
            assert not c.outlet.transport.get_write_buffer_size()
            assert c.send_text(b"after")
            heard = await rig.ear.until(4)
            assert heard[-1] == (1, b"ok"), heard
            c.abort()

    run(body, tmp_path)
    assert b"".join(got).startswith(FRAME + b"\x8a")


def test_a_ping_frame_may_be_held_too(tmp_path, site):
    async def pongs(reader, writer):
        writer.write(answer(await reader.readuntil(b"\r\n\r\n")))
        await reader.readexactly(7)
        writer.write(b"\x8a\x01p")
        await ending(reader, writer, "wait")

    async def body(rig):
        async with site(pongs) as port:
            c = await rig.connect(site.url(port), gated=True, **site.how)
            held = c.hold(encode(PING, b"p"), 4)
            assert held.release()
            assert await rig.ear.until(1) == [("pong", b"p")]
            c.abort()

    run(body, tmp_path)
