"""How a connection ends, told apart as finely as a socket allows.

The rule: one `End` per attempt, and it never guesses. An EOF is not a reset, a reset is not
a timeout, and what our own machine could not do (descriptors, ports, memory, a bug) is
`LOCAL` and never held against the target.
"""

from __future__ import annotations

import errno
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol

from probe.history.records import Outcome, Phase

if TYPE_CHECKING:
    import asyncio

By = Literal["peer", "us", "drop", "timeout"]

_UNREACHABLE: Final = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN}
_RESET: Final = {errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED, errno.ENOTCONN}
_LOCAL_RESOLVER: Final = {socket.EAI_SYSTEM, socket.EAI_MEMORY}
_BY: Final[dict[Outcome, By]] = {
    Outcome.TIMEOUT: "timeout",
    Outcome.RESET: "drop",
    Outcome.EOF: "drop",
    Outcome.LOCAL: "us",
    Outcome.CANCELLED: "us",
    Outcome.CERTIFICATE: "us",
}


class End(NamedTuple):
    """How one attempt ended.

    `code` is the close code, the HTTP status or the errno, whichever the outcome speaks
    of; 0 when there was none. `reason` is the reason of the Close as it was on the wire, not
    redacted: it is for judging, not for showing.
    `detail` is one redacted English sentence, "" when the outcome says it all. `by` is who
    ended it: the peer on purpose, us, a dropped transport, or a deadline.
    """

    outcome: Outcome
    phase: Phase
    code: int = 0
    reason: bytes = b""
    detail: str = ""
    by: By = "peer"


class Listener(Protocol):
    """What a connection tells its owner; every call is synchronous, in order of arrival.

    `t_ns` is when the chunk arrived that completed the event. `ended` is called exactly
    once for a connection that was open, and last; it may come before `dial` has returned.
    An attempt that never was open calls nothing: `dial` returns its `End`.
    """

    def message(self, t_ns: int, opcode: int, payload: bytes, /) -> None:
        """One whole message: opcode 1 (valid UTF-8) or 2."""

    def pong(self, t_ns: int, payload: bytes, /) -> None:
        """A Pong, asked for or not."""

    def pinged(self, t_ns: int, payload: bytes, /) -> None:
        """A Ping; it has been answered."""

    def ended(self, t_ns: int, end: End, /) -> None:
        """The connection is over; nothing follows."""


class Before(Protocol):
    """What works in a connection's place until the 101 (`opening.Opening`)."""

    expired: bool

    def connected(self, stamp: int, transport: asyncio.Transport) -> None:
        """TCP stands."""

    def read(self, stamp: int, data: bytes) -> None:
        """Bytes of an answer."""

    def dropped(self, stamp: int, error: Exception | None) -> None:
        """TCP has ended."""

    def settle(self, *, kept: bool) -> None:
        """The attempt is decided; `kept`: the request is worth its bytes as a text."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on single phases, in ns; 0 leaves only the deadline of the whole connect.

    `close_ns` bounds the wait for the answer to our Close, `linger_ns` the wait for the end
    of TCP once both Closes are through (RFC 6455 section 7.1.1: the server ends it first).
    """

    resolve_ns: int = 0
    tcp_ns: int = 0
    proxy_ns: int = 0
    tls_ns: int = 0
    upgrade_ns: int = 0
    close_ns: int = 10_000_000_000
    linger_ns: int = 1_000_000_000


def end_of_error(error: BaseException, phase: Phase) -> End:
    """The `End` that a raised or reported error stands for in `phase`."""
    outcome, code, detail = _classify(error)
    by = _BY.get(outcome, "peer")
    return End(outcome, phase, code, b"", detail, by)


def _classify(error: BaseException) -> tuple[Outcome, int, str]:  # noqa: PLR0911  a table in prose
    match error:
        case socket.gaierror():
            code = error.errno or 0
            local = code in _LOCAL_RESOLVER
            kind = Outcome.LOCAL if local else Outcome.RESOLVE_FAILED
            return kind, code, error.strerror or "the name has no address"
        case ssl.SSLCertVerificationError():
            return Outcome.CERTIFICATE, error.verify_code, error.verify_message
        case ssl.SSLError():
            return Outcome.TLS_FAILED, 0, error.reason or str(error)
        case ConnectionResetError() if not error.errno:
            # The event loop's own, for an EOF within the TLS handshake.
            return Outcome.EOF, 0, "the peer ended TCP"
        case OSError() if error.errno:
            return _of_errno(error.errno), error.errno, error.strerror or ""
        case TimeoutError():
            return Outcome.TIMEOUT, 0, ""
        case ConnectionAbortedError():
            return Outcome.TIMEOUT, 0, str(error)
        case _:
            return Outcome.LOCAL, 0, f"{type(error).__name__}: {error}"


def _of_errno(number: int) -> Outcome:
    if number == errno.ECONNREFUSED:
        return Outcome.REFUSED
    if number in _RESET:
        return Outcome.RESET
    if number in _UNREACHABLE:
        return Outcome.UNREACHABLE
    if number == errno.ETIMEDOUT:
        return Outcome.TIMEOUT
    return Outcome.LOCAL
