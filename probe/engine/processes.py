"""Workers on this host: spawned processes, each at the other end of a pipe."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from probe.engine.link import Link
from probe.engine.reach import how_ended, is_stopped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probe.engine.counters import Counters
    from probe.engine.job import Job

WORDS_MAX: Final = 2_000
_KILL_WITHIN_S: Final = 5.0


class Process:
    """A worker here; see `Reach`."""

    where = ""

    def __init__(self, job: Job, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._job = job
        self._process = process
        self._link = Link(process.stdout, process.stdin)
        self._stderr = bytearray()
        self._hearing = asyncio.ensure_future(self._hear_words())

    async def _hear_words(self) -> None:
        assert self._process.stderr is not None
        while data := await self._process.stderr.read(WORDS_MAX):
            self._stderr += data
            del self._stderr[:-WORDS_MAX]

    def job(self) -> Job:
        """The same for all."""
        return self._job

    def cast(self, data: bytes) -> None:
        """See `Reach`."""
        self._link.cast(data)

    async def receive(self) -> tuple[Any, ...]:
        """See `Reach`."""
        return await self._link.receive()

    async def ended(self) -> tuple[str, bytes]:
        """See `Reach`."""
        code = await self._process.wait()
        return how_ended(code), bytes(self._stderr)

    def stopped(self) -> bool:
        """See `Reach`."""
        return is_stopped(self._process.pid)

    def theirs(self, ours_ns: int) -> int:
        """The same: one clock on one host."""
        return ours_ns

    async def close(self, *, at_once: bool) -> str:
        """See `Reach`; its journal is in the run's folder already."""
        self._link.close()
        if at_once:
            self._kill()
        waiting = asyncio.ensure_future(self._process.wait())
        await asyncio.wait([waiting], timeout=_KILL_WITHIN_S)
        self._kill()
        for task in (waiting, self._hearing):
            task.cancel()
        await asyncio.gather(waiting, self._hearing, return_exceptions=True)
        return ""

    def _kill(self) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()


class Processes:
    """See `Ground`."""

    async def start(self, job: Job, counters: Counters) -> Sequence[Process]:
        """One process for each."""
        started: list[Process] = []
        words = [sys.executable, "-m", "probe.engine"]
        try:
            for index in range(job.count):
                numbers = (index, job.count, counters.fd, os.getpid())
                process = await asyncio.create_subprocess_exec(
                    *words, *map(str, numbers),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    pass_fds=(counters.fd,),
                    start_new_session=True,  # a Ctrl-C at the terminal is for us, who end it
                )  # fmt: skip
                started.append(Process(job, process))
        except BaseException:
            await asyncio.gather(*(each.close(at_once=True) for each in started))
            raise
        return started

    async def leave(self) -> None:
        """Nothing is left to do."""
