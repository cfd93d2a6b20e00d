"""An ASGI application on uvicorn, with h11 and wsproto."""

from __future__ import annotations

import argparse
import socket
from typing import Any

import uvicorn

from benchmarks.servers.tokens import SPOKEN, is_good


class App:
    def __init__(self, key: str) -> None:
        self._key = key

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            await self._page(send)
            return
        await receive()
        offers = list(scope["subprotocols"])
        headers = [value for name, value in scope["headers"] if name == b"authorization"]
        if not is_good(offers, b",".join(headers).decode("latin-1"), self._key):
            await send({"type": "websocket.close"})  # before the accept: an HTTP status
            return
        chosen = next((each for each in SPOKEN if each in offers), None)
        await send({"type": "websocket.accept", "subprotocol": chosen})
        while (message := await receive())["type"] == "websocket.receive":
            text, data = message.get("text"), message.get("bytes")
            await send({"type": "websocket.send", "text": text, "bytes": data})

    async def _page(self, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b"no page here\n"})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--key", required=True)
    options = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", options.port), backlog=256)
    config = uvicorn.Config(
        App(options.key), http="h11", ws="wsproto", lifespan="off", log_level="critical"
    )
    print(f"listening on 127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(config).run([listener])


if __name__ == "__main__":
    main()
