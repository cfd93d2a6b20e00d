"""Workers on other hosts: one Ray actor for each, spread over the nodes of a cluster.

The rule: a node that is lost is a worker that is lost, what it has sent until then is kept, what
it has not sent stays on the node, and no process of the run outlives the driver. Secrets reach a
node only as the argument of a call to an actor that runs already, in pieces below the size at which
Ray puts an argument into the object store (100 KiB), which may spill to a disk; no argument of ours
makes an actor, names a task or stands in an environment.

Theory of operation. A `Seat` calls `relay.Relay.hear` without an end: each answer brings what
the worker has said, its counters and a piece of its journal, and is an exchange by which the
clocks are compared (`probe.history.offset`). Its journal is written here as it comes, as stamped
there; the readings of its clock stand in its meta file, and merging brings it to ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from probe.clock import now_ns
from probe.engine.link import Link
from probe.engine.reach import how_ended
from probe.engine.relay import Heard, Place, Relay, here
from probe.errors import ConfigError, Problem
from probe.history.merging import WORKER
from probe.history.offset import CLOCK, Comparing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from probe.engine.counters import Counters
    from probe.engine.job import Job

INSTALL: Final = "in the project's folder: .venv/bin/python -m pip install -e '.[cluster]'"
SAY_BYTES: Final = 64 * 1024
SAY_MAX: Final = 10_000
_HOLD_S: Final = 0.1
_HOLD_EACH_S: Final = 0.002  # so that hundreds of workers do not keep the driver busy
_HOLD_MAX_S: Final = 0.4
_JOIN_WITHIN_S: Final = 40.0
_PLACE_WITHIN_S: Final = 60.0
_LEAVE_WITHIN_S: Final = 1.5
_STUCK_S: Final = 10.0
_LOOK_S: Final = 0.02


class Seat:
    """A worker there; see `Reach`."""

    def __init__(self, index: int, actor: Any, counters: Counters) -> None:
        self._index = index
        self._actor = actor
        self._counters = counters
        self._hold_s = min(_HOLD_S + _HOLD_EACH_S * len(counters), _HOLD_MAX_S)
        self._reader = asyncio.StreamReader(limit=1 << 30)
        self._to_say: asyncio.Queue[bytes] = asyncio.Queue(SAY_MAX)
        self._link = Link(self._reader, _Mouth(self._to_say, self._give_up))
        self._comparing = Comparing()
        self._job: Job | None = None
        self._copy: _Copy | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._how = ""
        self._lost = ""
        self._stderr = b""
        self._fetched = self._stopped = False
        self._progress_ns = now_ns()
        self.place: Place | None = None

    async def settle(self) -> Place:
        """Start the worker there; where that is."""
        self.place = await self._actor.place.remote()
        assert self.place is not None
        return self.place

    def begin(self, job: Job, folder: Path) -> None:
        """From now on it is heard."""
        self._job = job
        assert self.place is not None
        self._copy = _Copy(folder / f"{WORKER}{self._index + 1}", self.place.host)
        self._tasks = [asyncio.ensure_future(self._hear()), asyncio.ensure_future(self._say())]

    @property
    def where(self) -> str:
        """See `Reach`."""
        return f" on {self.place.host}" if self.place is not None else ""

    def job(self) -> Job:
        """The run's, with its folder on that host and who else is there."""
        assert self._job is not None
        return self._job

    def cast(self, data: bytes) -> None:
        """See `Reach`."""
        self._link.cast(data)

    async def receive(self) -> tuple[Any, ...]:
        """See `Reach`."""
        return await self._link.receive()

    async def ended(self) -> tuple[str, bytes]:
        """See `Reach`."""
        return self._how, self._stderr

    def stopped(self) -> bool:
        """See `Reach`."""
        return self._stopped

    def theirs(self, ours_ns: int) -> int:
        """See `Reach`."""
        clock = self._comparing.clock()
        assert clock is not None  # it has said that it is ready, which was an exchange
        return clock.theirs(ours_ns)

    async def _say(self) -> None:
        """Pass on what is cast; one call after another, since Ray does not keep their order."""
        with contextlib.suppress(Exception):  # who is gone is noticed by who hears
            while True:
                data = await self._to_say.get()
                for at in range(0, len(data), SAY_BYTES):
                    await self._actor.say.remote(data[at : at + SAY_BYTES])

    def _give_up(self) -> None:
        """It does not take what it is told."""
        self._how = self._lost = self._how or f"has not taken {SAY_MAX} messages"
        for task in self._tasks:
            task.cancel()

    async def _hear(self) -> None:
        try:
            while not self._fetched:
                sent = now_ns()
                heard: Heard = await self._actor.hear.remote(self._counters.named, self._hold_s)
                self._comparing.add(sent, heard.came_ns, heard.left_ns, now_ns())
                self._counters.put(self._index, heard.line)
                self._stopped = heard.stopped
                await self._take(heard)
                if heard.out:
                    self._reader.feed_data(heard.out)
                if heard.code is not None and not heard.more:
                    self._how, self._stderr = how_ended(heard.code), heard.stderr
                    self._fetched = True
        except Exception as error:  # noqa: BLE001 -- whatever Ray calls it: it cannot be reached
            self._how = f"is out of reach ({type(error).__name__})"
            self._lost = self._how
        finally:
            self._reader.feed_eof()

    async def _take(self, heard: Heard) -> None:
        assert self._copy is not None
        if heard.rows or heard.texts or heard.meta:
            self._progress_ns = now_ns()
            clock = self._comparing.clock()
            stored = clock.stored() if clock is not None else {}
            # Beside the loop, whose own heartbeat is being judged.
            await asyncio.to_thread(self._copy.take, heard, stored)

    async def close(self, *, at_once: bool) -> str:
        """See `Reach`; goes on as long as the rest of its journal comes."""
        self._progress_ns = now_ns()
        patience = (_LEAVE_WITHIN_S if at_once else _STUCK_S) * 1e9
        there = not self._lost
        if at_once and there:
            there = await self._within(self._actor.end.remote)
        hearing = self._tasks[0] if self._tasks else None
        while hearing is not None and not hearing.done():
            if now_ns() - self._progress_ns > patience:
                break
            await asyncio.sleep(_LOOK_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        clock = self._comparing.clock()
        if self._copy is not None and clock is not None:
            await asyncio.to_thread(self._copy.end, clock.stored())
        if there and not self._lost:
            # The only copy of what was not fetched is there.
            last = self._actor.leave if self._fetched else self._actor.end
            await self._within(last.remote)
        rest = f": the rest is in {self.place.folder} on {self.place.host}" if self.place else ""
        return "" if self._fetched else f"not all that it recorded could be fetched{rest}"

    async def _within(self, call: Callable[[], Awaitable[None]]) -> bool:
        """Whether a call went through; if not, Ray is told to kill the actor soon."""
        with contextlib.suppress(Exception):  # also a TimeoutError
            await asyncio.wait_for(_done(call()), _LEAVE_WITHIN_S)
            return True
        return False


async def _done(awaited: Awaitable[None]) -> None:
    await awaited


class _Mouth:
    """What a `Link` writes to: whole messages, in order."""

    def __init__(self, queue: asyncio.Queue[bytes], full: Callable[[], None]) -> None:
        self._queue = queue
        self._full = full

    def write(self, data: bytes, /) -> None:
        try:
            self._queue.put_nowait(data)
        except asyncio.QueueFull:
            self._full()

    async def drain(self) -> None:
        pass

    def close(self) -> None:
        pass


class _Copy:
    """A journal of another host, as far as it has come; nothing is written after `end`."""

    def __init__(self, folder: Path, host: str) -> None:
        self._folder = folder
        self._host = host
        self._meta: dict[str, Any] | None = None
        self._ended = False
        # Whoever is cancelled while a thread of its own writes leaves that thread behind.
        self._alone = threading.Lock()

    def take(self, heard: Heard, clock: dict[str, Any]) -> None:
        """One more piece, with what is known of its clock by now."""
        with self._alone:
            if self._ended:
                return
            self._folder.mkdir(exist_ok=True)
            for name, data in (("texts.bin", heard.texts), ("rows.bin", heard.rows)):
                with (self._folder / name).open("ab") as file:
                    file.write(data)
            if heard.meta:
                self._meta = json.loads(heard.meta)
            self._write_meta(clock)

    def end(self, clock: dict[str, Any]) -> None:
        """Its meta file again, with all that is known of its clock."""
        with self._alone:
            self._ended = True
            self._write_meta(clock)

    def _write_meta(self, clock: dict[str, Any]) -> None:
        """Without one no part of it is read."""
        if self._meta is None:
            return
        text = json.dumps({**self._meta, "host": self._host, CLOCK: clock}, indent=1) + "\n"
        part = self._folder / "meta.part"
        part.write_text(text, encoding="utf-8")
        part.replace(self._folder / "meta.json")


class Cluster:
    """See `Ground`. `address`: of a cluster that runs; "" for one of our own on this host."""

    def __init__(self, address: str, *, lab: bool) -> None:
        self._address = address
        self._lab = lab
        self._ray: Any = None
        self._actors: list[Any] = []

    async def start(self, job: Job, counters: Counters) -> Sequence[Seat]:
        """One actor for each, as far apart as there are nodes."""
        try:
            self._ray = await _beside(lambda: _joined(self._address, job.count))
            made = self._ray.remote(Relay).options(
                num_cpus=1, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD"
            )
            self._actors = [made.remote(index, job.count) for index in range(job.count)]
            seats = [Seat(index, actor, counters) for index, actor in enumerate(self._actors)]
            async with asyncio.timeout(_PLACE_WITHIN_S):
                places = await asyncio.gather(*(each.settle() for each in seats))
            self._check(places)
        except TimeoutError:
            why = f"the cluster did not start {job.count} workers within {_PLACE_WITHIN_S:g} s"
            if self._ray is None:
                why = f"no cluster could be joined within {_JOIN_WITHIN_S:g} s"
            await self._give_up()
            raise ConfigError(Problem("--engine ray", "", why, self._address)) from None
        except BaseException:
            await self._give_up()
            raise
        jobs = {
            place.folder: replace(
                job,
                history=Path(place.folder),
                here=tuple(k for k, each in enumerate(places) if each.kernel == place.kernel),
            )
            for place in places
        }
        for seat, place in zip(seats, places, strict=True):
            seat.begin(jobs[place.folder], job.history)
        return seats

    def _check(self, places: Sequence[Place]) -> None:
        """ConfigError for a node that would not do the same as we."""
        mine = here()
        problems = []
        for place in dict.fromkeys(replace(each, folder="") for each in places):
            theirs, ours = (f"probe {p.probe}, Python {p.python}" for p in (place, mine))
            if (theirs, place.schema) != (ours, mine.schema):
                hint = "install the same on all nodes"
                why = "has another version than the driver"
                problems.append(Problem("--engine ray", place.host, why, theirs, ours, hint))
            if self._lab and place.kernel != mine.kernel:
                why = "is another host, and the embedded lab listens on this one alone"
                problems.append(Problem("--engine ray", place.host, why))
        if problems:
            raise ConfigError(*problems)

    async def _give_up(self) -> None:
        """After a start that came to nothing: no folder is left on a node that can be reached."""
        try:
            with contextlib.suppress(Exception):  # also a TimeoutError
                async with asyncio.timeout(_LEAVE_WITHIN_S):
                    asked = (_done(each.leave.remote()) for each in self._actors)
                    await asyncio.gather(*asked, return_exceptions=True)
        finally:
            await self.leave()

    async def leave(self) -> None:
        """No actor is left, and the cluster is as it was; one of our own ends."""
        ray, self._ray = self._ray, None
        if ray is not None:
            with contextlib.suppress(TimeoutError):
                await _beside(lambda: _leave(ray, self._actors))


async def _beside(call: Callable[[], Any]) -> Any:
    """What a call of Ray's gives that may take for ever; TimeoutError where it does.

    In a thread that nobody waits for at the end, and beside the main one, whose signals Ray
    would take for itself.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def tell(told: Callable[[Any], None], what: Any) -> None:
        if not done.done():
            told(what)

    def work() -> None:
        try:
            told, what = done.set_result, call()
        except BaseException as error:  # noqa: BLE001 -- raised where it is awaited
            told, what = done.set_exception, error
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits
            loop.call_soon_threadsafe(tell, told, what)

    threading.Thread(target=work, name="ray", daemon=True).start()
    async with asyncio.timeout(_JOIN_WITHIN_S):
        return await done


def _joined(address: str, count: int) -> Any:
    """Ray, joined to a cluster with room for `count`; ConfigError where it cannot be."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a probe tells nobody what it does
    try:
        import ray  # noqa: PLC0415 -- an extra, and seconds to import
    except ImportError:
        raise ConfigError(missing()) from None
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # noqa: BLE001 -- it has no common one
        why = f"no cluster could be joined: {str(error).splitlines()[0][:200]}"
        hint = "start one: ray start --head, and name its address"
        raise ConfigError(Problem("--address", "", why, address, hint=hint)) from None
    free = ray.available_resources().get("CPU", 0.0)
    if free < count:
        _leave(ray, [])
        why = f"the cluster has {free:g} free cores, and each worker takes one"
        hint = "take fewer workers, or start more nodes: ray start --address …"
        raise ConfigError(Problem("--workers", "", why, str(count), f"{free:g}", hint))
    return ray


def missing() -> Problem:
    """What is told where there is no Ray."""
    return Problem("--engine", "", "Ray is not installed", hint=INSTALL)


def _leave(ray: Any, actors: Sequence[Any]) -> None:
    for actor in actors:
        with contextlib.suppress(Exception):
            ray.kill(actor)
    ray.shutdown()
