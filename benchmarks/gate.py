"""How close together a gate lets upgrades go, and how close together they arrive.

    python -m benchmarks.gate [--rounds 20] [--sizes 100,1000] [--json OUT]

On loopback: this process is the client, pinned to one core; `arrivals` is the server, on the
other, which stamps by the kernel. In each round every way of connecting has its turn, in random
order; spreads are from the first to the last of the round. The CPU time of a release is what it
would take on a machine that nobody shares.

- gate: connections stand with the request but for its last byte, and `engine.gate.Timeline` lets
  them go, as it does in a race.
- probe: the same dial without a gate, all at once by `asyncio.gather`.
- websockets: `websockets.asyncio.client.connect`, all at once by `asyncio.gather`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import random
import resource
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import trustme
import uvloop
from websockets.asyncio.client import connect

from benchmarks.run import machine
from benchmarks.server import wait_s
from benchmarks.table import _markdown, _number
from probe.clock import now_ns
from probe.engine.gate import SETTLE_NS, Timeline, spread, uncollected
from probe.history.journal import Journal
from probe.redact import Redactor
from probe.wire import (
    Connection,
    Facts,
    Held,
    Prepared,
    Route,
    TlsOptions,
    dial,
    make_route,
    new_key,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probe.wire import End, Sending

ROOT = Path(__file__).parent.parent
DEADLINE_NS = 60_000_000_000
LEAD_NS = 5_000_000
MS = 1_000_000
WAYS = ("gate", "probe", "websockets")
AIMS_MS = {
    ("released", "tcp", 100): 1.0,
    ("released", "tls", 100): 1.0,
    ("arrived", "tcp", 100): 1.5,
    ("arrived", "tls", 100): 2.5,
    ("arrived", "tcp", 1000): 8.0,
    ("arrived", "tls", 1000): 8.0,
}
STAMPS = {"released": "release_ns", "arrived": "arrival_ns"}
Measurement = dict[str, Any]


class Deaf:
    """A listener that wants nothing."""

    def message(self, t_ns: int, opcode: int, payload: bytes) -> None:
        pass

    def pong(self, t_ns: int, payload: bytes) -> None:
        pass

    def pinged(self, t_ns: int, payload: bytes) -> None:
        pass

    def ended(self, t_ns: int, end: End) -> None:
        pass


class Server:
    """A running `arrivals`; `port` is where it listens."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port = int(self._line().split()[1])

    def told(self) -> list[list[int]]:
        """The arrivals of this round; its connections are gone then."""
        assert self._process.stdin is not None
        self._process.stdin.write("next\n")
        self._process.stdin.flush()
        told: list[list[int]] = json.loads(self._line())
        return told

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextlib.contextmanager
def serving(core: int, pem: Path | None) -> Iterator[Server]:
    command = [sys.executable, "-m", "benchmarks.arrivals", "--core", str(core)]
    process = subprocess.Popen(
        [*command, *(["--pem", str(pem)] if pem else [])],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield Server(process)
    finally:
        process.kill()
        process.communicate(timeout=10)


async def armed(helds: list[Held]) -> None:
    """Until every one can be released."""
    told = asyncio.Event()
    for held in helds:
        held.watch = told.set
    while not all(held.armed for held in helds):
        if ends := [held.end for held in helds if held.end is not None]:
            raise RuntimeError(f"a connect failed: {ends[0]}")
        told.clear()
        await asyncio.wait_for(told.wait(), DEADLINE_NS / 1e9)


class Client:
    """All ways of connecting, `count` at once, to one server."""

    def __init__(self, url: str, journal: Journal, redactor: Redactor, ca: str | None) -> None:
        self._route: Route = make_route(url, tls=TlsOptions(ca_file=ca))
        self._prepared = Prepared(self._route)
        self._context = ssl.create_default_context(cafile=ca) if ca else None
        self._url = url
        self._journal, self._redactor = journal, redactor
        self._sessions = 0
        self._loop = asyncio.get_running_loop()

    async def _dial(self, sending: Sending | None = None) -> Connection:
        key = new_key()
        self._sessions += 1
        got = await dial(
            self._loop, self._route, self._prepared.build(key), Facts(key), Deaf(), self._journal,
            self._sessions, 0, redactor=self._redactor, deadline_ns=now_ns() + DEADLINE_NS,
            sending=sending,
        )  # fmt: skip
        if not isinstance(got, Connection):
            raise TypeError(f"a connect failed: {got}")
        return got

    async def gate(self, count: int) -> Measurement:
        helds = [Held() for _ in range(count)]
        tasks = [self._loop.create_task(self._dial(held)) for held in helds]
        timeline, stamps = Timeline(random.Random()), []
        over = asyncio.Event()

        def add(held: Held) -> None:
            def told(stamp: int) -> None:
                held.follow()
                stamps.append(stamp)
                if len(stamps) == count:
                    over.set()

            waits = True  # a race passes by whom it has stopped meanwhile
            timeline.add(0, lambda: held.let_go() if waits else 0, told)

        cpu: list[int] = []  # before the first and behind the last: what neighbours do is not in it

        def mark() -> int:
            cpu.append(time.thread_time_ns())
            return 0

        timeline.add(-1, mark, lambda _: None)
        timeline.add(1, mark, lambda _: None)
        for held in helds:
            add(held)
        await armed(helds)
        await asyncio.sleep(SETTLE_NS / 1e9)
        running = asyncio.ensure_future(timeline.run())
        with uncollected():
            timeline.open(now_ns() + LEAD_NS)
            await over.wait()
        running.cancel()
        connections = await asyncio.gather(*tasks)
        return {
            "released": len(timeline.lags_ns),
            "release_ns": spread(stamps),
            "cpu_ns": spread(cpu),
            "response_ns": spread([c.opened_ns for c in connections]),
            "late_ns": max(timeline.lags_ns),
            "first_ns": min(timeline.lags_ns),
            "drop": [c.abort for c in connections],
        }

    async def probe(self, count: int) -> Measurement:
        connections = await asyncio.gather(*(self._dial() for _ in range(count)))
        response = spread([c.opened_ns for c in connections])
        return {"response_ns": response, "drop": [c.abort for c in connections]}

    async def websockets(self, count: int) -> Measurement:
        opened: list[int] = []

        async def one() -> Any:
            ws = await connect(self._url, ssl=self._context, compression=None, proxy=None)
            opened.append(now_ns())
            return ws

        connections = await asyncio.gather(*(one() for _ in range(count)))
        return {
            "response_ns": spread(opened),
            "drop": [ws.transport.abort for ws in connections],
        }


async def measure(client: Client, server: Server, way: str, count: int) -> Measurement:
    """One way, once."""
    gc.collect()
    measured: Measurement = await getattr(client, way)(count)
    drop = measured.pop("drop")
    told = server.told()
    for each in drop:
        each()
    await asyncio.sleep(0.05)
    if len(told) != count:
        raise RuntimeError(f"{way}: {len(told)} of {count} requests arrived")
    return {
        **measured,
        "arrival_ns": spread([kernel for kernel, _ in told]),
        "read_ns": spread([read for _, read in told]),
    }


async def rounds(options: argparse.Namespace, cores: tuple[int, int]) -> list[Measurement]:
    """Every way in every round, in random order."""
    made: list[Measurement] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ca = trustme.CA()
        ca.cert_pem.write_to_path(folder / "ca.pem")
        pem = folder / "server.pem"
        ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
        redactor = Redactor()
        journal = Journal(folder / "history", redactor)
        servers = {
            "tcp": stack.enter_context(serving(cores[1], None)),
            "tls": stack.enter_context(serving(cores[1], pem)),
        }
        clients = {
            "tcp": Client(f"ws://127.0.0.1:{servers['tcp'].port}/", journal, redactor, None),
            "tls": Client(
                f"wss://127.0.0.1:{servers['tls'].port}/", journal, redactor, str(folder / "ca.pem")
            ),
        }
        cells = [(kind, count, way) for kind in servers for count in options.sizes for way in WAYS]
        for cell in cells:  # once unmeasured: imports, caches, the kernel's own memory
            await measure(clients[cell[0]], servers[cell[0]], cell[2], min(cell[1], 100))
        for turn in range(options.rounds):
            for kind, count, way in random.sample(cells, len(cells)):
                begin, waited = time.perf_counter(), wait_s(os.getpid())
                told = await measure(clients[kind], servers[kind], way, count)
                wall = time.perf_counter() - begin
                share = (wait_s(os.getpid()) - waited) / wall
                made.append(
                    {**told, "kind": kind, "count": count, "way": way, "round": turn,
                     "waited": share}
                )  # fmt: skip
            print(f"round {turn + 1} of {options.rounds}", file=sys.stderr)
        journal.close()
    return made


def tables(made: list[Measurement], sizes: list[int]) -> str:
    """One table per transport and size, ratios within a round."""
    parts = []
    for kind in ("tcp", "tls"):
        for count in sizes:
            cell = {way: _of(made, kind, count, way) for way in WAYS}
            rows = [["way", "released within, ms", "its CPU time, ms", "arrived within, ms",
                     "/ gate", "read by the server within, ms", "answers within, ms"]]  # fmt: skip
            for way, of in cell.items():
                ratio = [
                    m["arrival_ns"] / cell["gate"][turn]["arrival_ns"] for turn, m in of.items()
                ]
                rows.append([
                    way, _ms(of, "release_ns"), _ms(of, "cpu_ns"), _ms(of, "arrival_ns"),
                    _range(ratio), _ms(of, "read_ns"), _ms(of, "response_ns"),
                ])  # fmt: skip
            parts.append(f"### {count:,} upgrades, {kind.upper()}\n\n{_markdown(rows)}\n")
    return "\n".join(parts)


def _of(made: list[Measurement], kind: str, count: int, way: str) -> dict[int, Measurement]:
    """The measurements of one cell, by round."""
    cell = (kind, count, way)
    return {m["round"]: m for m in made if (m["kind"], m["count"], m["way"]) == cell}


def verdicts(made: list[Measurement], sizes: list[int]) -> list[str]:
    """Each aim, and whether the median meets it."""
    found = []
    for (what, kind, count), aim in AIMS_MS.items():
        of = _of(made, kind, count, "gate")
        if count not in sizes or not of:
            continue
        width = median(m[STAMPS[what]] for m in of.values()) / MS
        word = "met" if width <= aim else "MISSED"
        found.append(f"{count} over {kind}: {what} within {width:.2f} ms, aim {aim} ms: {word}")
    return found


def _ms(of: dict[int, Measurement], name: str) -> str:
    values = [m[name] / MS for m in of.values() if name in m]
    return _range(values)


def _range(values: list[float]) -> str:
    if not values:
        return "-"
    return f"{_number(median(values))} [{_number(min(values))} .. {_number(max(values))}]"


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument(
        "--sizes", type=lambda text: [int(n) for n in text.split(",")], default=[100, 1000]
    )
    parser.add_argument("--json", type=Path, help="where to write all measurements")
    options = parser.parse_args()
    usable = sorted(os.sched_getaffinity(0))
    cores = (usable[0], usable[min(1, len(usable) - 1)])
    os.sched_setaffinity(0, {cores[0]})
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.freeze()
    made = uvloop.run(rounds(options, cores))
    told = machine()
    print(
        f"{told['cpu']}, kernel {told['kernel']}, Python {told['python']}, {options.rounds} rounds"
    )
    print()
    print(tables(made, options.sizes))
    for sentence in verdicts(made, options.sizes):
        print(sentence)
    shared = [m for m in made if m["waited"] > 0.02]
    if shared:
        print(
            f"in {len(shared)} of {len(made)} measurements another process held the client's core"
        )
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": told, "measurements": made}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
