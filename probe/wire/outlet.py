"""How bytes leave, and what the socket tells of itself.

The rule: a stamp is the time of the write. A transport would hold the bytes back to the end
of the loop's turn, which under a herd is milliseconds after the stamp, so they go past it
while nothing waits in it. (The TLS of the event loop has no way past; ours has, see `tls`.)
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import sys
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from probe.clock import now_ns
from probe.wire.tls import TlsLayer

if TYPE_CHECKING:
    from probe.wire.ends import End


_RTT_US: Final = slice(68, 72)
"""Of the kernel's `struct tcp_info` (linux/tcp.h): `tcpi_rtt`, microseconds."""


class TlsInfo(NamedTuple):
    """What TLS agreed on; `fingerprint` is the SHA-256 of the peer's certificate, in hex."""

    version: str
    cipher: str
    fingerprint: str


class Holder(Protocol):
    """Who is in the middle of writing something, so that nothing else may be written."""

    def fell(self, end: End, /) -> None:
        """The connection ends; nothing more can be written."""


class Outlet:
    """One transport; `fd` is its socket, or -1 where bytes must not pass the transport.

    `broken` is the error that a write met. It is not judged there, since what the peer sent
    before it can still be read; but it is kept, because the kernel tells it only once.
    While there is a `holder`, what is `put` waits behind what it writes.
    """

    __slots__ = ("_behind", "broken", "fd", "holder", "transport")

    def __init__(self, transport: asyncio.Transport, fd: int) -> None:
        self.transport = transport
        self.fd = fd
        self.broken: OSError | None = None
        self.holder: Holder | None = None
        self._behind: bytearray | None = None  # None: nothing waits and nobody holds

    def put(self, data: bytes) -> int:
        """Write now; the stamp right before it, or 0: the socket is broken, or it must wait."""
        if self._behind is not None:
            self._behind += data
            return 0 if self.holder is not None else self._flush()
        transport = self.transport
        stamp = now_ns()
        if self.fd >= 0 and not transport.is_closing() and not transport.get_write_buffer_size():
            try:
                done = os.write(self.fd, data)
            except BlockingIOError:
                done = 0
            except OSError as error:
                self.broken = error
                return 0
            if done == len(data):
                return stamp
            data = data[done:]
        transport.write(data)
        return stamp

    @property
    def backlog(self) -> int:
        """Bytes that wait, behind a holder or for room in the kernel's buffer."""
        return self.transport.get_write_buffer_size() + len(self._behind or b"")

    # For the holder.

    def occupy(self, holder: Holder) -> None:
        """From now on only `holder` writes. Raises ValueError when there is one already."""
        if self.holder is not None:
            raise ValueError("bytes are held back on this connection already")
        self.holder = holder
        self._behind = self._behind or bytearray()

    def write(self, data: bytes) -> int:
        """As `put`, past what waits."""
        behind, self._behind = self._behind, None
        try:
            return self.put(data)
        finally:
            self._behind = behind

    def can_seal(self) -> None:
        """Raises ValueError where `seal` cannot be."""
        if self.fd < 0 and not isinstance(self.transport, TlsLayer):
            raise ValueError("the event loop's TLS holds nothing back: dial with gated=True")

    def seal(self, data: bytes) -> tuple[int, bytes]:
        """The descriptor and the bytes that, once written to it, give `data` to the peer."""
        transport = self.transport
        return transport.seal(data) if isinstance(transport, TlsLayer) else (self.fd, data)

    @property
    def rtt_ns(self) -> int:
        """The way there and back as the kernel has smoothed it; 0 where it does not tell."""
        socket_ = self.transport.get_extra_info("socket")
        if socket_ is None or not hasattr(socket, "TCP_INFO"):
            return 0
        told = socket_.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RTT_US.stop)
        return int.from_bytes(told[_RTT_US], sys.byteorder) * 1_000

    def fell(self, end: End) -> None:
        """The connection ends: whoever is in the middle of writing has to give up."""
        if self.holder is not None:
            self.holder.fell(end)

    def vacate(self) -> None:
        """The holder is done: what waits follows, at the latest in the loop's next turn."""
        self.holder = None
        if isinstance(self.transport, TlsLayer):
            self.transport.unseal()
        if self._behind:
            asyncio.get_running_loop().call_soon(self._flush)
        else:
            self._behind = None

    def _flush(self) -> int:
        if self._behind is None or self.holder is not None:
            return 0
        behind, self._behind = self._behind, None
        return self.put(bytes(behind))

    def address(self, which: str) -> tuple[str, int]:
        """Host and port of "sockname" or "peername"."""
        host, port, *_ = self.transport.get_extra_info(which)
        return host, port

    def tls_info(self) -> TlsInfo | None:
        """What TLS agreed on; None for plain ws."""
        tls = self.transport.get_extra_info("ssl_object")
        if tls is None:
            return None
        fingerprint = hashlib.sha256(tls.getpeercert(binary_form=True) or b"").hexdigest()
        return TlsInfo(tls.version() or "", tls.cipher()[0], fingerprint)
