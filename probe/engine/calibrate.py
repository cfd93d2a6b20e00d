"""The jitter of a race, measured: two connections, pinged at the same instants.

Of each pair of pings it is known that they left together, so that what their round trips
differ by is what the way and the service add. It holds the way back as well, and so is rather
more than what an offset at the service is off by. After Kettle (2023), who compares pairs.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from probe.clock import now_ns
from probe.engine.client import Client
from probe.engine.play import Part, play
from probe.engine.waiting import SessionOver
from probe.history.records import Kind
from probe.stats.trials import PAIRS_MIN, pairs_jitter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from probe.auth.identity import Identity
    from probe.engine.site import Site

PAIRS: Final = 60
PONG_WITHIN_NS: Final = 1_000_000_000
READY_WITHIN_S: Final = 15.0
_PAUSE_S: Final = 0.002
_MISSING_MAX: Final = 3  # pings in a row without an answer, and then it is given up


class Sounder(Client):
    """A client that remembers how long its pings took; `rtts_ns` by their number."""

    __slots__ = ("over_soon", "rtts_ns", "sent_ns", "stands")

    def prepare(self) -> None:
        """Before it is played."""
        self.rtts_ns: dict[int, int] = {}
        self.sent_ns: dict[int, int] = {}
        self.stands = asyncio.Event()
        self.over_soon = asyncio.Event()

    async def stand(self) -> None:
        """Connect, be there until it is over, and close."""
        await self.connect()
        self.stands.set()
        await self.over_soon.wait()
        await self.close()

    def sound(self) -> int:
        """Send a ping; its number."""
        self._send_ping()
        self.sent_ns[self._number] = self._pings[self._number]
        return self._number

    def pong(self, t_ns: int, payload: bytes) -> None:
        """The answer, as everybody hears it, and noted."""
        if payload.isdigit() and int(payload) in self.sent_ns:
            self.rtts_ns[int(payload)] = t_ns - self.sent_ns[int(payload)]
        super().pong(t_ns, payload)


async def measured_jitter(
    site: Site,
    parts: Mapping[int, Part],
    rows: NDArray[np.void],
    identities: Sequence[Identity],
) -> tuple[int | None, int]:
    """The standard deviation in ns and the number of pairs; None where it cannot be told.

    That is so where the clients do not get in, or pings have no answer.
    """
    clients, tasks = [], []
    for row, identity in zip(rows, identities, strict=True):
        session, population = int(row["session"]), int(row["population"])
        site.everybody.add(identity)
        site.journal.row(
            now_ns(), session, int(row["trial"]), Kind.INTENDED, int(row["endpoint"]),
            population, identity.index,
        )  # fmt: skip
        shown = parts[population].present
        door = site.doors[int(row["endpoint"])]
        client = Sounder(site, session, door, identity, default=shown)
        client.prepare()
        part = Part(_stand, (), shown, (), once=True)
        site.live.alive += 1
        site.live.launched += 1
        tasks.append(site.loop.create_task(play(site, part, client, session)))
        clients.append(client)
    standing = asyncio.ensure_future(_all_stand(clients))
    try:
        await asyncio.wait(
            {standing, *tasks}, timeout=READY_WITHIN_S, return_when=asyncio.FIRST_COMPLETED
        )
        deltas = await _pairs(clients) if standing.done() else []
    finally:
        standing.cancel()
        for client in clients:
            client.over_soon.set()
            if not client.stands.is_set():
                client.stop()
        await asyncio.wait(tasks, timeout=READY_WITHIN_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(standing, *tasks, return_exceptions=True)
    if len(deltas) < PAIRS_MIN:
        return None, len(deltas)
    return pairs_jitter(deltas), len(deltas)


async def _all_stand(clients: Sequence[Sounder]) -> None:
    for client in clients:
        await client.stands.wait()


async def _stand(client: object) -> None:
    assert isinstance(client, Sounder)
    await client.stand()


async def _pairs(clients: Sequence[Sounder]) -> list[int]:
    """What the round trips of two pings that left together differ by, in turn."""
    deltas: list[int] = []
    missing = 0
    for turn in range(PAIRS):
        if missing > _MISSING_MAX:
            break
        # In turn, so that who is first makes no difference.
        first, second = clients if turn % 2 else clients[::-1]
        try:
            numbers = first.sound(), second.sound()
        except SessionOver:
            break
        deadline = now_ns() + PONG_WITHIN_NS
        pairs = list(zip((first, second), numbers, strict=True))
        while now_ns() < deadline and not all(n in each.rtts_ns for each, n in pairs):  # noqa: ASYNC110 -- two of them, for milliseconds
            await asyncio.sleep(_PAUSE_S)
        if all(n in each.rtts_ns for each, n in pairs):
            sign = 1 if turn % 2 else -1
            deltas.append(sign * (second.rtts_ns[numbers[1]] - first.rtts_ns[numbers[0]]))
        else:
            missing += 1
    return deltas
