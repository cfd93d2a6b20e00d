"""Line: a session's side towards the wire: attempts, what arrives, and waiting for it.

The rule: rows are written where things happen, in the wire's callbacks, and a wait always
has a deadline. `Client` builds the scripts' API on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from probe.auth.present import present
from probe.clock import now_ns
from probe.history.records import Kind, Outcome, Phase
from probe.wire.dialing import dial
from probe.wire.ends import End
from probe.wire.request import Facts, new_key

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from probe.auth.identity import Identity
    from probe.engine.runs import Runs
    from probe.engine.site import Door, Site
    from probe.model.dialect import Presentation
    from probe.redact import Redactor
    from probe.wire.connection import Connection

_TEXT: Final = 1
_TOKEN_DIGITS: Final = 18  # a longer number is none of our pings', and no row could hold it
CLOSE_WITHIN_NS: Final = 15_000_000_000
DONE, ENDED, TIMEOUT, STOP = range(4)  # how a wait came out
# What a wait is for: a type index (> 0), or one of these.
ANYTHING, RUNS, PONG, ECHO, READY = -1, -2, -3, -4, -5


class SessionOver(Exception):  # noqa: N818 -- that a session is over is no error
    """Ends a script: what it waited for did not come. `stopped`: we ended it ourselves."""

    def __init__(self, why: str, *, stopped: bool = False) -> None:
        super().__init__(why)
        self.stopped = stopped


class Line:
    """One session towards the wire; the listener of its connections."""

    __slots__ = (
        "_await_kind", "_connection", "_door", "_echo", "_identity", "_ladder", "_number",
        "_open_end", "_ready_kind", "_runs", "_session", "_site", "_unread", "_waiter",
        "attempts", "default", "failed_at", "is_ready", "over", "stop_ns", "stopping",
    )  # fmt: skip

    def __init__(
        self,
        site: Site,
        session: int,
        door: Door,
        identity: Identity,
        *,
        default: str = "default",
        ladder: Sequence[int] = (),
        stop_ns: int = 0,
    ) -> None:
        self._site = site
        self._session = session
        self._door = door
        self._identity = identity
        self._ladder = ladder
        self._connection: Connection | None = None
        self._open_end: End | None = None
        self._waiter: asyncio.Future[int] | None = None
        self._await_kind = ANYTHING
        self._echo: bytes | None = None
        self._ready_kind = 1 if site.dialect.ready.event else 0
        self._runs: Runs | None = None
        self._unread: dict[int, int] = {}  # events since the last step, by type
        self._number = 0
        self.default = default
        self.attempts = 0
        self.is_ready = False
        self.failed_at = 0
        self.over = False
        self.stop_ns = stop_ns
        self.stopping = False

    def message(self, t_ns: int, opcode: int, payload: bytes) -> None:
        """One message: a row, then whatever waits for it."""
        site = self._site
        site.live.messages += 1
        read = site.read
        kind, run_id = read(payload) if read is not None and opcode == _TEXT else (0, None)
        run = -1
        if run_id is not None and self._runs is not None:
            run = self._runs.number_of(run_id)
        op = self.attempts - 1
        site.journal.row(t_ns, self._session, op, Kind.GOT, kind, len(payload), run)
        if site.keep_left > 0:
            self._keep(t_ns, 1, opcode, payload)
        if kind and kind == self._ready_kind and not self.is_ready:
            self._become_ready(t_ns)
        if run >= 0 and self._runs is not None:
            self._runs.event(t_ns, run, kind, op)
            if not self._runs.pending and self._await_kind == RUNS:
                self._wake(DONE)
        elif kind:
            if self._await_kind == kind and self._waits:
                self._wake(DONE)
            else:
                # It came before its step began, as in one chunk with the one waited for.
                self._unread[kind] = self._unread.get(kind, 0) + 1
        if self._echo is not None and payload == self._echo:
            self._wake(DONE)

    def pong(self, t_ns: int, payload: bytes) -> None:
        """The answer to a ping of ours, if it carries our token."""
        if payload.isdigit() and len(payload) <= _TOKEN_DIGITS:
            token = int(payload)
            self._site.journal.row(t_ns, self._session, self.attempts - 1, Kind.PONG, 0, 0, token)
            if self._await_kind == PONG and token == self._number:
                self._wake(DONE)

    def pinged(self, t_ns: int, payload: bytes) -> None:
        """The peer's ping; the wire has answered it."""

    def ended(self, t_ns: int, end: End) -> None:
        """The connection is over."""
        self._open_end = end
        if self._runs is not None:
            self._runs.cut_off(t_ns, self.attempts - 1)
        self._wake(ENDED)

    @property
    def redactor(self) -> Redactor:
        """What masks this client's own token."""
        return self._identity.redactor

    def stop(self) -> None:
        """End the session soon: its script is told at its next wait."""
        self.stopping = True
        self._wake(STOP)

    async def leave(self) -> None:
        """Whatever happened, no connection stays open behind a session."""
        connection = self._connection
        if connection is None or self._open_end is not None:
            return
        connection.close(1001 if self.stopping else 1000)
        try:
            await self._wait(CLOSE_WITHIN_NS, stoppable=False)
        finally:
            if self._open_end is None:
                connection.abort()

    async def _attempt(self, shown: Presentation, *, ready: bool) -> str:
        site, door = self._site, self._door
        op = self.attempts
        self.attempts += 1
        self.is_ready = False
        self._connection = self._open_end = None
        self._unread.clear()
        identity = self._identity
        parts = present(shown, identity.token, identity.user)
        key = new_key()
        trace = f"00-{site.trace}-{self._session:08x}{op + 1:08x}-01"
        request = door.prepared.build(
            key,
            subprotocols=parts.subprotocols,
            headers=(("traceparent", trace), *parts.headers),
            resource=parts.resource(door.route.resource),
            extensions=site.extensions,
        )
        deadline = now_ns() + site.dialect.ready.within
        result = await dial(
            site.loop, door.route, request, Facts(key, parts.subprotocols, site.extensions),
            self, site.journal, self._session, op,
            redactor=identity.redactor, deadline_ns=deadline, keep_heads=site.keep_left > 0,
            max_message=site.dialect.message_max,
        )  # fmt: skip
        if isinstance(result, End):
            return self._failed(result)
        self._connection = result
        if site.peers_left > 0:
            site.note_peer(door, result)
        if self.is_ready:  # what says so came with the 101
            result.phase = Phase.READY
        if parts.first_message is not None and self._open_end is None:
            self._put(parts.first_message, 0, -1)
        if not self._ready_kind and self._open_end is None:
            self._become_ready(result.opened_ns)
        return await self._until_ready(deadline) if ready else ""

    async def _until_ready(self, deadline_ns: int) -> str:
        """Wait for ready; what went wrong, or ""."""
        if self.is_ready:
            return ""
        if self._open_end is None:
            outcome = await self._wait(max(deadline_ns - now_ns(), 0), kind=READY)
            if self.is_ready:
                return ""
            if outcome == TIMEOUT and self._connection is not None:
                end = End(Outcome.TIMEOUT, Phase.OPEN, detail="open, but not ready", by="timeout")
                self._connection.finish(now_ns(), end)
        return self._failed(self._open_end)

    def _failed(self, end: End | None) -> str:
        live = self._site.live
        name = end.outcome.name.lower() if end else "stopped"
        live.outcomes[name] += 1
        live.newest = words = end.detail or name if end else name
        return words

    def _become_ready(self, t_ns: int) -> None:
        self.is_ready = True
        self._site.live.ready += 1
        if self._connection is not None:
            self._connection.phase = Phase.READY
        self._site.journal.row(t_ns, self._session, self.attempts - 1, Kind.READY)
        if self._await_kind == READY:
            self._wake(DONE)

    def _put(self, payload: bytes, kind: int, run: int) -> None:
        self._unread.clear()  # what comes from here on may be an answer
        t_ns = self._opened().send_text(payload)
        if not t_ns:
            raise SessionOver("the connection is closing")
        op = self.attempts - 1
        self._site.journal.row(t_ns, self._session, op, Kind.PUT, kind, len(payload), run)
        if self._site.keep_left > 0:
            self._keep(t_ns, 0, _TEXT, payload)

    def _keep(self, t_ns: int, direction: int, opcode: int, payload: bytes) -> None:
        site = self._site
        site.keep_left -= 1
        text = site.journal.text(payload, self._identity.redactor)
        site.journal.row(t_ns, self._session, self.attempts - 1, Kind.KEPT, direction, opcode, text)

    def _opened(self) -> Connection:
        if self._connection is None or self._open_end is not None:
            raise SessionOver(self._end_words())
        return self._connection

    def _end_words(self) -> str:
        end = self._open_end
        if end is None:
            return "not connected"
        code = f" {end.code}" if end.code else ""
        return end.detail or f"{end.outcome.name.lower()}{code}"

    async def _wait(
        self,
        within_ns: int,
        *,
        kind: int = ANYTHING,
        lasting: bool = False,
        stoppable: bool = True,
    ) -> int:
        """Wait until something wakes us; `lasting`: the time running out is what was wanted."""
        if self.stopping and stoppable:
            raise SessionOver("stopped", stopped=True)
        if self._open_end is not None and self._connection is not None and not lasting:
            return ENDED
        waiter: asyncio.Future[int] = self._site.loop.create_future()
        self._waiter = waiter
        self._await_kind = kind
        entry = self._site.wheel.add(now_ns() + within_ns, self._expire)
        try:
            outcome = await waiter
        finally:
            entry.cancel()
            self._waiter, self._await_kind = None, ANYTHING
        if outcome == STOP and stoppable:
            raise SessionOver("stopped", stopped=True)
        return outcome

    @property
    def _waits(self) -> bool:
        return self._waiter is not None and not self._waiter.done()

    def _expire(self) -> None:
        self._wake(TIMEOUT)

    def _wake(self, outcome: int) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(outcome)
