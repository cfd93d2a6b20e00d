"""From the bytes of one WebSocket message to the JSON objects in it.

The rule: what can be read is read, and what cannot is told in words, never raised; that is
so for any bytes. JSON is RFC 8259: also a number or a lone surrogate that the fast decoder
does not take is JSON, and is read by a slower one before anything is called malformed.

    json       one object
    several    objects one behind the other, a line each, or in one array (SignalR's record
               separator counts as a space)
    prefixed   a prefix, then an object, or Socket.IO's `["name", {...}]` with an optional
               namespace and acknowledgement number before it
    headers    STOMP 1.2: a command, header lines, an empty line, a body up to NUL
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from probe.model.dialect import Dialect

Parts = tuple[list[dict[str, Any] | None], str]
"""Objects in their order (None: a message that carries none, such as a heart-beat), and what
could not be read behind them, "" where all could."""
Split = Callable[[bytes], Parts]

# RecursionError: a peer may nest as deep as it likes. ValueError: msgspec's, json's, UTF-8's.
UNREADABLE: Final = (ValueError, RecursionError)
_BLANK: Final = re.compile(r"[\s\x1e]*")
_SURROGATE: Final = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a pair, which is one sign
    r"|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.",
    re.DOTALL,
)
_PACKET: Final = re.compile(rb"(?:/[^,\[{]*,)?\d*(?=[\[{])")
_LINE_END: Final = re.compile(rb"\r?\n")
_LENGTH: Final = re.compile(r"\d{1,9}")
_ESCAPES: Final = {"\\r": "\r", "\\n": "\n", "\\c": ":", "\\\\": "\\"}
_ESCAPE: Final = re.compile(r"\\.?", re.DOTALL)
_KINDS: Final[dict[type, str]] = {
    type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string",
    list: "array",
}  # fmt: skip
_PLAIN_HEADERS: Final = frozenset({"CONNECT", "CONNECTED"})  # they know no escapes


class _NoJsonError(ValueError):
    """The words of what is wrong; it does not leave this module."""


def split_of(dialect: Dialect) -> Split | None:
    """How messages of a dialect are taken apart; None: they are not looked into."""
    match dialect.framing:
        case "json":
            return _json
        case "several":
            return _several
        case "prefixed":
            return _prefixed(dialect.prefix.encode(), dialect.paths.type.split("."))
        case "headers":
            return _headers
        case "opaque":
            return None


def _refuse(name: str) -> Any:
    raise _NoJsonError(f"not JSON: {name}")


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse)
_fast: Final = msgspec.json.Decoder().decode


def _words(error: ValueError | RecursionError) -> str:
    """What was wrong, without a byte of the message."""
    match error:
        case _NoJsonError():
            return str(error)
        case json.JSONDecodeError():
            return f"not JSON: {error.msg} at character {error.pos:,}"
        case UnicodeDecodeError():
            return f"not UTF-8 at byte {error.start:,}"
        case RecursionError():
            return "nested too deeply to be read"
        case _:
            return "a number too long to be read"


def _load(data: bytes) -> Any:
    """The value; ValueError or RecursionError."""
    try:
        return _fast(data)
    except UNREADABLE:
        text = _text(data)
        if not text.strip(" \t\r\n"):
            raise _NoJsonError("not JSON: empty") from None
        return _DECODER.decode(text)


def _text(data: bytes) -> str:
    """UTF-8, each lone surrogate (RFC 8259 section 8.2) as U+FFFD, since no text can hold it."""
    return _SURROGATE.sub(lambda found: r"\ufffd" if found[1] else found[0], data.decode())


def _object(value: Any) -> dict[str, Any]:
    if type(value) is dict:
        return value
    raise _NoJsonError(f"{kind_of(value)}, not an object")


def kind_of(value: Any) -> str:
    """The word of JSON Schema for the type of a value."""
    return _KINDS.get(type(value), "object")


def _json(payload: bytes) -> Parts:
    try:
        return [_object(_load(payload))], ""
    except UNREADABLE as error:
        return [], _words(error)


def _several(payload: bytes) -> Parts:
    try:
        value = _fast(payload)
    except UNREADABLE:
        return _one_by_one(payload)
    return _objects(value if type(value) is list else [value])


def _objects(values: list[Any]) -> Parts:
    """The objects among them; the first that is none is told."""
    found: list[dict[str, Any] | None] = [value for value in values if type(value) is dict]
    if len(found) == len(values):
        return found, ""
    other = next(value for value in values if type(value) is not dict)
    return found, f"{kind_of(other)}, not an object"


def _one_by_one(payload: bytes) -> Parts:
    values: list[Any] = []
    why = ""
    try:
        text = _text(payload)
        at = _skip(text, 0)
        if at == len(text):
            raise _NoJsonError("not JSON: empty")
        while at < len(text):
            value, at = _DECODER.raw_decode(text, at)
            values += value if type(value) is list else [value]
            at = _skip(text, at)
    except UNREADABLE as error:
        why = _words(error)
    found, other = _objects(values)
    return found, why or other


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    assert found is not None
    return found.end()


def _prefixed(prefix: bytes, path: list[str]) -> Split:
    start = len(prefix)

    def split(payload: bytes) -> Parts:
        if not payload.startswith(prefix):
            return [None], ""
        head = _PACKET.match(payload, start)
        if head is None:
            return [], "no JSON object or array behind the prefix"
        try:
            value = _load(payload[head.end() :])
            return [_event(value, path) if type(value) is list else _object(value)], ""
        except UNREADABLE as error:
            return [], _words(error)

    return split


def _event(packet: list[Any], path: list[str]) -> dict[str, Any]:
    """The object of `["name", {...}]`: the first object's fields, and the name as its type."""
    if not packet or type(packet[0]) is not str:
        raise _NoJsonError("an array that does not begin with a name")
    fields = dict(next((value for value in packet if type(value) is dict), {}))
    place = fields
    for key in path[:-1]:
        inner = place.get(key)
        place[key] = dict(inner) if type(inner) is dict else {}
        place = place[key]
    place[path[-1]] = packet[0]
    return fields


