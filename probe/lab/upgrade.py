"""The form of a WebSocket handshake: is the request one, and the answer 101 or another.

After RFC 6455 section 4.2. A refusal is an HTTP answer with a JSON body of fixed words.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

from probe.lab.state import MESSAGE_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

CLOSE_WAIT_S: Final = 1.5  # for the client's half of the closing handshake
_ALTERED: Final = "probe.lab.altered"


class HandshakeError(Exception):
    """An HTTP answer instead of the upgrade: status, a fixed word, headers, what is supported."""

    def __init__(
        self,
        status: int,
        error: str,
        headers: Mapping[str, str] | None = None,
        supported: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__(error)
        self.status = status
        self.headers = headers
        self.body: dict[str, object] = {"error": error}
        if supported is not None:
            self.body["supported"] = supported


class GoneError(Exception):
    """The client went before it could be answered."""


def json_answer(
    status: int, body: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> web.Response:
    """A JSON answer with a Content-Length."""
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        content_type="application/json",
        headers=headers,
    )


def check_handshake(request: web.Request) -> None:
    """What RFC 6455 section 4.2.1 demands of a client; HandshakeError names what is missing."""
    headers = request.headers
    if request.version < (1, 1):  # a missing Host was refused by the parser
        raise HandshakeError(400, "bad_handshake")
    if headers.get("Upgrade", "").strip().lower() != "websocket":
        raise HandshakeError(426, "upgrade_required", {"Upgrade": "websocket"})
    connection = ",".join(headers.getall("Connection", ())).lower().split(",")
    if "upgrade" not in {part.strip() for part in connection}:
        raise HandshakeError(400, "bad_handshake")
    if headers.getall("Sec-WebSocket-Version", []) != ["13"]:
        raise HandshakeError(426, "unsupported_version", {"Sec-WebSocket-Version": "13"})
    keys = headers.getall("Sec-WebSocket-Key", ())
    try:
        nonce = base64.b64decode(keys[0], validate=True) if len(keys) == 1 else b""
    except (binascii.Error, ValueError):
        nonce = b""
    if len(nonce) != 16:  # noqa: PLR2004 -- the length in bytes that the RFC gives
        raise HandshakeError(400, "bad_handshake")


def fit(request: web.Request, subprotocols: tuple[str, ...]) -> web.WebSocketResponse:
    """The answer 101, not sent yet, but sure to be sent by a `prepare` in the same step.

    The subprotocol header is ours, so the library is told of none. HandshakeError when
    the library would refuse, GoneError when nobody is there to be answered.
    """
    ws: web.WebSocketResponse = web.WebSocketResponse(
        timeout=CLOSE_WAIT_S,
        autoclose=False,
        autoping=False,
        max_msg_size=MESSAGE_BYTES_MAX + 1,  # the library refuses from its limit on
    )
    for each in subprotocols:
        ws.headers.add("Sec-WebSocket-Protocol", each)
    if not ws.can_prepare(request):
        raise HandshakeError(400, "bad_handshake")
    if request.transport is None or request.transport.is_closing():
        raise GoneError
    return ws


def alter(request: web.Request, name: str, value: str) -> None:
    """Put this value into that header of the answer, over what the library makes of it."""
    request[_ALTERED] = (name, value)


def sign(request: web.Request, response: web.StreamResponse, server: str, revision: str) -> None:
    """The last touch to every answer, before its head is written."""
    response.headers["Server"] = server
    response.headers["X-Revision"] = revision
    if _ALTERED in request:
        name, value = request[_ALTERED]
        response.headers[name] = value
