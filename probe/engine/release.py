"""One release of a race: its clients gather at their gates, are let go, and come to an end.

The rule: a trial tells something only if every actor came to its gate, so that one whose
preparation failed spoils its trial and no other. What is not over in time after its last gate
has failed; who is stopped with the run has not.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from probe.clock import now_ns
from probe.engine.gate import Timeline, settle_ns, spread, uncollected
from probe.engine.play import COMPLETE, FAILED, STOPPED, make_client, play
from probe.engine.turn import NEAR_NS, Turn
from probe.history.records import Kind
from probe.model.race import Played, told_by

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

    import numpy as np
    from numpy.typing import NDArray

    from probe.auth.identity import Identity
    from probe.engine.client import Client
    from probe.engine.play import Part
    from probe.engine.site import Site
    from probe.model.race import Race, Told

LEAD_NS: Final = 5_000_000
_GATHER_NS: Final = 10_000_000_000
_GRACE_NS: Final = 3_000_000_000  # for who was told to stop, before its task is cancelled
_LAST_NS: Final = 2_000_000_000
STAGGER_NS: Final = 10_000_000
"""What lies between the instants of two whole trials of one release."""
_INT32_MAX: Final = 2**31 - 1


@dataclass(slots=True)
class Racer:
    """One client of the release; `first_ns` and `until_ns` are its first and last offset."""

    name: str
    client: Client
    turn: Turn
    first_ns: int
    until_ns: int
    outcome: int = STOPPED

    def expire(self) -> None:
        """Its time is over: that it is stopped now is its failure."""
        self.turn.overdue = True
        self.client.stop()

    @property
    def played(self) -> Played:
        """How it went, once it is over."""
        finished = None if self.outcome == STOPPED else self.outcome == COMPLETE
        return Played(0 in self.turn.stamps, finished, self.client.oddities > 0)


@dataclass(frozen=True, slots=True)
class Trialled:
    """One trial: what it tells, and the offset that was measured (None: it was not)."""

    trial: int
    told: Told
    offset_ns: int | None


class Release:
    """One shared instant. `offsets` has the offset on trial by the number of the trial."""

    def __init__(
        self,
        site: Site,
        parts: Mapping[int, Part],
        race: Race,
        number: int,
        offsets: Mapping[int, int],
        rng: Random,
    ) -> None:
        self._site = site
        self._parts = parts
        self._names = dict(zip(parts, race.actors, strict=False))
        self._race = race
        self._number = number
        self._offsets = offsets
        self._timeline = Timeline(rng)
        self._racers: dict[asyncio.Task[int], Racer] = {}
        self._over: list[Racer] = []
        self._changed = asyncio.Event()
        self._fell = 0

    async def run(
        self, rows: NDArray[np.void], identities: Sequence[Identity], stop: asyncio.Event
    ) -> list[Trialled]:
        """Play it with `rows` of the plan, each with its identity; what each trial tells."""
        stopping = asyncio.ensure_future(stop.wait())
        stopping.add_done_callback(lambda _: self._changed.set())
        running = asyncio.ensure_future(self._timeline.run())
        try:
            with uncollected():
                await self._launch(rows, identities)
                await self._gather(stop)
                await self._open(stop)
                await self._change_until(self._last_ns() + _GRACE_NS, stop)
        finally:
            await self._clear()
            for task in (stopping, running):
                task.cancel()
            await asyncio.gather(stopping, running, return_exceptions=True)
        self._note()
        return self._told()

    async def _launch(self, rows: NDArray[np.void], identities: Sequence[Identity]) -> None:
        """Begin every client; one in each turn of the loop, as a herd is launched elsewhere."""
        names = ("session", "trial", "population", "endpoint")
        table = zip(*(rows[name].tolist() for name in names), identities, strict=True)
        planned = [(*row, self._offsets_of(row[2], row[1])) for row in table]
        soonest = min(offsets[0] for *_, offsets in planned)
        site = self._site
        for session, trial, population, endpoint, identity, offsets in planned:
            site.journal.row(
                now_ns(), session, trial, Kind.INTENDED, endpoint, population, identity.index
            )
            part, door = self._parts[population], site.doors[endpoint]
            client = make_client(site, part, session, door, identity, 0)
            away = offsets[0] - soonest > NEAR_NS
            swept_ns = self._offsets.get(trial, 0)
            turn = Turn(
                self._timeline, trial, swept_ns, self._changed.set,
                shift_ns=self._shift_ns(trial), away=away,
            )  # fmt: skip
            client.turn = turn
            site.live.alive += 1
            site.live.launched += 1
            task = site.loop.create_task(play(site, part, client, session))
            name = self._names[population]
            self._racers[task] = Racer(name, client, turn, offsets[0], max(offsets))
            task.add_done_callback(self._done)
            await asyncio.sleep(0)

    def _offsets_of(self, population: int, trial: int) -> list[int]:
        gates = self._race.actors[self._names[population]].gates
        own = [self._offsets[trial] if g.offset == "swept" else g.offset for g in gates]
        return [each + self._shift_ns(trial) for each in own]

    def _shift_ns(self, trial: int) -> int:
        if self._race.comb_of == "swept":
            return 0
        return (trial - min(self._offsets)) * STAGGER_NS

    def _done(self, task: asyncio.Task[int]) -> None:
        racer = self._racers.pop(task)
        if not task.cancelled() and task.exception() is None:
            racer.outcome = task.result()
        elif racer.turn.overdue:
            racer.outcome = FAILED
        self._over.append(racer)
        self._changed.set()

    async def _gather(self, stop: asyncio.Event) -> None:
        """Wait until all stand at their gates; trials that have lost one of them are stopped."""
        deadline = now_ns() + max(self._race.within, _GATHER_NS)
        while not stop.is_set() and now_ns() < deadline:
            self._drop_spoilt()
            if all(each.turn.waits for each in self._racers.values()):
                break
            await self._change(deadline)
        late = [task for task, each in self._racers.items() if not each.turn.waits]
        await self._end(late)
        self._drop_spoilt()
        self._fell = sum(not each.turn.waits for each in self._over)

    def _drop_spoilt(self) -> None:
        """Nobody waits for a trial that has lost an actor already."""
        fell = [each for each in self._over if not each.turn.waits]
        every = any(not self._race.own(each.name) for each in fell)
        lost = {each.turn.trial for each in fell}
        for each in self._racers.values():
            if every or (each.turn.trial in lost and self._race.own(each.name)):
                each.client.stop()

    async def _open(self, stop: asyncio.Event) -> None:
        """Let the service read what was sent, then set the shared instant."""
        if len(self._over) + len(self._racers) > 1:
            within_ns = settle_ns(each.turn.rtt_ns for each in self._racers.values())
            await self._change_until(now_ns() + within_ns, stop, settling=True)
        racers = [each for each in self._racers.values() if not each.client.stopping]
        if stop.is_set() or not racers:
            return
        zero = now_ns() + LEAD_NS - min(0, *(each.first_ns for each in racers))
        self._timeline.open(zero)
        for each in racers:
            due = zero + max(each.until_ns, 0) + self._race.within
            self._site.wheel.add(due, each.expire)

    def _last_ns(self) -> int:
        """When the last of them is overdue; now where nothing was let go."""
        zero = self._timeline.zero_ns
        if not zero:
            return now_ns() - _GRACE_NS
        last = max((each.until_ns for each in self._racers.values()), default=0)
        return zero + max(last, 0) + self._race.within

    async def _change_until(
        self, deadline: int, stop: asyncio.Event, *, settling: bool = False
    ) -> None:
        """Wait for everybody's end (`settling`: for the time alone), at most to the deadline."""
        while (self._racers or settling) and not stop.is_set() and now_ns() < deadline:
            await self._change(deadline)

    async def _change(self, deadline: int) -> None:
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), max(deadline - now_ns(), 0) / 1e9)

    async def _clear(self) -> None:
        await self._end(list(self._racers))

    async def _end(self, tasks: list[asyncio.Task[int]]) -> None:
        """Stop these clients; who does not end soon is cancelled."""
        for task in tasks:
            if task in self._racers:
                self._racers[task].client.stop()
        for within_s in (_GRACE_NS / 1e9, _LAST_NS / 1e9):
            left = [task for task in tasks if not task.done()]
            if not left:
                break
            await asyncio.wait(left, timeout=within_s)
            for task in left:
                task.cancel()
        await asyncio.sleep(0)  # what is done is told by callbacks

    def _note(self) -> None:
        width = min(spread(self._timeline.lags_ns), _INT32_MAX)
        self._site.journal.note(
            Kind.RELEASE, self._number, self._fell, width, self._timeline.zero_ns
        )

    def _told(self) -> list[Trialled]:
        """What each trial tells; who belongs to no one trial spoils all or none of them."""
        race = self._race
        name, gate = race.reference()
        shared = [each for each in self._over if not race.own(each.name)]
        out = []
        for trial in self._offsets:
            mine = [each for each in self._over if each.turn.trial == trial and race.own(each.name)]
            swept = _stamp(mine, race.swept, race.swept_gate())
            against = _stamp(mine if race.own(name) else shared, name, gate)
            offset = swept - against if swept and against else None
            told = told_by((each.played for each in mine), placed=offset is not None)
            if any(not each.played.reached for each in shared):
                told = "void"
            out.append(Trialled(trial, told, offset))
        return out


def _stamp(racers: list[Racer], name: str, gate: int) -> int:
    return next((each.turn.stamps.get(gate, 0) for each in racers if each.name == name), 0)
