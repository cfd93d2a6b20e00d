"""Line: a session's side towards the wire: attempts, what is sent, and the end.

The rule: rows are written where things happen, in the wire's callbacks. `Client` builds the
scripts' API on it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from probe.auth.present import NOTHING, present
from probe.clock import now_ns
from probe.engine.hearing import NO_RUN, TEXT
from probe.engine.passing import Passing, nothing
from probe.engine.waiting import ENDED, READY, TIMEOUT, SessionOver
from probe.history.records import Kind, Outcome, Phase, Put
from probe.wire.dialing import dial
from probe.wire.ends import End, Limits
from probe.wire.frames import encode
from probe.wire.request import Facts, new_key
from probe.wire.sending import Held

if TYPE_CHECKING:
    from collections.abc import Callable

    from probe.auth.present import Presented
    from probe.engine.passing import Want
    from probe.model.dialect import Presentation
    from probe.wire.connection import Connection

CLOSE_WITHIN_NS: Final = 15_000_000_000
HELD_WITHIN_NS: Final = 600_000_000_000
_NO_LIMITS: Final = Limits()
_PHASES: Final = 5  # from the name to the upgrade, each with a bound of its own


class Line(Passing):
    """One session towards the wire; the listener of its connections."""

    __slots__ = ()

    def ended(self, t_ns: int, end: End) -> None:
        """The connection is over."""
        self._open_end = end
        self._was_ready = self._was_ready or self.is_ready
        if self._runs is not None:
            self._runs.away()
        if end.reason and self._site.scans:
            self._closed_with(t_ns, end.reason)
        self._site.journal.pair(
            self._session, self.attempts - 1,
            t_ns, Kind.TRAFFIC, 0, self._sent, self._sent_bytes,
            t_ns, Kind.TRAFFIC, 1, self._received, self._received_bytes,
        )  # fmt: skip
        self._wake(ENDED)

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

    def cut_off(self) -> None:
        """The session is over: so is waiting for its runs."""
        if self._runs is not None:
            self._runs.cut_off(now_ns(), max(self.attempts - 1, 0))

    async def _attempt(
        self, shown: Presentation, *, ready: bool, early: tuple[str, ...] = ()
    ) -> str:
        """Dial once and, with `ready`, wait until ready; what went wrong, or ""."""
        site, door = self._site, self._door
        gated = self.turn is not None and self.gated
        if gated:
            await self._near()
        op = self.attempts
        self.attempts += 1
        self.is_ready = False
        self._connection = self._open_end = None
        self._begin_traffic()
        self._unread.clear()
        self._pings.clear()
        self._flood = None
        self._chosen = False
        identity = self._identity
        parts = present(shown, identity.token, identity.user)
        key = new_key()
        request = self._asked(parts, key)
        within = site.dialect.ready.within
        deadline = now_ns() + within
        sending, limits = None, _NO_LIMITS
        if early or gated:
            # How long it is held is not known; from then on it has the usual time.
            sending = self._upgrading([self._filled(text).encode() for text in early])
            deadline, limits = now_ns() + HELD_WITHIN_NS, Limits(*(within,) * _PHASES)
        keep_heads = site.heads_left > 0
        site.heads_left -= keep_heads
        result = await dial(
            site.loop, door.route, request, Facts(key, parts.subprotocols, site.extensions),
            self, site.journal, self._session, op,
            redactor=identity.redactor, deadline_ns=deadline, keep_heads=keep_heads,
            max_message=site.dialect.message_max, sending=sending, gated=self.turn is not None,
            limits=limits, wheel=site.wheel,
        )  # fmt: skip
        if isinstance(result, End):
            return self._failed(result)
        if sending is not None:
            deadline = sending.sent_ns + within
        self._connection = result
        if site.peers_left > 0:
            site.note_peer(door, result)
        if self.is_ready:  # what says so came with the 101
            result.phase = Phase.READY
        if parts.first_message is not None and self._open_end is None:
            self._put(parts.first_message)
        if not site.words.ready and self._open_end is None:
            self._become_ready(result.opened_ns)
        if not ready or (self.is_ready and not self._was_ready):
            return ""  # with nothing missed before
        return await self._until_ready(deadline)

    def _asked(self, parts: Presented, key: bytes) -> bytes:
        """The upgrade request of the attempt under way."""
        site, door = self._site, self._door
        trace = b"traceparent: 00-%b-%08x%08x-01\r\n" % (
            site.trace_bytes, self._session, self.attempts,
        )  # fmt: skip
        if parts is NOTHING and not self._beside and not site.extensions:
            return door.prepared.build(key, line=trace)
        return door.prepared.build(
            key,
            subprotocols=parts.subprotocols,
            headers=(*parts.headers, *self._shown_beside),
            resource=parts.resource(door.route.resource),
            extensions=site.extensions,
            line=trace,
        )

    def _upgrading(self, messages: list[bytes]) -> Held:
        """A request whose last byte waits for the gate, or for nothing, with messages behind."""

        def watch() -> None:
            if held.armed_ns and not held.sent_ns and held.end is None:
                if self.gated:
                    self._travels(held.rtt_ns)
                    self._hang(held.let_go, told)
                else:
                    told(held.let_go())

        def told(stamp: int) -> None:
            held.follow()
            if stamp:
                for message in messages:
                    self._note_put(stamp, message, Put.MESSAGE, NO_RUN)

        behind = b"".join(encode(TEXT, message) for message in messages)
        held = Held(behind=behind, watch=watch)
        return held

    async def _until_ready(self, deadline_ns: int) -> str:
        """Wait for ready, and ask for what was missed; what went wrong, or ""."""
        if not self.is_ready and self._open_end is None:
            outcome = await self._wait(max(deadline_ns - now_ns(), 0), kind=READY)
            if outcome == TIMEOUT and not self.is_ready and self._connection is not None:
                end = End(Outcome.TIMEOUT, Phase.OPEN, detail="open, but not ready", by="timeout")
                self._connection.finish(now_ns(), end)
        if not self.is_ready:
            return self._failed(self._open_end)
        self._resume()
        return ""

    def _resume(self) -> None:
        """After a reconnect: ask for what came meanwhile, where the dialect has a way."""
        replay = self._site.dialect.replay
        if replay is None or not self._was_ready or self._open_end is not None:
            return
        cursor = self._cursor
        shown = json.dumps(cursor)[1:-1] if isinstance(cursor, str) else str(cursor)
        self._put(self._filled(replay.request).replace("{cursor}", shown).encode(), Put.RESUME)
        self._was_ready = False  # asked once for each attempt; its end says so again

    def _failed(self, end: End | None) -> str:
        self._dialled = end
        live = self._site.live
        name = end.outcome.name.lower() if end else "stopped"
        live.outcomes[name] += 1
        live.newest = words = end.detail or name if end else name
        return words

    def _put(self, payload: bytes, what: Put = Put.MESSAGE, run: int = NO_RUN) -> int:
        """Send a text message; its stamp. SessionOver where the connection takes none."""
        if what is not Put.RESUME:
            self._unread.clear()  # what comes from here on may be an answer
        t_ns = self._opened().send_text(payload)
        if not t_ns:
            raise SessionOver("the connection is closing")
        self._note_put(t_ns, payload, what, run)
        return t_ns

    async def _say(self, payload: bytes, what: Put = Put.MESSAGE, want: Want | None = None) -> None:
        """Send a text message, at its gate if there is one, and wait for what is wanted."""
        if self.gated:
            await self._hold(payload, what, want=want)
            return
        self._put(payload, what)
        if want is not None:
            await self._need(want.within_ns, want.missing, kind=want.kind)

    async def _hold(
        self,
        payload: bytes,
        what: Put = Put.MESSAGE,
        run: int = NO_RUN,
        told: Callable[[int], None] = nothing,
        want: Want | None = None,
    ) -> None:
        """The same where there is a gate, for which its last byte waits."""
        await self._near()
        connection = self._opened()
        held = connection.hold(connection.frame(TEXT, payload))
        self._travels(held.rtt_ns)

        def note(stamp: int) -> None:
            held.follow()
            self._unread.clear()
            self._note_put(stamp, payload, what, run)
            told(stamp)

        await self._let_go(held.let_go, note, want)

    def _note_put(self, t_ns: int, payload: bytes, what: Put, run: int) -> None:
        self._sent += 1
        self._sent_bytes += len(payload)
        op = self.attempts - 1
        self._site.journal.row(t_ns, self._session, op, Kind.PUT, what, len(payload), run)
        if self._site.keep_left > 0:
            self._site.keep_left -= 1
            self._keep(t_ns, 0, TEXT, payload)

    @property
    def _shown_beside(self) -> tuple[tuple[str, str], ...]:
        return (("Authorization", f"Bearer {self._beside}"),) if self._beside else ()

    def _filled(self, text: str) -> str:
        """A message with its places filled in; the token as it stands within a JSON string."""
        self._number += 1
        shown = self._identity
        text = text.replace("{user}", shown.user).replace("{n}", str(self._number))
        return text.replace("{token}", json.dumps(shown.token)[1:-1]) if "{token}" in text else text

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
