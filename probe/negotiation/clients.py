"""What a client would do with an answer: browsers, `websockets`, aiohttp, and `ws` of npm.

The rule: an opinion is of the versions named, and tests/test_negotiation_clients.py holds it
against these very clients with an answer of each kind. For browsers that is Chromium, which does
what the WHATWG WebSockets standard says (establish a WebSocket connection).

Theory of operation. All four check status, Upgrade, Connection and Sec-WebSocket-Accept, and
differ in the rest: a browser and `ws` want one of the offers chosen where any was made,
`websockets` wants an offered one if any is chosen, aiohttp takes whatever comes, and none at
all where it is not an offered one.

What a client cannot send it gets no answer to: a browser sets no header for a script (WHATWG
WebSockets: the constructor takes an address and subprotocols), and three of the four refuse
subprotocols that are no tokens or are given twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, get_args

from probe.history.records import Violation
from probe.negotiation.diagnosis import close_words
from probe.negotiation.head import PROTOCOL, is_token

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from probe.negotiation.answer import Answer

Client = Literal["browser", "websockets", "aiohttp", "ws"]
CLIENTS: Final[tuple[Client, ...]] = get_args(Client)
VERSIONS: Final[Mapping[Client, str]] = MappingProxyType(
    {
        "browser": "Chromium 156",
        "websockets": "17.4",
        "aiohttp": "3.14.5",
        "ws": "8.23.0",
    }
)
"""What the opinions were measured with."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one client does.

    Whether it `opens`, which `subprotocol` it says it speaks then ("" for none), and in `words`
    what a program that uses it sees.
    """

    client: Client
    opens: bool
    subprotocol: str
    words: str


def opinion(client: Client, answer: Answer, given: Sequence[str]) -> Opinion:
    """What this client would do with this answer, had it been `given` these subprotocols."""
    error = _early(client, answer)
    chosen = ""
    if not error:
        error, chosen = _choice(client, answer, given)
    if error:
        return Opinion(client, False, "", f"fails: {error}")
    words = f"opens, subprotocol {chosen or 'none'}"
    if answer.way == "closed":
        words += f"; then close {close_words(answer.code, answer.reason)}"
    elif answer.way == "lost":
        words += "; then close 1006: the connection is lost"
    return Opinion(client, True, chosen, words)


def unsendable(client: Client, headers: Sequence[str], given: Sequence[str]) -> tuple[str, ...]:
    """Why this client cannot send a request with these `headers` (names) and subprotocols.

    Nothing where it can. The subprotocols are told by their place, since one may be a token.
    """
    why = []
    if client == "browser":
        own = {name.lower(): name for name in headers if name.lower() not in OF_THE_PAGE}
        if own:
            which = f"the header{'s' if len(own) > 1 else ''} {', '.join(own.values())}"
            words = "the WebSocket constructor takes an address and subprotocols, and no header"
            why.append(f"a browser cannot send {which}: {words}")
    illegal = [k for k, each in enumerate(given, 1) if not is_token(each.encode("utf8", "replace"))]
    twice = [k for k, each in enumerate(given, 1) if each in given[: k - 1]]
    for places, what, error in zip(
        (illegal, twice), ("no token", "there twice"), _REFUSING[client], strict=True
    ):
        if places and error:
            who = "a browser" if client == "browser" else client
            why.append(
                f"{who} cannot offer these subprotocols, number {places[0]} is {what}: {error}"
            )
            break
    return tuple(why)


OF_THE_PAGE: Final = ("cookie", "origin")
"""What a browser sends by itself, of the page and its site."""
# Of what is no token, and of what is there twice; "" where it is sent as it is.
_REFUSING: Final[Mapping[Client, tuple[str, str]]] = {
    "browser": (
        "SyntaxError, the subprotocol is invalid",
        "SyntaxError, the subprotocol is duplicated",
    ),
    "websockets": ("ValueError, invalid subprotocol", ""),
    "aiohttp": ("", ""),
    "ws": ("SyntaxError, An invalid or duplicated subprotocol was specified",) * 2,
}


def _early(client: Client, answer: Answer) -> str:  # noqa: PLR0911 -- a table
    """What it fails before it looks at the subprotocol; "" for nothing."""
    if not answer.status:
        return _unanswered(client, answer)
    if not answer.let_in:
        return _STATUS[client].format(status=answer.status)
    head = answer.head
    upgrade = b", ".join(head.all(b"upgrade")).lower()
    connection = head.elements(b"connection")
    if b"upgrade" not in [value.lower() for value in connection]:
        return _CONNECTION[client]
    if client == "aiohttp" and [value.lower() for value in connection] != [b"upgrade"]:
        return "WSServerHandshakeError: Invalid connection header (it knows no list there)"
    if upgrade != b"websocket":
        return _UPGRADE[client][0 if upgrade else 1]
    if answer.violations & Violation.ACCEPT:
        return _ACCEPT[client]
    if answer.violations & Violation.EXTENSION:
        return _EXTENSION[client]
    return ""


def _unanswered(client: Client, answer: Answer) -> str:
    what = {"silent": "a timeout", "dropped": "the connection is lost"}.get(answer.way, answer.way)
    return f"{what}, without an HTTP answer" + (_BLIND if client == "browser" else "")


_BLIND: Final = "; a script sees an error event and close 1006, and neither status nor body"
_STATUS: Final[Mapping[Client, str]] = {
    "browser": f"the answer is {{status}}, not 101{_BLIND}",
    "websockets": "InvalidStatus: server rejected WebSocket connection: HTTP {status}",
    "aiohttp": "WSServerHandshakeError: {status}, message='Invalid response status'",
    "ws": "Unexpected server response: {status}",
}
_CONNECTION: Final[Mapping[Client, str]] = {
    "browser": f"Connection has no Upgrade{_BLIND}",
    "websockets": "InvalidUpgrade: missing Connection header",
    "aiohttp": "WSServerHandshakeError: Invalid connection header",
    "ws": "Unexpected server response: 101",
}
_UPGRADE: Final[Mapping[Client, tuple[str, str]]] = {
    "browser": (f"Upgrade is not websocket{_BLIND}", f"Upgrade is missing{_BLIND}"),
    "websockets": ("InvalidUpgrade: invalid Upgrade header", "InvalidUpgrade: missing Upgrade"),
    "aiohttp": ("WSServerHandshakeError: Invalid upgrade header",) * 2,
    "ws": ("Invalid Upgrade header", "Unexpected server response: 101"),
}
_ACCEPT: Final[Mapping[Client, str]] = {
    "browser": f"Sec-WebSocket-Accept does not answer the key{_BLIND}",
    "websockets": "InvalidHeader: Sec-WebSocket-Accept",
    "aiohttp": "WSServerHandshakeError: Invalid challenge response",
    "ws": "Invalid Sec-WebSocket-Accept header",
}
_EXTENSION: Final[Mapping[Client, str]] = {
    "browser": f"an extension was not asked for, or not so{_BLIND}",
    "websockets": "NegotiationError: the extension was not asked for, or not so",
    "aiohttp": "",  # it looks at extensions only where it was told to compress
    "ws": "Server sent a Sec-WebSocket-Extensions header but no extension was requested",
}


def _choice(  # noqa: PLR0911 -- a table
    client: Client, answer: Answer, given: Sequence[str]
) -> tuple[str, str]:
    """What it fails over the subprotocol ("" for nothing), and which one it speaks then."""
    sent = answer.protocols
    one = ", ".join(value.decode("utf-8", "replace") for value in sent)
    right = len(sent) == 1 and one in given
    match client:
        case "browser":
            if right or (not sent and not given):
                return "", one
            why = "of the offers none came back" if not sent else f"{one or 'an empty value'} came"
            return f"{why}{_BLIND}", ""
        case "websockets":
            return ("", one) if right or not sent else (_websockets(answer, given), "")
        case "aiohttp":
            # It reads the first line only, and takes the first of its elements that it knows.
            parts = [part.strip() for part in (sent[0] if sent else b"").decode().split(",")]
            return "", next((part for part in parts if part in given), "")
        case "ws":
            if right or (not sent and not given):
                return "", one
            if not sent:
                return "Server sent no subprotocol", ""
            if not given:
                return "Server sent a subprotocol but none was requested", ""
            return "Server sent an invalid subprotocol", ""


def _websockets(answer: Answer, given: Sequence[str]) -> str:
    if not given:
        return "NegotiationError: no subprotocols supported (the library was given none)"
    values = answer.head.elements(PROTOCOL)
    if not values or not all(map(is_token, values)):
        return "InvalidHeaderFormat: invalid Sec-WebSocket-Protocol header"
    if len(values) > 1:
        return "InvalidHeader: invalid Sec-WebSocket-Protocol header: multiple values"
    return f"NegotiationError: unsupported subprotocol: {values[0].decode()}"
