"""A process behind the front: it serves the clients that it is handed, to their end.

It has a state of its own, of the users that are its (`share`), and no port. It boots, changes
its defects and stops when the front says so, and ends at once when the front is gone.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
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
                assert passed is not None
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

    def _open(self, head: bytes, sock: socket.socket) -> None:
        opening = asyncio.create_task(self._connect(head, sock))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    async def _connect(self, head: bytes, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                partial(Connection, self._manager, loop, self._door, head), sock
            )
        except OSError:  # the client is gone
            sock.close()

    def _ask_turn(self, planned: Callable[[Turn], None]) -> None:
        self._link.ask("turn", lambda body: planned(msgspec.convert(body, Turn)))

    def _front_gone(self, _why: str) -> None:
        os._exit(1)  # as sockets end with a process that is killed
