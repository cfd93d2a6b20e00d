"""`websockets.asyncio` on uvloop: without compression and keepalive, otherwise as it comes."""

from __future__ import annotations

import asyncio

from websockets.asyncio.client import ClientConnection, connect

from benchmarks.clients import job


class WebsocketsConnection:
    __slots__ = ("_reader", "_socket", "delay_ns", "upgrade_ns")

    def __init__(self, ws: ClientConnection) -> None:
        assert ws.response is not None
        self._socket = ws
        self._reader: asyncio.Task[None] | None = None
        self.delay_ns = int(ws.response.headers[job.DELAY_HEADER])
        self.upgrade_ns = None

    def listen(self, tally: job.Tally) -> None:
        self._reader = asyncio.create_task(self._read(tally))

    async def _read(self, tally: job.Tally) -> None:
        while True:
            message = await self._socket.recv()
            assert isinstance(message, str)
            tally.last = message
            tally.count += 1
            if tally.count >= tally.goal:
                tally.reached()

    async def send(self, text: str) -> None:
        await self._socket.send(text)

    def drop(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
        self._socket.transport.abort()


class WebsocketsClient:
    def __init__(self, port: int) -> None:
        self._url = f"ws://127.0.0.1:{port}/"

    async def connect(self) -> WebsocketsConnection:
        return WebsocketsConnection(
            await connect(self._url, compression=None, ping_interval=None, proxy=None)
        )

    async def close(self) -> None:
        pass


if __name__ == "__main__":
    job.main("websockets_asyncio", WebsocketsClient)
