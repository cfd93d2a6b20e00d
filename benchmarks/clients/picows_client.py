"""picows on uvloop: frames in a callback, from C."""

from __future__ import annotations

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks.clients import job


class PicowsConnection(WSListener):
    __slots__ = ("_tally", "_transport", "delay_ns", "upgrade_ns")

    def __init__(self) -> None:
        self._tally: job.Tally | None = None
        self.upgrade_ns = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self.delay_ns = int(transport.response.headers[job.DELAY_HEADER])

    def on_ws_frame(self, _transport: WSTransport, frame: WSFrame) -> None:
        tally = self._tally
        if frame.msg_type == WSMsgType.TEXT and tally is not None:
            tally.last = frame.get_payload_as_utf8_text()
            tally.count += 1
            if tally.count >= tally.goal:
                tally.reached()

    def listen(self, tally: job.Tally) -> None:
        self._tally = tally

    async def send(self, text: str) -> None:
        self._transport.send(WSMsgType.TEXT, text.encode())

    def drop(self) -> None:
        self._transport.disconnect(graceful=False)


class PicowsClient:
    def __init__(self, port: int) -> None:
        self._url = f"ws://127.0.0.1:{port}/"

    async def connect(self) -> PicowsConnection:
        _, connection = await ws_connect(PicowsConnection, self._url)
        assert isinstance(connection, PicowsConnection)
        return connection

    async def close(self) -> None:
        pass


if __name__ == "__main__":
    job.main("picows_client", PicowsClient)
