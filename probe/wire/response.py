"""The strict reader of an HTTP/1 answer, fed chunk by chunk (RFC 9112, bounded).

The rule: what is not exactly HTTP/1 is refused with a name, the raw bytes are kept, and
headers stay in order with their duplicates, since negotiation is judged on them. A body is
read only where there is one, and its first 8 KiB are kept. Answers before the answer
(1xx other than 101) are skipped, at most 16.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

HEAD_BYTES_MAX: Final = 32 * 1024
BODY_BYTES_MAX: Final = 8 * 1024
INTERIM_MAX: Final = 16
SWITCHING: Final = 101
_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_START: Final = b"HTTP/1."
_TOKEN: Final = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_TEXT: Final = bytes([9, *range(0x20, 0x7F), *range(0x80, 0x100)])
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[\t ]*(?:;[^\r\n]*)?\r\n")


class NotHttpError(Exception):
    """The answer is not HTTP/1; the text says in what way."""


class HeadTooLargeError(Exception):
    """The head is longer than `HEAD_BYTES_MAX`, or its interim answers too many."""


@dataclass(frozen=True, slots=True)
class Response:
    """One answer. `headers` keep order, duplicates and spelling; `raw` is the head as read.

    `body` is decoded from chunks and cut at `BODY_BYTES_MAX`.
    """

    status: int
    reason: str
    headers: tuple[tuple[bytes, bytes], ...]
    raw: bytes
    body: bytes = b""

    def all(self, name: bytes) -> list[bytes]:
        """Every value of a header, in order; `name` in lower case."""
        return [value for key, value in self.headers if key.lower() == name]


def parse_head(raw: bytes) -> Response:
    """The answer whose head is exactly `raw`, empty line included. Raises NotHttpError."""
    first, *lines = raw[:-4].split(b"\r\n")
    status, reason = _status_line(first)
    headers = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name.translate(None, _TOKEN):
            raise NotHttpError(f"malformed header line {line[:80]!r}")
        value = value.strip(b" \t")
        if value.translate(None, _TEXT):
            raise NotHttpError(f"control character in header {name[:80]!r}")
        headers.append((name, value))
    return Response(status, reason, tuple(headers), raw)


def _status_line(line: bytes) -> tuple[int, str]:
    match = _STATUS.fullmatch(line)
    if match is None:
        raise NotHttpError(f"no HTTP/1 status line; it begins {line[:80]!r}")
    status = int(match[2])
    if status == SWITCHING and match[1] == b"0":
        raise NotHttpError("101 in HTTP/1.0, which knows no upgrade")
    return status, (match[3] or b"").decode("latin-1")


class ResponseReader:
    """Reads one answer. `feed` until it is true, or `eof`; then `response` stands.

    `tunnel` says that the request was a CONNECT, whose 2xx answer has no body. `rest` are
    the bytes after a head without body: they belong to whoever speaks next.
    """

    __slots__ = ("_buffer", "_interim", "_length", "_tunnel", "response", "rest")

    def __init__(self, *, tunnel: bool = False) -> None:
        self._buffer = bytearray()
        self._interim = 0
        self._length = -1
        self._tunnel = tunnel
        self.response: Response | None = None
        self.rest = b""

    def feed(self, data: bytes) -> bool:
        """Take a chunk; true once the answer is whole.

        Raises NotHttpError, HeadTooLargeError.
        """
        searched = max(0, len(self._buffer) - 3)
        self._buffer += data
        if self.response is not None:
            return self._body_done(ended=False)
        while (end := self._buffer.find(b"\r\n\r\n", searched)) >= 0:
            if end + 4 > HEAD_BYTES_MAX:
                break
            raw = bytes(self._buffer[: end + 4])
            del self._buffer[: end + 4]
            if self._head(parse_head(raw)):
                return self._body_done(ended=False)
            searched = 0
            if self.response is not None:
                return True
        self._check_prefix()
        return False

    def eof(self) -> bool:
        """The peer has ended; true when a head was read and its body ends here."""
        return self.response is not None and self._body_done(ended=True)

    @property
    def partial(self) -> bytes:
        """The bytes that are not part of a head yet (for a witness of what arrived)."""
        return bytes(self._buffer)

    def _check_prefix(self) -> None:
        """Name what can never become HTTP as soon as it is seen, not at the deadline."""
        buffer = self._buffer
        if not buffer.startswith(_START[: len(buffer)]):
            raise NotHttpError(f"no HTTP/1 status line; it begins {bytes(buffer[:80])!r}")
        line, newline, _ = buffer[: 2 * HEAD_BYTES_MAX].partition(b"\n")
        if newline:
            if not line.endswith(b"\r"):
                raise NotHttpError("a line ends without carriage return")
            _status_line(bytes(line[:-1]))
        if len(buffer) > HEAD_BYTES_MAX:
            raise HeadTooLargeError(f"head over {HEAD_BYTES_MAX} bytes")

    def _head(self, response: Response) -> bool:
        """Note a head; true when a body follows."""
        status = response.status
        if 100 <= status < 200 and status != SWITCHING:  # noqa: PLR2004  RFC 9110 section 15.2
            self._interim += 1
            if self._interim > INTERIM_MAX:
                raise HeadTooLargeError(f"over {INTERIM_MAX} interim answers")
            return False
        self.response = response
        if status in (SWITCHING, 204, 304) or (self._tunnel and 200 <= status < 300):  # noqa: PLR2004
            self.rest = bytes(self._buffer)
            self._buffer.clear()
            return False
        lengths = set(response.all(b"content-length"))
        if len(lengths) == 1 and (text := lengths.pop()).isdigit() and len(text) < 16:  # noqa: PLR2004
            self._length = int(text)
        return True

    def _body_done(self, *, ended: bool) -> bool:
        """Judge the kept bytes; once the body is whole, cut or ended, put it into place."""
        response = self.response
        assert response is not None
        if response.all(b"transfer-encoding")[-1:] == [b"chunked"]:
            body, whole = _dechunk(self._buffer)
        elif self._length >= 0:
            body, whole = bytes(self._buffer[: self._length]), len(self._buffer) >= self._length
        else:
            body, whole = bytes(self._buffer), False
        # Chunks of one byte cost six: twice the bound of raw bytes is surely enough.
        if whole or ended or len(body) >= BODY_BYTES_MAX or len(self._buffer) > 2 * BODY_BYTES_MAX:
            kept = body[:BODY_BYTES_MAX]
            self.response = Response(
                response.status, response.reason, response.headers, response.raw, kept
            )
            return True
        return False

    def salvage(self) -> Response | None:
        """What was read when time ran out: the head with as much body as came, or None."""
        if self.response is not None:
            self._body_done(ended=True)
        return self.response


def _dechunk(buffer: bytearray) -> tuple[bytes, bool]:
    """The body decoded so far, and whether it is whole (or malformed, which ends it too)."""
    out = bytearray()
    at = 0
    while (match := _CHUNK.match(buffer, at)) is not None:
        size = int(match[1], 16)
        if not size:
            return bytes(out), True
        start = match.end()
        out += buffer[start : start + size]
        at = start + size + 2
        if len(out) >= BODY_BYTES_MAX:
            return bytes(out), True
    malformed = b"\n" in buffer[at : at + 256]
    return bytes(out), malformed
