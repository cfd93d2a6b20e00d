"""One tool at one work: what is measured, and how.

The rules:

- `connects` and `burst` are done twice, a small and a large work, each by a fresh start; what
  counts is the slope, (CPU of the large - CPU of the small) / (work of the large - of the small).
  So starting up, compiling the script and writing a summary fall away, and what grows with the
  work does not.
- `hold`: resident memory once the server has n connections open and some time has passed, at a
  small and a large n, each in a fresh process. Slope, and whole process / n.
- `single`: 100 connections are held, and *this* process has the server send each of them one
  message, in rounds: first of 10 ms, then as fast as takes the tool about half of its core (but no
  faster than 2 ms). A message is alone in its read as long as the tool keeps up, which its share of
  the core tells. CPU is taken over those latter rounds alone.
- `upgrade`: what the tool reports of connects to a server that waits before its 101, less the
  delay that the server measured (its own quantile; for the probe and the libraries, of each
  connection); and how long it took until all had come to the server, which is looked at every
  10 ms. At once is what a tool makes of it.

The tool is on one core, the server and this process on another. A fresh server for every start.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from websockets.asyncio.client import ClientConnection, connect

from benchmarks import server
from benchmarks.peers.tree import Tree, started
from benchmarks.peers.work import IN_FLIGHT, SIZE, Kind, Tool, Work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DELAY_MS = 100
ROUND_S = 0.01
ROUND_S_MIN = 0.002
SHARE = 0.5
POLL_S = 0.05
LOOK_S = 0.01


class FailedError(RuntimeError):
    """A tool did not do the work; the message tells its last words."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of each work; seconds for how long memory settles, and `single` lasts."""

    connects: tuple[int, int]
    hold: tuple[int, int]
    burst: tuple[int, int]
    upgrade: int
    settle_s: float
    single_s: float
    deadline_s: float


FULL = Sizes(
    connects=(2_000, 12_000), hold=(1_000, 5_000), burst=(200_000, 4_000_000), upgrade=1_000,
    settle_s=5, single_s=5, deadline_s=300,
)  # fmt: skip
QUICK = Sizes(
    connects=(500, 3_000), hold=(200, 1_000), burst=(50_000, 250_000), upgrade=300,
    settle_s=1, single_s=2, deadline_s=120,
)  # fmt: skip


class Bench:
    """Measures on two cores: `cores` is that of the tool and that of the server."""

    def __init__(self, sizes: Sizes, cores: tuple[int, int]) -> None:
        self._sizes = sizes
        self._cores = cores

    def measure(self, tool: Tool, kind: Kind) -> dict[str, Any]:
        """What came of it, as JSON; raises FailedError."""
        match kind:
            case "connects" | "burst":
                return self._slope(tool, kind)
            case "hold":
                return self._memory(tool)
            case "single":
                return self._single(tool)
            case "upgrade":
                return self._upgrade(tool)

    def _slope(self, tool: Tool, kind: Kind) -> dict[str, Any]:
        small, large = (
            self._done(tool, kind, n)
            for n in (self._sizes.connects if kind == "connects" else self._sizes.burst)
        )
        cpu_s = large["cpu_s"] - small["cpu_s"]
        if cpu_s <= 0:
            raise FailedError(
                f"the larger work took no more time ({cpu_s:.3f} s): too small a work"
            )
        return {"per_cpu_s": (large["n"] - small["n"]) / cpu_s, "small": small, "large": large}

    def _done(self, tool: Tool, kind: Kind, n: int) -> dict[str, Any]:
        with self._start(tool, kind, n) as run:
            run.until(lambda: run.tree.ended)
            told = run.told()
            run.check_code()
        # As the server counted: a client's warm-up is work too.
        done = told["server"]["upgraded" if kind == "connects" else "frames_out"]
        if done < n:
            raise FailedError(f"{done} of {n}")
        return {"n": done, **told}

    def _memory(self, tool: Tool) -> dict[str, Any]:
        small, large = self._sizes.hold
        (few, few_kb), (many, many_kb) = self._held(tool, small), self._held(tool, large)
        return {
            "small": small, "large": large, "open": {str(small): few, str(large): many},
            "rss_kb": {str(small): few_kb, str(large): many_kb},
            "slope_kb": (many_kb - few_kb) / (many - few),
        }  # fmt: skip

    def _held(self, tool: Tool, n: int) -> tuple[int, float]:
        """How many connections were open (a tool may open some more), and memory, KB."""
        with self._start(tool, "hold", n) as run:
            run.until_open(n)
            time.sleep(self._sizes.settle_s)
            found = run.open(), run.tree.rss_kb()
        if found[0] < n:
            raise FailedError(f"{found[0]} of {n} were open")
        return found

    def _single(self, tool: Tool) -> dict[str, Any]:
        with self._start(tool, "single", IN_FLIGHT) as run:
            run.until_open(IN_FLIGHT)
            time.sleep(self._sizes.settle_s)
            held = run.open()
            told = asyncio.run(_rounds(run.tree, run.served.port, held, self._sizes.single_s))
            told["server"] = run.served.stats()
            if run.open() != held:
                raise FailedError(f"{run.open()} of {held} were open at the end")
        return {
            **told,
            "per_cpu_s": told["n"] / told["cpu_s"],
            "share": told["cpu_s"] / told["wall_s"],
        }

    def _upgrade(self, tool: Tool) -> dict[str, Any]:
        n = self._sizes.upgrade
        seen: list[tuple[float, int]] = []
        with self._start(tool, "upgrade", n, delay_ms=DELAY_MS) as run:

            def over() -> bool:
                seen.append((time.perf_counter(), run.served.stats()["accepted"]))
                return run.tree.ended

            run.until(over, poll_s=LOOK_S)
            told = run.told()
            run.check_code()
            upgraded = told["server"]["upgraded"]
            if upgraded < n:
                raise FailedError(f"{upgraded} of {n} were upgraded")
            reported = tool.reported(run.work, run.printed())
        if reported is None:
            raise FailedError("it reported nothing of its connects")
        truth = {word: ns / 1e6 for word, ns in told["server"]["delay_ns"].items() if word != "n"}
        off = {} if reported.is_error else {**truth, "mean": truth["p50"]}
        error = {word: ms - off.get(word, 0) for word, ms in reported.ms.items()}
        return {
            "n": n, "term": reported.term, "error_ms": error, "truth_ms": truth,
            "phase_error_ms": dict(reported.phase) if reported.phase else None,
            "within_ms": within_ms(seen, n), **told,
        }  # fmt: skip

    @contextmanager
    def _start(self, tool: Tool, kind: Kind, n: int, delay_ms: float = 0) -> Iterator[_Run]:
        folder = Path(tempfile.mkdtemp(prefix="probe-peers-"))
        try:
            with server.running(delay_ms=delay_ms, core=self._cores[1]) as served:
                work = Work(kind, n, served.port, self._cores[0], folder)
                command = tool.command(work)
                with started(command, folder, self._cores[0]) as tree:
                    yield _Run(work, served, tree, self._sizes.deadline_s)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def within_ms(seen: list[tuple[float, int]], n: int) -> float:
    """How long the last n connections took to come, by looks of (time in s, accepted so far)."""
    before = seen[-1][1] - n
    begin_s = max(at_s for at_s, accepted in seen if accepted <= before)
    end_s = min(at_s for at_s, accepted in seen if accepted == seen[-1][1])
    return (end_s - begin_s) * 1000


