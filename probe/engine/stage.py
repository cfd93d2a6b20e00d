"""One stage from its first trial to its last: what is done when, and when it ends early.

Every wait has a bound: a trial ends when it has settled, when its last client is done, at
the stage's budget, or when somebody stops the run. What ended it is written down.

Races are imported by the stage that has one: their statistics (scipy) take 18 MB, which a
process that holds connections has no use for.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from probe.auth.present import present
from probe.clock import now_ns
from probe.engine.climbing import Comers, climbed
from probe.engine.http import HEALTHY
from probe.engine.pace import Crowd
from probe.engine.play import part_of
from probe.engine.standing import INTERRUPTED, Standing
from probe.engine.workers import Crew
from probe.errors import RestartError, WorkerError
from probe.history.records import Kind
from probe.model.auth import FetchAuth

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import numpy as np
    from numpy.typing import NDArray

    from probe.auth.identity import Identity
    from probe.auth.tokens import Tokens
    from probe.engine.climbing import Load
    from probe.engine.restart import Restarter
    from probe.engine.site import Site
    from probe.engine.watch import Watch
    from probe.engine.workers import Workers
    from probe.history.journal import Journal
    from probe.model.capacity import Capacity
    from probe.model.plan import Plan, StagePlan

_Told = TypeVar("_Told")
BEGIN, END, STOPPED, SKIPPED = range(4)
SETTLED, GAVE_UP, NO_RESTART = range(3)
_LEAD_NS: Final = 20_000_000
_CREW_LEAD_NS: Final = 100_000_000  # in which the instant reaches every worker
_WATCH_S: Final = 0.01
_HEALTH_TRIES: Final = 3
_JUDGE_EVERY_NS: Final = 2_000_000_000
_STOP_PATIENCE_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Judge:
    """Whoever judges, asked by the name of a stage while it goes on, by what is on disk.

    `failed`: why it has failed by now, or "". `next_rate`: the next level of a capacity stage
    (per second, or how many connections); None when the search is over.
    """

    failed: Callable[[str], Awaitable[str]]
    next_rate: Callable[[str], Awaitable[float | None]]


async def on_disk(journal: Journal) -> None:
    """Put all that is recorded by now where others can read it."""
    journal.flush()
    while not journal.drained:  # noqa: ASYNC110 -- a thread is at it, for milliseconds
        await asyncio.sleep(0.002)


async def ask(journal: Journal, judge: Callable[[str], Awaitable[_Told]], stage: str) -> _Told:
    """Put what is recorded on disk, then let others judge the stage by it."""
    await on_disk(journal)
    return await judge(stage)


class StageRun:
    """Runs one stage of a plan; `workers` play its clients, where there are any."""

    def __init__(
        self,
        site: Site,
        plan: Plan,
        stage: StagePlan,
        tokens: Tokens,
        restarter: Restarter | None,
        watch: Watch,
        stop: asyncio.Event,
        judge: Judge,
        workers: Workers | None = None,
    ) -> None:
        self._site = site
        self._workers = workers
        self._watch = watch
        self._plan = plan
        self._stage = stage
        self._rule = stage.stage
        self._index = [each.name for each in plan.stages].index(stage.name)
        self._parts = {
            number: part_of(group, site)
            for number, group in enumerate(plan.groups)
            if group.stage == stage.name
        }
        self._tokens = tokens
        self._restarter = restarter
        self._stop = stop
        self._judge = judge
        self._trials = 0

    async def run(self) -> tuple[int, int]:
        """All trials: how many clients completed their script, of how many let go.

        RestartError where the target cannot be restarted.
        """
        site, rule = self._site, self._rule
        live = site.live
        completed, launched = live.completed, live.launched
        live.stage, live.trials = self._stage.name, self._stage.trials
        live.trial, live.anomalies = 0, None
        self._note(BEGIN, "")
        deadline = now_ns() + rule.budget
        why = ""
        try:
            if rule.race is not None:
                why = await self._raced(deadline)
            elif rule.capacity is not None:
                why = await self._climbed(rule.capacity, deadline)
            for trial in range(0 if rule.race is not None else self._stage.trials):
                why = self._why_stop(deadline) or await self._has_failed(between=True)
                if why:
                    break
                live.trial = trial + 1
                self._trials += 1
                await self._trial(trial, self._of_trial(trial), deadline)
        except (RestartError, WorkerError) as error:
            why = str(error)
            raise
        except BaseException as error:
            why = f"{type(error).__name__}"
            raise
        finally:
            self._note(STOPPED if why else END, why)
        return live.completed - completed, live.launched - launched

    async def _raced(self, deadline: int) -> str:
        """A race: its releases; why it ended early, or ""."""
        from probe.engine.race import RaceRun  # noqa: PLC0415 -- see the module

        self._watch.rest()
        race = RaceRun(
            self._site, self._stage, self._parts, self._index, self._plan.seed, self._stop
        )

        async def why_stop() -> str:
            why = self._why_stop(deadline) or await self._has_failed(between=True)
            self._trials += not why
            return why

        async def given(clients: list[int]) -> list[Identity] | None:
            identities = await self._identities(clients, deadline)
            if identities is not None:
                self._check_shown(identities[:1])
            return identities

        return await race.run(given, why_stop)

    def _note(self, flag: int, why: str) -> None:
        text = self._site.journal.text(why.encode("utf-8", "replace")) if why else 0
        self._site.journal.note(Kind.STAGE, self._index, flag, self._trials, text)

    def _why_stop(self, deadline: int) -> str:
        if self._workers is not None and self._workers.lost:
            return self._workers.lost
        if self._stop.is_set():
            return INTERRUPTED
        return "the stage's budget was used up" if now_ns() >= deadline else ""

    async def _has_failed(self, *, between: bool) -> str:
        if not self._rule.abort_on_fail or (between and not self._trials):
            return ""
        if self._workers is not None:
            await self._workers.flush()
        return await ask(self._site.journal, self._judge.failed, self._stage.name)

    async def _climbed(self, capacity: Capacity, deadline: int) -> str:
        """Level after level; why it ended early, or ""."""
        load: Load = Comers(self._site, lambda number, rows: self._trial(number, rows, deadline))
        if capacity.stays:
            (part,) = self._parts.values()
            load = Standing(
                self._site, part, self._stage, self._index, self._plan.seed,
                partial(self._standing, deadline), partial(self._why_stop, deadline),
            )  # fmt: skip

        async def asked() -> float | None:
            if self._workers is not None:
                await self._workers.flush()
            level = await ask(self._site.journal, self._judge.next_rate, self._stage.name)
            self._trials += level is not None
            return level

        async def why_stop() -> str:
            return self._why_stop(deadline) or await self._has_failed(between=True)

        return await climbed(
            self._site, self._stage, self._index, self._plan.seed, load, asked, why_stop
        )

    async def _standing(self, deadline: int, clients: list[int]) -> list[Identity] | None:
        """Identities of connections that are to stay."""
        self._watch.rest()
        identities = await self._identities(clients, deadline)
        if identities is not None:
            self._check_shown(identities[:1])
            for identity in identities:
                self._site.everybody.add(identity)
        return identities

    def _of_trial(self, trial: int) -> NDArray[np.void]:
        rows: NDArray[np.void] = self._stage.clients[self._stage.clients["trial"] == trial]
        return rows

    async def _trial(self, trial: int, rows: NDArray[np.void], deadline: int) -> int:
        """Let these clients go; their time zero, 0 where the run was stopped before it."""
        identities = await self._identities(rows["identity"].tolist(), deadline)
        if identities is None:
            return 0
        self._check_shown(identities[:1])
        crowd = await self._crowd(trial, identities, rows)
        if crowd is None:
            return 0
        self._watch.rest()
        if self._rule.activity == "preflight":
            await self._preflight()
        asking = asyncio.Event()
        polling: asyncio.Task[None] | None = None
        try:
            if self._rule.anchor == "restart":
                assert self._restarter is not None
                zero = await self._restarter.begin()
            else:
                zero = now_ns() + (_CREW_LEAD_NS if self._workers else _LEAD_NS)
            self._anchor(trial, zero)
            # Clients first: what else begins now must not hold up those who are due.
            launching = asyncio.ensure_future(crowd.launch(rows, identities, zero))
            await asyncio.sleep(0)
            restarting = None
            if self._rule.anchor == "restart":
                assert self._restarter is not None
                restarting = asyncio.ensure_future(self._restarter.finish())
            if self._rule.health_every is not None:
                polling = asyncio.ensure_future(
                    self._site.http.poll(self._rule.health_every, asking)
                )
            await self._see_through(crowd, launching, restarting, zero, deadline, trial)
        finally:
            asking.set()
            if polling is not None:
                polling.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await polling
        return zero

    async def _crowd(
        self, trial: int, identities: list[Identity], rows: NDArray[np.void]
    ) -> Crowd | Crew | None:
        """Who lets the clients go, here or in the workers; None where the run was stopped."""
        site, everybody = self._site, self._site.everybody
        for identity in identities:
            everybody.add(identity)
        if self._workers is None:
            return Crowd(site, self._parts)
        others, everybody.news = everybody.news or [], []
        people, name = [*others, *identities], self._stage.name
        unplanned = None if self._rule.capacity is None else rows  # else they know them
        armed = await self._workers.arm(name, trial, people, site.redactor, unplanned)
        return Crew(self._workers) if armed else None

    async def _identities(self, clients: list[int], deadline: int) -> list[Identity] | None:
        """Their tokens; None where the run was stopped while a token endpoint took its time."""
        asking = asyncio.ensure_future(
            self._tokens.identities(clients, deadline_ns=deadline + self._rule.patience)
        )
        stopping = asyncio.ensure_future(self._stop.wait())
        began, given = now_ns(), False
        try:
            await asyncio.wait({asking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                return None
            identities = asking.result()
            given = True
            return identities
        finally:
            if asking.done() and isinstance(self._site.target.auth, FetchAuth):
                tokens = len({*clients})
                self._site.journal.note(Kind.TOKEN, 0, given, tokens, now_ns() - began)
            stopping.cancel()
            asking.cancel()
            await asyncio.wait({asking, stopping})

    def _check_shown(self, identities: list[Identity]) -> None:
        """ConfigError where a token has no place in the dialect: no failure of the target's."""
        for part in self._parts.values():
            for identity in identities:
                present(self._site.dialect.present[part.present], identity.token, identity.user)

    def _anchor(self, trial: int, zero: int) -> None:
        self._site.journal.note(Kind.ANCHOR, trial, 0, self._index, zero)

    async def _see_through(
        self,
        crowd: Crowd | Crew,
        launching: asyncio.Future[None],
        restarting: asyncio.Future[None] | None,
        zero: int,
        deadline: int,
        trial: int,
    ) -> None:
        """Watch a trial's clients until it is over; writes SETTLED."""
        flag, why = GAVE_UP, ""
        judged = now_ns()
        last = zero + self._stage.span_ns
        try:
            while not why:
                await asyncio.sleep(_WATCH_S)
                if restarting is not None and restarting.done() and restarting.exception():
                    flag, why = NO_RESTART, str(restarting.exception())
                elif restarting is None or restarting.done():
                    if restarting is not None and crowd.settled(self._rule.settle.good):
                        await asyncio.sleep(self._rule.settle.linger / 1e9)
                        flag, why = SETTLED, "settled"
                    elif launching.done() and not crowd.busy:
                        flag, why = SETTLED, "all clients are done"
                    elif launching.done() and now_ns() >= last:
                        flag, why = SETTLED, "the last client was let go"
                why = why or self._why_stop(deadline)
                if not why and now_ns() - judged > _JUDGE_EVERY_NS:
                    judged = now_ns()
                    why = await self._has_failed(between=False)
            launching.cancel()
            crowd.halt()
            if self._stop.is_set() or flag == NO_RESTART:
                crowd.stop()  # at the budget nobody new is let go, but who is in may finish
            await self._drain(crowd)
        finally:
            await self._clear(crowd, launching, restarting)
            text = self._site.journal.text(why.encode("utf-8", "replace"))
            self._site.journal.note(Kind.SETTLED, trial, flag, self._index, text)
        if flag == NO_RESTART:
            raise RestartError(why)

    async def _drain(self, crowd: Crowd | Crew) -> None:
        """Give sessions their patience, unless the run is stopped meanwhile."""
        finishing = asyncio.ensure_future(crowd.finish(self._rule.patience))
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({finishing, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not finishing.done():
                finishing.cancel()
                crowd.stop()
                await crowd.finish(_STOP_PATIENCE_NS)
            else:
                await finishing
        finally:
            stopping.cancel()

    async def _clear(
        self,
        crowd: Crowd | Crew,
        launching: asyncio.Future[None],
        restarting: asyncio.Future[None] | None,
    ) -> None:
        for task in (launching, restarting):
            if task is None:
                continue
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, RestartError):
                await task
        if crowd.busy:
            crowd.stop()
            await crowd.finish(1_000_000_000)

    async def _preflight(self) -> None:
        """Ask every service how it is; clients follow in the ordinary way."""
        http = self._site.http
        for index, name in enumerate(self._site.target.services):
            for _ in range(_HEALTH_TRIES):
                answer, state = await http.health(index, name, tell=True)
                if state == HEALTHY or self._stop.is_set():
                    break
                await asyncio.sleep(0.1)
            if answer.status:
                http.record_peer(index, name, answer)
