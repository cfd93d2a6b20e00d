"""TLS of our own over a TCP transport, for connections that hold bytes back.

The rule: one record can be encrypted and kept back but for its last byte, and until that byte
is written nothing else of the session is: records are numbered (RFC 8446 section 5.3), so one
that overtook it could not be read. Answers of TLS itself (to a KeyUpdate) wait as well.

It stands between the socket's transport and the `Connection`, to which it is a transport.
The event loop's TLS cannot do this: it has no way to encrypt without writing.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Final, Protocol

READ_BYTES: Final = 256 * 1024
ANSWER_BYTES_MAX: Final = 64 * 1024


class Below(Protocol):
    """The socket, as `outlet.Outlet` has it."""

    transport: asyncio.Transport
    fd: int
    broken: OSError | None

    def put(self, data: bytes) -> int:
        """Write now."""


class TlsLayer(asyncio.Transport, asyncio.Protocol):
    """The client's side of one TLS session; `below` is the socket, `above` whom it is for.

    `done` is set once the handshake is through, or to the error that it met: what the
    event loop's `start_tls` would raise.
    """

    __slots__ = (
        "_above",
        "_below",
        "_closing",
        "_incoming",
        "_outgoing",
        "_ready",
        "_sealed",
        "_tls",
        "done",
    )

    def __init__(
        self,
        below: Below,
        above: asyncio.Protocol,
        context: ssl.SSLContext,
        server_name: str | None,
    ) -> None:
        super().__init__()
        self._below = below
        self._above = above
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        self._ready = False
        self._closing = False
        self._sealed = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def begin(self) -> None:
        """Take the socket over and say hello."""
        self._below.transport.set_protocol(self)
        self._shake()

    # What the loop calls.

    def data_received(self, data: bytes) -> None:
        """Ciphertext."""
        self._incoming.write(data)
        if not self._ready:
            self._shake()
        if self._ready:
            self._read()

    def eof_received(self) -> None:
        """The peer has ended TCP; whether it said so in TLS makes no difference to us."""
        if self._below.broken is not None:
            self.connection_lost(self._below.broken)
        elif self._ready:
            self._above.eof_received()
        else:
            self._settle(ConnectionResetError())

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._closing = True
        if self._ready:
            self._above.connection_lost(exc or self._below.broken)
        else:
            self._settle(exc or ConnectionResetError())

    def _shake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._push()
        except ssl.SSLError as error:
            self._push()  # the alert that tells the peer why
            self._settle(error)
        else:
            self._push()
            self._settle(None)

    def _settle(self, error: Exception | None) -> None:
        if self.done.done():  # or cancelled, by who waited for it
            return
        if error is None:
            self._ready = True
            self.done.set_result(None)
        else:
            self._closing = True
            self.done.set_exception(error)

    def _read(self) -> None:
        try:
            while not self._closing:
                data = self._tls.read(READ_BYTES)
                if not data:  # close_notify
                    self._above.eof_received()
                    return
                self._above.data_received(data)
        except ssl.SSLWantReadError:
            self._push()
        except ssl.SSLError as error:
            self._push()
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if not self._closing:
            self._above.connection_lost(error)
            self.abort()

    def _push(self) -> None:
        if not self._sealed:
            if self._outgoing.pending:
                self._below.put(self._outgoing.read())
        elif self._outgoing.pending > ANSWER_BYTES_MAX:
            self._fail(ssl.SSLError(1, "the peer wants more answers of TLS than may wait"))

    # The held record.

    def seal(self, data: bytes) -> tuple[int, bytes]:
        """Encrypt `data`, one record, and write it but for its last byte.

        The socket's descriptor, and the byte to be written to it, directly, before `unseal`.
        """
        self._tls.write(data)
        record = self._outgoing.read()
        self._below.put(record[:-1])
        self._sealed = True
        return self._below.fd, record[-1:]

    def unseal(self) -> None:
        """The byte is written: the session goes on."""
        if self._sealed:
            self._sealed = False
            self._push()

    # What the connection calls.

    def write(self, data: bytes) -> None:  # type: ignore[override]
        """Encrypt, and write at once."""
        if self._closing:
            return
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            # Told later: who writes must not be called back from within.
            asyncio.get_running_loop().call_soon(self._fail, error)
            return
        self._push()

    def close(self) -> None:
        """Say goodbye and end TCP once all is written; what is held back is lost."""
        if self._closing:
            return
        self._closing = True
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            self._push()  # its answer is not waited for
        self._below.transport.close()

    def abort(self) -> None:
        """End TCP now."""
        self._closing = True
        self._below.transport.abort()

    def is_closing(self) -> bool:
        """Whether it is over."""
        return self._closing or self._below.transport.is_closing()

    def pause_reading(self) -> None:
        """Read no more from the socket."""
        self._below.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._below.transport.resume_reading()

    def get_write_buffer_size(self) -> int:
        """Bytes of ciphertext that wait."""
        return self._below.transport.get_write_buffer_size() + self._outgoing.pending

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As of the socket's transport, and "ssl_object"."""
        if name == "ssl_object":
            return self._tls
        return self._below.transport.get_extra_info(name, default)
