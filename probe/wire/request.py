"""The upgrade request as prepared bytes (RFC 6455 section 4.1).

The rule: what can be decided once per endpoint is; one connection adds its key and what
only it sends. Any header may be sent, twice, or against the RFC (a given name replaces our
own header of that name), but no value can smuggle a line in.
"""

from __future__ import annotations

import binascii
import hashlib
import os
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probe.wire.route import Route

DEFLATE: Final = "permessage-deflate; client_max_window_bits"
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY: Final = "sec-websocket-key"


class Facts(NamedTuple):
    """What the request said, against which the answer is judged.

    `extensions` is the offer as it was sent, "" for none.
    """

    key: bytes
    subprotocols: tuple[str, ...] = ()
    extensions: str = ""


def new_key() -> bytes:
    """A fresh Sec-WebSocket-Key: 16 random bytes in base64."""
    return binascii.b2a_base64(os.urandom(16), newline=False)


def accept_for(key: bytes) -> bytes:
    """The Sec-WebSocket-Accept that answers `key`."""
    digest = hashlib.sha1(key + _GUID, usedforsecurity=False).digest()
    return binascii.b2a_base64(digest, newline=False)


class Prepared:
    """The request of one endpoint, but for what each connection adds.

    `headers` come after ours, in order. Raises ValueError for line breaks in them.
    """

    __slots__ = ("_before", "_own_key", "_resource")

    def __init__(self, route: Route, headers: Sequence[tuple[str, str]] = ()) -> None:
        given = {name.lower() for name, _ in headers}
        own = [
            ("Host", route.host_header),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
        ]
        lines = [(name, value) for name, value in own if name.lower() not in given]
        rest = b"".join(_line(name, value) for name, value in (*lines, *headers))
        self._resource = _target(route.resource)
        self._before = b"GET " + self._resource + b" HTTP/1.1\r\n" + rest
        self._own_key = _KEY not in given
        if self._own_key:
            self._before += b"Sec-WebSocket-Key: "

    def build(
        self,
        key: bytes,
        *,
        subprotocols: Sequence[str] = (),
        headers: Sequence[tuple[str, str]] = (),
        resource: str | None = None,
        extensions: str = "",
        line: bytes = b"",
    ) -> bytes:
        """The whole request head. Raises ValueError for a line break in any of it.

        `line` comes before `headers`: one that is whole, and for which the caller vouches.
        """
        more = subprotocols or headers or extensions or resource is not None
        if self._own_key and not more:
            return b"%b%b\r\n%b\r\n" % (self._before, key, line)
        parts = [self._before]
        if resource is not None:
            old = len(self._resource)
            parts = [b"GET ", _target(resource), self._before[4 + old :]]
        if self._own_key:
            parts += (key, b"\r\n")
        if subprotocols:
            parts.append(_line("Sec-WebSocket-Protocol", ", ".join(subprotocols)))
        if extensions:
            parts.append(_line("Sec-WebSocket-Extensions", extensions))
        parts.append(line)
        parts += [_line(name, value) for name, value in headers]
        parts.append(b"\r\n")
        return b"".join(parts)


def _line(name: str, value: str) -> bytes:
    line = f"{name}: {value}".encode("utf-8", "surrogateescape")
    if b"\r" in line or b"\n" in line or b"\0" in line:
        # Neither name nor value is quoted: the value may be a token.
        raise ValueError("a header holds a line break or NUL, which would forge another header")
    return line + b"\r\n"


def _target(resource: str) -> bytes:
    raw = resource.encode("utf-8", "surrogateescape")
    if not raw.startswith(b"/") or any(byte <= ord(" ") for byte in raw):
        raise ValueError("a resource starts with / and holds no blank or line break")
    return raw
