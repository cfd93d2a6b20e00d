"""Bytes to messages and back: the fast lane (RFC 6455 section 5).

The rule: complete, unmasked, unfragmented, uncompressed text and binary frames are read
here, and nothing else is judged here. Any other frame goes, whole and alone, to the
reference, which is made on the first such frame; between its frames it stands at a frame
boundary, so the fast lane may go on behind it. A property test holds both together.

One frame that is not whole yet is held here, at most a header and `limit` bytes.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from websockets.frames import EXTERNAL_CLOSE_CODES

from probe.wire.reference import Reference

try:
    from websockets.speedups import apply_mask
except ImportError:  # pragma: no cover  a platform without the wheel
    from websockets.utils import apply_mask

if TYPE_CHECKING:
    from websockets.extensions import Extension

TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10
CONTROL_BYTES_MAX: Final = 125
# The second byte of a frame is its size, or that two bytes or eight behind it are (section 5.2).
SHORT_MAX: Final = 125
_IN_TWO_BYTES: Final = 126
_KNOWN: Final = frozenset((0, TEXT, BINARY, CLOSE, PING, PONG))
_FIN_TEXT: Final = 0x80 | TEXT
_FIN_CLOSE: Final = 0x80 | CLOSE
_PLAIN: Final = frozenset((_FIN_TEXT, 0x80 | BINARY))

# The mask guards intermediaries against chosen bytes (section 10.3); a probe sends its own.
_bits = random.Random().getrandbits  # noqa: S311

Take = Callable[[int, int, list[bytes]], None]
"""Gets the stamp of a read, an opcode, and messages of that kind that stood in a row."""


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

    def feed(self, t_ns: int, data: bytes, take: Take, events: Events) -> None:
        """Take a chunk; calls `take` and `events`, in order of its frames, before it returns."""
        if self._held is not None:
            self._held.append(data)
            self._have += len(data)
            if self._have < self._need:
                return
            data = b"".join(self._held)
            self._held = None
        elif self._is_alone(t_ns, data, take, events):
            return
        at, last = 0, len(data) - 2
        while at <= last and not self.stopped:
            if self._reference is None or not self._reference.within:
                opcode, plain, at = _plain(data, at, self._limit)
                if plain:
                    take(t_ns, opcode, plain)
                    continue
            at = self._other(t_ns, data, at, take, events)
        if not self.stopped and at < last + 2:
            self._hold(data[at:], 2)

    def _is_alone(self, t_ns: int, data: bytes, take: Take, events: Events) -> bool:
        """Take a chunk that is one whole plain text, as nearly all are, or a right Close."""
        start, size = 2, len(data) - 2
        if size <= SHORT_MAX:
            alone = size > 0 and data[1] == size
        else:
            start, size = 4, size - 2
            alone = data[1] == _IN_TWO_BYTES and int.from_bytes(data[2:4]) == size
        if not alone or self._reference is not None or self.stopped:
            return False
        if data[0] != _FIN_TEXT:
            return data[0] == _FIN_CLOSE and self._is_last(t_ns, data, events)
        payload = data[start:]
        if size > self._limit or not payload.isascii():
            return False
        take(t_ns, TEXT, [payload])
        return True

    def _other(self, t_ns: int, data: bytes, at: int, take: Take, events: Events) -> int:
        """The frame at `at`, for the reference or held until it is whole; where it ends."""
        end = len(data)
        first, size = data[at], data[at + 1]
        if size & 0x80:  # masked: nothing behind it is read
            self._odd(t_ns, data[at:], take, events)
            return end
        start = at + 2
        if size > SHORT_MAX:
            start = at + (4 if size == _IN_TWO_BYTES else 10)
            if start <= end:
                size = int.from_bytes(data[at + 2 : start])
            elif first & 15 in _KNOWN:
                self._hold(data[at:], start - at)
                return end
            else:
                size = 0
        stop = start + size
        frame = data[at:stop]
        if stop > end:
            frame = self._doomed(first, size, frame)
            if not frame:
                self._hold(data[at:], stop - at)
                return end
        self._odd(t_ns, frame, take, events)
        return stop

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

    def _is_last(self, t_ns: int, frame: bytes, events: Events) -> bool:
        """Tell of a right Close; the usual last frame of a connection is not worth a reference."""
        if self._reference is not None or self.stopped:
            return False
        close = _right_close(frame, self._limit)
        if close is None:
            return False
        self.stopped = True
        events.on_odd(t_ns, close)
        return True

    def _odd(self, t_ns: int, frame: bytes, take: Take, events: Events) -> None:
        if self._is_last(t_ns, frame, events):
            return
        if self._reference is None:
            self._reference = Reference(self._limit, self._extension)
        for event in self._reference.feed(frame):
            if event[0] in (TEXT, BINARY):
                take(t_ns, event[0], [event[2]])
            else:
                if event[0] not in (PING, PONG):
                    self.stopped = True
                events.on_odd(t_ns, event)


# All of it in one body: a call for each frame would cost a third of the rate.
def _plain(data: bytes, at: int, limit: int) -> tuple[int, list[bytes], int]:
    """The plain frames of one kind that stand whole at `at`: opcode, payloads, where they end."""
    found: list[bytes] = []
    kind, end = data[at], len(data)
    last = end - 2 if kind in _PLAIN else -1
    while at <= last and data[at] == kind:
        size, start = data[at + 1], at + 2
        if size > SHORT_MAX:
            if size & 0x80:
                break
            start = at + (4 if size == _IN_TWO_BYTES else 10)
            size = int.from_bytes(data[at + 2 : start])
        stop = start + size
        if stop > end or size > limit:
            break
        payload = data[start:stop]
        if kind == _FIN_TEXT and not (payload.isascii() or _is_utf8(payload)):
            break
        found.append(payload)
        at = stop
    return kind & 15, found, at


def _right_close(frame: bytes, limit: int) -> tuple[int, int, bytes] | None:
    """The event of a whole Close with a code that is allowed (section 7.4); else None."""
    size = len(frame) - 2
    if not 2 <= size <= CONTROL_BYTES_MAX or frame[0] != _FIN_CLOSE or frame[1] != size:  # noqa: PLR2004
        return None
    if size > limit:
        return None
    code, reason = int.from_bytes(frame[2:4]), frame[4:]
    allowed = code in EXTERNAL_CLOSE_CODES or 3000 <= code < 5000  # noqa: PLR2004
    return (CLOSE, code, reason) if allowed and (not reason or _is_utf8(reason)) else None


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
