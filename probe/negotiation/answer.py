"""What came back from one handshake, as it was on the wire.

The rule: read from the rows and bytes that were stored, never from what a client library
made of them. A 101 is what the server said, also where it breaks the RFC and our wire
failed it; what our own side could not do is `ours` and says nothing of the server.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from probe.history.records import Outcome
from probe.negotiation.head import PROTOCOL, Head, read_head

if TYPE_CHECKING:
    from probe.history.columns import History

Way = Literal[
    "accepted",
    "closed",
    "lost",
    "unusable",
    "status",
    "dropped",
    "silent",
    "garbled",
    "unreached",
    "ours",
]
SWITCHING: Final = 101
_NO_HEAD: Final = Head(b"", ())
_DROPS: Final = (Outcome.EOF, Outcome.RESET)
_OURS: Final = (-1, Outcome.LOCAL, Outcome.CANCELLED)
_GARBLED: Final = (Outcome.NOT_HTTP, Outcome.TOO_LARGE)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    `way`: accepted (a 101, and open until we closed it), closed (a 101, then the server's
    Close), lost (a 101, then TCP ended, or frames that break the protocol), unusable (a 101
    that every client must fail), status (an HTTP answer that is no 101), dropped (TCP ended
    without one), silent (nothing until the deadline), garbled (no HTTP), unreached (no
    connection), ours (not the server's doing).
    `status` is 0 without an answer, `head` empty where its bytes were not kept. `code` and
    `reason` are of the server's Close (0: none), `after_ns` is the time from the 101 to it or
    to the end of TCP. `ready`: what the dialect calls ready came. `detail` is the wire's own
    word. `violations` are the wire's (`records.Violation`), which has seen the raw bytes: what
    is stored may be masked where it looks like a token by chance.
    """

    way: Way
    status: int = 0
    head: Head = _NO_HEAD
    body: bytes = b""
    code: int = 0
    reason: bytes = b""
    after_ns: int = 0
    ready: bool = False
    detail: str = ""
    kept: bool = False
    violations: int = 0

    @property
    def let_in(self) -> bool:
        """Whether the server said 101, whatever it did then."""
        return self.status == SWITCHING

    @property
    def protocols(self) -> tuple[bytes, ...]:
        """The values of Sec-WebSocket-Protocol, a line each."""
        return self.head.all(PROTOCOL)


def answer_of(history: History, attempt: Any) -> Answer:
    """The answer to one attempt, a row of `History.attempts`."""
    text = history.text(int(attempt["response_text"]))
    status, outcome = int(attempt["status"]), int(attempt["outcome"])
    way = _way(status, outcome)
    gone = int(attempt["close_at"]) or int(attempt["end"])
    after = max(gone - int(attempt["head"]), 0) if way in ("closed", "lost") else 0
    return Answer(
        way,
        status,
        read_head(text) if text else _NO_HEAD,
        text.partition(b"\r\n\r\n")[2],
        code=int(attempt["close_code"]) if way == "closed" else 0,
        reason=history.text(int(attempt["reason_text"])),
        after_ns=after,
        ready=int(attempt["ready"]) > 0,
        detail=history.text(int(attempt["detail_text"])).decode("utf-8", "backslashreplace"),
        kept=bool(text),
        violations=int(attempt["violations"]),
    )


def request_of(history: History, attempt: Any) -> bytes:
    """The head that was sent, redacted; b"" where it was not kept."""
    return history.text(int(attempt["request_text"]))


def _way(status: int, outcome: int) -> Way:  # noqa: PLR0911 -- a table
    if status == SWITCHING:
        if outcome == Outcome.CLOSED:
            return "closed"
        if outcome == Outcome.BAD_UPGRADE:
            return "unusable"
        return "lost" if outcome in (*_DROPS, Outcome.PROTOCOL_ERROR) else "accepted"
    if outcome in _OURS:
        return "ours"
    if outcome == Outcome.STATUS:
        return "status"
    if outcome in _DROPS:
        return "dropped"
    if outcome == Outcome.TIMEOUT:
        return "silent"
    return "garbled" if outcome in _GARBLED else "unreached"
