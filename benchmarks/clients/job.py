"""The jobs every client is measured at, and the one line of JSON that comes out.

A client is an object with `connect`; what it returns can be sent to, listened to and dropped. The
jobs are written once, against that, so two clients differ in nothing but themselves. A client's
module ends with `job.main(Client)`:

    python -m benchmarks.clients.floor --job burst --port 8080 --n 400000 --size 64 --core 0

The rule: processor time is counted over the measured section alone (`getrusage`, user and system,
this process), after a warm-up that pays for imports and caches, with the garbage collector on but
what was there before frozen. Beside it stands `wait_s`, how long the client was ready to run and
another process had its core (`/proc/self/schedstat`): what the neighbours did to the numbers.

- connects: n connects, 100 in flight, each dropped without a closing handshake once upgraded.
- idle: resident memory (`/proc/self/statm`) with 0, then more, then n connections open.
- burst: n text messages in large writes on one connection; each must come out as a str.
- single: n text messages, each alone in its read: 100 connections get one message each, and the
  next round is asked for when all have theirs. So no read can hold two, by construction.
- upgrade: n connects launched at once against a server that waits before its 101. Error = what
  the client measured minus the delay of that very connection, which the 101 carries.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import resource
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import uvloop

from benchmarks import server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IN_FLIGHT = 100
ROUND = 100
DEADLINE_S = 60
DELAY_HEADER = "X-Delay-Ns"


@dataclass(slots=True)
class Tally:
    """Counts messages; a client adds to `count` and calls `reached` once it is at `goal`.

    `last` is the latest message as the client's user would get it: a str.
    """

    count: int = 0
    goal: int = -1
    last: str = ""
    _done: asyncio.Event = field(default_factory=asyncio.Event)

    def expect(self, n: int) -> None:
        self.count, self.goal = 0, n
        self._done.clear()

    def reached(self) -> None:
        self._done.set()

    async def wait(self) -> None:
        await self._done.wait()


class Connection(Protocol):
    """One upgraded connection."""

    @property
    def delay_ns(self) -> int:
        """The server's true delay, from the 101."""

    @property
    def upgrade_ns(self) -> int | None:
        """Upgrade request written to 101 received; None if the client cannot tell."""

    def listen(self, tally: Tally) -> None:
        """Count every message from now on."""

    async def send(self, text: str) -> None:
        """Send one text message."""

    def drop(self) -> None:
        """Close the socket now, without a closing handshake."""


class Client(Protocol):
    """One way to speak WebSocket."""

    async def connect(self) -> Connection:
        """A connection to the server, upgraded."""

    async def close(self) -> None:
        """Free what connections share."""


@dataclass(slots=True)
class Section:
    """Processor, wall and waiting time of a block, and the memory seen at points of it."""

    cpu_s: float = 0
    wall_s: float = 0
    wait_s: float = 0
    rss_kb: dict[int, float] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        gc.collect()
        gc.freeze()
        cpu, wall, wait = _cpu_s(), time.perf_counter(), server.wait_s(os.getpid())
        yield
        self.cpu_s, self.wall_s = _cpu_s() - cpu, time.perf_counter() - wall
        self.wait_s = server.wait_s(os.getpid()) - wait


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _rss_kb() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


async def _open(client: Client, n: int) -> list[Connection]:
    """Connect n times, at most IN_FLIGHT at once."""
    opened: list[Connection] = []
    left = iter(range(n))

    async def one_after_another() -> None:
        opened.extend([await client.connect() for _ in left])

    async with asyncio.TaskGroup() as group:
        for _ in range(min(n, IN_FLIGHT)):
            group.create_task(one_after_another())
    return opened


async def _drop(connections: list[Connection]) -> None:
    for connection in connections:
        connection.drop()
    connections.clear()
    await asyncio.sleep(0.05)


async def _connects(client: Client, n: int, _size: int, section: Section) -> None:
    left = iter(range(n))

    async def one_after_another() -> None:
        for _ in left:
            (await client.connect()).drop()

    await _drop(await _open(client, IN_FLIGHT))
    with section.measured():
        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(one_after_another())


