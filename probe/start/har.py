"""A browser's HAR file as sessions: Chrome's form, which Playwright, mitmproxy and others write.

The format is HAR 1.2; of it only what is needed is decoded: entries with `_webSocketMessages`,
each with `type` ("send" or "receive"), `opcode` and `data` (text, or base64 of what is binary).
An archive may list a connection
without its messages, as those of Firefox did, which is told. The rule: any bytes are
read within bounds or refused with a reason; what could be a secret is told to the redactor first.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import msgspec

from probe.check.words import counted
from probe.errors import ConfigError, Problem
from probe.start.files import Showing
from probe.start.secrets import in_payloads, is_secret_name, looks_secret, of_headers, of_url
from probe.start.seen import Message, Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probe.redact import Redactor

FILE_MAX: Final = 128 << 20
ENTRIES_MAX: Final = 50_000
SESSIONS_MAX: Final = 200
MESSAGES_MAX: Final = 20_000
MESSAGE_MAX: Final = 1 << 20
SECRETS_MAX: Final = 2_000
SWITCHING: Final = 101
_BINARY: Final = 2
_SURROGATE: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a pair, which is one sign
    rb"|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.",
    re.DOTALL,
)


class _Pair(msgspec.Struct):
    name: str = ""
    value: str = ""


class _Request(msgspec.Struct):
    url: str = ""
    headers: list[_Pair] = []


class _Response(msgspec.Struct):
    status: int = 0
    headers: list[_Pair] = []


class _Said(msgspec.Struct):
    type: str = ""
    opcode: int = 1
    data: str = ""


class _Entry(msgspec.Struct):
    request: _Request = msgspec.field(default_factory=_Request)
    response: _Response = msgspec.field(default_factory=_Response)
    messages: list[_Said] | None = msgspec.field(default=None, name="_webSocketMessages")


class _Log(msgspec.Struct):
    entries: list[_Entry]


class _Archive(msgspec.Struct):
    log: _Log


@dataclass(frozen=True, slots=True)
class Archived:
    """The sessions at one URL (without query), how they were opened, and what was chosen."""

    url: str
    showing: Showing
    selects: str | None
    sessions: tuple[Session, ...]
    notes: tuple[str, ...] = ()


def read(data: bytes, origin: str, redactor: Redactor) -> list[Archived]:
    """Every URL with messages, the most first. ConfigError where there is none, or no HAR."""
    try:
        entries = _decoded(data).log.entries[:ENTRIES_MAX]
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        # The words of a decoder may quote nothing, but a path of the file they may.
        why = "nested too deeply" if isinstance(error, RecursionError) else "no HAR 1.2 in JSON"
        raise ConfigError(Problem(origin, "", f"cannot be read as a HAR file: {why}")) from None
    sockets = [each for each in entries if _is_socket(each)]
    spoken = [each for each in sockets if each.messages][:SESSIONS_MAX]
    if not spoken:
        raise ConfigError(_nothing(origin, len(entries), len(sockets)))
    for secret in _secrets(spoken):
        redactor.add(secret)
    places: dict[str, list[_Entry]] = {}
    for entry in spoken:
        places.setdefault(_place(entry.request.url), []).append(entry)
    found = [_archived(url, entries) for url, entries in places.items()]
    return sorted(found, key=lambda each: -sum(len(s.messages) for s in each.sessions))


def _decoded(data: bytes) -> _Archive:
    """The archive; a lone surrogate (RFC 8259 section 8.2), which no text can hold, is U+FFFD."""
    try:
        return msgspec.json.decode(data, type=_Archive)
    except (ValueError, RecursionError):
        if not _SURROGATE.search(data):
            raise
    mended = _SURROGATE.sub(lambda found: rb"\ufffd" if found[1] else found[0], data)
    return msgspec.json.decode(mended, type=_Archive)


def _is_socket(entry: _Entry) -> bool:
    """A WebSocket at a URL that can be read as one."""
    try:
        urlsplit(entry.request.url)
    except ValueError:
        return False
    return entry.messages is not None or entry.request.url.lower().startswith(("ws://", "wss://"))


def _nothing(origin: str, entries: int, sockets: int) -> Problem:
    if not sockets:
        message = f"holds no WebSocket among {counted(entries, 'request')}"
        hint = "open the page with the developer tools already open, then save all as HAR"
    else:
        message = f"holds {counted(sockets, 'WebSocket connection')} without a message"
        hint = "not every browser saves them: Chrome and Edge do; or use `probe record URL`"
    return Problem(origin, "", message, hint=hint)


def _secrets(entries: list[_Entry]) -> Iterator[str]:
    """What is likely to be a secret, up to a bound."""
    left = SECRETS_MAX
    for secret in _every_secret(entries):
        if not left:
            return
        left -= 1
        yield secret


def _every_secret(entries: list[_Entry]) -> Iterator[str]:
    for entry in entries:
        headers = [*entry.request.headers, *entry.response.headers]
        yield from of_headers((pair.name, pair.value) for pair in headers)
        yield from of_url(entry.request.url)
    said = (each.data.encode("utf-8", "replace") for e in entries for each in e.messages or ())
    yield from in_payloads(said)


def _place(url: str) -> str:
    """A URL without query, fragment and user."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _archived(url: str, entries: list[_Entry]) -> Archived:
    first = entries[0]
    showing, selects, notes = _opened(first)
    sessions = tuple(_session(entry) for entry in entries)
    return Archived(url, showing, selects, sessions, notes)


def _opened(entry: _Entry) -> tuple[Showing, str | None, tuple[str, ...]]:
    """How the connection was opened, with `{token}` where a token stood."""
    notes: list[str] = []
    offers: list[str] = []
    for pair in entry.request.headers:
        name = pair.name.lower()
        if name == "sec-websocket-protocol":
            offers += [_blanked(offer.strip()) for offer in pair.value.split(",") if offer.strip()]
        elif name in {"cookie", "authorization"}:
            notes.append(
                f"the browser sent a header {pair.name[:40]}: say in [present] what is in it"
            )
    query: dict[str, str] = {}
    for part in urlsplit(entry.request.url).query.split("&")[:50]:
        name, _, value = part.partition("=")
        if name and (is_secret_name(name) or looks_secret(value)):
            query[name] = "{token}"
        elif name:
            notes.append(f"the URL had a query parameter {name[:40]!r}, whose value is left out")
    chosen = [p.value for p in entry.response.headers if p.name.lower() == "sec-websocket-protocol"]
    selects = _blanked(chosen[0].strip()) if chosen else ("" if offers else None)
    return Showing(tuple(offers), query=query), selects, tuple(notes)


def _blanked(offer: str) -> str:
    """An offered subprotocol without the token in it, if it is one."""
    if list(of_headers([("sec-websocket-protocol", offer)])):
        scheme, dot, _ = offer.partition(".")
        return f"{scheme}.{{token}}" if dot and not scheme.startswith("eyJ") else "{token}"
    return offer


def _session(entry: _Entry) -> Session:
    said = entry.messages or []
    messages = [
        Message(each.type == "send", _payload(each), each.opcode)
        for each in said[:MESSAGES_MAX]
        if each.opcode in (1, _BINARY) and len(each.data) <= MESSAGE_MAX
    ]
    return Session(tuple(messages), cut=len(said) > MESSAGES_MAX)


def _payload(said: _Said) -> bytes:
    if said.opcode == _BINARY:
        try:
            return base64.b64decode(said.data, validate=True)
        except (binascii.Error, ValueError):
            pass  # some archives hold the bytes as they are
    return said.data.encode("utf-8", "replace")
