"""How a connection closes: the two Closes, and the waits behind them (RFC 6455 section 7).

    we begin        Close; the peer's Close; the peer's end of TCP       NORMAL
    the peer does   its Close; ours, with its code; its end of TCP       CLOSED
    it violates     Close that tells why; our end of TCP                 PROTOCOL_ERROR, TOO_LARGE

The rule: one Close at most each way, and each is a row. The server ends TCP first (section
7.1.1), for which it has a bounded time; what it does with that time does not change how the
connection ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from probe.clock import now_ns
from probe.history.records import Kind, Outcome
from probe.wire.ends import End
from probe.wire.frames import CLOSE, encode
from probe.wire.reference import REFUSED_CLOSE

if TYPE_CHECKING:
    from probe.history.journal import Journal
    from probe.history.records import Phase
    from probe.redact import Redactor
    from probe.wire.deadlines import Deadline, Wheel
    from probe.wire.ends import Limits
    from probe.wire.outlet import Outlet

REASON_BYTES_MAX: Final = 123
_SENT: Final = 0
_RECEIVED: Final = 1
_PROTOCOL_ERROR: Final = 1002
_NO_CODE: Final = 1005
_TOO_BIG: Final = 1009


class Closes(Protocol):
    """The connection that closes (`connection.Connection`)."""

    journal: Journal
    redactor: Redactor
    session: int
    op: int
    outlet: Outlet | None
    phase: Phase

    def finish(self, stamp: int, end: End, *, flush: bool = False) -> None:
        """It is over."""


class Closing:
    """The end of one connection, from the first Close; `final` is how it ended, once known."""

    __slots__ = ("_connection", "_limits", "_ours", "_timer", "_wheel", "final")

    def __init__(self, connection: Closes, limits: Limits, wheel: Wheel) -> None:
        self._connection = connection
        self._limits = limits
        self._wheel = wheel
        self._ours = False  # whether we began
        self._timer: Deadline | None = None
        self.final: End | None = None

    def begin(self, code: int, reason: bytes) -> None:
        """Send our Close (`code` 0: without one), and wait for the answer."""
        self._ours = True
        self._send(code, reason)
        self._arm(self._limits.close_ns)

    def answer(self, stamp: int, code: int, reason: bytes) -> None:
        """The peer's Close: to ours, or before it."""
        phase = self._connection.phase
        self._note(stamp, _RECEIVED, code, reason)
        if self._ours:
            self.final = End(Outcome.NORMAL, phase, code, reason, by="us")
        else:
            self.final = End(Outcome.CLOSED, phase, code, reason)
            self._send(0 if code == _NO_CODE else code, b"")
        outlet = self._connection.outlet
        if outlet is not None and outlet.holder is not None:
            outlet.fell(self.final)
        self._arm(self._limits.linger_ns)

    def fail(self, stamp: int, kind: int, code: int, why: str) -> None:
        """Section 7.1.7: tell the peer why, and do not wait for it."""
        outcome, said = Outcome.PROTOCOL_ERROR, code
        if kind == REFUSED_CLOSE:
            self._note(stamp, _RECEIVED, code, b"")
            why, said = f"close code {code} is not allowed on the wire", _PROTOCOL_ERROR
        elif code == _TOO_BIG:
            outcome = Outcome.TOO_LARGE
        if not self._ours:
            self._send(said, b"")
        end = End(outcome, self._connection.phase, code, detail=why)
        self._connection.finish(stamp, end, flush=True)

    def dropped(self, end: End) -> End:
        """TCP has ended, as `end` says, with nothing `final` yet: how the connection did."""
        if not self._ours or end.by != "drop":
            return end
        detail = f"the peer ended TCP ({end.outcome.name}) without answering our Close"
        return End(Outcome.NORMAL, end.phase, detail=detail, by="us")

    def over(self) -> None:
        """Nothing more is waited for."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, after_ns: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._wheel.add(now_ns() + after_ns, self._expire)

    def _expire(self) -> None:
        phase = self._connection.phase
        end = End(Outcome.TIMEOUT, phase, detail="no answer to our Close", by="timeout")
        self._connection.finish(now_ns(), self.final or end)

    def _send(self, code: int, reason: bytes) -> None:
        outlet = self._connection.outlet
        if outlet is None or outlet.holder is not None:
            return  # it cannot go within a frame
        stamp = outlet.put(encode(CLOSE, code.to_bytes(2) + reason if code else b""))
        if stamp:
            self._note(stamp, _SENT, code or _NO_CODE, reason)

    def _note(self, stamp: int, direction: int, code: int, reason: bytes) -> None:
        connection = self._connection
        text = connection.journal.text(reason, connection.redactor) if reason else 0
        connection.journal.row(
            stamp, connection.session, connection.op, Kind.CLOSE, direction, code, text
        )
