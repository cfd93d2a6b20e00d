"""How bytes leave, and what the socket tells of itself.

The rule: a stamp is the time of the write. A transport would hold the bytes back to the end
of the loop's turn, which under a herd is milliseconds after the stamp, so they go past it
while nothing waits in it. (TLS has no way past.)
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, NamedTuple

from probe.clock import now_ns

if TYPE_CHECKING:
    import asyncio


class TlsInfo(NamedTuple):
    """What TLS agreed on; `fingerprint` is the SHA-256 of the peer's certificate, in hex."""

    version: str
    cipher: str
    fingerprint: str


class Outlet:
    """One transport; `fd` is its socket, or -1 where bytes must not pass the transport.

    `broken` is the error that a write met. It is not judged there, since what the peer sent
    before it can still be read; but it is kept, because the kernel tells it only once.
    """

    __slots__ = ("_fd", "broken", "transport")

    def __init__(self, transport: asyncio.Transport, fd: int) -> None:
        self.transport = transport
        self._fd = fd
        self.broken: OSError | None = None

    def put(self, data: bytes) -> int:
        """Write now; the stamp right before it, or 0 when the socket is broken."""
        transport = self.transport
        stamp = now_ns()
        if self._fd >= 0 and not transport.is_closing() and not transport.get_write_buffer_size():
            try:
                done = os.write(self._fd, data)
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
