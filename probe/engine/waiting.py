"""What a session is just now, and waiting for something of it to change.

The rule: a wait always has a deadline, and one thing at a time is waited for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from probe.clock import now_ns

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from probe.auth.identity import Identity
    from probe.engine.runs import Runs
    from probe.engine.site import Door, Site
    from probe.engine.turn import Turn
    from probe.redact import Redactor
    from probe.wire.connection import Connection
    from probe.wire.ends import End

DONE, ENDED, TIMEOUT, STOP, REFUSED = range(5)  # how a wait came out
WHY: Final = {
    ENDED: "the connection ended", TIMEOUT: "deadline", STOP: "stopped", REFUSED: "an error came",
}  # fmt: skip
# What a wait is for: a type index (> 0), or one of these.
(
    ANYTHING, RUNS, PONG, ECHO, READY, BOUND, SENTINEL, FLOOD, LARGE, MESSAGE, REFRESH,
) = range(-1, -12, -1)  # fmt: skip


class SessionOver(Exception):  # noqa: N818 -- that a session is over is no error
    """Ends a script: what it waited for did not come. `stopped`: we ended it ourselves."""

    def __init__(self, why: str, *, stopped: bool = False) -> None:
        super().__init__(why)
        self.stopped = stopped


class Waiting:
    """The state of one session; `default` is its presentation, `ladder` its pauses."""

    __slots__ = (
        "_await_kind", "_beside", "_chosen", "_connection", "_cursor", "_dialled", "_door",
        "_echo", "_flood", "_flood_open", "_flooded", "_gates", "_identity", "_jitter", "_ladder",
        "_mine", "_number", "_open_end", "_own", "_patience", "_pings", "_received",
        "_received_bytes", "_runs", "_sent", "_sent_bytes", "_sentinel", "_session", "_site",
        "_unread", "_waiter", "_was_ready",
        "attempts", "default", "failed_at", "is_ready", "oddities", "over", "stop_ns", "stopping",
        "turn",
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
        jitter: Callable[[], float] | None = None,
        stop_ns: int = 0,
        gates: Sequence[int | Literal["swept"]] = (),
    ) -> None:
        self._site = site
        self._session = session
        self._door = door
        self._identity = identity  # who is shown: ours, or with another token
        self._mine = identity
        self._beside = ""  # a second token, shown in Authorization
        self._chosen = False  # whether a step has chosen the token since the last connect
        self._ladder = ladder
        self._jitter = jitter
        self._gates = gates  # offsets, in the order in which the script passes them
        self._own = b"%b-%d-" % (site.nonce_bytes, session)
        self._connection: Connection | None = None
        self._open_end: End | None = None
        self._dialled: End | None = None  # how the last attempt that failed came to its end
        self._waiter: asyncio.Future[int] | None = None
        self._await_kind = ANYTHING
        self._echo: bytes | None = None
        self._runs: Runs | None = None
        self._unread: dict[int, int] = {}  # events since the last step, by type
        self._number = 0
        self._sentinel = 0  # number of the last one, answered ones included
        self._flood: set[int] | None = None  # numbers of floods without their own answer
        self._flood_open = 0  # how many of the flood under way have no answer of any kind
        self._flooded = 0  # how many in all
        self._pings: dict[int, int] = {}  # when each unanswered ping was sent
        self._cursor: str | int = 0
        self._was_ready = False  # whether an attempt before this one was
        self._sent = self._sent_bytes = self._received = self._received_bytes = 0
        self._patience = 1  # how much slower than thought a squeeze found the service to send
        self.default = default
        self.attempts = 0
        self.is_ready = False
        self.failed_at = 0
        self.oddities = 0  # messages that broke the contract, or were another's
        self.over = False
        self.stop_ns = stop_ns
        self.stopping = False
        self.turn: Turn | None = None  # of a client of a race

    @property
    def redactor(self) -> Redactor:
        """What masks this client's own token."""
        return self._identity.redactor

    def _begin_traffic(self) -> None:
        """A new attempt: nothing was sent or received on it."""
        self._sent = self._sent_bytes = self._received = self._received_bytes = 0

    def forget(self) -> None:
        """It is over: the connection knows us and we know it, a circle for the collector."""
        self._connection = None

    def stop(self) -> None:
        """End the session soon: its script is told at its next wait."""
        self.stopping = True
        self._wake(STOP)

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

    async def _need(self, within_ns: int, missing: str, *, kind: int) -> None:
        outcome = await self._wait(within_ns, kind=kind)
        if outcome:
            raise SessionOver(f"{missing}: {WHY[outcome]}", stopped=outcome == STOP)

    @property
    def _waits(self) -> bool:
        return self._waiter is not None and not self._waiter.done()

    def _expire(self) -> None:
        self._wake(TIMEOUT)

    def _wake(self, outcome: int) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(outcome)
