"""The echo that `probe calibrate` measures against: a process of its own that tells the truth.

    python -m probe.engine.echo [--delay-us N]

A small WebSocket server on a free port of 127.0.0.1, which does next to nothing, so that it is
not what is measured. It holds back every 101 for the delay and reads the clock itself; the
processes of a host share it, so that what the probe measures can be held against what was.

    it sends                                        `at`
    {"type":"hello","at":N}    with the 101         how long it really held the request, us
    {"type":"beat",…,"at":N}   evenly, of a run     when it was written, us since its start
    {"type":"end",…,"at":N}    the last of a run    the same

`X-Arrived` in the 101 is when the request was read whole, monotonic ns. One line on its output
tells port and start; it ends when its input does. Its own lateness and the loopback are part of
every error that is found by it: those are upper bounds.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

import uvloop
from websockets.utils import apply_mask

from probe.clock import now_ns

if TYPE_CHECKING:
    from collections.abc import Callable

US: Final = 1_000
DELAY_US: Final = 50_000
OVER_NS: Final = 1_000_000_000  # how long the messages of one run take
TICK_S: Final = 0.001
BACKLOG: Final = 4096
HEAD_MAX: Final = 16_384
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _CLOSE = 1, 8
_MASKED: Final = 6  # bytes of a client's header with a short length


class Echo(asyncio.Protocol):
    """One connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start_ns: int, delay_us: int) -> None:
        self._loop = loop
        self._start_ns = start_ns
        self._delay_us = delay_us
        self._data = b""
        self._open = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """A request, then short masked frames."""
        stamp = now_ns()
        self._data += data
        if self._open:
            self._frames()
            return
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            if len(self._data) > HEAD_MAX:
                self._transport.abort()
            return
        head, self._data = self._data[:end], self._data[end + 4 :]
        key = next(
            (
                line.partition(b":")[2].strip()
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"sec-websocket-key:")
            ),
            b"",
        )
        self._open = True
        self._loop.call_later(self._delay_us / 1e6, self._answer, key, stamp)

    def _answer(self, key: bytes, arrived_ns: int) -> None:
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())  # noqa: S324 -- RFC 6455
        head = (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %s\r\nX-Arrived: %d\r\n\r\n" % (accept, arrived_ns)
        )
        held_us = max((now_ns() - arrived_ns) // US, 1)
        self._transport.write(head + _frame(b'{"type":"hello","at":%d}' % held_us))

    def _frames(self) -> None:
        data = self._data
        while len(data) >= _MASKED and len(data) >= _MASKED + (data[1] & 127):
            size = data[1] & 127
            payload = apply_mask(data[_MASKED : _MASKED + size], data[2:_MASKED])
            opcode, data = data[0] & 15, data[_MASKED + size :]
            if opcode == _TEXT:
                self._run(json.loads(payload))
            elif opcode == _CLOSE:
                self._transport.write(b"\x88\x02\x03\xe8")
                self._transport.close()
        self._data = data

    def _run(self, asked: dict[str, object]) -> None:
        """Send `size` beats evenly within a second, and an end."""
        run, size = str(asked["run_id"]).encode(), int(str(asked["size"]))
        self._tick(run, size, 0, now_ns())

    def _tick(self, run: bytes, size: int, sent: int, began: int) -> None:
        if self._transport.is_closing():
            return
        now = now_ns()
        due = min(size, size * (now - began) // OVER_NS)
        at = (now - self._start_ns) // US
        if due > sent:
            beat = _frame(b'{"type":"beat","run_id":"%s","at":%d}' % (run, at))
            self._transport.write(beat * (due - sent))
        if due == size:
            self._transport.write(_frame(b'{"type":"end","run_id":"%s","at":%d}' % (run, at)))
            return
        again: Callable[[], None] = partial(self._tick, run, size, due, began)
        self._loop.call_later(TICK_S, again)


def _frame(text: bytes) -> bytes:
    """A short unmasked text frame (RFC 6455 section 5.2)."""
    return bytes((0x80 | _TEXT, len(text))) + text


async def serve(delay_us: int) -> None:
    """Until the input ends."""
    loop = asyncio.get_running_loop()
    start_ns = now_ns()
    server = await loop.create_server(
        lambda: Echo(loop, start_ns, delay_us), "127.0.0.1", 0, backlog=BACKLOG
    )
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(json.dumps({"port": port, "start_ns": start_ns}) + "\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="probe.engine.echo")
    parser.add_argument("--delay-us", type=int, default=DELAY_US)
    uvloop.run(serve(parser.parse_args().delay_us))
