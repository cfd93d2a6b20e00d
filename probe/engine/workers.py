"""Workers: the driver's side of the processes that share a plan.

The rule: a worker that dies, fails or hangs ends the run at once and is named with its reason;
the others are stopped, and what all of them recorded is kept. Nobody of them outlives the run.
What crosses while clients run is an instant to go at and words when all is over; how far they are
is read from memory that is shared.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from probe.clock import now_ns
from probe.engine.counters import Counters
from probe.engine.link import packed
from probe.engine.processes import Processes
from probe.errors import WorkerError
from probe.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from probe.auth.identity import Identity
    from probe.engine.job import Job
    from probe.engine.reach import Ground, Reach
    from probe.engine.site import Live
    from probe.redact import Redactor

SILENT_NS: Final = 1_500_000_000
"""A worker that shows no sign of life for longer hangs, and the run with it."""
STOPPED_NS: Final = 200_000_000
"""After that it is asked whether it is stopped, which needs no further patience."""
START_WITHIN_NS: Final = 60_000_000_000
ARM_WITHIN_NS: Final = 60_000_000_000
_ARM_EACH_NS: Final = 1_000_000
_FINISH_MORE_NS: Final = 10_000_000_000  # a crowd stops, then cancels, and each takes seconds
_END_WITHIN_NS: Final = 40_000_000_000  # a journal has 30 s to close
_LEFT_MAX: Final = 3  # of a cluster that is gone as a whole, some tell enough
_TICK_S: Final = 0.05
_TICK_NS: Final = 50_000_000


@dataclass(slots=True)
class _Hand:
    """One worker: how it is reached, what it has said (by message), its last sign of life."""

    reach: Reach
    name: str
    said: set[tuple[str, int]] = field(default_factory=set)
    beat: int = 0
    silent_ns: int = 0
    gone: bool = False


class Workers:
    """All workers of one run, as an async context. `lost`: why it cannot go on, or ""."""

    def __init__(
        self,
        job: Job,
        redactor: Redactor,
        live: Live,
        stop: asyncio.Event,
        ground: Ground | None = None,
    ) -> None:
        self._job = job
        self._ground = ground or Processes()
        self._redactor = redactor
        self._live = live
        self.stop = stop
        self._counters = Counters(job.count)
        self._all: list[_Hand] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._number = 0
        self._watching = False
        self._changed = asyncio.Event()
        self._secrets = len(job.secrets)
        self.lost = ""

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._kill()
            raise
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        try:
            if kind is not asyncio.CancelledError:
                await self._end()
        finally:
            await self._kill()
        if kind is None and self.lost:
            raise WorkerError(self.lost)

    async def _start(self) -> None:
        for index, reach in enumerate(await self._ground.start(self._job, self._counters)):
            each = _Hand(reach, f"worker {index + 1}")
            self._all.append(each)
            self._tasks.append(asyncio.ensure_future(self._hear(each)))
        self._tasks.append(asyncio.ensure_future(self._watch()))
        jobs: dict[int, bytes] = {}  # mostly one for all, which has every secret of the run
        for each in self._all:
            job = each.reach.job()
            each.reach.cast(jobs.setdefault(id(job), packed("job", 0, job)))
        await self._until("ready", 0, START_WITHIN_NS, stoppable=True)

    async def _hear(self, each: _Hand) -> None:
        """What one worker says, until it is gone."""
        try:
            while True:
                word, number, more = await each.reach.receive()
                if word == "failed":
                    self._lose(f"{each.name}{each.reach.where} failed: {more}")
                elif word == "unfit":
                    self._tell_unfit(each.name, more)
                each.said.add((word, number))
                self._changed.set()
        except EOFError:
            pass
        each.gone = True
        how, words = await each.reach.ended()
        if ("bye", 0) not in each.said:
            self._lose(f"{each.name}{each.reach.where} {how}{self._words(words)}")
        self._changed.set()

    def _words(self, stderr: bytes) -> str:
        text = self._redactor.redact(stderr).decode("utf-8", "replace").strip()
        return f": {text[-400:]}" if text else ""

    def _tell_unfit(self, name: str, told: dict[str, str]) -> None:
        unfit = self._live.unfit
        for key in [key for key in unfit if key.startswith(f"{name} ")]:
            del unfit[key]
        unfit.update({f"{name} {key}": f"{text} ({name})" for key, text in told.items()})

    def _lose(self, words: str) -> None:
        self.lost = self.lost or words
        self._changed.set()
        self.stop.set()

    async def _watch(self) -> None:
        """Sum up, and see who shows no sign of life."""
        while True:
            await asyncio.sleep(_TICK_S)
            self.sum_up()
            for index, each in enumerate(self._all):
                if self._watching and not each.gone and (why := self._silent(index, each)):
                    each.gone = True
                    self._lose(f"{each.name}{each.reach.where} gave no sign of life{why}")

    def _silent(self, index: int, each: _Hand) -> str:
        """For how long a worker has been silent, where that is too long, or why; else ""."""
        beat = self._counters.beat(index)
        # Counted in our own turns: where all of the machine stood still, nobody hung.
        each.silent_ns = 0 if beat != each.beat else each.silent_ns + _TICK_NS
        each.beat = beat
        if each.silent_ns >= STOPPED_NS and each.reach.stopped():
            return ": its process is stopped"
        return f" for {format_duration(SILENT_NS)}" if each.silent_ns > SILENT_NS else ""

    def sum_up(self) -> None:
        """Bring the live counters up to date."""
        self._counters.add_to(self._live)

    def cast(self, word: str, *more: object) -> int:
        """Send one message to all; its number."""
        self._number += 1
        data = packed(word, self._number, *more)
        for each in self._all:
            if not each.gone:
                each.reach.cast(data)
        return self._number

    def go(self, zero_ns: int) -> int:
        """Tell all the instant at which they begin, each by its own clock; the number."""
        self._number += 1
        for each in self._all:
            if not each.gone:
                each.reach.cast(packed("go", self._number, each.reach.theirs(zero_ns)))
        return self._number

    def heard(self, word: str, number: int) -> bool:
        """Whether everybody who lives has said that word of that message."""
        return all(each.gone or (word, number) in each.said for each in self._all)

    async def _until(
        self, word: str, number: int, within_ns: int, *, stoppable: bool = False
    ) -> bool:
        """Wait until everybody has said it; False where the run was stopped before that.

        WorkerError where one is gone, or does not say it in time.
        """
        deadline = now_ns() + within_ns
        while not self.heard(word, number) or self.lost:
            if self.lost:
                raise WorkerError(self.lost)
            if stoppable and self.stop.is_set():
                return False
            if now_ns() > deadline:
                late = [k + 1 for k, p in enumerate(self._all) if (word, number) not in p.said]
                within = format_duration(within_ns)
                self._lose(f"worker {late[0]} was not {word} within {within}")
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), _TICK_S)
        return True

    async def arm(
        self,
        stage: str,
        trial: int,
        people: Sequence[Identity],
        redactor: Redactor,
        rows: NDArray[np.void] | None = None,
    ) -> bool:
        """Give everybody a trial with everybody's tokens; False where the run was stopped.

        `people` are also those whom the driver has met meanwhile, and come first: of one who
        is there several times the last is who plays. `rows` are a trial's clients that no plan
        has, since they were decided on the way; each worker takes its part of them.
        """
        told = [
            (each.index, each.user, each.token, each.expires_at_s, each.redactor.known)
            for each in {id(each): each for each in people}.values()  # shared ones once
        ]
        secrets = redactor.known
        number = self.cast("arm", stage, trial, told, secrets[self._secrets :], rows)
        self._secrets = len(secrets)
        within = ARM_WITHIN_NS + _ARM_EACH_NS * len(told)
        return await self._until("armed", number, within, stoppable=True)

    async def launch(self, number: int) -> None:
        """Until all clients are off, for however long the plan says; or one worker is gone."""
        self._watching = True
        while not self.heard("launched", number) and not self.lost:
            self._changed.clear()
            await self._changed.wait()

    async def finish(self, patience_ns: int) -> None:
        """Until the sessions of all who live are over; a worker that does not say so is lost."""
        number = self.cast("finish", patience_ns)
        deadline = now_ns() + patience_ns + _FINISH_MORE_NS
        while not self.heard("finished", number):
            if now_ns() > deadline:
                self._lose("a worker did not end its sessions in time")
                break
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), _TICK_S)
        self._watching = False
        self.sum_up()

    async def flush(self) -> None:
        """Have everybody put on disk what is recorded by now."""
        number = self.cast("flush")
        await self._until("flushed", number, ARM_WITHIN_NS)

    async def _end(self) -> None:
        """Have everybody close its journal and end."""
        self._watching = False
        self.cast("end")
        deadline = now_ns() + _END_WITHIN_NS
        while not self.heard("bye", 0) and now_ns() < deadline:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), _TICK_S)
        if not self.heard("bye", 0):
            self._lose("a worker did not close its journal in time")

    async def _kill(self) -> None:
        """Nobody is left behind, whatever happened, and what they recorded is here."""
        late = [each.gone or ("bye", 0) not in each.said for each in self._all]
        closing = [
            each.reach.close(at_once=at_once) for each, at_once in zip(self._all, late, strict=True)
        ]
        missing = await asyncio.gather(*closing, return_exceptions=True)
        left = [
            f"{each.name}{each.reach.where}: {why}"
            for each, why in zip(self._all, missing, strict=True)
            if why
        ]
        # Who was lost is told, and beside it where the rest of what it recorded lies.
        self.lost = "; ".join(filter(None, [self.lost, *left[:_LEFT_MAX]]))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._ground.leave()
        self.sum_up()
        self._counters.close()


class Crew:
    """The clients of one trial that workers have; called as a `Crowd` is."""

    __slots__ = ("_number", "_workers")

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._number = 0

    @property
    def busy(self) -> bool:
        """Whether any session is still going on."""
        return bool(self._number) and not self._workers.heard("idle", self._number)

    async def launch(self, _rows: object, _identities: object, zero_ns: int) -> None:
        """Let all go at their instants after `zero_ns`; returns when the last one is off.

        Whom, every worker knows.
        """
        self._number = self._workers.go(zero_ns)
        await self._workers.launch(self._number)

    def settled(self, good: int) -> bool:  # noqa: ARG002 -- a Crowd's
        """Never: stages with restarts are not divided (see `shard`)."""
        return False

    async def finish(self, patience_ns: int) -> None:
        """Wait for all sessions; those over the patience are stopped, then cancelled."""
        await self._workers.finish(patience_ns)

    def halt(self) -> None:
        """No further launch."""
        self._workers.cast("halt")

    def stop(self) -> None:
        """No further launch, and every session is told to end."""
        self._workers.cast("stop")
