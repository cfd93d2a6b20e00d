"""One attempt from the dial to the 101: what a connection needs only until it is open.

The rule: what the peer answers is kept when it is not a right 101 (head, first 8 KiB of the
body, and the request it answers), redacted, for the first hundred of each kind. What a proxy
answers is told as the proxy's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from probe.clock import now_ns
from probe.history.records import Kind, Outcome, Phase
from probe.wire.ends import End, end_of_error
from probe.wire.outlet import Outlet
from probe.wire.response import (
    SWITCHING,
    HeadTooLargeError,
    NotHttpError,
    Response,
    ResponseReader,
)
from probe.wire.upgrade import FATAL, Alike, deflate_of, violations

if TYPE_CHECKING:
    import asyncio

    from probe.wire.connection import Connection
    from probe.wire.deadlines import Deadline, Wheel
    from probe.wire.ends import Limits
    from probe.wire.request import Facts
    from probe.wire.route import Route
    from probe.wire.sending import Progress, Sending

_ALIKE: Final = Alike()
EARLY_BYTES_MAX: Final = 64 * 1024
_STATUS_KINDS: Final = 1_000  # kinds of failure by HTTP status, apart from those by Outcome


class Opening:
    """The transient half of a `Connection`; `dial` and its connection are its only users.

    `gated` says that TLS is to be ours, so that bytes can be held back.
    `task` is the one to cancel when a deadline passes in a phase that `dial` awaits,
    `expired` says that this was done, `waiter` is what `dial` awaits in the other phases.
    """

    __slots__ = (
        "_bound_ns",
        "_connection",
        "_deadline_ns",
        "_early",
        "_facts",
        "_head_ns",
        "_keep_heads",
        "_limits",
        "_max_message",
        "_plain",
        "_progress",
        "_reader",
        "_request",
        "_route",
        "_sending",
        "_sent_ns",
        "_timer",
        "_wheel",
        "expired",
        "gated",
        "task",
        "waiter",
    )

    def __init__(
        self,
        connection: Connection,
        route: Route,
        request: bytes,
        facts: Facts,
        wheel: Wheel,
        deadline_ns: int,
        limits: Limits,
        keep_heads: bool,
        max_message: int,
        sending: Sending | None,
        gated: bool,
    ) -> None:
        self._connection = connection
        self._route = route
        self._request = request
        self._facts = facts
        self._wheel = wheel
        self._deadline_ns = deadline_ns
        self._limits = limits
        self._keep_heads = keep_heads
        self._max_message = max_message
        self._sending = sending
        self._progress: Progress | None = None
        self._plain = False
        self._reader: ResponseReader | None = None
        self._early = b""
        self._head_ns = 0
        self._sent_ns = 0
        self._timer: Deadline | None = None
        self._bound_ns = 0
        self.task: asyncio.Task[object] | None = None
        self.waiter: asyncio.Future[None] | None = None
        self.expired = False
        self.gated = gated

    def bound(self, limit_ns: int) -> None:
        """Bound the phase that begins: by `limit_ns` from now (0: not), and by the whole."""
        deadline_ns = self._deadline_ns
        if limit_ns:
            deadline_ns = min(deadline_ns, now_ns() + limit_ns)
        if deadline_ns == self._bound_ns:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._bound_ns = deadline_ns
        self._timer = self._wheel.add(deadline_ns, self._expire)

    def connected(self, stamp: int, transport: asyncio.Transport) -> None:
        """TCP stands: ask the proxy, wait for TLS, or upgrade at once."""
        connection = self._connection
        port = transport.get_extra_info("sockname")[1]
        connection.journal.row(stamp, connection.session, connection.op, Kind.TCP, 0, port)
        if self._route.proxy is not None:
            self._ask_proxy()
        elif self._route.secure:
            connection.phase = Phase.TLS
            self.bound(self._limits.tls_ns)
        else:
            self._upgrade()

    def secured(self, transport: asyncio.Transport) -> None:
        """TLS stands over `transport`: upgrade."""
        stamp = now_ns()
        connection = self._connection
        connection.outlet = Outlet(transport, -1)
        connection.journal.row(stamp, connection.session, connection.op, Kind.TLS)
        self._upgrade()

    @property
    def spoke_early(self) -> bool:
        """Whether the peer sent anything before it was its turn."""
        return bool(self._early)

    def _ask_proxy(self) -> None:
        proxy, target = self._route.proxy, self._route.tunnel
        assert proxy is not None
        self._connection.phase = Phase.PROXY
        self.bound(self._limits.proxy_ns)
        self._reader = ResponseReader(tunnel=True)
        head = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
        if proxy.authorization:
            head += f"Proxy-Authorization: {proxy.authorization}\r\n"
        assert self._connection.outlet is not None
        self._connection.outlet.put(f"{head}\r\n".encode("utf-8", "surrogateescape"))

    def _upgrade(self) -> None:
        self._connection.phase = Phase.UPGRADE
        self.bound(self._limits.upgrade_ns)
        # Only the first chunk of an answer can be told by its bytes alone.
        self._plain = not (self._keep_heads or self._facts.extensions or self._early)
        outlet = self._connection.outlet
        assert outlet is not None
        if self._sending is None:
            self._sent_ns = outlet.put(self._request)
        else:
            self._progress = self._sending.begin(outlet, self._request)
        if self._early:
            early, self._early = self._early, b""
            self.read(now_ns(), early)

    # What arrives.

    def read(self, stamp: int, data: bytes) -> None:
        """Bytes of an answer, or of a peer that speaks before its turn."""
        if self._plain and self._is_alike(stamp, data):
            return
        self._plain = False
        reader, connection = self._reader, self._connection
        if reader is None and connection.phase is Phase.UPGRADE:
            reader = self._reader = ResponseReader()
        if reader is None:
            self._early += data
            if len(self._early) > EARLY_BYTES_MAX:
                detail = "the peer flooded us before its turn"
                self._finish(stamp, End(Outcome.TOO_LARGE, connection.phase, detail=detail))
            return
        try:
            whole = reader.feed(data)
        except NotHttpError as error:
            self._refuse(stamp, Outcome.NOT_HTTP, str(error))
            return
        except HeadTooLargeError as error:
            self._refuse(stamp, Outcome.TOO_LARGE, str(error))
            return
        if not self._head_ns and reader.response is not None:
            self._head_ns = stamp
        if whole:
            self._answered(stamp, "")

    def _is_alike(self, stamp: int, data: bytes) -> bool:
        """Open at once on a 101 that equals one that was read and found right; else false."""
        end = data.find(b"\r\n\r\n") + 4
        head = data[:end] if end < len(data) else data
        bits = _ALIKE.judge(head, self._facts) if end > 3 else -1  # noqa: PLR2004 -- found at 0
        if bits < 0 or (self._progress is not None and self._cut()):
            return False
        connection = self._connection
        if self._sent_ns > 0:
            connection.journal.pair(
                connection.session, connection.op,
                self._sent_ns, Kind.SENT, 0, len(self._request), 0,
                stamp, Kind.HEAD, bits, SWITCHING, 0,
            )  # fmt: skip
            self._sent_ns = -1
            self.settle(kept=False)
        else:  # in pieces, or held back
            self.settle(kept=False)
            connection.journal.row(
                stamp, connection.session, connection.op, Kind.HEAD, bits, SWITCHING, 0
            )
        connection.open(stamp, head, data[end:], self._max_message, None)
        return True

    def _refuse(self, stamp: int, outcome: Outcome, detail: str) -> None:
        connection = self._connection
        if connection.phase is Phase.PROXY:
            outcome, detail = Outcome.PROXY_FAILED, f"the proxy's answer: {detail}"
        self._finish(stamp, End(outcome, connection.phase, detail=detail))

    def _answered(self, stamp: int, cut: str) -> None:
        """The answer is whole, or `cut` says why there is no more of it."""
        assert self._reader is not None
        response, connection = self._reader.response, self._connection
        assert response is not None
        said = f"{response.status} {response.reason}".strip() + cut
        if connection.phase is Phase.PROXY:
            if 200 <= response.status < 300:  # noqa: PLR2004  RFC 9110 section 9.3.6
                self._tunnelled(stamp)
            else:
                detail = f"the proxy answered {said}"
                end = End(Outcome.PROXY_FAILED, Phase.PROXY, response.status, detail=detail)
                self._finish(stamp, end)
        elif response.status == SWITCHING:
            self._switched(stamp, response)
        else:
            kept = connection.journal.wants(_STATUS_KINDS + response.status)
            self._note_head(0, response, kept=kept)
            end = End(Outcome.STATUS, Phase.UPGRADE, response.status, detail=said)
            self._finish(stamp, end)

    def _tunnelled(self, stamp: int) -> None:
        assert self._reader is not None
        connection, rest = self._connection, self._reader.rest
        self._reader, self._head_ns = None, 0
        if self._route.secure:
            connection.phase = Phase.TLS
            self.bound(self._limits.tls_ns)
            self._early = rest
            self.wake()
        else:
            self._upgrade()
            if rest:
                self.read(stamp, rest)

    def _switched(self, stamp: int, response: Response) -> None:
        assert self._reader is not None
        connection = self._connection
        bits, words = violations(response, self._facts)
        fatal = bool(bits & FATAL or self._cut())
        kept = self._keep_heads or (fatal and connection.journal.wants(Outcome.BAD_UPGRADE))
        self._note_head(bits, response, kept=kept)
        if fatal:
            end = End(Outcome.BAD_UPGRADE, Phase.UPGRADE, SWITCHING, detail=words)
            self._finish(stamp, end)
            return
        deflate = deflate_of(response) if self._facts.extensions else None
        if not self._facts.extensions:
            _ALIKE.remember(response)
        self.settle(kept=self._keep_heads)
        connection.open(stamp, response.raw, self._reader.rest, self._max_message, deflate)

    # What ends it.

    def dropped(self, stamp: int, error: Exception | None) -> None:
        """TCP has ended before the connection was open."""
        connection, reader = self._connection, self._reader
        if reader is not None and reader.salvage() is not None:
            how = "" if error is None else ", then a reset"
            self._answered(stamp, how)
        elif error is not None:
            self._finish(stamp, end_of_error(error, connection.phase))
        else:
            got = len(reader.partial) if reader is not None else len(self._early)
            detail = f"after {got} bytes of a head" if got else ""
            self._finish(stamp, End(Outcome.EOF, connection.phase, detail=detail, by="drop"))

    def _finish(self, stamp: int, end: End) -> None:
        """Tell of an end, and whether it came before our request was whole."""
        if cut := self._cut():
            detail = f"{end.detail}; {cut}" if end.detail else cut
            end = end._replace(detail=detail)
        self._connection.finish(stamp, end)

    def _cut(self) -> str:
        """What of a request that leaves bit by bit has left; "" when its head is whole."""
        progress = self._progress
        if progress is None or progress.sent_ns:
            return ""
        return f"{progress.done} of the {len(self._request)} bytes of our request had been sent"

    def _expire(self) -> None:
        connection, reader = self._connection, self._reader
        if self._progress is not None and self._postponed(self._progress):
            return
        if reader is not None and reader.salvage() is not None:
            self._answered(now_ns(), ", the body cut by the deadline")
        elif self._cut():  # ours, whatever the peer would have said
            self._finish(now_ns(), End(Outcome.CANCELLED, connection.phase, by="us"))
        elif connection.phase in (Phase.PROXY, Phase.UPGRADE):
            got = len(reader.partial) if reader is not None else 0
            detail = f"{got} bytes of a head had come" if got else "no byte had come"
            end = End(Outcome.TIMEOUT, connection.phase, detail=detail, by="timeout")
            self._finish(now_ns(), end)
        elif self.task is not None:
            self.expired = True
            self.task.cancel()

    def _postponed(self, progress: Progress) -> bool:
        """The limit of the upgrade counts from when the request was whole, not before."""
        now = now_ns()
        left = (progress.sent_ns or now) + self._limits.upgrade_ns - now
        if now >= self._deadline_ns or left <= 0:
            return False
        self.bound(left)
        return True

    def settle(self, *, kept: bool) -> None:
        """The attempt is decided: write SENT, with its text if `kept`, and wake `dial`."""
        if self._sending is not None and self._connection.end is not None:
            self._sending.fell(self._connection.end)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sent_ns >= 0:
            self._note_sent(kept=kept)
        waiter = self.waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def wake(self) -> None:
        """Let `dial` go on."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def _note_sent(self, *, kept: bool) -> None:
        if self._progress is not None and not self._sent_ns:
            self._sent_ns = self._progress.sent_ns
        if self._sent_ns > 0:
            connection, size = self._connection, len(self._request)
            text = connection.journal.text(self._request, connection.redactor) if kept else 0
            connection.journal.row(
                self._sent_ns, connection.session, connection.op, Kind.SENT, 0, size, text
            )
            self._sent_ns = -1

    def _note_head(self, bits: int, response: Response, *, kept: bool) -> None:
        self._note_sent(kept=kept)
        connection = self._connection
        text = 0
        if kept:
            text = connection.journal.text(response.raw + response.body, connection.redactor)
        connection.journal.row(
            self._head_ns, connection.session, connection.op, Kind.HEAD, bits, response.status, text
        )
