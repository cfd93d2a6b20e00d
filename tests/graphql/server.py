"""A GraphQL service made of Strawberry, Starlette and uvicorn, for tests/test_graphql.py.

`subscription { ticks(count: N, every: S) }` yields the numbers from 1 to N, with S seconds
(0 where none are given) between two of them. Everything that goes over the wire is written
by those libraries. Prints one line when it listens:

    python server.py PORT [--key KEY | --key-env VARIABLE]

With a key every `connection_init` must carry a JWT of it (HS256) as `payload.token`; one from a
variable is in no list of processes.
"""

import argparse
import asyncio
import os
import socket
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import jwt
import strawberry
import uvicorn
from strawberry.asgi import GraphQL
from strawberry.exceptions import ConnectionRejectionError
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL


@strawberry.type
class Query:
    hello: str = "hello"


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def ticks(self, count: int, every: float = 0.0) -> AsyncGenerator[int, None]:
        for number in range(1, count + 1):
            if number > 1:
                await asyncio.sleep(every)
            yield number


class Service(GraphQL[Any, Any]):
    """Strawberry's ASGI application, which lets everybody in unless it was given a key."""

    key: str | None = None

    async def on_ws_connect(self, context: Any) -> Any:
        if self.key is not None:
            token = (context.get("connection_params") or {}).get("token", "")
            try:
                jwt.decode(token, self.key, algorithms=["HS256"], options={"verify_aud": False})
            except jwt.InvalidTokenError:
                raise ConnectionRejectionError from None
        return await super().on_ws_connect(context)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    keys = parser.add_mutually_exclusive_group()
    keys.add_argument("--key")
    keys.add_argument("--key-env", metavar="VARIABLE")
    options = parser.parse_args()
    if options.key_env and not os.environ.get(options.key_env):
        parser.error(f"{options.key_env} is not set: without a key everybody would be let in")
    service = Service(
        strawberry.Schema(query=Query, subscription=Subscription),
        subscription_protocols=(GRAPHQL_TRANSPORT_WS_PROTOCOL,),
        connection_init_wait_timeout=timedelta(seconds=1),
    )
    service.key = os.environ[options.key_env] if options.key_env else options.key
    listener = socket.create_server(("127.0.0.1", options.port), backlog=256)
    config = uvicorn.Config(service, ws="wsproto", lifespan="off", log_level="error")
    print(f"listening on 127.0.0.1:{listener.getsockname()[1]}", flush=True)  # noqa: T201 - whoever starts it waits for this
    uvicorn.Server(config).run([listener])


if __name__ == "__main__":
    main()
