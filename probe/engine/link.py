"""What goes between the driver and one worker: a length, then one pickled message.

The rule: both ends are processes of one run and of one user, started by each other; nothing that
was stored or that a service said is ever read this way. It is a pipe on one host, and between
hosts what `cluster` makes of it. Secrets go over it, and over nothing else: not in arguments of
a command, not in a file.
"""

from __future__ import annotations

import asyncio
import pickle
import struct
from typing import Any, Final, Protocol

_LENGTH: Final = struct.Struct("<Q")
MESSAGE_MAX: Final = 1 << 33


class Outlet(Protocol):
    """Where bytes go; an `asyncio.StreamWriter` is one."""

    def write(self, data: bytes, /) -> None:
        """Without waiting."""

    async def drain(self) -> None:
        """Wait until the other end has room."""

    def close(self) -> None:
        """No more is written."""


class Link:
    """Messages are tuples; the first item is a word."""

    __slots__ = ("_reader", "_writer")

    def __init__(self, reader: asyncio.StreamReader, writer: Outlet) -> None:
        self._reader = reader
        self._writer = writer

    def cast(self, data: bytes) -> None:
        """Send what `packed` has made, without waiting for it to leave."""
        self._writer.write(data)

    async def send(self, data: bytes) -> None:
        """The same, and wait until the pipe has taken it."""
        self._writer.write(data)
        await self._writer.drain()

    async def receive(self) -> tuple[Any, ...]:
        """The next message; EOFError where the other end is gone."""
        try:
            (size,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            if size > MESSAGE_MAX:
                raise EOFError("no message of ours")
            data = await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, OSError):
            raise EOFError("the other end is gone") from None
        message = pickle.loads(data)  # noqa: S301 -- see the module
        assert isinstance(message, tuple)
        return message

    def close(self) -> None:
        """No more is sent."""
        self._writer.close()


def packed(*message: object) -> bytes:
    """One message as bytes, so that many can be sent the same."""
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(data)) + data
