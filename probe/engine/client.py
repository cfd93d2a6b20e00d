"""Client: the API of scripts, one method for each step, on the session's line.

The rule: whatever a script waits for either happens, or the session ends with the reason
in the history; so a script needs no error handling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from probe.clock import now_ns
from probe.engine.handshaking import Handshaking
from probe.engine.line import CLOSE_WITHIN_NS
from probe.engine.passing import Want
from probe.engine.waiting import ECHO, SessionOver
from probe.history.records import Outcome, Phase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probe.wire.ends import End

S: Final = 1_000_000_000


class Client(Handshaking):
    """One client with its own identity. Implements `probe.model.script.Session`."""

    __slots__ = ()

    @property
    def user(self) -> str:
        """The identity's name."""
        return self._identity.user

    @property
    def connected(self) -> bool:
        """Whether a connection is open now."""
        return self._connection is not None and self._open_end is None

    async def connect(
        self,
        present: str | None = None,
        *,
        ready: bool = True,
        expect: Literal["ready", "refused", "either"] = "ready",
        early: tuple[str, ...] = (),
    ) -> None:
        """Open the connection; a population with retries climbs the dialect's ladder.

        A connection that is still open is closed first: a session has one at a time. Who
        expects a refusal tries once. A refusal is a status, or that the service ends the
        connection before it is ready; silence is none.
        """
        if self._connection is not None and self._open_end is None:
            await self.leave()
        shown = self._site.dialect.present[present or self.default]
        pauses: Iterator[int] | None = None
        while True:
            failure = await self._attempt(shown, ready=ready, early=early)
            if expect != "ready":
                return self._refused_or_over(failure, expect)
            if not failure:
                return None
            if not self._ladder or self.stopping:
                raise SessionOver(failure, stopped=self.stopping)
            pauses = pauses or self._pauses()
            pause = next(pauses)
            if 0 < self.stop_ns < now_ns() + pause:
                raise SessionOver(failure)
            await self._wait(pause, lasting=True)

    def _refused_or_over(self, failure: str, expect: Literal["refused", "either"]) -> None:
        if self.stopping and failure:
            raise SessionOver(failure, stopped=True)
        if expect == "either":
            return
        if not failure:
            raise SessionOver("the service lets this client in, and ought to refuse it")
        end = self._dialled
        if end is None or not _is_refusal(end):
            raise SessionOver(f"{failure}, which is no refusal")

    def _pauses(self) -> Iterator[int]:
        """The rungs of the ladder, the last one for ever, each spread as the population says."""
        rung = 0
        while True:
            pause = self._ladder[min(rung, len(self._ladder) - 1)]
            if self._jitter is not None:
                pause = round(pause * self._jitter())
            yield pause
            rung += 1

    async def ready(self) -> None:
        """Wait for what the dialect calls ready."""
        await self.pass_by()
        failure = await self._until_ready(now_ns() + self._site.dialect.ready.within)
        if failure:
            raise SessionOver(failure)

    async def send(self, text: str) -> None:
        """Send one text message; `{user}` and `{n}` are replaced."""
        await self._say(self._filled(text).encode())

    async def await_event(self, event: str, within_ns: int = 5 * S) -> None:
        """Wait for a message of this type."""
        await self.pass_by()
        types = self._site.dialect.types
        if event not in types:
            raise SessionOver(f"the dialect knows no event {event!r}")
        kind = types.index(event) + 1
        if self._unread.get(kind):
            self._unread[kind] -= 1
            return
        await self._need(within_ns, f"no {event}", kind=kind)

    async def echo(self, text: str, within_ns: int = 5 * S) -> None:
        """Send a message and wait for the same one to come back."""
        payload = self._filled(text).encode()
        self._echo = payload
        try:
            await self._say(payload, want=Want(ECHO, within_ns, "no echo"))
        finally:
            self._echo = None

    async def close(self, code: int = 1000) -> None:
        """Close and wait for the peer's answer."""
        await self.pass_by()
        connection = self._opened()
        connection.close(code)
        await self._wait(CLOSE_WITHIN_NS)
        end = self._open_end
        if end is None or end.outcome is not Outcome.NORMAL:
            raise SessionOver(self._end_words())

    async def http(self, method: str, service: str, path: str) -> int:
        """One authenticated HTTP request to a service of the target; its status."""
        if service not in self._site.target.services:
            raise SessionOver(f"the target has no service {service!r}")
        gated = await self.through()
        status = await self._site.http.request(
            method, service, self._filled(path), self._identity.token
        )
        if not status:
            raise SessionOver(f"{method} {service}: no answer")
        if gated:
            self.acted(now_ns())
        return status


def _is_refusal(end: End) -> bool:
    """Whether the service has said no: by a status, or by ending what it had accepted."""
    taken_back = end.outcome in (Outcome.CLOSED, Outcome.EOF, Outcome.RESET)
    return end.outcome is Outcome.STATUS or (taken_back and end.phase >= Phase.OPEN)
