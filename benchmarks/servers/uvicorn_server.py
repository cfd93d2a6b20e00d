"""An ASGI application on uvicorn, with h11 and wsproto."""

from __future__ import annotations

import argparse
import socket
from typing import Any

import uvicorn

from benchmarks.servers.tokens import SPOKEN, Door, Talk, says_later

REFUSED = 1008  # policy violation, as the documentation of FastAPI has it


class App:
    def __init__(self, door: Door) -> None:
        self._door = door

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            await self._page(send)
            return
        await receive()
        offers, query = list(scope["subprotocols"]), scope["query_string"].decode("latin-1")
        headers = [value for name, value in scope["headers"] if name == b"authorization"]
        claims = self._door.shown(offers, b",".join(headers).decode("latin-1"), query)
        if claims is None and not says_later(query):
            await send({"type": "websocket.close"})  # before the accept: an HTTP status
            return
        chosen = next((each for each in SPOKEN if each in offers), None)
        await send({"type": "websocket.accept", "subprotocol": chosen})
        talk = Talk(self._door, claims)
        await self._say(send, talk.hello())
        while (message := await receive())["type"] == "websocket.receive":
            text = message.get("text")
            answers = talk.answers(message["bytes"] if text is None else text)
            if answers is None:
                await send({"type": "websocket.close", "code": REFUSED})
                return
            await self._say(send, answers)

    async def _say(self, send: Any, messages: list[str | bytes]) -> None:
        for each in messages:
            kind = "text" if isinstance(each, str) else "bytes"
            await send({"type": "websocket.send", kind: each})

    async def _page(self, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b"no page here\n"})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--key", required=True)
    parser.add_argument("--algorithm", default="HS256")
    options = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", options.port), backlog=256)
    config = uvicorn.Config(
        App(Door(options.key, options.algorithm)),
        http="h11",
        ws="wsproto",
        lifespan="off",
        log_level="critical",
    )
    print(f"listening on 127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(config).run([listener])


if __name__ == "__main__":
    main()
