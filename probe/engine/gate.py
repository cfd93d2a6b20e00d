"""A gate: many actions that wait, armed, and are let go at one instant or at given offsets.

The rule: what counts is the stamp that each release took, never the time it was meant for;
one that could not be let go is 0 and is told, not guessed.

    armed      every one has all but its last byte with the kernel, or fell out
    settle     the peer has read what was sent: max(100 ms, 3 RTT)
    release    garbage collection off; sleep, spin the last 2 ms (event loops are late by a
               millisecond), then one loop of a system call each, in random order

The instant may be given in absolute monotonic time, which processes of one host share, so
several of them let go together without a signal. After the last-byte synchronisation of
Kettle (2023); on loopback 100 connections are let go within a millisecond.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Final, Protocol

from probe.clock import now_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from random import Random

    from probe.wire.ends import End

CLIENTS_MAX: Final = 1_000
PINGS_MIN: Final = 10
SETTLE_NS: Final = 100_000_000
LEAD_NS: Final = 5_000_000
SPIN_NS: Final = 2_000_000
_TURN_EVERY_NS: Final = 10_000_000
_TURN_NS: Final = 300_000


class Waiting(Protocol):
    """What a gate lets go; `probe.wire.Held` is one.

    `watch` is called when it is armed and when it falls out, `end` says that it has.
    """

    watch: Callable[[], object] | None

    @property
    def armed(self) -> bool:
        """Whether a release can do its work now."""

    @property
    def end(self) -> End | None:
        """Why it fell out; None otherwise."""

    def release(self) -> int:
        """Let go, now; the stamp right before it, or 0 where it could not be."""


class Call:
    """An action that nothing can hold back: called at its instant, within the tight loop.

    It must be short (begin a task, write a frame), since those behind it wait for it.
    """

    __slots__ = ("_action", "end", "released_ns", "watch")

    def __init__(self, action: Callable[[], object]) -> None:
        self._action = action
        self.released_ns = 0
        self.end: End | None = None
        self.watch: Callable[[], object] | None = None

    @property
    def armed(self) -> bool:
        """Always, until it was called."""
        return not self.released_ns

    def release(self) -> int:
        """Call it, once; the stamp right before."""
        if self.released_ns:
            return 0
        self.released_ns = now_ns()
        self._action()
        return self.released_ns


@dataclass(frozen=True, slots=True)
class Arming:
    """Who is armed, who fell out, and who is neither yet: indices of the gate's clients."""

    armed: tuple[int, ...]
    fallen: tuple[int, ...]
    missing: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """One release. `stamps_ns` per client, 0 for one that was not let go.

    `at_ns` is the instant that was aimed at, `offsets_ns` what was to be added to it.
    """

    at_ns: int
    offsets_ns: tuple[int, ...]
    stamps_ns: tuple[int, ...]

    @property
    def released(self) -> int:
        """How many were let go."""
        return sum(stamp > 0 for stamp in self.stamps_ns)

    @property
    def lags_ns(self) -> list[int]:
        """Of those let go: how long after its own instant."""
        both = zip(self.stamps_ns, self.offsets_ns, strict=True)
        return [stamp - offset - self.at_ns for stamp, offset in both if stamp]

    @property
    def spread_ns(self) -> int:
        """From the first to the last, offsets taken off; 0 for fewer than two."""
        return spread(self.lags_ns)


@dataclass(frozen=True, slots=True)
class Synchrony:
    """How simultaneous a race was: measured spreads, from the first to the last.

    `released` and `answered` are how many each spread is of; a spread of fewer than two
    is 0 and says nothing.
    """

    release_spread_ns: int
    first_response_spread_ns: int
    released: int
    answered: int


def synchrony(stamps_ns: Sequence[int], responses_ns: Sequence[int]) -> Synchrony:
    """From stamps of releases and of first responses; 0 stands for none."""
    stamps = [stamp for stamp in stamps_ns if stamp]
    responses = [stamp for stamp in responses_ns if stamp]
    return Synchrony(spread(stamps), spread(responses), len(stamps), len(responses))


def spread(stamps_ns: Sequence[int]) -> int:
    """From the smallest to the largest; 0 for fewer than two."""
    return max(stamps_ns) - min(stamps_ns) if len(stamps_ns) > 1 else 0


