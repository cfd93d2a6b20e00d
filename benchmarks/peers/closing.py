"""The probe's client, ending each connect by a closing handshake; run as `benchmarks.clients` are.

It stands beside tools that know no drop, so that a Close frame's price is not taken for theirs.
"""

from __future__ import annotations

from benchmarks.clients import job
from benchmarks.clients.probe_client import ProbeClient, ProbeConnection


class Closing:
    """A connection of the probe; `drop` begins the closing handshake and waits for nothing."""

    __slots__ = ("_connection",)

    def __init__(self, connection: ProbeConnection) -> None:
        self._connection = connection

    @property
    def delay_ns(self) -> int:
        return self._connection.delay_ns

    @property
    def upgrade_ns(self) -> int:
        return self._connection.upgrade_ns

    def listen(self, tally: job.Tally) -> None:
        self._connection.listen(tally)

    async def send(self, text: str) -> None:
        await self._connection.send(text)

    def drop(self) -> None:
        wire = self._connection._connection
        assert wire is not None
        wire.close()


class ClosingClient:
    """`ProbeClient`, but for what it hands out."""

    def __init__(self, port: int) -> None:
        self._client = ProbeClient(port)

    async def connect(self) -> Closing:
        return Closing(await self._client.connect())

    async def close(self) -> None:
        await self._client.close()


if __name__ == "__main__":
    job.main("closing", ClosingClient)
