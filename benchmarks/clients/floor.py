"""The floor: the least Python that speaks WebSocket correctly on uvloop, written by hand.

It keeps nothing and decides nothing; what another client costs above it is the price of what that
client does. The rule: it is readable, and it does what RFC 6455 demands of a client that reads
plain text (4.1: a fresh key per connection, its accept value checked; 5.2: lengths; 5.5.2: pong).
Fragments and everything else that this server never sends end the connection. Every text becomes
a str, but only the last of a read is handed out: the floor has no callback for each message.
"""

from __future__ import annotations

import asyncio
import os
import time
from base64 import b64encode
from hashlib import sha1
from typing import cast

from benchmarks.clients import job

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
DELAY = job.DELAY_HEADER.encode() + b": "


class FloorConnection(asyncio.Protocol):
    __slots__ = ("_buffer", "_key", "_opened", "_tally", "_transport", "delay_ns", "upgrade_ns")

    def __init__(self, prefix: bytes, opened: asyncio.Future[FloorConnection]) -> None:
        self._buffer = prefix
        self._opened: asyncio.Future[FloorConnection] | None = opened
        self._tally: job.Tally | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._key = b64encode(os.urandom(16))
        request = self._buffer + self._key + b"\r\n\r\n"
        self._buffer = b""
        # Written past the transport, which would hold it back to the end of the loop's turn: the
        # stamp is the time of the write. A fresh socket takes 200 bytes whole.
        self.upgrade_ns = time.perf_counter_ns()
        os.write(self._transport.get_extra_info("socket").fileno(), request)

    def data_received(self, data: bytes) -> None:
        if self._opened is not None:
            received_ns = time.perf_counter_ns()
            data = self._buffer + data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._buffer = data
                return
            self.upgrade_ns = received_ns - self.upgrade_ns
            self._response(data[: end + 2])
            data, self._buffer = data[end + 4 :], b""
        if data:
            self._frames(data)

    def _response(self, head: bytes) -> None:
        assert self._opened is not None
        accept = b64encode(sha1(self._key + GUID, usedforsecurity=False).digest())
        if not head.startswith(b"HTTP/1.1 101 ") or b"Accept: " + accept + b"\r\n" not in head:
            self._opened.set_exception(ConnectionError(f"not upgraded: {head!r}"))
            self._transport.abort()
            return
        at = head.index(DELAY) + len(DELAY)
        self.delay_ns = int(head[at : head.index(b"\r", at)])
        self._opened.set_result(self)
        self._opened = None

    def _frames(self, data: bytes) -> None:
        tally = self._tally
        if self._buffer:
            data = self._buffer + data
        at, end, count, text = 0, len(data), 0, ""
        while end - at >= 2:
            start = at + 2
            length = data[at + 1]
            if length >= 126:
                start = at + 4 if length == 126 else at + 10
                if start > end:
                    break
                length = int.from_bytes(data[at + 2 : start])
            stop = start + length
            if stop > end:
                break
            if data[at] == 0x81:
                text = data[start:stop].decode()
                count += 1
            elif not self._control(data[at], data[start:stop]):
                return
            at = stop
        self._buffer = data[at:]
        if tally is not None and count:
            tally.last = text
            tally.count += count
            if tally.count >= tally.goal:
                tally.reached()

    def _control(self, first: int, payload: bytes) -> bool:
        if first == 0x89:
            self._transport.write(masked(0x8A, payload))
            return True
        self._transport.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._opened is not None and not self._opened.done():
            self._opened.set_exception(exc or ConnectionError("closed before the 101"))

    def listen(self, tally: job.Tally) -> None:
        self._tally = tally

    async def send(self, text: str) -> None:
        self._transport.write(masked(0x81, text.encode()))

    def drop(self) -> None:
        self._transport.abort()


def masked(first: int, payload: bytes) -> bytes:
    """A client's frame of at most 125 bytes."""
    mask = os.urandom(4)
    body = bytes(byte ^ mask[i & 3] for i, byte in enumerate(payload))
    return bytes((first, 0x80 | len(payload))) + mask + body


class Floor:
    def __init__(self, port: int) -> None:
        self._address = ("127.0.0.1", port)
        self._loop = asyncio.get_running_loop()
        self._prefix = (
            f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
        ).encode()

    async def connect(self) -> FloorConnection:
        opened: asyncio.Future[FloorConnection] = self._loop.create_future()
        await self._loop.create_connection(
            lambda: FloorConnection(self._prefix, opened), *self._address
        )
        return await opened

    async def close(self) -> None:
        pass


if __name__ == "__main__":
    job.main("floor", Floor)
