"""aiohttp's `ws_connect` on uvloop: one session for all, no limit on connections."""

from __future__ import annotations

import asyncio

import aiohttp

from benchmarks.clients import job


class AiohttpConnection:
    __slots__ = ("_reader", "_socket", "delay_ns", "upgrade_ns")

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = ws
        self._reader: asyncio.Task[None] | None = None
        self.delay_ns = int(ws._response.headers[job.DELAY_HEADER])
        self.upgrade_ns = None

    def listen(self, tally: job.Tally) -> None:
        self._reader = asyncio.create_task(self._read(tally))

    async def _read(self, tally: job.Tally) -> None:
        while True:
            message = await self._socket.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                return
            tally.last = message.data
            tally.count += 1
            if tally.count >= tally.goal:
                tally.reached()

    async def send(self, text: str) -> None:
        await self._socket.send_str(text)

    def drop(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
        self._socket._response.close()


class AiohttpClient:
    def __init__(self, port: int) -> None:
        self._url = f"ws://127.0.0.1:{port}/"
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def connect(self) -> AiohttpConnection:
        return AiohttpConnection(await self._session.ws_connect(self._url))

    async def close(self) -> None:
        await self._session.close()


if __name__ == "__main__":
    job.main("aiohttp_client", AiohttpClient)
