"""Holds connections by one of `benchmarks.clients`, until it is ended; a process of its own.

    python -m benchmarks.peers.hold CLIENT --n 5000 --port 8080 [--listen]

With `--listen` each message is handed out and counted. It is how `benchmarks.clients.job` opens
connections, but nothing is measured in here: the measurement looks at the process from outside, as
it does with every tool.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
from importlib import import_module
from typing import TYPE_CHECKING

import uvloop

from benchmarks.clients import job
from benchmarks.peers.work import HELD_S

if TYPE_CHECKING:
    from collections.abc import Callable

NEVER = 1 << 62
# Imported by name, so that a process holds one client's modules and no other's.
CLASSES = {
    "aiohttp_client": "AiohttpClient",
    "floor": "Floor",
    "picows_client": "PicowsClient",
    "probe_client": "ProbeClient",
    "websockets_asyncio": "WebsocketsClient",
}


async def _hold(options: argparse.Namespace) -> None:
    module = import_module(f"benchmarks.clients.{options.client}")
    make: Callable[[int], job.Client] = getattr(module, CLASSES[options.client])
    gc.collect()
    gc.freeze()
    client = make(options.port)
    tally = job.Tally(goal=NEVER)
    connections = await job._open(client, options.n)
    if options.listen:
        for connection in connections:
            connection.listen(tally)
    await asyncio.sleep(HELD_S)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.hold")
    parser.add_argument("client", choices=CLASSES)
    parser.add_argument("--n", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--listen", action="store_true")
    uvloop.run(_hold(parser.parse_args()))


if __name__ == "__main__":
    main()
