"""Bytes to messages and back: the fast lane (RFC 6455 section 5).

The rule: complete, unmasked, unfragmented, uncompressed text and binary frames are read
here, and nothing else is judged here. Any other frame goes, whole and alone, to the
reference, which is made on the first such frame; between its frames it stands at a frame
boundary, so the fast lane may go on behind it. A property test holds both together.

One frame that is not whole yet is held here, at most a header and `limit` bytes.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, Protocol

from probe.wire.reference import Reference

try:
    from websockets.speedups import apply_mask
except ImportError:  # pragma: no cover  a platform without the wheel
    from websockets.utils import apply_mask

if TYPE_CHECKING:
    from collections.abc import Callable

    from websockets.extensions import Extension

TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10
CONTROL_BYTES_MAX: Final = 125
_KNOWN: Final = frozenset((0, TEXT, BINARY, CLOSE, PING, PONG))
_FIN_TEXT: Final = 0x80 | TEXT
_FIN_BINARY: Final = 0x80 | BINARY

# The mask guards intermediaries against chosen bytes (section 10.3); a probe sends its own.
_bits = random.Random().getrandbits  # noqa: S311


class Events(Protocol):
    """Where everything but plain messages goes, in order of arrival."""

    def on_odd(self, t_ns: int, event: tuple[int, int, bytes], /) -> None:
        """One event of the reference, see `reference`."""


class FrameReader:
    """Reads the frames of one connection; `limit` bounds a message, in bytes.

    `stopped` is set by the owner to get nothing more, or by a close or a failure.
    """

    __slots__ = ("_extension", "_have", "_held", "_limit", "_need", "_reference", "stopped")

    def __init__(self, limit: int, extension: Extension | None = None) -> None:
        self._limit = limit
        self._extension = extension
        self._reference: Reference | None = None
        self._held: list[bytes] | None = None
        self._have = 0
        self._need = 0
        self.stopped = False

    # One loop with all of it inside: a call per frame would cost a third of the rate.
    def feed(  # noqa: C901, PLR0912
        self, t_ns: int, data: bytes, message: Callable[[int, int, bytes], None], events: Events
    ) -> None:
        """Take a chunk; calls `message` and `events` before it returns."""
        if self._held is not None:
            self._held.append(data)
            self._have += len(data)
            if self._have < self._need:
                return
            data = b"".join(self._held)
            self._held = None
        limit, fast = self._limit, self._reference is None or not self._reference.within
        at, last = 0, len(data) - 2
        while at <= last and not self.stopped:
            first, size, start = data[at], data[at + 1], at + 2
            if size > 125:  # noqa: PLR2004  7 bits are not enough, or it is masked
                if size == 126:  # noqa: PLR2004
                    start = at + 4
                    size = int.from_bytes(data[at + 2 : start])
                elif size == 127:  # noqa: PLR2004
                    start = at + 10
                    size = int.from_bytes(data[at + 2 : start])
                else:
                    self._odd(t_ns, data[at:], message, events)
                    return
                if start > last + 2:
                    if first & 15 in _KNOWN:
                        break
                    size = 0
            stop = start + size
            if fast and size <= limit and stop <= last + 2:
                if first == _FIN_TEXT:
                    payload = data[start:stop]
                    if payload.isascii() or _is_utf8(payload):
                        message(t_ns, TEXT, payload)
                        at = stop
                        continue
                elif first == _FIN_BINARY:
                    message(t_ns, BINARY, data[start:stop])
                    at = stop
                    continue
            frame = data[at:stop]
            if stop > last + 2:
                frame = self._doomed(first, size, frame)
                if not frame:
                    self._hold(data[at:], stop - at)
                    return
            self._odd(t_ns, frame, message, events)
            at = stop
            fast = self._reference is None or not self._reference.within
        if not self.stopped and at < last + 2:
            self._hold(data[at:], 2 if at > last else _header_bytes(data[at + 1]))

    def stop(self) -> None:
        """Read no more, also of what came already."""
        self.stopped = True
        if self._reference is not None:
            self._reference.close()

    def _hold(self, data: bytes, need: int) -> None:
        self._held = [data]
        self._have = len(data)
        self._need = need

    def _doomed(self, first: int, size: int, begun: bytes) -> bytes:
        """What the reference is given of a frame that is refused for its header; else b"".

        A peer must not keep us waiting for the rest of it. Where the reference would wait, it
        gets a shorter frame with the same fault (none, where compression might find another).
        """
        reference = self._reference
        room = self._limit - (reference.size if reference else 0)
        opcode, control, plain = first & 15, first & 8, self._extension is None
        if size > room or opcode not in _KNOWN:
            return begun
        within = reference is not None and reference.within
        faulty = (
            size > CONTROL_BYTES_MAX or not first & 0x80
            if control
            else plain and within == (opcode != 0)
        )
        if faulty or (first & 0x70 and (control or plain)):
            if size > CONTROL_BYTES_MAX and control:
                return bytes((first, 126, 0, 126)) + bytes(126)
            return bytes((first, 0))
        return b""

    def _odd(
        self, t_ns: int, frame: bytes, message: Callable[[int, int, bytes], None], events: Events
    ) -> None:
        if self._reference is None:
            self._reference = Reference(self._limit, self._extension)
        for event in self._reference.feed(frame):
            if event[0] in (TEXT, BINARY):
                message(t_ns, event[0], event[2])
            else:
                if event[0] not in (PING, PONG):
                    self.stopped = True
                events.on_odd(t_ns, event)


def _header_bytes(size: int) -> int:
    return 4 if size == 126 else 10  # noqa: PLR2004  section 5.2


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def encode(opcode: int, payload: bytes, first: int = 0x80) -> bytes:
    """One masked client frame; `first` are the bits beside the opcode (FIN by default)."""
    size = len(payload)
    mask = _bits(32).to_bytes(4)
    if size < 126:  # noqa: PLR2004
        head = bytes((first | opcode, 0x80 | size))
    elif size < 1 << 16:
        head = bytes((first | opcode, 0xFE)) + size.to_bytes(2)
    else:
        head = bytes((first | opcode, 0xFF)) + size.to_bytes(8)
    return head + mask + apply_mask(payload, mask)
