"""A worker: one process that plays its shard of the plan, `python -m probe.engine`.

Theory of operation. It is told once what is run (the models, the seed, what is secret) and makes
the plan itself; that it is the same plan is shown by its digest. For each trial it is armed with
everybody's tokens, lets its clients go at the instant that the driver names, and says when they
are over; between the two nothing crosses. It writes a journal of its own, judges nothing, and
asks for no token. It ends with the driver, however that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import uvloop

from probe.auth.identity import Identity
from probe.engine.counters import Counters
from probe.engine.http import Http
from probe.engine.job import FIRST_PROCESS
from probe.engine.limits import fit_part
from probe.engine.link import Link, packed
from probe.engine.pace import Crowd
from probe.engine.play import part_of
from probe.engine.routes import make_routes
from probe.engine.shard import dealt, shard, whole
from probe.engine.site import Live, make_site
from probe.engine.stage import on_disk
from probe.engine.watch import Watch
from probe.errors import ConfigError, Problem
from probe.history.journal import Journal
from probe.history.merging import WORKER
from probe.model.plan import make_plan
from probe.redact import Redactor
from probe.wire.deadlines import wheel_of

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from probe.engine.job import Job, Person
    from probe.engine.site import Site
    from probe.model.plan import Plan

_TICK_S: Final = 0.05
_WATCH_S: Final = 0.01


@dataclass(slots=True)
class _Trial:
    crowd: Crowd
    rows: Any
    identities: Sequence[Identity]
    launching: asyncio.Task[None] | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


class Worker:
    """Answers the driver's messages, one after another."""

    def __init__(
        self, job: Job, index: int, plan: Plan, site: Site, link: Link, counters: Counters
    ) -> None:
        self._job = job
        self._index = index
        self._plan = shard(plan, index, job.count)
        self._site = site
        self._link = link
        self._counters = counters
        self._trial: _Trial | None = None
        self._redactors: dict[int, Redactor] = {}
        self._told: dict[str, str] = {}
        self.watch = Watch(site.journal, site.live, lambda: (), process=FIRST_PROCESS + index)

    def tell(self, word: str, number: int, more: object = None) -> None:
        """Say one word to the driver, about its message of that number."""
        self._counters.write(self._index, self._site)
        self._link.cast(packed(word, number, more))

    async def beat(self) -> None:
        """Show that we live, and how far we are, until cancelled."""
        while True:
            self._counters.write(self._index, self._site)
            if self._site.live.unfit != self._told:
                self._told = dict(self._site.live.unfit)
                self.tell("unfit", 0, self._told)
            await asyncio.sleep(_TICK_S)

    async def answer(self) -> None:
        """Until the driver says that this is the end."""
        while True:
            word, number, *more = await self._link.receive()
            match word:
                case "arm":
                    self._arm(*more)
                    self.tell("armed", number)
                case "go":
                    self._go(number, *more)
                case "halt":
                    self._halt()
                case "stop":
                    self._halt()
                    if self._trial is not None:
                        self._trial.crowd.stop()
                case "finish":
                    self._finish(number, *more)
                case "flush":
                    await on_disk(self._site.journal)
                    self.tell("flushed", number)
                case "end":
                    return
                case _:
                    raise AssertionError(f"no such message: {word}")

    def _arm(
        self,
        stage: str,
        trial: int,
        people: list[Person],
        secrets: tuple[bytes, ...],
        rows: NDArray[np.void] | None,
    ) -> None:
        """Take a trial's clients and everybody's tokens; who is known stays so."""
        site = self._site
        for secret in secrets:
            site.redactor.add(secret)
        playing: dict[int, Identity] = {}
        for index, user, token, expires_at_s, own in people:
            redactor = self._redactors.setdefault(index, Redactor(parent=site.redactor))
            for secret in own:
                redactor.add(secret)
            playing[index] = identity = Identity(index, user, token, expires_at_s, redactor)
            site.everybody.add(identity)
            site.everybody.renew(identity)
        if rows is None:
            mine = next(each for each in self._plan.stages if each.name == stage)
            rows = mine.clients[mine.clients["trial"] == trial]
        else:
            rows = rows[dealt(rows, self._job.count) == self._index]
        groups = enumerate(self._plan.groups)
        parts = {number: part_of(group, site) for number, group in groups if group.stage == stage}
        identities = [playing[index] for index in rows["identity"].tolist()]
        self._trial = _Trial(Crowd(site, parts), rows, identities)
        site.live.stage = stage
        self.watch.rest()

    def _go(self, number: int, zero_ns: int) -> None:
        trial = self._trial
        assert trial is not None

        async def see() -> None:
            assert trial.launching is not None
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(trial.launching)
            self.tell("launched", number)
            while trial.crowd.busy:  # noqa: ASYNC110 -- the driver polls as often
                await asyncio.sleep(_WATCH_S)
            self.tell("idle", number)

        launching = trial.crowd.launch(trial.rows, trial.identities, zero_ns)
        trial.launching = self._site.loop.create_task(launching)
        trial.tasks = [self._kept(see())]

    def _halt(self) -> None:
        if self._trial is not None:
            self._trial.crowd.halt()
            if self._trial.launching is not None:
                self._trial.launching.cancel()

    def _finish(self, number: int, patience_ns: int) -> None:
        """Let the sessions end within their patience; asked again, the newer one counts."""
        trial = self._trial

        async def finish() -> None:
            if trial is not None:
                await trial.crowd.finish(patience_ns)
            self.tell("finished", number)

        task = self._kept(finish())
        if trial is not None:
            for each in trial.tasks[1:]:
                each.cancel()
            trial.tasks[1:] = [task]

    def _kept(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task whose failure is ours, and ends the run."""

        def over(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                words = self._site.redactor.text(f"{type(error).__name__}: {error}")
                self.tell("failed", 0, words)

        task = self._site.loop.create_task(work)
        task.add_done_callback(over)
        return task

    def cut_off(self) -> None:
        """Nobody is there any more who would hear: stop all at once."""
        self._halt()
        if self._trial is not None:
            self._trial.crowd.stop()


async def serve(index: int, counters: Counters, link: Link) -> int:
    """Play what the driver says, to its end or ours; the exit code."""
    _, _, job = await link.receive()
    redactor = Redactor(*job.secrets)
    folder = job.history / f"{WORKER}{index + 1}"
    meta = {"run_id": job.run_id, "worker": index + 1}
    journal = Journal(folder, redactor, meta, share=job.count + 1)
    words = "the driver is gone"
    try:
        words = await _serve(job, index, counters, link, journal, redactor)
    except Exception as error:  # noqa: BLE001 -- told to the driver, whose run it ends
        words = redactor.text(f"{type(error).__name__}: {error}")
        with contextlib.suppress(OSError):
            await link.send(packed("failed", 0, words))
    finally:
        journal.close(ended="complete" if not words else "aborted", error=words)
    if not words:
        await link.send(packed("bye", 0, None))
    return bool(words)


async def _serve(
    job: Job, index: int, counters: Counters, link: Link, journal: Journal, redactor: Redactor
) -> str:
    """Between the journal's beginning and its end; why it was no good end, or ""."""
    loop = asyncio.get_running_loop()
    plan = make_plan(job.scenario, job.target, job.dialect, job.seed)
    if plan.digest != job.digest:
        raise ConfigError(Problem("plan", "", "the worker has made another one than the driver"))
    target = job.target
    if job.ceilings is not None:
        safety = target.safety.model_copy(update={"clients_max": job.ceilings[index]})
        target = target.model_copy(update={"safety": safety})
    routes = make_routes(target, job.lab)
    if job.here:
        fit_part(plan, routes.values(), whole(plan, job.dialect), job.here, job.count)
    async with Http(target, journal, job.run_id, job.lab) as http:
        site = make_site(
            loop, wheel_of(loop), journal, redactor, target, job.dialect,
            run_id=job.run_id, http=http, routes=routes, keep=job.keep, live=Live(),
            seed=job.seed,
        )  # fmt: skip
        worker = Worker(job, index, plan, site, link, counters)
        worker.watch.start(loop)
        beating = asyncio.ensure_future(worker.beat())
        try:
            worker.tell("ready", 0)
            await worker.answer()
        except EOFError as error:
            worker.cut_off()
            return str(error)
        finally:
            beating.cancel()
            worker.watch.stop()
    return ""


async def attached(index: int, count: int, shared: int, out: int) -> int:
    """Worker `index` of `count`: hears on descriptor 0, speaks on `out`, counts in `shared`."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(0, "rb", buffering=0)
    )
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()),
        os.fdopen(out, "wb", buffering=0),
    )
    transport.set_write_buffer_limits(0)  # what has been drained has left
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    return await serve(index, Counters(count, shared), Link(reader, writer))


def main(index: int, count: int, shared: int, out: int) -> int:
    """The process; its exit code."""
    return uvloop.run(attached(index, count, shared, out))
