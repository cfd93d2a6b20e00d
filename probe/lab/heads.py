"""Who sends a request: the user named in its head, before anybody has judged it.

The front reads no more than it needs to choose a process; what it passes on are the bytes as
they came, and the process judges them. The presentations are looked for where the handshake
looks for them, in the same order: subprotocol, header, query, cookie.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, unquote

from probe.lab.offers import OfferError, choose

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

HEAD_BYTES_MAX: Final = 32 * 1024
END: Final = re.compile(rb"\r?\n\r?\n")
_FIRST: Final = re.compile(rb"[A-Z]{1,16} [!-~]{1,8190} HTTP/1\.[01]\r?\n")
# The absolute form, which a server must take as well (RFC 9112 3.2.2), up to its path.
_ORIGIN: Final = re.compile(r"\A[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_OWN: Final = ("/auth/revoke", "/auth/logout", "/account/limits")


@dataclass(frozen=True, slots=True)
class Head:
    """What stands in the head of a request; names of headers in lower case."""

    path: str
    query: str
    headers: dict[str, list[str]]


def is_whole(received: bytes | bytearray) -> bool:
    """Whether more of the head need not be waited for: its end is there, or it is none."""
    if END.search(received) or len(received) >= HEAD_BYTES_MAX:
        return True
    return b"\n" in received and _FIRST.match(received) is None


def read_head(received: bytes) -> Head | None:
    """The head of a request; None for what is none."""
    if _FIRST.match(received) is None:
        return None
    end = END.search(received)
    text = received[: end.start() if end else len(received)].decode("utf-8", "surrogateescape")
    first, *lines = text.split("\n")
    path, _, query = _ORIGIN.sub("", first.split(" ")[1]).partition("?")
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers.setdefault(name.lower(), []).append(value.strip(" \t\r"))
    return Head(unquote(path), query.partition("#")[0], headers)


def token_in(head: Head, endpoints: Container[str]) -> str | None:
    """The token that says whose request this is, "" where one is missing.

    None for what is no user's: a path that is neither a WebSocket endpoint nor of those that
    speak of the Bearer's user.
    """
    if head.path in _OWN:
        return next(iter(bearers(head.headers.get("authorization", [])[:1])), "")
    if head.path not in endpoints:
        return None
    offered = head.headers.get("sec-websocket-protocol")
    if offered and (token := _offered(offered)):
        return token
    for token in bearers(head.headers.get("authorization", ())):
        return token
    if "token=" in head.query:
        return parse_qs(head.query).get("token", [""])[0]
    return _in_cookie(head.headers.get("cookie", ()))


def bearers(lines: Iterable[str]) -> list[str]:
    """The tokens in Authorization, of which there ought to be one."""
    found = []
    for line in lines:
        scheme, _, rest = line.partition(" ")
        if scheme.lower() == "bearer":
            found.append(rest.strip())
    return found


def _offered(lines: list[str]) -> str:
    try:
        return choose(lines).token or ""
    except OfferError:
        return ""


def _in_cookie(lines: Iterable[str]) -> str:
    for line in lines:
        try:
            morsel = SimpleCookie(line).get("token")
        except CookieError:
            continue
        if morsel is not None:
            return morsel.value
    return ""
