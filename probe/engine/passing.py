"""Passing a gate: what a script sends next is prepared, held back, and let go at its instant.

The rule: every public call of a session passes the gate that its script has come to, whether a
step or an `async def` makes it, and the ACTION row is written here and nowhere else. What sends
something that can be prepared (connect, send, echo, run, settle, refresh) knows by itself when
it leaves: the row carries the stamp of the write, and there is none for what was not let go. A
request over HTTP counts from its answer. Everything else is let go and then called: it begins
with `pass_by`. To choose a token is no action.
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


def _declared(number: int) -> str:
    return f"its actor declares {number or 'none'}"


class Want(NamedTuple):
    """An answer that is waited for: its kind (of `waiting`), how long, and what to say without."""

    kind: int
    within_ns: int
    missing: str


class Passing(Hearing):
    """A client of a race (`turn` says of which release), or of none."""

    __slots__ = ()

    async def gate(self) -> None:
        """Have what is done next wait for the next of the script's gates.

        A script that does not pass the gates that were planned for it has played another race:
        its session is stopped, so that its trial tells nothing.
        """
        turn = self.turn
        if turn is None:
            raise SessionOver("a gate is where the actors of a race meet, and this is none")
        if self.gated:
            raise SessionOver(self._idle(turn.passed + 1), stopped=True)
        if turn.passed == len(self._gates):
            raise SessionOver(
                f"the script came to gate {turn.passed + 1}, and {_declared(len(self._gates))}: "
                "add its offset to `gates`, or drop the call",
                stopped=True,
            )
        offset = self._gates[turn.passed]
        turn.ask(None if offset == "swept" else offset)

    def passed_all(self) -> None:
        """The script is over: SessionOver where it has not passed each of its gates."""
        turn = self.turn
        if turn is None:
            return
        if self.gated:
            raise SessionOver(self._idle(turn.passed + 1), stopped=True)
        if turn.passed < len(self._gates):
            raise SessionOver(
                f"the script was over before gate {turn.passed + 1}, and "
                f"{_declared(len(self._gates))}: pass each, in every branch",
                stopped=True,
            )

    @staticmethod
    def _idle(number: int) -> str:
        return f"gate {number} let nothing go, and an action has to follow each"

    @property
    def gated(self) -> bool:
        """Whether what is sent next waits for a gate."""
        return self.turn is not None and self.turn.asked_ns is not None

    async def through(self) -> bool:
        """Wait for the instant of the gate that was asked for; whether there was one.

        `acted` then notes the action.
        """
        turn = self.turn
        if turn is None or turn.asked_ns is None:
            return False
        _, offset_ns = turn.take()
        await self._at(offset_ns, now_ns)
        return True

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
        """Pass the gate, if there is one: what comes now cannot be prepared."""
        if self.turn is not None and await self.through():
            self.acted(now_ns())

    async def pass_without(self) -> None:
        """The same where what was prepared cannot be sent, and that is right."""
        await self.pass_by()
        turn = self.turn
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

    def _travels(self, rtt_ns: int) -> None:
        """What stands at the gate takes half of this to the service."""
        assert self.turn is not None
        self.turn.rtt_ns = max(self.turn.rtt_ns, rtt_ns)

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
