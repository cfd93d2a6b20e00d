"""Connections that stay from level to level, and are asked at instants fixed beforehand.

The rule: a question is due when the plan says so, whatever became of those before it. A LEVEL
row with its intended time stands for each, also for one that could not be sent, since its
connection was refused or has ended. A level keeps what is open: it opens what is missing,
and closes what is too much, before its first question.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from probe.clock import now_ns
from probe.engine.client import Client
from probe.engine.play import play, refuse
from probe.engine.waiting import ENDED, SessionOver
from probe.history.records import Kind, Level, Put

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from probe.auth.identity import Identity
    from probe.engine.play import Part
    from probe.engine.site import Site
    from probe.model.capacity import Capacity
    from probe.model.plan import StagePlan
    from probe.model.script import Session

SETTLED, GAVE_UP = range(2)  # SETTLED.flag
INTERRUPTED: Final = "interrupted"
"""Why a stage is over whose run somebody stops."""
_LEAD_NS: Final = 20_000_000
_WATCH_S: Final = 0.01
_SLEEP_NS: Final = 50_000_000
_AT_ONCE: Final = 256
_STAY_NS: Final = 3_600_000_000_000
_MORE_NS: Final = 2_000_000_000  # for opening, beyond the dialect's time
_CLOSE_S: Final = 17.0  # a session gives its peer 15 s to answer its Close
_COLUMNS: Final = (
    "offset_ns", "session", "trial", "population", "endpoint", "identity",
)  # fmt: skip


class Asked(Client):
    """A client that stays connected. `told` hears of every answer, by session and number."""

    __slots__ = ("told",)

    told: Callable[[int], object]

    async def stay(self) -> None:
        """Until it is stopped, or the connection ends."""
        while self._open_end is None:
            if await self._wait(_STAY_NS, lasting=True) == ENDED:
                break
        raise SessionOver(self._end_words())

    def ask(self, due_ns: int, level: int, *, ping: bool) -> int:
        """One question, due then; its number, 0 where it could not be sent."""
        number = 0
        if self.is_ready and self.connected and not self.stopping:
            try:
                number = self._ping_now() if ping else self._message_now()
            except SessionOver:
                number = 0  # it is closing
        op = max(self.attempts - 1, 0)
        self._site.journal.row(due_ns, self._session, op, Kind.LEVEL, Level.ASKED, level, number)
        return number

    def key(self, number: int) -> int:
        """A question among those of all connections."""
        return self._session << 32 | number

    def _ping_now(self) -> int:
        self._send_ping()
        return self._number

    def _message_now(self) -> int:
        if self._site.dialect.sentinel is not None:
            return self._send_sentinel()
        number = self._sentinel = self._sentinel + 1
        self._put(self._own + b"%d" % number, Put.SENTINEL)
        self._note_sentinel(number)
        return number

    def pong(self, t_ns: int, payload: bytes) -> None:
        """The answer to a ping."""
        super().pong(t_ns, payload)
        self._heard_answer(payload)

    def _marked(self, t_ns: int, mark: str | int) -> None:
        super()._marked(t_ns, mark)
        self._heard_answer(str(mark).encode())

    def message(self, t_ns: int, opcode: int, payload: bytes) -> None:
        """Any message; of a service that only sends back, the answer to a question."""
        super().message(t_ns, opcode, payload)
        if self._site.dialect.sentinel is None and payload.startswith(self._own):
            super()._marked(t_ns, payload[len(self._own) :].decode("ascii", "replace"))
            self._heard_answer(payload[len(self._own) :])

    def _heard_answer(self, number: bytes) -> None:
        if number.isdigit():
            self.told(self.key(int(number[:10])))


async def _stay(session: Session) -> None:
    assert isinstance(session, Asked)
    await (session.stay() if session.attempts else session.connect())


class Standing:
    """A climb's load; see the module.

    `given` brings the identities of clients, None where the run was stopped; `why_stop` says
    why it is over, or "".
    """

    def __init__(
        self,
        site: Site,
        part: Part,
        stage: StagePlan,
        place: int,
        seed: int,
        given: Callable[[list[int]], Awaitable[list[Identity] | None]],
        why_stop: Callable[[], str],
    ) -> None:
        assert stage.stage.capacity is not None
        self._rule: Capacity = stage.stage.capacity
        self._pings = self._rule.of == "connections"
        self._site = site
        self._part = replace(part, script=_stay, once=False, ladder=())
        self._place = place
        assert stage.climbers is not None
        self._seed = (seed, stage.climbers.place)
        self._given = given
        self._why_stop = why_stop
        self._tasks: dict[asyncio.Task[int], Asked] = {}
        self._clients: list[Asked] = []
        self._open: set[int] = set()

    def under_way(self) -> int:
        """How many questions have no answer yet."""
        return len(self._open)

    async def play(self, number: int, level: float, rows: NDArray[np.void]) -> int:
        """One level: its connections, then its questions, then their answers."""
        journal = self._site.journal
        if not await self._sized(rows):
            return 0
        zero = now_ns() + _LEAD_NS
        journal.note(Kind.ANCHOR, number, 0, self._place, zero)
        why = await self._ask(number, level, zero)
        self._open.clear()
        text = journal.text((why or "all questions are over").encode("utf-8", "replace"))
        journal.note(Kind.SETTLED, number, GAVE_UP if why else SETTLED, self._place, text)
        return zero

    async def over(self) -> None:
        """Close all that is open."""
        await self._close(self._clients)

    async def _sized(self, rows: NDArray[np.void]) -> bool:
        """Have as many connections as there are rows; False where the run was stopped."""
        there = [each for each in self._clients if each.connected and not each.over]
        self._clients = there[: len(rows)]
        await self._close(there[len(rows) :])
        missing = rows[: len(rows) - len(self._clients)]
        identities = await self._given(missing["identity"].tolist())
        if identities is None:
            return False
        begin, slower = now_ns() + _LEAD_NS, 1.0
        most = self._site.target.safety.rate_max
        if most is not None:
            slower = max(1.0, self._rule.opening / most)
        table = zip(*(missing[name].tolist() for name in _COLUMNS), identities, strict=True)
        for offset, *row, identity in table:
            due = begin + round(offset * slower)
            if not await self._until(due):
                return False
            self._clients.append(self._opened(row, identity, due))
            await asyncio.sleep(0)
        deadline = now_ns() + self._site.dialect.ready.within + _MORE_NS
        waits = self._clients
        while waits and now_ns() < deadline and not self._why_stop():
            await asyncio.sleep(_WATCH_S)
            waits = [each for each in waits if not (each.is_ready or each.over)]
        return not self._why_stop()

    def _opened(self, row: Sequence[int], identity: Identity, due_ns: int) -> Asked:
        session, trial, population, endpoint, number = row
        site = self._site
        client = Asked(site, session, site.doors[endpoint], identity, default=self._part.present)
        client.told = self._open.discard
        site.live.launched += 1
        site.journal.row(due_ns, session, trial, Kind.INTENDED, endpoint, population, number)
        ceiling = site.target.safety.clients_max
        if ceiling is not None and site.live.alive >= ceiling:
            refuse(site, session, f"the target's ceiling of {ceiling} clients was reached")
            client.over = True
            return client
        site.live.alive += 1
        task = site.loop.create_task(play(site, self._part, client, session))
        self._tasks[task] = client
        task.add_done_callback(self._tasks.pop)
        return client

    async def _ask(self, number: int, level: float, zero_ns: int) -> str:
        """All questions, each at its instant, and then their answers; why it was cut off, or ""."""
        offsets, whom = self._rule.questions(level, (*self._seed, number))
        clients, due = self._clients, zero_ns
        for start in range(0, len(offsets), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            for offset, place in zip(offsets[part].tolist(), whom[part].tolist(), strict=True):
                due = zero_ns + offset
                if not await self._until(due):
                    return self._why_stop()
                client = clients[place]
                if asked := client.ask(due, number, ping=self._pings):
                    self._open.add(client.key(asked))
                await asyncio.sleep(0)  # else answers wait for the questions
            if now_ns() - due > self._rule.patience:
                return "the probe fell behind with its questions"
        last = zero_ns + self._rule.span_ns(level)
        while now_ns() < last or (self._open and now_ns() < due + self._rule.patience):
            if why := self._why_stop():
                return why
            await asyncio.sleep(_WATCH_S)
        return ""

    async def _until(self, due_ns: int) -> bool:
        """Wait until then; False where the run was stopped meanwhile."""
        while (wait := due_ns - now_ns()) > 0:
            if self._why_stop():
                return False
            await asyncio.sleep(min(wait, _SLEEP_NS) / 1e9)
        return True

    async def _close(self, clients: Sequence[Asked]) -> None:
        """Have these leave, and see their sessions over."""
        for client in clients:
            client.stop_ns = now_ns()  # it leaves because the climb wants it to
            client.stop()
            await asyncio.sleep(0)
        leaving = set(clients)
        tasks = [task for task, client in self._tasks.items() if client in leaving]
        if tasks:
            in_haste = self._why_stop() == INTERRUPTED
            _, left = await asyncio.wait(tasks, timeout=1.0 if in_haste else _CLOSE_S)
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left, timeout=2)
