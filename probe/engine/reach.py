"""How workers are reached: what the driver needs of one, wherever it runs.

The rule: a worker is the same process with the same messages on this host and on another
(`worker`). What differs is who starts it, what carries its bytes, how its end is seen, and whose
clock it reads; that is all that stands here, and `workers` knows no more of it.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probe.engine.counters import Counters
    from probe.engine.job import Job


class Reach(Protocol):
    """One worker, started."""

    @property
    def where(self) -> str:
        """For messages: " on HOST", or "" here."""

    def job(self) -> Job:
        """What this one is told."""

    def cast(self, data: bytes) -> None:
        """Send what `link.packed` has made, without waiting for it to leave."""

    async def receive(self) -> tuple[Any, ...]:
        """The next message; EOFError where the worker is gone, or cannot be reached any more."""

    async def ended(self) -> tuple[str, bytes]:
        """How it ended, in words, and the last that it wrote to stderr."""

    def stopped(self) -> bool:
        """Whether it lives, and the system lets it do nothing; False also where that is hidden."""

    def theirs(self, ours_ns: int) -> int:
        """An instant soon to come, by the clock that it reads."""

    async def close(self, *, at_once: bool) -> str:
        """Nobody is left behind, within seconds; why not all that it recorded is here, or "".

        `at_once`: it has not said that it is done, and is killed.
        """


class Ground(Protocol):
    """Where workers are started."""

    async def start(self, job: Job, counters: Counters) -> Sequence[Reach]:
        """All of them; on failure none is left behind. ConfigError where there is no room."""

    async def leave(self) -> None:
        """When all of them are closed."""


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal or a debugger (proc(5), stat); Linux tells."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[:1] in (["T"], ["t"])


def how_ended(code: int) -> str:
    """How a process ended, in words."""
    if code < 0:
        try:
            return f"was killed ({signal.Signals(-code).name})"
        except ValueError:
            return f"was killed (signal {-code})"
    return f"ended by itself (exit {code})"
