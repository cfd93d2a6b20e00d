"""How a request or a frame leaves that does not leave at once: in pieces, or held back.

The rule: until the last of it has left nothing else is written on that connection, since it
would land in the middle. The owner's sends return 0, pongs wait behind, a Close is not sent.
What was not sent is not told as sent: SENT carries the stamp of the write that took the last
byte of the head, and an attempt that ends before has no SENT row and says how far it came.

After the last-byte synchronisation of race testing (Kettle, 2023): every connection is taken
as far as it goes without one byte, and then the missing bytes are written in a tight loop.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from probe.clock import now_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from probe.wire.ends import End
    from probe.wire.outlet import Outlet

HELD_BYTES_MAX: Final = 16 * 1024  # one TLS record (RFC 8446 section 5.1): all or nothing
_LOOK_AGAIN_S: Final = 0.001


class Progress(Protocol):
    """How far a request has left; `done` counts bytes of its head."""

    @property
    def done(self) -> int:
        """Bytes of the head that were written."""

    @property
    def sent_ns(self) -> int:
        """When the last byte of the head was written; 0 before."""


class Sending(Protocol):
    """A way for a request to leave, as `dial` takes it: `Pieces` or `Held`."""

    def check(self, request: bytes) -> None:
        """Whether it fits this request head. Raises ValueError."""

    def begin(self, outlet: Outlet, request: bytes) -> Progress:
        """The connection stands: write what is to be written now."""

    def fell(self, end: End) -> None:
        """The attempt is over before all has left."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """Each piece after a pause: (bytes, ns from the write before it, or from TCP or TLS).

    Together they begin with the request head; what is behind it (frames, a body) goes out
    whether or not an answer has come by then. A pause is kept at least, and exceeded by the
    loop's lag (a millisecond or two); pieces without a pause are writes of their own.
    """

    parts: tuple[tuple[bytes, int], ...]

    @classmethod
    def cut(cls, data: bytes, size: int, pause_ns: int) -> Pieces:
        """`data` in pieces of `size` bytes with a pause before each but the first."""
        pieces = (data[at : at + size] for at in range(0, len(data), size))
        return cls(tuple((piece, pause_ns if i else 0) for i, piece in enumerate(pieces)))

    def check(self, request: bytes) -> None:
        """Raises ValueError unless the pieces begin with the request."""
        if not b"".join(piece for piece, _ in self.parts).startswith(request):
            raise ValueError("the pieces do not begin with the request")
        if any(not piece or pause < 0 for piece, pause in self.parts):
            raise ValueError("a piece has at least one byte, and a pause is not negative")

    def begin(self, outlet: Outlet, request: bytes) -> Progress:
        """Write what has no pause before it; the rest follows by timers."""
        return _Writer(self.parts, outlet, len(request))

    def fell(self, end: End) -> None:
        """Nothing to tell: who dials in pieces learns of the end from `dial`."""


class _Writer:
    """One request on its way out in pieces."""

    __slots__ = ("_last_ns", "_left", "_outlet", "_size", "_timer", "_written", "sent_ns")

    def __init__(self, parts: tuple[tuple[bytes, int], ...], outlet: Outlet, size: int) -> None:
        self._outlet = outlet
        self._left = deque(parts)
        self._size = size
        self._written = 0
        self._last_ns = now_ns()
        self._timer: asyncio.TimerHandle | None = None
        self.sent_ns = 0
        self._outlet.occupy(self)
        self._step()

    @property
    def done(self) -> int:
        return min(self._written, self._size)

    def _step(self) -> None:
        while self._left:
            piece, pause_ns = self._left[0]
            # A loop's timer may be early by its granularity, so the clock decides.
            wait_ns = self._last_ns + pause_ns - now_ns() if pause_ns else 0
            if wait_ns > 0:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(max(wait_ns / 1e9, _LOOK_AGAIN_S), self._step)
                return
            stamp = self._outlet.write(piece)
            if not stamp:
                return  # the socket is broken, which its reading side will tell
            self._left.popleft()
            self._last_ns = stamp
            self._written += len(piece)
            if not self.sent_ns and self._written >= self._size:
                self.sent_ns = stamp
        self._outlet.vacate()

    def fell(self, _: End) -> None:
        self._left.clear()
        if self._timer is not None:
            self._timer.cancel()


class Held:
    """Bytes of which the last wait for `release`. For one use.

    As `sending` of `dial` it holds back the last `last` bytes of the request head and all of
    `behind` (the first frames, say), which leave in one write. `Connection.hold` makes one
    for a frame or a burst.
    With TLS what is held back is one record, of which all but the last byte of its ciphertext
    is written beforehand: the peer can read nothing of it before the release, and then all.

    `armed_ns` is when all but the held bytes had been taken by the kernel (0 before), `armed`
    whether a release can do its work now, `sent_ns` when the rest was written (0 before),
    `end` how the connection ended or began to end without a release (None else): one that
    fell out. `watch` is called without arguments when it is armed and when it falls out.
    """

    __slots__ = (
        "_fd",
        "_outlet",
        "_size",
        "_tail",
        "armed",
        "armed_ns",
        "behind",
        "end",
        "last",
        "sent_ns",
        "watch",
    )

    def __init__(
        self, last: int = 1, behind: bytes = b"", watch: Callable[[], object] | None = None
    ) -> None:
        self.last = last
        self.behind = behind
        self.watch = watch
        self.armed = False
        self.armed_ns = 0
        self.sent_ns = 0
        self.end: End | None = None
        self._size = 0
        self._outlet: Outlet | None = None
        self._fd = -1
        self._tail = b""

    @property
    def done(self) -> int:
        """Bytes of the head or frame that were written."""
        return self._size if self.sent_ns else self._size - self.last

    @property
    def rtt_ns(self) -> int:
        """The way to the peer and back while something is held; 0 else, or where unknown."""
        return self._outlet.rtt_ns if self._outlet is not None else 0

    def check(self, request: bytes) -> None:
        """Raises ValueError for a use that cannot be, or a second one."""
        if self._size or self.end is not None:
            raise ValueError("a Held is for one use")
        if not 0 < self.last <= len(request):
            raise ValueError(f"of {len(request)} bytes {self.last} cannot be held back")
        if self.last + len(self.behind) > HELD_BYTES_MAX:
            raise ValueError(f"at most {HELD_BYTES_MAX} bytes are held back, one TLS record")

    def begin(self, outlet: Outlet, request: bytes) -> Progress:
        """Write all but what is held back. Raises ValueError where TLS cannot be held."""
        self._size = len(request)
        outlet.can_seal()
        outlet.occupy(self)
        self._outlet = outlet
        cut = len(request) - self.last
        if cut:
            outlet.write(request[:cut])
        self._fd, self._tail = outlet.seal(request[cut:] + self.behind)
        self._look()
        return self

    def _look(self) -> None:
        """Armed is what the kernel has taken, not what waits for room in its buffer."""
        outlet = self._outlet
        if outlet is None:
            return
        if outlet.transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(_LOOK_AGAIN_S, self._look)
            return
        self.armed_ns = now_ns()
        self.armed = True
        self._tell()

    def release(self) -> int:
        """Write the rest, now: the stamp right before it, or 0 if it could not be written."""
        stamp = self.let_go()
        if stamp:
            self.follow()
        return stamp

    def let_go(self) -> int:
        """As `release`, for a tight loop: one non-blocking system call, and nothing else.

        Only `follow` gives the connection back to its owner, and to what waits behind.
        """
        outlet = self._outlet
        if not self.armed or outlet is None:
            return 0
        stamp = now_ns()
        try:
            done = os.write(self._fd, self._tail)
        except BlockingIOError:
            return 0
        except OSError as error:
            outlet.broken = error
            return 0
        self.sent_ns = stamp
        self.armed = False
        if done < len(self._tail):
            outlet.write(self._tail[done:])
        return stamp

    def follow(self) -> None:
        """What waits behind what was let go follows, at the latest in the loop's next turn."""
        outlet = self._outlet
        if outlet is not None and self.sent_ns:
            self._outlet = None
            outlet.vacate()

    def fell(self, end: End) -> None:
        """The connection ends; does nothing after a release."""
        if self.sent_ns or self.end is not None:
            return
        self.end = end
        self.armed = False
        self._outlet = None
        self._tell()

    def _tell(self) -> None:
        if self.watch is not None:
            self.watch()
