"""A true capacity: so many servers, exponential service times, one queue, first come first served.

With Poisson arrivals this is the queue M/M/c, so that the waits and the rate at which a
quantile of the response crosses a limit are known beforehand. What has to pass is chosen:
the validation of each connect, the start of each run, each message. `wait` plus `service`
is what the lab adds; a client sees that and what any answer costs.

The rule: the servers' times are planned and not waited for. Each arrival is given the server
that is free first, starts at the later of its arrival and that moment, and ends its draw
after the start; timers that fire late delay one answer and no other. A draw depends on the
seed, the life and how many were served before. One that leaves is served all the same.

The queue is bounded: who finds it full is refused at once, and who would start later than
the deadline after the arrival is refused at the deadline and takes no server's time. Where
neither happens, the queue is M/M/c; the ledger tells each, with what was found and planned.

Where several processes serve, there is one plan for all of them, and the front has it: each
arrival is one when the front is asked, and is told in the process that asked.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, get_args

from probe.lab.draws import draw
from probe.lab.durations import format_duration, parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from probe.lab.ledger import Ledger

Work = Literal["connects", "runs", "messages"]
Outcome = Literal["served", "late", "full"]

WORKS: Final[tuple[Work, ...]] = get_args(Work)
FULL: Final = "overloaded"
LATE: Final = "queue_timeout"
STOPPING: Final = "stopping"
SERVERS_MAX: Final = 1_000
SERVICE_NS_MIN: Final = 1_000_000  # the loop's timers are no finer
SERVICE_NS_MAX: Final = 10_000_000_000
WAITING_MAX: Final = 5_000


class OverloadError(Exception):
    """It is not served; `code` is a fixed word: full, too late, or the lab stops."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a life can do: `waiting_max` in the queue, each for at most `deadline_ns`."""

    servers: int
    service_ns: int
    works: frozenset[Work] = frozenset({"connects"})
    waiting_max: int = 1_000
    deadline_ns: int = 10_000_000_000

    def as_json(self) -> dict[str, object]:
        """As it is written at the edge."""
        return {
            "servers": self.servers,
            "service": format_duration(self.service_ns),
            "of": [work for work in WORKS if work in self.works],
            "waiting_max": self.waiting_max,
            "deadline": format_duration(self.deadline_ns),
        }


def parse_capacity(text: str) -> tuple[int, int]:
    """Servers and mean service time in ns from "4/20ms"; ValueError says what is wrong."""
    servers, service_ns = _pair(text, "capacity; write servers and mean service time, like 4/20ms")
    if not 1 <= servers <= SERVERS_MAX or not SERVICE_NS_MIN <= service_ns <= SERVICE_NS_MAX:
        raise ValueError(f"{text!r}: 1 to {SERVERS_MAX} servers, each of 1ms to 10s")
    return servers, service_ns


def parse_queue(text: str) -> tuple[int, int]:
    """Places in the queue and the deadline in ns from "1000/10s"; else ValueError."""
    places, deadline_ns = _pair(text, "queue; write places and the longest wait, like 1000/10s")
    if places > WAITING_MAX or not deadline_ns:
        raise ValueError(f"{text!r}: 0 to {WAITING_MAX} places, and a wait above 0s")
    return places, deadline_ns


def parse_works(text: str) -> frozenset[Work]:
    """What has to pass, from "connects,runs"; messages are all messages, those of runs too."""
    words = {word.strip() for word in text.split(",")}
    if not words <= set(WORKS):
        raise ValueError(f"{text!r}: choose of {', '.join(WORKS)}")
    works = {work for work in WORKS if work in words}
    return frozenset(works | {"runs"} if "messages" in works else works)


def _pair(text: str, what: str) -> tuple[int, int]:
    count, slash, duration = text.partition("/")
    if not slash or not count.isascii() or not count.isdigit():
        raise ValueError(f"{text!r} is no {what}")
    return int(count), parse_duration(duration)


@dataclass(frozen=True, slots=True)
class Turn:
    """What is planned for one arrival; all stamps in ns on the clock of the caller.

    `end_ns` is when it is to be told. `waiting` and `busy` are how many it found in the queue
    and at the servers. `start_ns` and `service_ns` are 0 for one that is not served.
    """

    outcome: Outcome
    arrived_ns: int
    end_ns: int
    waiting: int
    busy: int
    start_ns: int = 0
    service_ns: int = 0