@dataclass(frozen=True, slots=True)
class Compensation:
    """Offsets that let what is released arrive together, as far as round trips tell.

    `error_ns` is the largest half of what a client's median ping took over its smallest:
    what the way itself varies by. `asymmetry_ns` is the largest half of a smallest ping:
    an arrival can be off by that much if a way takes all its time in one direction.
    """

    offsets_ns: tuple[int, ...]
    error_ns: int
    asymmetry_ns: int


def compensate(rtts_ns: Sequence[Sequence[int]]) -> Compensation:
    """Per client the round trips of its pings: the farthest is let go first, at 0.

    Raises ValueError for fewer than 10 pings of a client.
    """
    if any(len(rtts) < PINGS_MIN for rtts in rtts_ns):
        raise ValueError(f"a round trip is told by at least {PINGS_MIN} pings")
    halves = [min(rtts) // 2 for rtts in rtts_ns]
    farthest = max(halves, default=0)
    error = max((int(median(rtts) - min(rtts)) // 2 for rtts in rtts_ns), default=0)
    return Compensation(tuple(farthest - half for half in halves), error, farthest)


class Gate:
    """Clients that wait for one release, in the order in which they are told of."""

    def __init__(self, clients: Sequence[Waiting]) -> None:
        if len(clients) > CLIENTS_MAX:
            raise ValueError(f"a gate takes at most {CLIENTS_MAX} clients")
        self._clients = tuple(clients)

    async def armed(self, deadline_ns: int, among: Collection[int] | None = None) -> Arming:
        """Wait until all (of `among`) are armed or have fallen out, or for the deadline."""
        waiting = set(range(len(self._clients)) if among is None else among)
        told = asyncio.Event()

        def look(index: int) -> None:
            client = self._clients[index]
            if client.armed or client.end is not None:
                waiting.discard(index)
                if not waiting:
                    told.set()

        for index in tuple(waiting):
            self._clients[index].watch = partial(look, index)
            look(index)
        if waiting:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(told.wait(), max(deadline_ns - now_ns(), 0) / 1e9)
        for client in self._clients:
            client.watch = None
        return self.state()

    def state(self) -> Arming:
        """Who is armed at this moment."""
        armed: list[int] = []
        fallen: list[int] = []
        missing: list[int] = []
        for index, client in enumerate(self._clients):
            group = armed if client.armed else missing if client.end is None else fallen
            group.append(index)
        return Arming(tuple(armed), tuple(fallen), tuple(missing))

    async def settle(self, rtt_ns: int = 0) -> None:
        """Give the peer time to read what was sent, over round trips of `rtt_ns`."""
        until_ns = now_ns() + max(SETTLE_NS, 3 * rtt_ns)
        while (left := until_ns - now_ns()) > 0:  # noqa: ASYNC110 -- a clock: timers may be early
            await asyncio.sleep(left / 1e9)

    async def release(
        self, rng: Random, offsets_ns: Sequence[int] | None = None, at_ns: int = 0
    ) -> Release:
        """Let all go at `at_ns` (of `now_ns`; 0: in 5 ms), each with its offset.

        Those of one instant go in random order, by `rng`. Between instants that lie some
        milliseconds apart the loop runs on. One that falls out meanwhile is passed over.
        """
        clients = self._clients
        offsets = tuple(offsets_ns) if offsets_ns is not None else (0,) * len(clients)
        order = list(range(len(clients)))
        rng.shuffle(order)
        order.sort(key=offsets.__getitem__)
        at = at_ns or now_ns() + LEAD_NS
        queue = [(index, at + offsets[index], clients[index].release) for index in order]
        stamps = [0] * len(clients)
        failure: Exception | None = None
        with uncollected():
            clock = turn = now_ns()
            for index, due, release in queue:
                if due > clock:
                    turn = await _until(due, turn)
                try:
                    stamp = release()
                except Exception as error:  # noqa: BLE001 -- the others must not wait for it
                    failure = failure or error
                    continue
                if stamp:
                    stamps[index] = clock = stamp
        if failure is not None:
            raise failure
        return Release(at, offsets, tuple(stamps))


async def _until(due_ns: int, turn_ns: int) -> int:
    """Wait for an instant, spinning at its end; when the loop had its last turn."""
    left = due_ns - now_ns()
    if left > _TURN_NS and now_ns() - turn_ns > _TURN_EVERY_NS:
        await asyncio.sleep(0)
        turn_ns = now_ns()
    while (left := due_ns - now_ns()) > SPIN_NS:
        await asyncio.sleep((left - SPIN_NS) / 1e9)
        turn_ns = now_ns()
    while now_ns() < due_ns:
        pass
    return turn_ns


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection within."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
