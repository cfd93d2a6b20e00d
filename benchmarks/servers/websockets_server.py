"""`websockets` of PyPI, with its own HTTP parser."""

from __future__ import annotations

import argparse
import asyncio
import http
import logging
from typing import TYPE_CHECKING

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from benchmarks.servers.tokens import SPOKEN, is_good

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response


async def main(port: int, key: str) -> None:
    logging.getLogger("websockets").setLevel(logging.CRITICAL)  # what is refused is no news here

    def judge(connection: ServerConnection, request: Request) -> Response | None:
        values = ",".join(request.headers.get_all("Sec-WebSocket-Protocol"))
        offers = [each.strip() for each in values.split(",")]
        if is_good(offers, ",".join(request.headers.get_all("Authorization")), key):
            return None
        return connection.respond(http.HTTPStatus.UNAUTHORIZED, "no good token\n")

    async def echo(connection: ServerConnection) -> None:
        try:
            async for message in connection:
                await connection.send(message)
        except ConnectionClosed:
            return

    async with serve(
        echo, "127.0.0.1", port, subprotocols=list(map(Subprotocol, SPOKEN)), process_request=judge
    ) as server:
        print(f"listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--key", required=True)
    options = parser.parse_args()
    asyncio.run(main(options.port, options.key))
