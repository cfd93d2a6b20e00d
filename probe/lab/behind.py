"""A process behind the front: it serves the clients that it is handed, to their end.

It has a state of its own, of the users that are its (`share`), and no port. It boots, changes
its defects and stops when the front says so, and ends at once when the front is gone. The
front counts its clients, and is told of those that have left.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final

import msgspec

from probe.lab.capacity import Turn
from probe.lab.fleet import UP
from probe.lab.link import Link
from probe.lab.server import Connection, Door, settle, start_serving, wind_up
from probe.lab.share import Share
from probe.lab.state import State

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from aiohttp import web

    from probe.lab.defects import Defects
    from probe.lab.ledger import Ledger
    from probe.lab.state import Settings
    from probe.lab.tokens import Keys

_FLUSH_S_MAX: Final = 1.0


class _Handed(Connection):
    """A client that the front has handed over."""

    __slots__ = ("_has_left", "_left")

    def __init__(
        self,
        left: Callable[[], None],
        manager: web.Server,
        loop: asyncio.AbstractEventLoop,
        door: Door,
        received: bytes,
    ) -> None:
        super().__init__(manager, loop, door, received)
        self._left = left
        self._has_left = False

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is over."""
        super().connection_lost(exc)
        self.leave()

    def leave(self) -> None:
        """Tell that it is gone, once."""
        if not self._has_left:
            self._has_left = True
            self._left()


async def live_behind(
    number: int,
    processes: int,
    end: socket.socket,
    *,
    keys: Keys,
    ledger: Ledger,
    defects: Defects,
    settings: Settings,
) -> None:
    """Serve until the front says stop."""
    process = _Process(number, processes, end, keys, ledger, defects, settings)
    await process.live()


class _Process:
    """Not for use outside this module."""

    def __init__(
        self,
        number: int,
        processes: int,
        end: socket.socket,
        keys: Keys,
        ledger: Ledger,
        defects: Defects,
        settings: Settings,
    ) -> None:
        self._end = end
        share = Share(number, processes, self._ask_turn)
        self._state = State(keys, ledger, defects, settings, up_ns=0, share=share)
        self._stop = asyncio.Event()
        self._opening: set[asyncio.Task[None]] = set()
        self._door = Door(ledger)
        self._left = 0  # clients, of which the front is not told yet
        self._link: Link
        self._manager: web.Server

    async def live(self) -> None:
        settle()
        runner = await start_serving(self._state)
        assert runner.server is not None
        self._manager = runner.server
        try:
            self._end.sendall(UP)
        except OSError:
            self._front_gone("it has ended")
        self._link = Link(self._end, self._take, self._front_gone)
        await self._stop.wait()
        self._state.enter_stopping()
        await wind_up(self._state, runner)
        self._state.ledger.end()
        self._link.tell("ended", self._state.ledger.totals())
        deadline = asyncio.get_running_loop().time() + _FLUSH_S_MAX
        while self._link.unsent and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 -- bounded
            await asyncio.sleep(0.005)
        self._link.close()

    def _take(self, word: str, asked: int, body: Any, passed: socket.socket | None) -> None:
        state = self._state
        match word:
            case "client":
                self._open(body, passed)
            case "know":
                state.revocations.know(state.keys.verify(body))
            case "ready":
                state.enter_ready()
                self._link.answer(asked, None)
            case "defects":
                state.defects.change(body)
                self._link.answer(asked, None)
            case "totals":
                self._link.answer(asked, state.ledger.totals())
            case "stop":
                self._stop.set()
            case other:
                raise AssertionError(other)

    def _open(self, head: bytes, sock: socket.socket | None) -> None:
        if sock is None:  # no descriptor was left for it, so the kernel has closed it
            self._state.ledger.fault("too_many_sockets")
            self._one_left()
            return
        opening = asyncio.create_task(self._connect(head, sock))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    async def _connect(self, head: bytes, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        client = _Handed(self._one_left, self._manager, loop, self._door, head)
        try:
            await loop.connect_accepted_socket(lambda: client, sock)
        except OSError:  # the client is gone
            sock.close()
            client.leave()

    def _one_left(self) -> None:
        """Tell the front, once for all that leave in one turn of the loop."""
        if not self._left:
            asyncio.get_running_loop().call_soon(self._tell_left)
        self._left += 1

    def _tell_left(self) -> None:
        self._link.tell("left", self._left)
        self._left = 0

    def _ask_turn(self, planned: Callable[[Turn], None]) -> None:
        self._link.ask("turn", lambda body: planned(msgspec.convert(body, Turn)))

    def _front_gone(self, _why: str) -> None:
        os._exit(1)  # as sockets end with a process that is killed
