"""One WebSocket connection on a bare `asyncio.Protocol`.

Theory of operation. `dialing.dial` makes a `Connection`, which is the protocol of the socket
from its first byte to its last. Up to the 101 an `Opening` works in its place, which is
dropped then, so that a connection that idles costs little. Everything happens in callbacks
of the loop, which read the clock first and then work.

    phase     leaves by
    RESOLVE   the resolver's answer
    TCP       connection_made
    PROXY     the proxy's 2xx                      (only with a proxy)
    TLS       the end of start_tls                 (only wss)
    UPGRADE   a 101 that answers the request
    OPEN      the end (`closing`); READY is set by the owner, who knows what is ready there

The rule: exactly one END row per DIAL, whatever happens, written by `finish` and nothing
else. Rows SENT and HEAD carry their own stamps but are written when it is known whether
their texts are to be kept, so rows are not strictly in order of time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from websockets.frames import Frame, Opcode

from probe.clock import now_ns
from probe.history.records import Kind, Outcome, Phase
from probe.wire.closing import REASON_BYTES_MAX, Closing
from probe.wire.ends import End, end_of_error
from probe.wire.frames import BINARY, CLOSE, PING, PONG, TEXT, FrameReader, encode
from probe.wire.outlet import Outlet, TlsInfo
from probe.wire.response import Response, parse_head
from probe.wire.sending import Held

if TYPE_CHECKING:
    from websockets.extensions import Extension

    from probe.history.journal import Journal
    from probe.redact import Redactor
    from probe.wire.deadlines import Wheel
    from probe.wire.ends import Before, Limits, Listener

PONG_BACKLOG_MAX: Final = 1024 * 1024


class Connection(asyncio.Protocol):
    """One attempt and, if it succeeds, one connection; made by `dial`.

    `phase` is how far it came (the owner sets READY), `end` how it ended (None before),
    `opened_ns` when the 101 came (0 before).
    Sending returns the stamp taken right before the write, or 0 when nothing was sent
    because the connection is not open, is closing, or holds bytes back.
    """

    __slots__ = (
        "_at_once",
        "_closing",
        "_deflate",
        "_frames",
        "_head",
        "_limits",
        "_quiet",
        "_wheel",
        "end",
        "journal",
        "listener",
        "op",
        "opened_ns",
        "opening",
        "outlet",
        "phase",
        "redactor",
        "session",
    )

    def __init__(
        self,
        listener: Listener,
        journal: Journal,
        session: int,
        op: int,
        redactor: Redactor,
        limits: Limits,
        wheel: Wheel,
    ) -> None:
        self.listener = listener
        self.journal = journal
        self.session = session
        self.op = op
        self.redactor = redactor
        self.opened_ns = 0
        self.opening: Before | None = None
        self.outlet: Outlet | None = None
        self.phase = Phase.RESOLVE
        self.end: End | None = None
        self._limits = limits
        self._wheel = wheel
        self._frames: FrameReader | None = None
        self._deflate: Extension | None = None
        self._head = b""
        self._at_once = False
        self._quiet = True
        self._closing: Closing | None = None

    # What the owner sees.

    @property
    def opened(self) -> bool:
        """Whether a right 101 was received, also when all is over by now."""
        return self._frames is not None

    @property
    def closed(self) -> bool:
        """Whether it is over; `end` says how."""
        return self.end is not None

    @property
    def response(self) -> Response | None:
        """The 101's head, read anew from its kept bytes; None before it."""
        return parse_head(self._head) if self._head else None

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol the peer chose; None for none."""
        chosen = self.response.all(b"sec-websocket-protocol") if self.response else []
        return chosen[0].decode("ascii") if chosen else None

    @property
    def buffered(self) -> int:
        """Bytes written but not yet taken by the kernel, or behind what is held back."""
        return 0 if self.outlet is None else self.outlet.backlog

    @property
    def local_address(self) -> tuple[str, int] | None:
        """Our host and port; None without a socket."""
        return None if self.outlet is None else self.outlet.address("sockname")

    @property
    def peer_address(self) -> tuple[str, int] | None:
        """Host and port that TCP is connected to (with a proxy, the proxy's)."""
        return None if self.outlet is None else self.outlet.address("peername")

    @property
    def tls_info(self) -> TlsInfo | None:
        """What TLS agreed on; None for plain ws and once it is over."""
        return None if self.outlet is None else self.outlet.tls_info()

    def send_text(self, payload: bytes) -> int:
        """Send one text message (the caller vouches for UTF-8)."""
        return self.send_raw(self.frame(TEXT, payload))

    def send_binary(self, payload: bytes) -> int:
        """Send one binary message."""
        return self.send_raw(self.frame(BINARY, payload))

    def ping(self, payload: bytes = b"") -> int:
        """Send a Ping of at most 125 bytes; the answer comes as `Listener.pong`."""
        return self.send_raw(encode(PING, payload))

    def send_raw(self, data: bytes) -> int:
        """Write bytes as they are: part of a frame, several frames, or what is no frame."""
        outlet = self.outlet
        if outlet is None or self._frames is None or self._closing is not None:
            return 0
        return outlet.put(data) if outlet.holder is None else 0

    def hold(self, data: bytes, last: int = 1) -> Held:
        """Write part of a frame or of several, but for the `last` bytes, which wait.

        Where nothing can be sent any more it has fallen out at once. Raises ValueError for
        what cannot be held back, and while something else is.
        """
        held = Held(last)
        held.check(data)
        outlet = self.outlet
        if outlet is None or self._frames is None or self._closing is not None:
            late = End(Outcome.CANCELLED, self.phase, detail="not open, or closing", by="us")
            final = self._closing.final if self._closing is not None else None
            held.fell(self.end or final or late)
        else:
            held.begin(outlet, data)
        return held

    def frame(self, opcode: int, payload: bytes) -> bytes:
        """One message as it is sent here, compressed where that was agreed."""
        if self._deflate is None:
            return encode(opcode, payload)
        return Frame(Opcode(opcode), payload).serialize(mask=True, extensions=[self._deflate])

    def close(self, code: int = 1000, reason: bytes = b"") -> None:
        """Begin the closing handshake; `Listener.ended` tells its end.

        `code` 0 sends a Close without one. An attempt that is not open yet is dropped, and
        so is a connection that holds bytes back.
        Raises ValueError for a reason over 123 bytes.
        """
        if len(reason) > REASON_BYTES_MAX:
            raise ValueError(f"a close reason has at most {REASON_BYTES_MAX} bytes")
        if self._frames is None:
            self.abort()
        elif self.outlet is not None and self.outlet.holder is not None:
            self.abort()  # a Close cannot be sent within a frame
        elif self.end is None and self._closing is None:
            self._begin_closing().begin(code, reason)

    def abort(self) -> None:
        """Drop the connection now, without a Close; what is unsent is lost."""
        outcome = Outcome.CANCELLED if self._frames is None else Outcome.NORMAL
        self.finish(now_ns(), End(outcome, self.phase, by="us"))

    def pause(self) -> None:
        """Read no more from the socket; what was read already is still delivered."""
        if self.outlet is not None:
            self.outlet.transport.pause_reading()

    def resume(self) -> None:
        """Read again after `pause`."""
        if self.outlet is not None:
            self.outlet.transport.resume_reading()

    # What the loop calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """TCP stands; uvloop's transports do all that asyncio's do, but are no subclass."""
        stamp = now_ns()
        if self.opening is None or self.opening.expired:
            transport.abort()
            return
        self.outlet = Outlet(transport, transport.get_extra_info("socket").fileno())
        try:
            self.opening.connected(stamp, transport)
        except Exception as error:
            # The loop would log this and leave the attempt to its deadline.
            self.finish(stamp, end_of_error(error, self.phase))
            raise

    def data_received(self, data: bytes) -> None:
        """Stamp, then read."""
        stamp = now_ns()
        frames = self._frames
        if frames is not None:
            self._read(stamp, data, frames)
        elif self.opening is not None:
            self.opening.read(stamp, data)

    def eof_received(self) -> None:
        """The peer has ended its side; the transport closes itself."""
        self._dropped(now_ns(), None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone: by reset, by TLS, by our own doing, or by an error of ours."""
        if self.outlet is not None:  # else it was given up, or came too late to be ours
            self._dropped(now_ns(), exc)

    # Between the 101 and the end.

    def open(
        self, stamp: int, head: bytes, rest: bytes, limit: int, deflate: Extension | None
    ) -> None:
        """The upgrade is answered by `head`; `rest` came in the same chunk behind it."""
        self.opening = None
        self.opened_ns = stamp
        self.phase = Phase.OPEN
        self._head = head
        self._deflate = deflate
        self._frames = frames = FrameReader(limit, deflate)
        # A listener may take all that one read brought at once, by a method `messages`.
        self._at_once = hasattr(self.listener, "messages")
        if rest:
            self._read(stamp, rest, frames)

    def _read(self, stamp: int, data: bytes, frames: FrameReader) -> None:
        if self._quiet:
            self._quiet = False
            self.journal.row(stamp, self.session, self.op, Kind.FIRST, 0, len(data))
        # mypy knows of no listener that has it.
        take = self.listener.messages if self._at_once else self._one_by_one  # type: ignore[attr-defined]
        frames.feed(stamp, data, take, self)

    def _one_by_one(self, t_ns: int, opcode: int, payloads: list[bytes]) -> None:
        for payload in payloads:
            if self.end is None:
                self.listener.message(t_ns, opcode, payload)

    def on_odd(self, t_ns: int, event: tuple[int, int, bytes]) -> None:
        """A control frame or a failure, from the frame reader."""
        kind, code, payload = event
        if kind == PING:
            # A peer that floods and does not read gets no more answers than fit the bound.
            outlet = self.outlet
            if outlet is not None and not self._closing and outlet.backlog < PONG_BACKLOG_MAX:
                outlet.put(encode(PONG, payload))
            self.listener.pinged(t_ns, payload)
        elif kind == PONG:
            self.listener.pong(t_ns, payload)
        elif kind == CLOSE:
            self._begin_closing().answer(t_ns, code, payload)
        else:
            self._begin_closing().fail(t_ns, kind, code, payload.decode())

    # The end.

    def _begin_closing(self) -> Closing:
        """From here on nothing is sent but a Close."""
        if self._closing is None:
            self._closing = Closing(self, self._limits, self._wheel)
        return self._closing

    def _dropped(self, stamp: int, error: Exception | None) -> None:
        """TCP has ended, by a FIN (None) or by an error."""
        if self.end is not None:
            return
        closing = self._closing
        if closing is not None and closing.final is not None:
            self.finish(stamp, closing.final)
            return
        if error is None and self.outlet is not None:
            error = self.outlet.broken
        if self.opening is not None:
            self.opening.dropped(stamp, error)
        else:
            end = End(Outcome.EOF, self.phase, by="drop")
            if error is not None:
                end = end_of_error(error, self.phase)
            self.finish(stamp, end if closing is None else closing.dropped(end))

    def finish(self, stamp: int, end: End, *, flush: bool = False) -> None:
        """Write END, once; let go of the socket (`flush`: after what is written)."""
        if self.end is not None:
            return
        detail = end.detail
        if detail:
            detail = self.redactor.text(detail)
            end = end._replace(detail=detail)
        self.end = end
        if self.outlet is not None and self.outlet.holder is not None:
            self.outlet.fell(end)
        opening, self.opening = self.opening, None
        text = self.journal.word(detail) if detail else 0
        if opening is not None:
            opening.settle(kept=self.journal.wants(end.outcome))
        self.journal.row(stamp, self.session, self.op, Kind.END, end.phase, end.outcome, text)
        closing, self._closing = self._closing, None  # no circle is left for the collector
        if closing is not None:
            closing.over()
        outlet, self.outlet = self.outlet, None
        if outlet is not None:
            if flush:
                outlet.transport.close()
                # A peer that reads nothing is not waited for: the socket goes all the same.
                self._wheel.add(now_ns() + self._limits.linger_ns, outlet.transport.abort)
            else:
                outlet.transport.abort()
        if self._frames is not None:
            self._frames.stop()
            self.listener.ended(stamp, end)