@dataclass(slots=True)
class _Run:
    """One start of a tool beside its server."""

    work: Work
    served: server.Server
    tree: Tree
    deadline_s: float

    def until(self, reached: Callable[[], bool], poll_s: float = POLL_S) -> None:
        """Poll; raises FailedError at the deadline, or if the tool is over before."""
        while not reached():
            if self.tree.wall_s > self.deadline_s:
                raise FailedError(f"not done within {self.deadline_s:.0f} s: {self._last_word()}")
            if self.tree.ended and not reached():
                raise FailedError(f"it ended ({self.tree.code}) too early: {self._last_word()}")
            time.sleep(poll_s)

    def until_open(self, n: int) -> None:
        """Poll until the server has n connections; see `until`."""
        self.until(lambda: self.open() >= n)

    def open(self) -> int:
        """Upgraded connections that the server has now."""
        told = self.served.stats()
        return int(told["upgraded"] - told["gone"])

    def told(self) -> dict[str, Any]:
        """What this run took so far."""
        return {
            "cpu_s": self.tree.cpu_s(),
            "wall_s": self.tree.wall_s,
            "others_s": self.tree.others_s(),
            "server": self.served.stats(),
        }

    def check_code(self) -> None:
        """Raises FailedError if the tool ended with an error."""
        if self.tree.ended and self.tree.code:
            raise FailedError(f"it ended with {self.tree.code}: {self._last_word()}")

    def printed(self) -> str:
        """Standard output and standard error, as they came."""
        return (self.work.folder / "printed").read_text(encoding="utf-8", errors="replace")

    def _last_word(self) -> str:
        lines = [line for line in self.printed().splitlines() if line.strip()]
        return lines[-1].strip()[:300] if lines else "it said nothing"


async def _rounds(tree: Tree, port: int, held: int, lasts_s: float) -> dict[str, Any]:
    """What the tool took for rounds to all it held, at half of its core, for so long."""
    async with connect(f"ws://127.0.0.1:{port}/", compression=None, proxy=None) as control:
        first = await _paced(tree, control, lasts_s / 2, ROUND_S)
        share = first["cpu_s"] / first["wall_s"]
        pace_s = min(ROUND_S, max(ROUND_S_MIN, ROUND_S * share / SHARE))
        told = await _paced(tree, control, lasts_s, pace_s)
        return {**told, "n": told["rounds"] * held}


async def _paced(
    tree: Tree, control: ClientConnection, lasts_s: float, round_s: float
) -> dict[str, Any]:
    """Have the server send a message to each connection, every `round_s`."""
    loop = asyncio.get_running_loop()
    begin_s, cpu_s, others_s = loop.time(), tree.cpu_s(), tree.others_s()
    rounds = 0
    while loop.time() < begin_s + lasts_s:
        await control.send(f"round {SIZE}")
        await control.recv()
        rounds += 1
        # Never two in haste: where this process came late, the next is later too.
        await asyncio.sleep(round_s)
    await asyncio.sleep(ROUND_S)  # the last round has its time as well
    return {
        "rounds": rounds, "cpu_s": tree.cpu_s() - cpu_s, "wall_s": loop.time() - begin_s,
        "others_s": tree.others_s() - others_s, "round_s": round_s,
    }  # fmt: skip