class Schedule:
    """The plan of the servers. It has no clock: arrivals are told in their order."""

    def __init__(self, capacity: Capacity, key: str) -> None:
        self._capacity = capacity
        self._key = key
        self._served = 0
        self._free_ns = [-(1 << 62)] * capacity.servers  # a heap: when each is free
        self._ends_ns: list[int] = []  # a heap: of those who are served or will be
        self._starts_ns: deque[int] = deque()  # of those who wait for a server, in order
        self._leaves_ns: deque[int] = deque()  # of those who wait in vain, in order

    def enter(self, now_ns: int) -> Turn:
        """Plan one arrival."""
        for each in (self._starts_ns, self._leaves_ns):
            while each and each[0] <= now_ns:
                each.popleft()
        while self._ends_ns and self._ends_ns[0] <= now_ns:
            heapq.heappop(self._ends_ns)
        busy = len(self._ends_ns) - len(self._starts_ns)
        waiting = len(self._starts_ns) + len(self._leaves_ns)
        start_ns = max(now_ns, self._free_ns[0])
        if start_ns > now_ns and waiting >= self._capacity.waiting_max:
            return Turn("full", now_ns, now_ns, waiting, busy)
        leave_ns = now_ns + self._capacity.deadline_ns
        if start_ns > leave_ns:
            self._leaves_ns.append(leave_ns)
            return Turn("late", now_ns, leave_ns, waiting, busy)
        service_ns = self._draw_ns()
        end_ns = start_ns + service_ns
        heapq.heapreplace(self._free_ns, end_ns)
        heapq.heappush(self._ends_ns, end_ns)
        if start_ns > now_ns:
            self._starts_ns.append(start_ns)
        return Turn("served", now_ns, end_ns, waiting, busy, start_ns, service_ns)

    def _draw_ns(self) -> int:
        drawn = draw(f"{self._key}.{self._served}")
        self._served += 1
        return max(1, round(-math.log1p(-drawn) * self._capacity.service_ns))


class Station:
    """The servers of this life; without a capacity everything passes at once.

    `elsewhere` plans an arrival, where that is not done here, and calls back.
    """

    def __init__(
        self,
        ledger: Ledger,
        capacity: Capacity | None,
        key: str,
        elsewhere: Callable[[Callable[[Turn], None]], None] | None = None,
    ) -> None:
        self._ledger = ledger
        self._works: frozenset[Work] = frozenset() if capacity is None else capacity.works
        self.schedule = None if capacity is None else Schedule(capacity, key)
        self._elsewhere = elsewhere
        self._pending: dict[_Ticket, None] = {}
        self._stopped = False

    def takes(self, work: Work) -> bool:
        """Whether this has to pass."""
        return work in self._works

    def enter(
        self, work: Work, done: Callable[[], None], refused: Callable[[str], None], **ids: str
    ) -> None:
        """Do one of these, now or when it is due; `refused` takes the word that says why."""
        if self.schedule is None or work not in self._works:
            return done()
        if self._stopped:
            return refused(STOPPING)
        planned = partial(self._planned, work, done, refused, ids)
        if self._elsewhere is not None:
            return self._elsewhere(planned)
        return planned(self.schedule.enter(time.perf_counter_ns()))

    def _planned(
        self,
        work: Work,
        done: Callable[[], None],
        refused: Callable[[str], None],
        ids: dict[str, str],
        turn: Turn,
    ) -> None:
        """What was planned for one of these comes true in its time."""
        told: dict[str, object] = {
            "of": work,
            "arrived_ns": turn.arrived_ns,
            "waiting": turn.waiting,
            "busy": turn.busy,
            "wait_ns": max(0, turn.start_ns - turn.arrived_ns),
            "service_ns": turn.service_ns,
            **ids,
        }
        match turn.outcome:
            case "served":
                act = done
            case "late":
                act = partial(refused, LATE)
                told["wait_ns"] = turn.end_ns - turn.arrived_ns
            case "full":
                self._ledger.service("full", late_ns=0, **told)
                return refused(FULL)
        if self._stopped:
            self._ledger.service("left", late_ns=0, **told)
            return refused(STOPPING)
        ticket = _Ticket(turn, told, act, partial(refused, STOPPING))
        self._pending[ticket] = None
        return self._wait(ticket)

    async def serve(self, work: Work, **ids: str) -> None:
        """The same for a task, which waits here; raises OverloadError."""
        if not self.takes(work):
            return
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def tell(word: str = "") -> None:
            if not future.done():  # else nobody waits any more
                future.set_result(word)

        self.enter(work, tell, tell, **ids)
        if word := await future:
            raise OverloadError(word)

    def stop(self) -> None:
        """Serve nobody any more: who waits or is served is told that the lab stops."""
        self._stopped = True
        for ticket in list(self._pending):
            if ticket.timer is not None:
                ticket.timer.cancel()
            del self._pending[ticket]
            self._ledger.service("left", late_ns=0, **ticket.told)
            ticket.stopped()

    def _wait(self, ticket: _Ticket) -> None:
        """Act when it is due, never before; the loop's timers round."""
        late_ns = time.perf_counter_ns() - ticket.turn.end_ns
        if late_ns < 0:
            loop = asyncio.get_running_loop()
            ticket.timer = loop.call_later(-late_ns / 1e9, self._wait, ticket)
            return
        del self._pending[ticket]
        outcome: Literal["served", "late"] = "served" if ticket.turn.outcome == "served" else "late"
        self._ledger.service(outcome, late_ns=late_ns, **ticket.told)
        ticket.act()


@dataclass(slots=True, eq=False)
class _Ticket:
    """One that waits or is served; not for use outside this module."""

    turn: Turn
    told: dict[str, object]
    act: Callable[[], None]
    stopped: Callable[[], None]
    timer: asyncio.TimerHandle | None = None
