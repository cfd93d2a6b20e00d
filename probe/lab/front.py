"""The front of a lab of several processes: it listens, reads heads, and hands clients over.

Every connection bears one request (all answers but the 101 close it), so its head says whose
it is. A user's client goes to the process that has the user, with the bytes that were read;
what is no user's (health, keys, minted tokens, the control) is served here. So the draws of
health, the plan of a true capacity and the boot are one for the whole lab. A head that does
not arrive in time is cut, and what waits has a bound. So has what a process is given: beyond
it, or beyond the descriptors there are, a client is reset and the ledger told. Over TLS no
head can be read before the handshake, which could not be handed over then: there is no front
with TLS.
"""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from probe.lab.boot import boot_until, sleep_until
from probe.lab.ends import reset_socket
from probe.lab.fleet import LostError, merged
from probe.lab.handshake import ENDPOINTS
from probe.lab.heads import is_whole, read_head, token_in
from probe.lab.server import (
    BACKLOG,
    HEAD_WITHIN_S,
    SOCKETS_MAX,
    Connection,
    Door,
    bind,
    first,
    say_listening,
    settle,
    start_serving,
    told_to_stop,
    wind_up,
)

if TYPE_CHECKING:
    from aiohttp import web

    from probe.lab.boot import BootPlan
    from probe.lab.fleet import Fleet
    from probe.lab.state import State

_READ_BYTES: Final = 16 * 1024
_ACCEPTED_PER_TURN: Final = 64
_NO_MORE: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE_S: Final = 0.05
_DESCRIPTORS_APART: Final = 32  # of a process, for what is no client: half are used


async def live_in_front(
    state: State,
    plan: BootPlan,
    address: tuple[str, int],
    *,
    announce: dict[str, Any],
    exit_with_parent: bool,
) -> None:
    """One life of the whole lab, as `server.live`; LostError when a process is lost."""
    fleet = state.fleet
    assert fleet is not None
    stop = told_to_stop(exit_with_parent=exit_with_parent)
    lost: list[LostError] = []

    def lose(number: int, why: str) -> None:
        if not lost and not fleet.ended_well(number):
            state.ledger.fault("process_lost", number=number)
            lost.append(LostError(number, f"{why}; the lab stops with it"))
            stop.set()

    settle()
    fleet.begin(state.station.schedule, lose, _room())
    try:
        if not await first(stop, sleep_until(state.up_ns + plan.listening_ns)):
            await _serve(state, plan, address, stop, announce)
        if not state.stopping:
            state.enter_stopping()
        if not lost:  # then nothing that they could still tell would be the whole
            await fleet.end()
    finally:
        fleet.kill()
    if lost:
        raise lost[0]
    totals = merged(state.ledger.totals(), await fleet.totals())
    state.ledger.end(totals["hits"])


def _room() -> int:
    """How many clients a process may have; it was forked, so its limit is that of the front."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return SOCKETS_MAX
    return max(0, min(SOCKETS_MAX, soft - _DESCRIPTORS_APART))


async def _serve(
    state: State,
    plan: BootPlan,
    address: tuple[str, int],
    stop: asyncio.Event,
    announce: dict[str, Any],
) -> None:
    """Listen, boot, and hand over until the stop."""
    runner = await start_serving(state)
    manager, fleet = runner.server, state.fleet
    assert manager is not None
    assert fleet is not None
    sock = bind(*address)
    try:
        sock.listen(BACKLOG)
        state.ledger.phase("listening")  # from here on the kernel accepts
        hall = _Hall(state, fleet, manager, sock)
        say_listening(sock, announce)
        await boot_until(stop, plan, state)
        hall.close()
    finally:
        sock.close()
    await wind_up(state, runner)


class _Hall:
    """Those who have come, until it is known to whom they go."""

    def __init__(
        self, state: State, fleet: Fleet, manager: web.Server, listening: socket.socket
    ) -> None:
        self._state = state
        self._fleet = fleet
        self._manager = manager
        self._listening = listening
        self._loop = asyncio.get_running_loop()
        self._door = Door(state.ledger)
        self._opening: set[asyncio.Task[None]] = set()
        # With what was read of them, and until when it may take; the first to come first.
        self._waiting: dict[socket.socket, tuple[bytearray, float]] = {}
        self._timer = self._loop.call_later(1, self._cut)
        self._loop.add_reader(listening, self._accept)

    def close(self) -> None:
        """Take no more; who has not said what they want is let go."""
        self._timer.cancel()
        self._loop.remove_reader(self._listening)
        for sock in list(self._waiting):
            self._leave(sock)
            sock.close()

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_PER_TURN):
            try:
                sock, _ = self._listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _NO_MORE:
                    self._pause()
                    return
                continue  # that one is gone already: accept(2)
            if len(self._waiting) + self._fleet.unsent >= SOCKETS_MAX:
                self._refuse(sock)
                continue
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._waiting[sock] = bytearray(), self._loop.time() + HEAD_WITHIN_S
            self._loop.add_reader(sock, self._read, sock)

    def _refuse(self, sock: socket.socket) -> None:
        self._state.ledger.fault("too_many_sockets")
        reset_socket(sock)

    def _pause(self) -> None:
        """No descriptor is left: they wait in the kernel until one is."""
        self._state.ledger.fault("too_many_sockets")
        self._loop.remove_reader(self._listening)
        self._loop.call_later(_PAUSE_S, self._resume)

    def _resume(self) -> None:
        if not self._state.stopping:
            self._loop.add_reader(self._listening, self._accept)

    def _read(self, sock: socket.socket) -> None:
        received, _ = self._waiting[sock]
        try:
            data = sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._leave(sock)
            sock.close()
            return
        received += data
        if not data or is_whole(received):
            self._leave(sock)
            self._pass_on(sock, bytes(received))

    def _pass_on(self, sock: socket.socket, received: bytes) -> None:
        head = read_head(received)
        token = None if head is None else token_in(head, ENDPOINTS)
        if token is not None:
            user_id = self._state.keys.unverified_subject(token)
            if not self._fleet.hand(user_id, received, sock):
                self._refuse(sock)
        elif received:
            opening = asyncio.create_task(self._open(sock, received))
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)
        else:  # it came and went
            sock.close()

    async def _open(self, sock: socket.socket, received: bytes) -> None:
        """Serve it here."""
        make = partial(Connection, self._manager, self._loop, self._door, received)
        try:
            await self._loop.connect_accepted_socket(make, sock)
        except OSError:  # the client is gone
            sock.close()

    def _leave(self, sock: socket.socket) -> None:
        self._loop.remove_reader(sock)
        del self._waiting[sock]

    def _cut(self) -> None:
        """End those whose head did not come in time."""
        now = self._loop.time()
        for sock, (_, until) in list(self._waiting.items()):
            if until > now:
                break
            self._leave(sock)
            sock.close()
        self._timer = self._loop.call_later(1, self._cut)
