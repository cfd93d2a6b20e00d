"""One life of the lab: bind, boot, serve, and on a signal close everything within 2 s.

aiohttp's connection is used with two changes. What it cannot parse it would print and
send back, and that may hold a token: here the answer is a fixed word, and a failure of
our own is printed as its type and place. And sockets beyond a bound are reset at once.
A head that does not arrive in time is cut by aiohttp's keep-alive timer. Where several
processes serve, the front listens (`front`), and what it has read comes with the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from probe.lab.boot import boot_until, sleep_until
from probe.lab.service import build_app
from probe.lab.state import SERVER, SESSIONS_MAX
from probe.lab.upgrade import CLOSE_WAIT_S, json_answer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Coroutine

    from probe.lab.boot import BootPlan
    from probe.lab.ledger import Ledger
    from probe.lab.state import State

BACKLOG: Final = 4_096
SOCKETS_MAX: Final = SESSIONS_MAX + 500  # room for health and control beside the sessions
HEAD_WITHIN_S: Final = 60.0
LINE_BYTES_MAX: Final = 8_190
HEADERS_MAX: Final = 64
_SHUTDOWN_S: Final = 0.2
_ORPHAN_S_MAX: Final = 3.0
_DESCRIPTORS: Final = SOCKETS_MAX + 100


@dataclass(slots=True)
class Door:
    """What the connections share: how many are open, and where faults are told."""

    ledger: Ledger
    sockets: int = 0


class Connection(web.RequestHandler):
    """One socket; `received` is what another has already read of it."""

    __slots__ = ("_door", "_received")

    def __init__(
        self,
        manager: web.Server,
        loop: asyncio.AbstractEventLoop,
        door: Door,
        received: bytes = b"",
    ) -> None:
        super().__init__(
            manager,
            loop=loop,
            access_log=None,  # type: ignore[arg-type] # None: none; it would print the query
            keepalive_timeout=HEAD_WITHIN_S,
            max_line_size=LINE_BYTES_MAX,
            max_field_size=LINE_BYTES_MAX,
            max_headers=HEADERS_MAX,
            lingering_time=2.0,
        )
        self._door = door
        self._received = received

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open: read what was read of it, or reset it as one too many."""
        self._door.sockets += 1
        super().connection_made(transport)
        if self._door.sockets > SOCKETS_MAX:
            self._door.ledger.fault("too_many_sockets")
            transport.abort()  # type: ignore[attr-defined] # a stream's transport has it
        elif self._received:
            self.data_received(self._received)
            self._received = b""

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is over."""
        self._door.sockets -= 1
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what cannot be read, or a failure of ours, with a fixed word."""
        del message  # it quotes the bytes that could not be parsed
        if status < 500:  # noqa: PLR2004 -- the peer's fault
            self._door.ledger.fault("bad_http")
        else:
            self._door.ledger.fault("internal")
            where = "".join(traceback.format_tb(exc.__traceback__)) if exc else ""
            sys.stderr.write(f"probe.lab: internal error: {type(exc).__name__}\n{where}")
            sys.stderr.flush()
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was already begun")
        error = "bad_request" if status < 500 else "internal"  # noqa: PLR2004 -- as above
        response = json_answer(status, {"error": error}, {"Server": SERVER})
        response.force_close()
        return response


