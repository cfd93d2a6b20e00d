"""Passing a gate: what a script sends next is prepared, held back, and let go at its instant.

The rule: the ACTION row carries the stamp of the write itself, and there is none for what was
not let go. A step that cannot be prepared is called at the instant; a request over HTTP counts
from its answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from probe.clock import now_ns
from probe.engine.hearing import Hearing
from probe.engine.turn import LEAD_NS
from probe.engine.waiting import DONE, STOP, WHY, SessionOver
from probe.history.records import Kind, Odd

if TYPE_CHECKING:
    from collections.abc import Callable

_GATE: Final = -100  # what a wait at a gate is for
_GATE_WITHIN_NS: Final = 600_000_000_000  # a release ends long before, and stops who waits


def nothing(_: int) -> None:
    """No more is to be told."""


class Want(NamedTuple):
    """An answer that is waited for: its kind (of `waiting`), how long, and what to say without."""

    kind: int
    within_ns: int
    missing: str


class Passing(Hearing):
    """A client of a race (`turn` says of which release), or of none."""

    __slots__ = ()

    async def gate(self, offset_ns: int | None = 0) -> None:
        """Have what is sent next wait for the shared instant plus `offset_ns`."""
        if self.turn is None:
            raise SessionOver("a gate is where the actors of a race meet, and this is none")
        if self.gated:
            await self.through()
        self.turn.ask(offset_ns)

    @property
    def gated(self) -> bool:
        """Whether what is sent next waits for a gate."""
        return self.turn is not None and self.turn.asked_ns is not None

    async def through(self) -> None:
        """Wait for the instant of the gate that was asked for; `acted` then notes the action."""
        turn = self.turn
        assert turn is not None
        _, offset_ns = turn.take()
        await self._at(offset_ns, now_ns)

    def acted(self, stamp: int) -> None:
        """The action behind the gate that was passed last has been done."""
        turn = self.turn
        assert turn is not None
        number = turn.passed - 1
        turn.stamps[number] = stamp
        op = max(self.attempts - 1, 0)
        self._site.journal.row(
            stamp, self._session, op, Kind.ACTION, number, turn.trial, turn.aims[number]
        )

    async def pass_by(self) -> None:
        """Pass the gate, if there is one, without anything that it could let go."""
        turn = self.turn
        if self.gated:
            await self.through()
        if turn is not None and turn.passed and turn.passed - 1 not in turn.stamps:
            self.acted(now_ns())

    async def _near(self) -> None:
        """Wait until it is time to prepare what the gate will let go.

        What is due long after T is not held all the time: the peer would give up waiting.
        """
        turn = self.turn
        assert turn is not None
        assert turn.asked_ns is not None
        offset_ns = turn.asked_ns - LEAD_NS
        zero_ns = turn.timeline.zero_ns
        if turn.away if not zero_ns else now_ns() < zero_ns + offset_ns:
            await self._at(offset_ns, now_ns)

    async def _let_go(
        self,
        let_go: Callable[[], int],
        told: Callable[[int], None] = nothing,
        want: Want | None = None,
    ) -> int:
        """Have what is prepared let go at the gate, noted, and answered; its stamp."""
        turn = self.turn
        assert turn is not None
        _, offset_ns = turn.take()

        def note(stamp: int) -> None:
            self.acted(stamp)
            told(stamp)

        stamp = await self._at(offset_ns, let_go, note, want)
        if not stamp:
            raise SessionOver("it could not be let go: the connection ended")
        return stamp

    def _hang(self, let_go: Callable[[], int], told: Callable[[int], None]) -> None:
        """The same for who does not wait: `told` is called with the stamp, 0 for none."""
        turn = self.turn
        assert turn is not None
        _, offset_ns = turn.take()

        def note(stamp: int) -> None:
            if stamp:
                self.acted(stamp)
            told(stamp)

        turn.timeline.add(offset_ns, lambda: 0 if self.stopping else let_go(), note)
        turn.come()

    async def _at(
        self,
        offset_ns: int,
        let_go: Callable[[], int],
        note: Callable[[int], None] = nothing,
        want: Want | None = None,
    ) -> int:
        """Wait for T plus the offset, and have `let_go` called then; what it returned.

        An answer that is wanted is waited for from that very moment, in the same wait: it may
        come before this task has its turn.
        """
        turn = self.turn
        assert turn is not None
        stamps: list[int] = []
        waits = True

        def told(stamp: int) -> None:
            stamps.append(stamp)
            if stamp:
                note(stamp)
            if self._await_kind != _GATE:
                return
            if stamp and want is not None:
                self._await_kind = want.kind
                self._site.wheel.add(now_ns() + want.within_ns, overdue)
            else:
                self._wake(DONE)

        def overdue() -> None:
            if waits:
                self._expire()

        turn.timeline.add(offset_ns, lambda: let_go() if waits else 0, told)
        turn.come()
        try:
            outcome = DONE
            while not stamps:
                outcome = await self._wait(_GATE_WITHIN_NS, kind=_GATE, lasting=True)
        finally:
            waits = False
        if stamps[0] and want is not None and outcome != DONE:
            raise SessionOver(f"{want.missing}: {WHY[outcome]}", stopped=outcome == STOP)
        return stamps[0]

    def _odd(self, t_ns: int, kind: int, what: Odd, text: str, odd: list[int]) -> None:
        self.oddities += what is not Odd.SHAPE
        super()._odd(t_ns, kind, what, text, odd)

    def _is_foreign(self, t_ns: int, how: int, kind: int, whose: int, odd: list[int]) -> None:
        self.oddities += 1
        super()._is_foreign(t_ns, how, kind, whose, odd)
