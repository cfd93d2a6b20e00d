"""The processes behind the front, as the front has them: started, told, asked, ended.

They are forked before the front has a loop or a port, so they share what was loaded and hold
no socket of its clients. One that ends, does not answer or does not read is lost, and the
lab with it: what it held cannot be told any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
import traceback
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn

from probe.lab.link import Link, pair
from probe.lab.share import owner

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence

    from probe.lab.capacity import Schedule

    Lost = Callable[[int, str], None]

UP: Final = b"up"
END_S_MAX: Final = 4.0  # to end in order; then they are killed
_UP_S_MAX: Final = 20.0


class LostError(Exception):
    """A process of the lab is lost: its number, and why."""

    def __init__(self, number: int, why: str) -> None:
        super().__init__(f"process {number} of the lab is lost: {why}")


class Fleet:
    """The processes, in the order of their numbers."""

    def __init__(self, pids: Sequence[int], ends: Sequence[socket.socket]) -> None:
        self.pids = tuple(pids)
        self._ends = tuple(ends)
        self._links: list[Link] = []
        self._schedule: Schedule | None = None
        self._lost: Lost = lambda _number, _why: None
        self._room = 0
        self._clients = [0] * len(self.pids)  # that each has, or that are on their way to it
        self._gone: set[int] = set()
        self._totals: dict[int, dict[str, Any]] = {}  # the last ones of those that ended

    def begin(self, schedule: Schedule | None, lost: Lost, room: int) -> None:
        """Link up on the running loop; `lost` is told of each that is lost, or has ended.

        `room` is how many clients each may have.
        """
        self._schedule = schedule
        self._lost = lost
        self._room = room
        for number, end in enumerate(self._ends, 1):
            self._links.append(Link(end, partial(self._take, number), partial(self._lose, number)))

    def hand(self, user_id: str, head: bytes, sock: socket.socket) -> bool:
        """Give a client to the process that has its user, with what was read of it.

        False, and the socket is still the caller's, where that process has no room for it.
        """
        at = owner(user_id, len(self._links)) - 1
        if self._clients[at] >= self._room:
            return False
        self._clients[at] += 1
        self._links[at].tell("client", head, sock)
        return True

    def know(self, token: str, user_id: str) -> None:
        """Tell the process that has the user of a token that was minted."""
        self._links[owner(user_id, len(self._links)) - 1].tell("know", token)

    @property
    def unsent(self) -> int:
        """How many packets wait to be sent."""
        return sum(link.unsent for link in self._links)

    async def ready(self) -> None:
        """Let all of them serve WebSockets, and return when they do."""
        await self._ask("ready")

    async def change(self, wanted: Mapping[str, object]) -> None:
        """Set defects in all of them, and return when they are set."""
        await self._ask("defects", dict(wanted))

    async def totals(self) -> list[dict[str, Any]]:
        """The totals of their ledgers; of those that have ended, the last."""
        if len(self._totals) == len(self.pids):
            return list(self._totals.values())
        told: list[dict[str, Any]] = await self._ask("totals")
        return told

    async def end(self) -> None:
        """Have all of them close their sessions and end; LostError where one does not."""
        for link in self._links:
            link.tell("stop")
        deadline_ns = time.perf_counter_ns() + int(END_S_MAX * 1e9)
        while len(self._gone) < len(self.pids) and time.perf_counter_ns() < deadline_ns:  # noqa: ASYNC110 -- bounded
            await asyncio.sleep(0.005)
        for number in range(1, len(self.pids) + 1):
            if number not in self._totals:
                raise LostError(number, "it did not stop in time")

    def kill(self) -> None:
        """End what is left of them, at once, and bury all."""
        for link in self._links:
            link.close()
        for end in self._ends:
            end.close()
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                ended, _ = os.waitpid(pid, os.WNOHANG)
                if not ended:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)

    async def _ask(self, word: str, body: object = None) -> list[Any]:
        loop = asyncio.get_running_loop()
        answers = [loop.create_future() for _ in self._links]
        for link, answer in zip(self._links, answers, strict=True):
            link.ask(word, partial(_set, answer), body)
        return await asyncio.gather(*answers)

    def ended_well(self, number: int) -> bool:
        """Whether that process has told its last totals."""
        return number in self._totals

    def _take(self, number: int, word: str, asked: int, body: Any, _: object) -> None:
        match word:
            case "turn":
                assert self._schedule is not None
                turn = self._schedule.enter(time.perf_counter_ns())
                self._links[number - 1].answer(asked, turn)
            case "left":
                self._clients[number - 1] -= body
            case "ended":
                self._totals[number] = body
            case other:
                raise AssertionError(other)

    def _lose(self, number: int, why: str) -> None:
        self._gone.add(number)
        self._lost(number, why)


def _set(answer: asyncio.Future[Any], body: object) -> None:
    if not answer.done():
        answer.set_result(body)


def fork(count: int, live: Callable[[int, socket.socket], None]) -> Fleet:
    """Start so many processes, each of which is `live` with its number and its end of a link.

    To be called while there is one thread and no loop. Returns when all are up; LostError.
    """
    pids: list[int] = []
    ends: list[socket.socket] = []
    sys.stdout.flush()
    sys.stderr.flush()
    for number in range(1, count + 1):
        end, far_end = pair()
        ends.append(end)
        pid = os.fork()
        if pid == 0:
            for each in ends:
                each.close()
            _become(partial(live, number, far_end))
        far_end.close()
        pids.append(pid)
    fleet = Fleet(pids, ends)
    deadline_s = time.monotonic() + _UP_S_MAX
    for number, end in enumerate(ends, 1):
        end.settimeout(max(0.001, deadline_s - time.monotonic()))
        try:
            up = end.recv(len(UP))
        except OSError:
            up = b""
        if up != UP:
            fleet.kill()
            raise LostError(number, "it did not start")
    return fleet


def _become(live: Callable[[], None]) -> NoReturn:
    """Be the new process to its end. Signals and the standard streams are the front's affair."""
    code = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        live()
        code = 0
    except BaseException as error:  # noqa: BLE001 -- nothing of the front may run on in here
        where = "".join(traceback.format_tb(error.__traceback__))
        sys.stderr.write(f"probe.lab: internal error: {type(error).__name__}\n{where}")
    finally:
        sys.stderr.flush()
        os._exit(code)


def merged(own: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The totals of the front's ledger with those of the others: sums, but for the phases."""
    events: dict[str, Counter[str]] = {}
    for each in (own, *others):
        for event, labels in each["events"].items():
            events.setdefault(event, Counter()).update(labels)
    return {
        **own,
        "lines": own["lines"] + sum(each["lines"] for each in others),
        "events": {event: dict(labels) for event, labels in events.items()},
        "events_sent": own["events_sent"] + sum(each["events_sent"] for each in others),
        "hits": dict(events.get("hit", {})),
    }