def _headers(payload: bytes) -> Parts:
    if payload in {b"\n", b"\r\n"}:
        return [None], ""
    found: list[dict[str, Any] | None] = []
    at, end = _past_line_ends(payload, 0), len(payload)
    try:
        while at < end or not found:
            frame, at = _frame(payload, at)
            found.append(frame)
            at = _past_line_ends(payload, at)
    except UNREADABLE as error:
        return found, _words(error)
    return found, ""


def _past_line_ends(data: bytes, at: int) -> int:
    while line := _LINE_END.match(data, at):
        at = line.end()
    return at


def _frame(data: bytes, at: int) -> tuple[dict[str, Any], int]:
    """One frame from `at`, and where it ends; STOMP 1.2, "STOMP Frames"."""
    lines: list[str] = []
    while True:
        end = _LINE_END.search(data, at)
        if end is None:
            raise _NoJsonError("no empty line behind the headers")
        line, at = data[at : end.start()].decode(), end.end()
        if not line:
            break
        lines.append(line)
    command = lines[0]
    # The first of repeated headers counts ("Repeated Header Entries").
    headers = dict(_header(line, command) for line in reversed(lines[1:]))
    size = headers.get("content-length")
    if size is None:
        end_at = data.find(b"\0", at)
    else:
        end_at = at + int(size) if _LENGTH.fullmatch(size) and size.isascii() else -1
    if end_at < 0 or data[end_at : end_at + 1] != b"\0":
        raise _NoJsonError("no NUL where the body ends")
    return {**headers, **_body(data[at:end_at]), "command": command}, end_at + 1


def _header(line: str, command: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise _NoJsonError("a header line without a colon")
    if "\\" not in line or command in _PLAIN_HEADERS:
        return name, value
    return _ESCAPE.sub(_unescaped, name), _ESCAPE.sub(_unescaped, value)


def _unescaped(found: re.Match[str]) -> str:
    if found[0] not in _ESCAPES:
        raise _NoJsonError("an escape that STOMP 1.2 does not know")
    return _ESCAPES[found[0]]


def _body(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        return _object(_load(body))
    except UNREADABLE:
        return {"body": body.decode("utf-8", "backslashreplace")}
