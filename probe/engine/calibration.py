"""What `probe calibrate` plays: real runs of the engine against the echo, level by level.

The rule: a level is a run like any other (plan, script, journal, watch), so that what is found
is what a run has. Nothing is judged here; the roof reads the histories. The gate is let go as
in a race, by `engine.gate`, with connections of its own.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Final

import uvloop

from probe.clock import now_ns
from probe.engine.gate import SETTLE_NS, Timeline, spread, uncollected
from probe.engine.run import Order, execute
from probe.engine.site import Live
from probe.engine.stage import Judge
from probe.errors import ProbeError
from probe.history.folder import HISTORY
from probe.history.journal import Journal
from probe.model.dialect import Dialect
from probe.model.plan import make_plan
from probe.model.scenario import Scenario
from probe.model.target import Target
from probe.redact import Redactor
from probe.wire import Connection, Facts, Held, Prepared, dial, make_route, new_key

if TYPE_CHECKING:
    from pathlib import Path

    from probe.engine.run import Ended
    from probe.wire import End

STREAMS: Final = 10
"""Connections that share the messages of a level."""
GATED: Final = 100
"""Connections of one gate."""
_WITHIN_S: Final = 15.0
_LEAD_NS: Final = 5_000_000
DIALECT: Final = Dialect.model_validate(
    {
        "title": "echo of the calibration",
        "present": {"default": {}},
        "ready": {"event": "hello"},
        "run": {
            "start": '{"run_id":"{run}","size":{size}}',
            "events": [{"type": "beat", "times": "0..*"}, "end"],
        },
        "paths": {"sequence": "at"},
    }
)
BEAT: Final = DIALECT.types.index("beat") + 1
"""The number of the type in rows."""


@dataclass(frozen=True, slots=True)
class Echo:
    """The echo as a process; `start_ns` is where its `at` counts from."""

    process: subprocess.Popen[bytes]
    port: int
    start_ns: int

    @property
    def target(self) -> Target:
        """Where it is."""
        url = f"ws://127.0.0.1:{self.port}/"
        return Target.model_validate({"title": "echo", "endpoints": {"echo": {"url": url}}})

    def stop(self) -> None:
        """End it: its input ends."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)


