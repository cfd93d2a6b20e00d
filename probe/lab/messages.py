"""What is said on a WebSocket: the client's messages read, ours encoded into frames once.

Ids that a client brings are echoed, so they are held to a harmless alphabet and may not
look like a token; the ledger repeats them. A frame is unmasked, unfragmented text (RFC
6455 section 5.2), made once however many connections it goes to.
"""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import WSMsgType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import WSMessage

THOUGHTS_MAX: Final = 20_000
PAD_BYTES_MAX: Final = 16_384
_THOUGHT: Final = "looking for a tool"
_ECHO_CHARS_MAX: Final = 1_000
_ID: Final = re.compile(r"[A-Za-z0-9_.:/@+-]{1,128}", re.ASCII)
_JWT_START: Final = "eyJ"  # base64url of the opening of a JSON object
_FIN_TEXT: Final = 0x81
_FIN_PONG: Final = 0x8A
_LENGTH_16: Final = 126  # the length follows in 16 bits
_LENGTH_64: Final = 127

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


class MessageError(Exception):
    """A message cannot be served; `code` is a fixed word for the error event."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Message(msgspec.Struct, frozen=True, gc=False):
    """One frame to a client, and the type of the message in it ("" for a control frame)."""

    frame: bytes
    kind: str


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event of a run, as all its readers get it.

    The garbage collector does not look at it: a log of thousands of them costs no pause.
    """

    frame: bytes
    kind: str
    run_id: str
    sequence: int
    cursor: int


class Asked(msgspec.Struct, frozen=True):
    """The run that a start_agent message asks for."""

    run_id: str
    thread_id: str
    message: str
    thoughts: int
    thought: str  # what each of its agent_thinking says


def timestamp() -> str:
    """Now, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat()


def text_frame(fields: Mapping[str, object]) -> bytes:
    """These fields as JSON in one text frame."""
    body = _encode(fields)
    size = len(body)
    if size < _LENGTH_16:
        return bytes((_FIN_TEXT, size)) + body
    if size < 1 << 16:
        return bytes((_FIN_TEXT, _LENGTH_16)) + size.to_bytes(2, "big") + body
    return bytes((_FIN_TEXT, _LENGTH_64)) + size.to_bytes(8, "big") + body


def payload_of(frame: bytes) -> bytes:
    """The JSON of a frame of `text_frame`."""
    match frame[1]:
        case 126:
            return frame[4:]
        case 127:
            return frame[10:]
        case _:
            return frame[2:]


def notice(kind: str, fields: Mapping[str, object]) -> Message:
    """A message of the lab that is no event."""
    return Message(text_frame({"type": kind, "timestamp": timestamp(), **fields}), kind)


def pong_frame(data: bytes) -> Message:
    """The answer to a WebSocket ping (section 5.5.3); a ping carries at most 125 bytes."""
    return Message(bytes((_FIN_PONG, len(data))) + data, "")


def read(last: WSMessage) -> dict[str, Any]:
    """The object in a message of a client, which has a type; MessageError otherwise."""
    if last.type is not WSMsgType.TEXT:
        raise MessageError("not_text")
    try:
        message = _decode(last.data)
    except (msgspec.DecodeError, RecursionError):
        raise MessageError("not_json") from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise MessageError("no_type")
    return message


def read_id(message: Mapping[str, Any], name: str) -> str | None:
    """The id of that name in a message, None without one; MessageError when it is unfit."""
    value = message.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not _ID.fullmatch(value) or _JWT_START in value:
        raise MessageError("bad_id")
    return value


def known_ids(message: Mapping[str, Any], *names: str) -> dict[str, str]:
    """Those of these ids that a message has and that are fit to be repeated."""
    found = {}
    for name in names:
        try:
            value = read_id(message, name)
        except MessageError:
            continue
        if value is not None:
            found[name] = value
    return found


def ids_in(message: WSMessage) -> dict[str, str]:
    """The ids of a message that is not served, as far as it can be read."""
    try:
        return known_ids(read(message), "id", "run_id")
    except MessageError:
        return {}


def read_run(message: Mapping[str, Any]) -> Asked:
    """The run that a start_agent message asks for; MessageError when a field is unfit."""
    text = message.get("message", "")
    if not isinstance(text, str):
        raise MessageError("bad_message")
    return Asked(
        read_id(message, "run_id") or uuid.uuid4().hex,
        read_id(message, "thread_id") or uuid.uuid4().hex,
        text[:_ECHO_CHARS_MAX],
        _whole(message, "thoughts", 1, THOUGHTS_MAX, 1),
        _THOUGHT + "." * _whole(message, "pad", 0, PAD_BYTES_MAX, 0),
    )


def read_after(message: Mapping[str, Any]) -> int:
    """The cursor of a resume message; MessageError when it is none."""
    return _whole(message, "after", 0, 1 << 62, None)


def _whole(
    message: Mapping[str, Any], name: str, least: int, most: int, default: int | None
) -> int:
    value = message.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise MessageError(f"bad_{name}")
    return value
