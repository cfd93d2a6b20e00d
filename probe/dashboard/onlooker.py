"""The onlooker's loop: it hears the run, reads its journals, draws, writes lines and serves.

The rule: the run waits for nothing here. That it judges is shown still; when it has judged, or is
gone, the terminal is left as it was, and the process ends once all readers know.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console

from probe.clock import now_ns
from probe.dashboard.screen import Block, plain
from probe.dashboard.sight import Sight
from probe.dashboard.tail import Tail
from probe.dashboard.told import READ, STOP, Facts, Judged, Now, Over

if TYPE_CHECKING:
    from probe.dashboard.server import Server
    from probe.dashboard.view import View

TICK_S: Final = 0.25
SERVED_EVERY_S: Final = 1.0
CLEAR_WITHIN_S: Final = 1.0
_PIECE: Final = 65536


def look_on(facts: Facts, told: bytes, words: int, listening: int | None) -> None:
    """Until the run's end of the pipe is closed; `told` was read from it already."""
    onlooker = Onlooker(facts, words)
    asyncio.run(onlooker.run(told, listening))
    if onlooker.stuck:
        os._exit(0)  # a thread waits for a terminal that takes nothing


class Onlooker:
    """See the module. `stuck`: the terminal did not take what was written in time."""

    def __init__(self, facts: Facts, words: int) -> None:
        self._facts = facts
        self._words = words
        self._sight = Sight(facts)
        self._tail = Tail(Path(facts.history))
        self._block: Block | None = None
        self._drawing: asyncio.Task[None] | None = None
        self._server: Server | None = None
        self._lined_ns = facts.began_ns
        self._served_ns = 0
        self._served_state = ""
        self.stuck = False

    async def run(self, told: bytes, listening: int | None) -> None:
        """Until the pipe ends."""
        if self._facts.mode == "block":
            sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
            self._block = Block(Console(force_terminal=True, no_color=not self._facts.colours))
        if listening is not None:
            from probe.dashboard.server import Server  # noqa: PLC0415 -- it takes 0.3 s to load

            sock = socket.socket(fileno=listening)
            self._server = Server(sock, self._facts.token, self._ask_to_stop)
            await self._server.start()
        hearing = asyncio.ensure_future(self._hear(told))
        try:
            while not hearing.done():
                self._look()
                await asyncio.wait([hearing], timeout=TICK_S)
            await hearing
        finally:
            await self._clear()
            await self._end_serving()
            self._tail.close()

    async def _hear(self, told: bytes) -> None:
        """What the run tells, until it is gone or judged."""
        reader = asyncio.StreamReader(limit=_PIECE)
        reader.feed_data(told)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        sight = self._sight
        while line := await reader.readline():
            match READ.decode(line):
                case Now() as now:
                    sight.hear(now)
                case Over() as over:
                    sight.over = over
                case Judged() as judged:
                    sight.judged = judged
                    return
                case Facts():
                    raise AssertionError("the facts are told once")

    def _look(self) -> None:
        """Read what is new, and show it to everybody for whom it is time."""
        sight, now = self._sight, now_ns()
        sight.read(self._tail.new())
        view = sight.view()
        if view is None:
            return
        self._show(view, now)
        news = view.state != self._served_state
        if self._server is not None and (news or now - self._served_ns >= SERVED_EVERY_S * 1e9):
            self._served_ns, self._served_state = now, view.state
            self._server.put(view)

    def _show(self, view: View, now: int) -> None:
        if self._block is not None:
            if self._drawing is None or self._drawing.done():
                self._drawing = asyncio.ensure_future(self._draw(self._block, view))
        elif (
            self._facts.mode == "lines"
            and not self._sight.over
            and now - self._lined_ns >= self._facts.every_s * 1e9
        ):
            self._lined_ns = now
            if self._drawing is None or self._drawing.done():
                self._drawing = asyncio.ensure_future(self._write(plain(view)))

    async def _draw(self, block: Block, view: View) -> None:
        with contextlib.suppress(OSError):  # the terminal is gone
            await asyncio.to_thread(block.draw, view)

    async def _write(self, line: str) -> None:
        with contextlib.suppress(OSError):
            await asyncio.to_thread(os.write, 1, f"{line}\n".encode("utf-8", "replace"))

    async def _clear(self) -> None:
        """Nothing more is written from here on."""
        if self._drawing is not None:
            await asyncio.wait([self._drawing], timeout=CLEAR_WITHIN_S)
            self.stuck = not self._drawing.done()
        if self._block is not None and not self.stuck:
            with contextlib.suppress(OSError):
                self._block.clear()

    async def _end_serving(self) -> None:
        if self._server is None:
            return
        view = self._sight.view()
        if view is not None:
            self._server.put(view, last=True)
        await self._server.end()

    def _ask_to_stop(self) -> None:
        with contextlib.suppress(OSError):  # the run is gone
            os.write(self._words, STOP)
        self._sight.stopping = True
        self._look()
