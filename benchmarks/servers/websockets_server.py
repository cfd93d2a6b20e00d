"""`websockets` of PyPI, with its own HTTP parser."""

from __future__ import annotations

import argparse
import asyncio
import http
import logging
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.typing import Subprotocol

from benchmarks.servers.tokens import SPOKEN, Claims, Door, Talk, says_later

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

REFUSED = CloseCode.INTERNAL_ERROR  # 1011, as the documentation of websockets has it


async def main(port: int, door: Door) -> None:
    logging.getLogger("websockets").setLevel(logging.CRITICAL)  # what is refused is no news here

    def claims_of(request: Request) -> Claims | None:
        values = ",".join(request.headers.get_all("Sec-WebSocket-Protocol"))
        offers = [each.strip() for each in values.split(",")]
        authorization = ",".join(request.headers.get_all("Authorization"))
        return door.shown(offers, authorization, urlsplit(request.path).query)

    def judge(connection: ServerConnection, request: Request) -> Response | None:
        claims = claims_of(request)
        if claims is not None or says_later(urlsplit(request.path).query):
            # As its documentation does; there is no other place for it.
            connection.claims = claims  # type: ignore[attr-defined]
            return None
        return connection.respond(http.HTTPStatus.UNAUTHORIZED, "no good token\n")

    async def converse(connection: ServerConnection) -> None:
        talk = Talk(door, connection.claims)  # type: ignore[attr-defined]
        try:
            for each in talk.hello():
                await connection.send(each)
            async for message in connection:
                answers = talk.answers(message)
                if answers is None:
                    await connection.close(REFUSED, "authentication failed")
                    return
                for answer in answers:
                    await connection.send(answer)
        except ConnectionClosed:
            return

    async with serve(
        converse, "127.0.0.1", port, subprotocols=list(map(Subprotocol, SPOKEN)),
        process_request=judge,
    ) as server:  # fmt: skip
        print(f"listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--key", required=True)
    parser.add_argument("--algorithm", default="HS256")
    options = parser.parse_args()
    asyncio.run(main(options.port, Door(options.key, options.algorithm)))
