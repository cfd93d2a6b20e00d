"""Everything but plain frames: `websockets`' Sans-I/O protocol, used as a parser.

The rule: what a control frame, a fragment, a compressed or a broken frame means is decided
by the reference, never by us. It gets whole frames only, its answers are thrown away (the
connection answers, so that the order on the wire is ours), and messages are put together
from its fragments here; text that is no UTF-8 fails with 1007 as in section 8.1.

An event is (opcode, code, bytes): TEXT and BINARY with the message, PING and PONG with the
payload, CLOSE with code (1005: none) and reason, FAILED with the close code to send and why.
`REFUSED_CLOSE` is FAILED for a Close frame whose code is not allowed; it carries that code.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from websockets.exceptions import PayloadTooBig
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side

if TYPE_CHECKING:
    from websockets.extensions import Extension

FAILED: Final = 16
REFUSED_CLOSE: Final = 17
FRAGMENTS_MAX: Final = 65_536
Event = tuple[int, int, bytes]

# Not a registered logger: at level DEBUG the library logs payloads, which may hold secrets.
_SILENT: Final = logging.Logger("probe.wire", logging.CRITICAL + 1)  # noqa: LOG001
_INVALID_DATA: Final = 1007
_TOO_BIG: Final = 1009
_INTERNAL: Final = 1011


class Reference:
    """One connection's reference; `limit` bounds a message, `size` is what it has so far."""

    __slots__ = ("_fragments", "_opcode", "_protocol", "within")

    def __init__(self, limit: int, extension: Extension | None = None) -> None:
        self._protocol = Protocol(Side.CLIENT, max_size=limit, logger=_SILENT)
        if extension is not None:
            self._protocol.extensions = [extension]
        self._fragments: list[bytes] = []
        self._opcode = 0
        self.within = False

    @property
    def size(self) -> int:
        """Bytes of the fragmented message in progress; 0 between messages."""
        return self._protocol.current_size or 0

    def feed(self, frame: bytes) -> list[Event]:
        """Take one frame (or so much of one that it must fail); the events in it."""
        protocol = self._protocol
        protocol.receive_data(frame)
        protocol.writes.clear()
        events: list[Event] = []
        for item in protocol.events_received():
            assert isinstance(item, Frame)
            self._take(item, events)
        if protocol.parser_exc is not None:
            events.append(self._failure(protocol.parser_exc, frame))
        self.within = protocol.current_size is not None
        return events

    def close(self) -> None:
        """Take no more. Its parser holds it, and is held by it: a circle for the collector."""
        self._protocol.parser.close()

    def _take(self, frame: Frame, events: list[Event]) -> None:
        opcode = frame.opcode
        if opcode is Opcode.CLOSE:
            close = self._protocol.close_rcvd
            assert close is not None
            events.append((opcode, int(close.code), close.reason.encode()))
        elif opcode in (Opcode.PING, Opcode.PONG):
            events.append((int(opcode), 0, bytes(frame.data)))
        else:
            if opcode is not Opcode.CONT:
                self._opcode = int(opcode)
            self._fragments.append(bytes(frame.data))
            if frame.fin:
                events.append(self._whole())
            elif len(self._fragments) > FRAGMENTS_MAX:
                # Empty ones never reach the limit of bytes.
                why = f"a message of over {FRAGMENTS_MAX} fragments"
                events.append((FAILED, _TOO_BIG, why.encode()))

    def _whole(self) -> Event:
        payload = b"".join(self._fragments)
        self._fragments.clear()
        if self._opcode == Opcode.TEXT:
            try:
                payload.decode()
            except UnicodeDecodeError as error:
                why = f"{error.reason} at position {error.start}"
                return FAILED, _INVALID_DATA, why.encode()
        return self._opcode, 0, payload

    def _failure(self, error: Exception, frame: bytes) -> Event:
        sent = self._protocol.close_sent
        code = int(sent.code) if sent is not None else _INTERNAL
        if isinstance(error, PayloadTooBig):
            return FAILED, _TOO_BIG, str(error).encode()
        if frame[0] == 0x80 | Opcode.CLOSE and str(error) == "invalid status code":
            start = {126: 4, 127: 10}.get(frame[1], 2)
            return REFUSED_CLOSE, int.from_bytes(frame[start : start + 2]), b""
        return FAILED, code, str(error).encode()