def bind(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen yet; OSError when it cannot be had."""
    family, kind, proto, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, proto)
    try:
        # So that the next life can have the port while old connections linger.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def raise_descriptor_limit() -> None:
    """As many open files as the bound on sockets needs, where the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def live(
    state: State,
    plan: BootPlan,
    address: tuple[str, int],
    *,
    context: ssl.SSLContext | None,
    announce: dict[str, Any],
    exit_with_parent: bool,
) -> None:
    """Boot, serve until SIGTERM, SIGINT or (if so asked) the end of standard input, stop.

    `announce` is what the line on standard output says beside host and port. OSError
    when the port cannot be had.
    """
    stop = told_to_stop(exit_with_parent=exit_with_parent)
    settle()
    if await first(stop, sleep_until(state.up_ns + plan.listening_ns)):
        _end(state)
        return
    runner = await start_serving(state)
    server = await _listen(state, runner, address, context, announce)
    await boot_until(stop, plan, state)
    server.close()
    await wind_up(state, runner)
    _end(state)


def told_to_stop(*, exit_with_parent: bool) -> asyncio.Event:
    """Set by SIGTERM, SIGINT or (if so asked) the end of standard input."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if exit_with_parent:
        threading.Thread(target=_await_parent_end, args=(loop, stop), daemon=True).start()
    return stop


def settle() -> None:
    """What is done before the port opens, so that no pause falls into the boot."""
    gc.collect()
    gc.freeze()
    # It would print the offers of a handshake whose subprotocol we chose ourselves.
    logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)


async def start_serving(state: State) -> web.AppRunner:
    """Be ready for connections of `runner.server`."""
    runner = web.AppRunner(build_app(state), handle_signals=False, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    return runner


async def wind_up(state: State, runner: web.AppRunner) -> None:
    """Close all that is open; the state is stopping."""
    await _close_sessions(state)
    await runner.cleanup()
    await _sessions_ended(state)


async def first(stop: asyncio.Event, pause: Coroutine[Any, Any, None]) -> bool:
    """Wait for the pause, or for the stop; True when the stop came first."""
    task = asyncio.create_task(pause)
    waiter = asyncio.create_task(stop.wait())
    await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
    for each in (task, waiter):
        each.cancel()
    await asyncio.gather(task, waiter, return_exceptions=True)
    return stop.is_set()


async def _listen(
    state: State,
    runner: web.AppRunner,
    address: tuple[str, int],
    context: ssl.SSLContext | None,
    announce: dict[str, Any],
) -> asyncio.Server:
    manager = runner.server
    assert manager is not None
    loop = asyncio.get_running_loop()
    door = Door(state.ledger)
    sock = bind(*address)
    try:
        sock.listen(BACKLOG)
        state.ledger.phase("listening")  # from here on the kernel accepts
        server = await loop.create_server(
            lambda: Connection(manager, loop, door),
            sock=sock,
            backlog=BACKLOG,
            ssl=context,
            ssl_handshake_timeout=None if context is None else 10.0,
        )
    except BaseException:
        sock.close()
        raise
    say_listening(sock, announce)
    return server


def say_listening(sock: socket.socket, announce: dict[str, Any]) -> None:
    """The line on standard output."""
    host, port = sock.getsockname()[:2]
    line = {"event": "listening", "host": host, "port": port, **announce}
    sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
    sys.stdout.flush()


async def _close_sessions(state: State) -> None:
    """Close every WebSocket with 1001; the clients have `CLOSE_WAIT_S` to answer."""
    for ws, closer in state.sessions.items():
        if closer is None:
            closing = ws.close(code=1001, message=b"going away", drain=False)
            state.sessions[ws] = asyncio.create_task(closing)
    closers = [closer for closer in state.sessions.values() if closer is not None]
    if closers:
        await asyncio.wait(closers, timeout=CLOSE_WAIT_S)


async def _sessions_ended(state: State) -> None:
    """Give sessions that were cancelled the turns they need to write their lines."""
    deadline_ns = time.perf_counter_ns() + int(_SHUTDOWN_S * 1e9)
    while state.sessions and time.perf_counter_ns() < deadline_ns:  # noqa: ASYNC110 -- bounded
        await asyncio.sleep(0.005)


def _await_parent_end(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Read standard input to its end, in a thread, since it may be of any kind."""
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    with contextlib.suppress(RuntimeError):  # the loop is already closed
        loop.call_soon_threadsafe(stop.set)
    time.sleep(_ORPHAN_S_MAX)
    os._exit(0)


def _end(state: State) -> None:
    if not state.stopping:
        state.enter_stopping()
    state.ledger.end()