async def _idle(client: Client, n: int, _size: int, section: Section) -> None:
    await _drop(await _open(client, 2 * IN_FLIGHT))
    connections: list[Connection] = []
    with section.measured():
        section.rss_kb[0] = _rss_kb()
        for more in (n * 2 // 5, n - n * 2 // 5):
            connections += await _open(client, more)
            await asyncio.sleep(0.05)
            section.rss_kb[len(connections)] = _rss_kb()
    await _drop(connections)


async def _burst(client: Client, n: int, size: int, section: Section) -> None:
    tally = Tally()
    connection = await client.connect()
    connection.listen(tally)

    async def go(count: int) -> None:
        tally.expect(count)
        await connection.send(f"go {count} {size}")
        await tally.wait()

    await go(max(1, n // 20))
    with section.measured():
        await go(n)
    _check(tally, n, size)
    connection.drop()


async def _single(client: Client, n: int, size: int, section: Section) -> None:
    tally = Tally()
    connections = await _open(client, ROUND)
    for connection in connections:
        connection.listen(tally)

    async def one_round() -> None:
        tally.expect(ROUND)
        await connections[0].send(f"round {size}")
        await tally.wait()
        _check(tally, ROUND, size)

    for _ in range(5):
        await one_round()
    with section.measured():
        for _ in range(n // ROUND):
            await one_round()
    await _drop(connections)


async def _upgrade(client: Client, n: int, _size: int, section: Section) -> None:
    opened: list[Connection] = []

    async def timed() -> int:
        begin_ns = time.perf_counter_ns()
        connection = await client.connect()
        whole_ns = time.perf_counter_ns() - begin_ns
        opened.append(connection)
        return whole_ns - connection.delay_ns

    await _drop(await _open(client, IN_FLIGHT))
    with section.measured():
        errors = await asyncio.gather(*(timed() for _ in range(n)))
    section.extra["whole_error_ms"] = _quantiles(errors)
    # Asked for last: a client may read them from what it wrote down.
    measured = [(connection.delay_ns, connection.upgrade_ns) for connection in opened]
    phases = [phase - truth for truth, phase in measured if phase is not None]
    section.extra["phase_error_ms"] = _quantiles(phases) if phases else None
    await _drop(opened)


def _quantiles(errors_ns: list[int]) -> dict[str, float]:
    in_order = sorted(errors_ns)
    last = len(in_order) - 1
    return {f"p{q}": in_order[round(last * q / 100)] / 1e6 for q in (0, 50, 99, 100)}


def _check(tally: Tally, n: int, size: int) -> None:
    if tally.count != n or len(tally.last) != size:
        raise RuntimeError(
            f"{tally.count} of {n} messages, the last of {len(tally.last)} characters, not {size}"
        )


JOBS = {
    "connects": _connects,
    "idle": _idle,
    "burst": _burst,
    "single": _single,
    "upgrade": _upgrade,
}


async def _run(make: Callable[[int], Client], options: argparse.Namespace) -> Section:
    section = Section()
    async with asyncio.timeout(DEADLINE_S):
        client = make(options.port)
        await JOBS[options.job](client, options.n, options.size, section)
        await client.close()
    return section


def main(name: str, make: Callable[[int], Client]) -> None:
    """Run one job with the client that `make(port)` gives; print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--job", choices=JOBS, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--n", type=int, required=True)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--core", type=int, required=True)
    options = parser.parse_args()
    if options.n % ROUND:
        parser.error(f"--n must be a multiple of {ROUND}")
    os.sched_setaffinity(0, {options.core})
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    section = uvloop.run(_run(make, options))
    line = {
        "client": name,
        "job": options.job,
        "n": options.n,
        "size": options.size,
        "cpu_s": section.cpu_s,
        "wall_s": section.wall_s,
        "wait_s": section.wait_s,
        "rss_kb": section.rss_kb,
        **section.extra,
    }
    json.dump(line, sys.stdout)
    print(flush=True)