def start_echo() -> Echo:
    """Start it; ProbeError where it does not."""
    process = subprocess.Popen(
        [sys.executable, "-m", "probe.engine.echo"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C at the terminal is for us, who end it in order
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise ProbeError("the echo ended at its start")
    told = json.loads(line)
    return Echo(process, int(told["port"]), int(told["start_ns"]))


def connects(rate: int) -> dict[str, Any]:
    """A stage of one second: so many connects, evenly spaced."""
    shape = {"rate": f"{rate}/s", "lasts": "1s", "arrivals": "even"}
    return _stage("connects", shape, [{"do": "connect"}, {"do": "close"}])


def herd(clients: int) -> dict[str, Any]:
    """A stage in which so many are due at one instant."""
    return _stage("herd", {"clients": clients}, [{"do": "connect"}, {"do": "close"}])


def messages(rate: int) -> dict[str, Any]:
    """A stage in which so many messages come within a second, over `STREAMS` connections."""
    size = max(rate // STREAMS, 1)
    script: list[dict[str, Any]] = [
        {"do": "connect"},
        {"do": "run", "size": size},
        {"do": "close"},
    ]
    return _stage("messages", {"clients": STREAMS}, script)


def _stage(name: str, shape: dict[str, Any], script: list[dict[str, Any]]) -> dict[str, Any]:
    clients = {"shape": shape, "script": script}
    return {name: {"patience": "5s", "budget": "15s", "populations": {"clients": clients}}}


def play(echo: Echo, stages: dict[str, Any], folder: Path) -> tuple[Ended, Scenario]:
    """Play one level into a run directory of its own; the resolved scenario is for who judges."""
    scenario = Scenario.model_validate(
        {"title": "calibration", "stages": stages, "keep_messages": 0}
    )
    target = echo.target
    plan = make_plan(scenario, target, DIALECT, seed=1)
    stage = plan.stages[0]
    meta = {
        "run_id": folder.name,
        "seed": 1,
        "stages": [{"name": stage.name, "planned": len(stage.clients)}],
        "endpoints": list(target.endpoints),
        "services": [],
        "types": list(DIALECT.types),
    }
    order = Order(
        run_id=folder.name, folder=folder, target=target, dialect=DIALECT, plan=plan,
        redactor=Redactor(), meta=meta, origin="calibration", files=folder,
    )  # fmt: skip

    async def whole() -> Ended:
        return await execute(order, Live(), asyncio.Event(), Judge(_nobody, _nowhere))

    return uvloop.run(whole()), scenario


async def _nobody(_: str) -> str:
    return ""


async def _nowhere(_: str) -> float | None:
    return None


def let_go(echo: Echo, folder: Path, rounds: int) -> list[tuple[int, int]]:
    """Gates of `GATED` upgrades: what they left and arrived within, ns, for each round."""

    async def whole() -> list[tuple[int, int]]:
        gate = _Gate(echo, folder)
        try:
            return [await gate.round() for _ in range(rounds)]
        finally:
            gate.journal.close(ended="complete")

    return uvloop.run(whole())


class _Deaf:
    """A listener that wants nothing."""

    def message(self, t_ns: int, opcode: int, payload: bytes) -> None:
        """Nothing."""

    def pong(self, t_ns: int, payload: bytes) -> None:
        """Nothing."""

    def pinged(self, t_ns: int, payload: bytes) -> None:
        """Nothing."""

    def ended(self, t_ns: int, end: End) -> None:
        """Nothing."""


class _Gate:
    """Upgrades that stand without their last byte, and are let go together."""

    def __init__(self, echo: Echo, folder: Path) -> None:
        self.journal = Journal(folder / HISTORY, Redactor(), {})
        self._route = make_route(f"ws://127.0.0.1:{echo.port}/")
        self._prepared = Prepared(self._route)
        self._loop = asyncio.get_running_loop()
        self._sessions = 0

    async def _dial(self, held: Held) -> Connection:
        key = new_key()
        self._sessions += 1
        got = await dial(
            self._loop, self._route, self._prepared.build(key), Facts(key), _Deaf(), self.journal,
            self._sessions, 0, redactor=Redactor(), deadline_ns=now_ns() + 10**9 * 10,
            sending=held,
        )  # fmt: skip
        if not isinstance(got, Connection):
            raise ProbeError(f"a connection to the echo failed: {got}")
        return got

    async def round(self) -> tuple[int, int]:
        """Once: the spread of the writes, and of the arrivals as the echo read them."""
        helds = [Held() for _ in range(GATED)]
        tasks = [self._loop.create_task(self._dial(held)) for held in helds]
        timeline, stamps, over = Timeline(Random(1)), [], asyncio.Event()  # noqa: S311 -- an order

        def told(held: Held, stamp: int) -> None:
            held.follow()
            stamps.append(stamp)
            if len(stamps) == GATED:
                over.set()

        for held in helds:
            timeline.add(0, held.let_go, partial(told, held))
        running = None
        try:
            await asyncio.wait_for(_armed(helds), _WITHIN_S)
            await asyncio.sleep(SETTLE_NS / 1e9)
            running = asyncio.ensure_future(timeline.run())
            with uncollected():
                timeline.open(now_ns() + _LEAD_NS)
                await asyncio.wait_for(over.wait(), _WITHIN_S)
            opened = await asyncio.wait_for(asyncio.gather(*tasks), _WITHIN_S)
        except TimeoutError:
            raise ProbeError("the gate did not open in time") from None
        finally:
            for task in (running, *tasks):
                if task is not None:
                    task.cancel()
        arrived = [int(response.all(b"x-arrived")[0]) for c in opened if (response := c.response)]
        for connection in opened:
            connection.abort()
        return spread(stamps), spread(arrived)


async def _armed(helds: list[Held]) -> None:
    changed = asyncio.Event()
    for held in helds:
        held.watch = changed.set
    while not all(held.armed for held in helds):
        if ends := [held.end for held in helds if held.end is not None]:
            raise ProbeError(f"a connection to the echo failed: {ends[0]}")
        changed.clear()
        await changed.wait()
