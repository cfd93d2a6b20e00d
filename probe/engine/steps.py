"""Steps that show how a service delivers: runs, the sentinel, losing the line, not reading.

The rule: a script goes on when what was begun is over, however it went; whether it was right
is judged from the rows. A session fails only where nothing more can be waited for: a run
that hangs, one that was refused, a connection that ended.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Final, Literal

from probe.clock import now_ns
from probe.engine.line import Line
from probe.engine.passing import Want
from probe.engine.runs import Runs
from probe.engine.waiting import BOUND, ENDED, PONG, RUNS, SENTINEL, TIMEOUT, WHY, SessionOver
from probe.history.records import Kind, Outcome, Put

if TYPE_CHECKING:
    from probe.engine.runs import Begun
    from probe.model.dialect import RunRule
    from probe.wire.connection import Connection

S: Final = 1_000_000_000
PONG_WITHIN_NS: Final = 5 * S
SETTLE_WITHIN_NS: Final = 5 * S
BUFFER_STALLED: Final = 4096
"""What the kernel may hold while we do not read: the backlog is to be the service's. Never
less than half a segment, of which it makes a whole one (loopback has segments of 64 KiB):
with a window below a segment a sender sends by its timers alone, a few times a second."""
BUFFER_READING: Final = 1 << 20
"""And while we read again: a window of a few KiB would make reading the slow part."""
STOPPED, AGAIN = 0, 1


class Steps(Line):
    """See `probe.model.script.Session` for what each step means."""

    __slots__ = ()

    async def run(
        self,
        count: int = 1,
        *,
        size: int = 1,
        pad: int = 0,
        wait: bool = True,
        shared: bool = False,
    ) -> None:
        """Start `count` runs at once and, with `wait`, wait until all that were begun are over.

        `shared`: they are of the session's one thread.
        """
        for _ in range(count):
            await self._begin(size, pad, shared=shared)
        if wait:
            await self._runs_over()

    async def finish(self) -> None:
        """Wait until every run that was begun is over, also across a reconnect."""
        await self.pass_by()
        await self._runs_over()

    async def settle(
        self,
        within_ns: int = SETTLE_WITHIN_NS,
        *,
        expect: Literal["answer", "silence"] = "answer",
    ) -> None:
        """Send the dialect's sentinel (else a ping) and wait until it comes back.

        Where silence is expected an answer ends the session, and that it cannot be sent does not.
        """
        try:
            await self._settled(within_ns)
        except SessionOver as over:
            if expect == "answer" or over.stopped:
                raise
            await self.pass_without()
        else:
            if expect == "silence":
                raise SessionOver("it is answered, and ought not to be")

    async def _settled(self, within_ns: int) -> None:
        if self._site.dialect.sentinel is None:
            await self.ping(within_ns)
            return
        want = Want(SENTINEL, within_ns, "no answer to the sentinel")
        if self.gated:
            number = self._sentinel = self._sentinel + 1
            text = self._sentinel_text(number)
            await self._hold(
                text, Put.SENTINEL, told=lambda _: self._note_sentinel(number), want=want
            )
            return
        self._send_sentinel()
        await self._need(within_ns, want.missing, kind=SENTINEL)

    async def vanish(self) -> None:
        """Drop the connection without a Close, as a client does that loses its network."""
        await self.pass_by()
        connection = self._opened()
        op = self.attempts - 1
        self._site.journal.row(now_ns(), self._session, op, Kind.VANISH)
        connection.abort()

    async def stall(self, for_ns: int) -> None:
        """Read nothing for that long, though the connection stays open."""
        await self.pass_by()
        connection = self._opened()
        self._hold_up(connection)
        try:
            await self._wait(for_ns, lasting=True)
        finally:
            self._read_on(connection)

    async def hold(self, for_ns: int, *, ping_every_ns: int = 0) -> None:
        """Stay connected; the peer's close ends the session, also one that came before.

        A ping that has no answer within 5 s ends it too; for the last ones the hold waits.
        """
        await self.pass_by()
        if self._open_end is not None and self._open_end.outcome is not Outcome.NORMAL:
            raise SessionOver(self._end_words())
        end = now_ns() + for_ns
        due = now_ns() if ping_every_ns else end
        while (now := now_ns()) < end:
            if now >= due:
                self._send_ping()
                due = max(due + ping_every_ns, now)
            self._pings_in_time(now)
            wake = min(end, due, *self._pong_due())
            if await self._wait(max(wake - now, 0), lasting=True) == ENDED:
                raise SessionOver(self._end_words())
        while ping_every_ns and self._pings:
            self._pings_in_time(now_ns())
            wait_ns = max(min(self._pong_due()) - now_ns(), 0)
            if await self._wait(wait_ns, kind=PONG) == ENDED:
                raise SessionOver(self._end_words())

    async def ping(self, within_ns: int = PONG_WITHIN_NS) -> None:
        """Send a ping and wait for its pong."""
        await self.pass_by()
        self._pings.clear()
        self._send_ping()
        await self._need(within_ns, "no pong", kind=PONG)

    # Runs.

    async def _begin(self, size: int, pad: int, *, shared: bool = False) -> Begun:
        rule = self._site.dialect.run
        assert rule is not None, "the plan refuses runs where the dialect has none"
        if self._runs is None:
            self._runs = Runs(self._site, rule, self._session)
        runs = self._runs
        if runs.unbound is not None:
            await self._bound(runs.unbound, rule)
        held, op = self.gated, self.attempts - 1
        run, run_id = runs.begin(now_ns(), op, size, held=held)
        # Either thread names its session, so that whoever else gets it is told.
        thread = f"{self._own.decode()}t" if shared else f"{run_id}-t"
        text = rule.start.replace("{run}", run_id).replace("{thread}", thread)
        text = text.replace("{size}", str(size)).replace("{pad}", str(pad))
        payload = self._filled(text).encode()
        if held:
            await self._hold(payload, Put.START, run.key, lambda t: runs.started(t, run, op, size))
        else:
            self._put(payload, Put.START, run.key)
        return run

    async def _bound(self, run: Begun, rule: RunRule) -> None:
        """Wait until the service has named the run before; two at a time cannot be told apart."""
        outcome = await self._wait(max(run.begun_ns + rule.within - now_ns(), 0), kind=BOUND)
        if outcome == ENDED:
            raise SessionOver(self._end_words())
        if outcome == TIMEOUT:
            await self._runs_over()

    async def _runs_over(self) -> None:
        runs = self._runs
        if runs is None:
            return
        while runs.pending:
            outcome = await self._wait(max(runs.hopeless_ns() - now_ns(), 0), kind=RUNS)
            if outcome == ENDED:
                raise SessionOver(WHY[ENDED])
            if runs.pending and now_ns() >= runs.hopeless_ns():
                with contextlib.suppress(SessionOver):
                    await self.settle()
                if self.stopping:
                    raise SessionOver("stopped", stopped=True)
                if self._open_end is not None:
                    raise SessionOver(WHY[ENDED])
                runs.give_up(now_ns(), self.attempts - 1)
        for kind in self._site.words.events:
            self._unread.pop(kind, None)
        if runs.hung:
            raise SessionOver("a run did not end")
        if runs.refused:
            raise SessionOver("a run was refused")

    # Proofs of life.

    def _send_sentinel(self) -> int:
        """Send the sentinel; its number."""
        self._sentinel += 1
        self._put(self._sentinel_text(self._sentinel), Put.SENTINEL)
        self._note_sentinel(self._sentinel)
        return self._sentinel

    def _sentinel_text(self, number: int) -> bytes:
        sentinel = self._site.dialect.sentinel
        assert sentinel is not None
        text = sentinel.send.replace("{user}", self._identity.user)
        return text.replace("{n}", str(number)).encode()

    def _note_sentinel(self, number: int) -> None:
        op = self.attempts - 1
        self._site.journal.row(now_ns(), self._session, op, Kind.SENTINEL, 0, 0, number)

    def _send_ping(self) -> None:
        connection = self._opened()
        self._number += 1
        now, op = now_ns(), self.attempts - 1
        self._site.journal.row(now, self._session, op, Kind.PING, 0, 0, self._number)
        self._pings[self._number] = now
        connection.ping(b"%d" % self._number)

    def _pong_due(self) -> list[int]:
        return [min(self._pings.values()) + PONG_WITHIN_NS] if self._pings else []

    def _pings_in_time(self, now: int) -> None:
        if any(due <= now for due in self._pong_due()):
            raise SessionOver("no pong: deadline")

    # Not reading.

    def _hold_up(self, connection: Connection) -> None:
        _receive_buffer(connection, stalled=True)
        self._note_stall(STOPPED)
        connection.pause()

    def _read_on(self, connection: Connection) -> None:
        self._note_stall(AGAIN)
        _receive_buffer(connection, stalled=False)
        connection.resume()

    def _note_stall(self, flag: int) -> None:
        self._site.journal.row(now_ns(), self._session, self.attempts - 1, Kind.STALL, flag)


def _receive_buffer(connection: Connection, *, stalled: bool) -> None:
    if connection.outlet is None:
        return
    sock = connection.outlet.transport.get_extra_info("socket")
    size = BUFFER_READING
    if stalled:
        segment = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
        size = max(BUFFER_STALLED, segment // 2 + 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
