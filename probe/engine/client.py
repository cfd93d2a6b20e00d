"""Client: the API of scripts, one method for each step, on the session's line.

The rule: whatever a script waits for either happens, or the session ends with the reason
in the history; so a script needs no error handling.
"""

from __future__ import annotations

from typing import Final

from probe.clock import now_ns
from probe.engine.line import (
    CLOSE_WITHIN_NS,
    DONE,
    ECHO,
    ENDED,
    PONG,
    RUNS,
    STOP,
    TIMEOUT,
    Line,
    SessionOver,
)
from probe.engine.runs import Runs
from probe.history.records import Kind, Outcome

S: Final = 1_000_000_000
_WHY: Final = {ENDED: "the connection ended", TIMEOUT: "deadline", STOP: "stopped"}


class Client(Line):
    """One client with its own identity. Implements `probe.model.script.Session`."""

    __slots__ = ()

    @property
    def user(self) -> str:
        """The identity's name."""
        return self._identity.user

    async def connect(self, present: str | None = None, *, ready: bool = True) -> None:
        """Open the connection; a population with retries climbs the dialect's ladder."""
        shown = self._site.dialect.present[present or self.default]
        rung = 0
        while True:
            failure = await self._attempt(shown, ready=ready)
            if not failure:
                return
            if not self._ladder or self.stopping:
                raise SessionOver(failure, stopped=self.stopping)
            pause = self._ladder[min(rung, len(self._ladder) - 1)]
            rung += 1
            if 0 < self.stop_ns < now_ns() + pause:
                raise SessionOver(failure)
            await self._wait(pause, lasting=True)

    async def ready(self) -> None:
        """Wait for what the dialect calls ready."""
        if not self.is_ready:
            failure = await self._until_ready(now_ns() + self._site.dialect.ready.within)
            if failure:
                raise SessionOver(failure)

    async def send(self, text: str) -> None:
        """Send one text message; `{user}` and `{n}` are replaced."""
        self._put(self._filled(text).encode(), 0, -1)

    async def run(self, count: int = 1) -> None:
        """Start `count` runs at once and wait until each has ended."""
        rule = self._site.dialect.run
        assert rule is not None, "the plan refuses runs where the dialect has none"
        if self._runs is None:
            self._runs = Runs(self._site, rule, self._session)
        runs = self._runs
        for _ in range(count):
            number, run_id = runs.begin(now_ns(), self.attempts - 1)
            text = rule.start.replace("{run}", run_id).replace("{thread}", f"{run_id}-t")
            self._put(self._filled(text).encode(), 0, number)
        outcome = await self._wait(rule.within, kind=RUNS) if runs.pending else DONE
        if outcome == TIMEOUT:
            runs.late(now_ns(), self.attempts - 1)
        if outcome or runs.bad:
            raise SessionOver(_WHY[outcome] if outcome else "a run was not complete")

    async def await_event(self, event: str, within_ns: int = 5 * S) -> None:
        """Wait for a message of this type."""
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
            self._put(payload, 0, -1)
            await self._need(within_ns, "no echo", kind=ECHO)
        finally:
            self._echo = None

    async def hold(self, for_ns: int) -> None:
        """Stay connected; the peer's close ends the session, also one that came before."""
        if self._open_end is not None and self._open_end.outcome is not Outcome.NORMAL:
            raise SessionOver(self._end_words())
        outcome = await self._wait(for_ns, lasting=True)
        if outcome == ENDED:
            raise SessionOver(self._end_words())

    async def ping(self, within_ns: int = 5 * S) -> None:
        """Send a ping and wait for its pong."""
        connection = self._opened()
        self._number += 1
        op = self.attempts - 1
        self._site.journal.row(now_ns(), self._session, op, Kind.PING, 0, 0, self._number)
        connection.ping(b"%d" % self._number)
        await self._need(within_ns, "no pong", kind=PONG)

    async def close(self, code: int = 1000) -> None:
        """Close and wait for the peer's answer."""
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
        status = await self._site.http.request(
            method, service, self._filled(path), self._identity.token
        )
        if not status:
            raise SessionOver(f"{method} {service}: no answer")
        return status

    async def _need(self, within_ns: int, missing: str, *, kind: int) -> None:
        outcome = await self._wait(within_ns, kind=kind)
        if outcome:
            raise SessionOver(f"{missing}: {_WHY[outcome]}", stopped=outcome == STOP)

    def _filled(self, text: str) -> str:
        self._number += 1
        return text.replace("{user}", self._identity.user).replace("{n}", str(self._number))
