"""The WebSocket handshake: judged by hand, then accepted or refused before the upgrade.

Order of judgement: is the lab ready (else the cold-start defects have their turn), is the
request a WebSocket handshake at all (RFC 6455 section 4.2.1), is there room, can the
offered subprotocols be served, is the user who they say. Each refusal is an HTTP answer
with a JSON body of fixed words and closes the connection. The ledger line is written in
the same step as the answer.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import WSMsgType, web

from probe.lab.defects import COLD_START
from probe.lab.offers import SUPPORTED, Choice, OfferError, choose
from probe.lab.session import Session, close_by_server, end_when_closed
from probe.lab.state import MESSAGE_BYTES_MAX, SESSIONS_MAX
from probe.lab.tokens import TokenError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from probe.lab.state import State

ENDPOINTS: Final = ("/ws", "/ws/factory", "/ws/isolated", "/ws/legacy", "/api/v1/websocket")
CLOSE_WAIT_S: Final = 1.5  # for the client's half of the closing handshake
_START_1011_AFTER_S: Final = 0.005
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close sends RST


@dataclass(frozen=True, slots=True)
class Refusal(Exception):
    """An HTTP answer instead of the upgrade."""

    status: int
    error: str
    headers: Mapping[str, str]
    supported: tuple[str, ...] | None = None


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


async def serve_websocket(state: State, request: web.Request) -> web.StreamResponse:
    """Answer one request to a WebSocket endpoint, and serve the connection to its end."""
    endpoint = request.path
    try:
        if state.stopping or not state.ready:
            defect = None if state.stopping else state.defects.first_hit(COLD_START)
            if defect is not None:
                return await _cold_start(state, request, defect)
            raise Refusal(503, "stopping" if state.stopping else "starting", {"Retry-After": "1"})
        _check_handshake(request)
        if len(state.sessions) >= SESSIONS_MAX:
            raise Refusal(503, "too_many_connections", {"Retry-After": "1"})
        choice = _negotiate(request)
        by_message = request.query.get("auth") == "message"
        user_id = None if by_message else _authenticate(state, request, choice)
        ws = await _upgrade(request, choice)
    except Refusal as refusal:
        return _refuse(state, endpoint, refusal)
    except ConnectionError:
        state.ledger.handshake(endpoint, "left", None)
        raise
    state.sessions[ws] = None
    session = Session(state, request, ws)
    state.ledger.handshake(endpoint, "accepted", 101, connection_id=session.connection_id)
    try:
        await session.serve(user_id)
    finally:
        del state.sessions[ws]
    return ws


def _refuse(state: State, endpoint: str, refusal: Refusal) -> web.Response:
    body: dict[str, object] = {"error": refusal.error}
    if refusal.supported is not None:
        body["supported"] = refusal.supported
    response = json_answer(refusal.status, body, refusal.headers)
    response.force_close()
    state.ledger.handshake(endpoint, "rejected", refusal.status, error=refusal.error)
    return response


def _check_handshake(request: web.Request) -> None:
    """What RFC 6455 section 4.2.1 demands of a client; Refusal names what is missing."""
    headers = request.headers
    if request.version < (1, 1) or len(headers.getall("Host", ())) != 1:
        raise Refusal(400, "bad_handshake", {})
    if headers.get("Upgrade", "").strip().lower() != "websocket":
        raise Refusal(426, "upgrade_required", {"Upgrade": "websocket"})
    connection = ",".join(headers.getall("Connection", ())).lower().split(",")
    if "upgrade" not in {part.strip() for part in connection}:
        raise Refusal(400, "bad_handshake", {})
    if headers.getall("Sec-WebSocket-Version", []) != ["13"]:
        raise Refusal(426, "unsupported_version", {"Sec-WebSocket-Version": "13"})
    keys = headers.getall("Sec-WebSocket-Key", ())
    try:
        nonce = base64.b64decode(keys[0], validate=True) if len(keys) == 1 else b""
    except (binascii.Error, ValueError):
        nonce = b""
    if len(nonce) != 16:  # noqa: PLR2004 -- the length in bytes that the RFC gives
        raise Refusal(400, "bad_handshake", {})


def _negotiate(request: web.Request) -> Choice:
    try:
        return choose(request.headers.getall("Sec-WebSocket-Protocol", []))
    except OfferError as error:
        raise Refusal(400, error.code, {}, SUPPORTED) from None


def _authenticate(state: State, request: web.Request, choice: Choice) -> str:
    """The user of the first presentation found: subprotocol, header, query, cookie.

    A bad one is refused; another, good one beside it does not mend it.
    """
    token = choice.token
    if token is None:
        scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
        token = rest.strip() if scheme.lower() == "bearer" else None
    if token is None:
        token = request.query.get("token", request.cookies.get("token"))
    try:
        if not token:
            raise TokenError("missing_token")
        return state.keys.verify(token)
    except TokenError as error:
        challenge = 'Bearer realm="probe-lab"'
        if error.code != "missing_token":
            challenge += ', error="invalid_token"'
        raise Refusal(401, error.code, {"WWW-Authenticate": challenge}) from None


async def _upgrade(
    request: web.Request, choice: Choice, *, autoping: bool = True
) -> web.WebSocketResponse:
    """Answer 101. The subprotocol header is ours, so the library is told of none."""
    ws = web.WebSocketResponse(
        timeout=CLOSE_WAIT_S,
        autoclose=False,
        autoping=autoping,
        max_msg_size=MESSAGE_BYTES_MAX + 1,  # the library refuses from its limit on
    )
    if choice.selected is not None:
        ws.headers["Sec-WebSocket-Protocol"] = choice.selected
    try:
        await ws.prepare(request)
    except web.HTTPBadRequest:
        raise Refusal(400, "bad_handshake", {}) from None
    return ws


async def _cold_start(state: State, request: web.Request, defect: str) -> web.StreamResponse:
    """What a client gets that comes while the lab boots, by the defect that hit."""
    if defect == "cold_start_drop":
        return _drop(state, request)
    _check_handshake(request)
    try:
        choice = choose(request.headers.getall("Sec-WebSocket-Protocol", []))
    except OfferError:
        choice = Choice()
    hang = defect == "cold_start_hang"
    ws = await _upgrade(request, choice, autoping=not hang)
    state.sessions[ws] = None
    try:
        if hang:
            state.ledger.handshake(request.path, "hung", 101, defect=defect)
            await _hang(state, request, ws)
        else:
            await asyncio.sleep(_START_1011_AFTER_S)
            await _close_1011(state, request, ws, defect)
    finally:
        del state.sessions[ws]
    return ws


def _drop(state: State, request: web.Request) -> web.StreamResponse:
    transport = request.transport
    if transport is None or transport.is_closing():
        state.ledger.handshake(request.path, "left", None, defect="cold_start_drop")
        raise ConnectionResetError("the client is gone")
    transport.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE
    )
    state.ledger.handshake(request.path, "dropped", None, defect="cold_start_drop")
    transport.abort()
    return web.Response(status=503)  # has nowhere to go: the transport is closing


async def _close_1011(
    state: State, request: web.Request, ws: web.WebSocketResponse, defect: str
) -> None:
    gone = request.transport is None or request.transport.is_closing() or ws.closed
    outcome = "left" if gone else "closed_1011"
    state.ledger.handshake(request.path, outcome, 101, defect=defect)
    await close_by_server(state, ws, 1011, b"service starting")


async def _hang(state: State, request: web.Request, ws: web.WebSocketResponse) -> None:
    """Read and say nothing, until the client goes or the lab stops.

    A Close from the client ends the connection without a Close in answer.
    """
    silent = (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.PING, WSMsgType.PONG)
    while (await ws.receive()).type in silent:
        pass
    if await end_when_closed(state, ws):
        return
    if request.transport is not None:
        request.transport.abort()
