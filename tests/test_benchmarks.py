"""The benchmark's server is built and speaks WebSocket; nothing is measured here."""

from __future__ import annotations

import asyncio
import shutil
import socket

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedOK
from websockets.typing import Subprotocol

from benchmarks import server

OFFERED = [Subprotocol("one"), Subprotocol("two")]

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))),
    reason="the benchmark's server is C and there is no C compiler (apt install build-essential)",
)


def test_server_speaks_websocket_to_websockets() -> None:
    async def talk(port: int) -> None:
        url = f"ws://127.0.0.1:{port}/"
        async with (
            asyncio.timeout(20),
            connect(url, compression=None, subprotocols=OFFERED, proxy=None) as ws,
        ):
            assert ws.subprotocol == "one"
            assert ws.response is not None
            assert int(ws.response.headers["X-Delay-Ns"]) >= 30_000_000
            await (await ws.ping(b"are you there"))
            await ws.send("anything else")
            assert await ws.recv() == "anything else"
            await ws.send(b"\x00\xff")
            assert await ws.recv() == b"\x00\xff"
            # Sizes on both sides of the 16-bit length, more than a socket buffer at once.
            for size in (0, 64, 125, 126, 60_000):
                await ws.send(f"go 500 {size}")
                got = [await ws.recv() for _ in range(500)]
                assert {len(message) for message in got} == {size}
            await ws.send("the burst ends here")
            assert await ws.recv() == "the burst ends here"
            await ws.close(code=1000, reason="done")
            with pytest.raises(ConnectionClosedOK):
                await ws.recv()
            assert (ws.close_code, ws.close_reason) == (1000, "done")

    with server.running(delay_ms=30) as served:
        asyncio.run(talk(served.port))
        told = served.stats()
    assert told["upgraded"] == told["gone"] == told["closes"] == told["pings"] == 1
    assert told["frames_out"] == 5 * 500 + 3
    assert told["delay_ns"]["n"] == 1
    assert told["delay_ns"]["min"] >= 30_000_000


def test_round_gives_each_open_connection_one_message() -> None:
    async def talk(port: int) -> None:
        url = f"ws://127.0.0.1:{port}/"
        async with (
            asyncio.timeout(20),
            connect(url, proxy=None) as first,
            connect(url, proxy=None) as second,
        ):
            await first.send("round 64")
            assert len(await first.recv()) == 64
            assert len(await second.recv()) == 64
            # Were there a second message, it would come before the echo.
            await second.send("echo")
            assert await second.recv() == "echo"

    with server.running() as served:
        asyncio.run(talk(served.port))


def test_request_without_key_is_refused() -> None:
    with server.running() as served:
        with socket.create_connection(("127.0.0.1", served.port), timeout=20) as raw:
            raw.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n")
            assert raw.recv(4096).startswith(b"HTTP/1.1 400 ")
        assert served.stats()["refused"] == 1


def test_unmasked_frame_closes_with_1002() -> None:
    request = (
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    with (
        server.running() as served,
        socket.create_connection(("127.0.0.1", served.port), timeout=20) as raw,
    ):
        raw.sendall(request)
        head = raw.recv(4096)
        # The example of RFC 6455, 1.3.
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
        raw.sendall(b"\x81\x01a")
        assert raw.recv(4096) == b"\x88\x02\x03\xea"
