"""Launching clients at their intended times, and seeing each to its end.

The rule: a client's intended time is the plan's, whatever the loop was doing; how late it
was dialled is in the history. A herd is launched a few in each turn of the loop, as many as
leave the turn short (`Turns`): so it does not pay for a turn each, and the sockets it has opened
are not starved. The target's ceiling on clients is held here: a client over it is recorded and
not let go.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import thread_time_ns
from typing import TYPE_CHECKING, Final

from probe.clock import now_ns
from probe.engine.play import make_client, play, refuse
from probe.history.records import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from probe.auth.identity import Identity
    from probe.engine.client import Client
    from probe.engine.play import Part
    from probe.engine.site import Site

NEWEST_MAX: Final = 4096
ROWS_AT_ONCE: Final = 4096
COLUMNS: Final = (
    "offset_ns", "stop_ns", "session", "trial", "population", "endpoint", "identity",
)  # fmt: skip
_LONGEST_SLEEP_NS: Final = 100_000_000
TURN_NS: Final = 500_000
AT_ONCE_MAX: Final = 16


class Turns:
    """How many are launched in one turn of the loop: as many as take `TURN_NS`.

    The turn before tells how many that is, by its processor time: when another process had our
    core, fewer in a turn would only cost us more. A turn holds the connects of those launched in
    it and all that had come to the sockets by then, so its length bounds how late a stamp is.
    """

    __slots__ = ("_left", "_size")

    def __init__(self) -> None:
        self._size = self._left = 1

    async def launched(self) -> None:
        """One was launched: where the turn has enough of them, the loop goes on to the next."""
        self._left -= 1
        if self._left:
            return
        began_ns = thread_time_ns()
        await asyncio.sleep(0)
        took_ns = max(thread_time_ns() - began_ns, 1)
        self._size = self._left = min(self._size * TURN_NS // took_ns or 1, AT_ONCE_MAX)


class Crowd:
    """The clients of one trial. What is over is let go: a long load must not grow."""

    def __init__(self, site: Site, parts: dict[int, Part]) -> None:
        self._site = site
        self._parts = parts
        self._sessions: dict[asyncio.Task[int], Client] = {}
        self._newest: deque[Client] = deque(maxlen=NEWEST_MAX)  # of those that try once
        self._retrying: list[Client] = []
        self.halted = False

    @property
    def busy(self) -> bool:
        """Whether any session is still going on."""
        return bool(self._sessions)

    async def launch(
        self, rows: NDArray[np.void], identities: Sequence[Identity], zero_ns: int
    ) -> None:
        """Launch every row at `zero_ns` plus its offset; returns when the last one is off."""
        turns = Turns()
        for start in range(0, len(rows), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            columns = [rows[name][part].tolist() for name in COLUMNS]
            table = zip(*columns, identities[part], strict=True)
            for offset, stop, *row, identity in table:
                due = zero_ns + offset
                while (wait := due - now_ns()) > 0 and not self.halted:  # noqa: ASYNC110 -- a clock
                    await asyncio.sleep(min(wait, _LONGEST_SLEEP_NS) / 1e9)
                if self.halted:
                    return
                self._go(row, identity, due, zero_ns + stop if stop >= 0 else 0)
                await turns.launched()

    def _go(self, row: Sequence[int], identity: Identity, due_ns: int, stop_ns: int) -> None:
        session, trial, population, endpoint, number = row
        site = self._site
        live = site.live
        live.launched += 1
        site.journal.row(due_ns, session, trial, Kind.INTENDED, endpoint, population, number)
        ceiling = site.target.safety.clients_max
        if ceiling is not None and live.alive >= ceiling:
            refuse(site, session, f"the target's ceiling of {ceiling} clients was reached")
            return
        part = self._parts[population]
        client = make_client(site, part, session, site.doors[endpoint], identity, stop_ns)
        (self._retrying if part.ladder else self._newest).append(client)
        live.alive += 1
        task = site.loop.create_task(play(site, part, client, session))
        self._sessions[task] = client
        task.add_done_callback(self._sessions.pop)
        if stop_ns:
            # Closed load: this client leaves when the curve says so.
            entry = site.wheel.add(stop_ns, client.stop)
            task.add_done_callback(lambda _: entry.cancel())

    def settled(self, good: int) -> bool:
        """Whether the newest `good` decided clients were let in, and all the retrying ones are.

        The newest ones of all, if still under way, do not count either way.
        """
        if not all(client.is_ready for client in self._retrying):
            return False
        if not self._newest:
            return bool(self._retrying)
        row = 0
        for client in reversed(self._newest):
            if client.is_ready:
                row += 1
                if row >= good:
                    return True
            elif row or client.over:
                return False
        return False

    async def finish(self, patience_ns: int) -> None:
        """Wait for all sessions; those over the patience are stopped, then cancelled."""
        for within_ns, after in ((patience_ns, self.stop), (3_000_000_000, self._cancel)):
            if self._sessions:
                await asyncio.wait(self._sessions, timeout=within_ns / 1e9)
            if not self._sessions:
                return
            after()
        await asyncio.wait(self._sessions, timeout=2)

    def halt(self) -> None:
        """No further launch."""
        self.halted = True

    def stop(self) -> None:
        """No further launch, and every session is told to end."""
        self.halted = True
        for client in list(self._sessions.values()):
            client.stop()

    def _cancel(self) -> None:
        for task in list(self._sessions):
            task.cancel()
