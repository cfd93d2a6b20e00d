"""The WebSocket handshake: judged by hand, then accepted or refused before the upgrade.

Order of judgement: is the lab ready (else the cold-start defects have their turn), is the
request a WebSocket handshake at all (RFC 6455 section 4.2.1), is there room, can the
offered subprotocols be served, is the user who they say. Each refusal is an HTTP answer
with a JSON body of fixed words and closes the connection. The ledger line is written
first and the answer in the same step of the loop, so a lab that is killed has no answer
out that its ledger does not know, and no stamp is later than the peer's sight of it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import WSMsgType, web

from probe.lab.offers import SUPPORTED, Choice, OfferError, choose
from probe.lab.session import Session, close_by_server, end_when_closed, reset
from probe.lab.state import MESSAGE_BYTES_MAX, SESSIONS_MAX
from probe.lab.table import COLD_START
from probe.lab.tokens import TokenError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from probe.lab.ledger import Outcome
    from probe.lab.state import State

ENDPOINTS: Final = ("/ws", "/ws/factory", "/ws/isolated", "/ws/legacy", "/api/v1/websocket")
CLOSE_WAIT_S: Final = 1.5  # for the client's half of the closing handshake
_START_1011_AFTER_S: Final = 0.005


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


class _GoneError(Exception):
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


async def serve_websocket(state: State, request: web.Request) -> web.StreamResponse:
    """Answer one request to a WebSocket endpoint, and serve the connection to its end."""
    try:
        if not state.ready and not state.stopping:
            defect = state.defects.first_hit(COLD_START)
            if defect is not None:
                return await _cold_start(state, request, defect)
        choice, user_id = _judge(state, request)
        ws = _fit(request, choice)
    except HandshakeError as refusal:
        return _refuse(state, request.path, refusal)
    except _GoneError:
        state.ledger.handshake(request.path, "left", None)
        return web.Response(status=503)  # has nowhere to go
    transport = request.transport
    assert transport is not None  # `_fit` has just seen it
    session = Session(state, request, ws, transport)
    state.ledger.handshake(request.path, "accepted", 101, connection_id=session.connection_id)
    stream = await ws.prepare(request)
    state.sessions[ws] = None
    try:
        await session.serve(user_id, stream)
    finally:
        del state.sessions[ws]
    return ws


def _judge(state: State, request: web.Request) -> tuple[Choice, str | None]:
    """What is chosen and who it is: None where the first message will tell. HandshakeError."""
    if state.stopping or not state.ready:
        word = "stopping" if state.stopping else "starting"
        raise HandshakeError(503, word, {"Retry-After": "1"})
    _check_handshake(request)
    if len(state.sessions) >= SESSIONS_MAX:
        raise HandshakeError(503, "too_many_connections", {"Retry-After": "1"})
    choice = _negotiate(request)
    by_message = request.query.get("auth") == "message"
    return choice, None if by_message else _authenticate(state, request, choice)


def _refuse(state: State, endpoint: str, refusal: HandshakeError) -> web.Response:
    response = json_answer(refusal.status, refusal.body, refusal.headers)
    response.force_close()
    state.ledger.handshake(endpoint, "rejected", refusal.status, error=refusal.body["error"])
    return response


def _check_handshake(request: web.Request) -> None:
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


def _negotiate(request: web.Request) -> Choice:
    try:
        return choose(request.headers.getall("Sec-WebSocket-Protocol", []))
    except OfferError as error:
        raise HandshakeError(400, error.code, supported=SUPPORTED) from None


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
        return state.keys.verify(token or "")
    except TokenError as error:
        challenge = 'Bearer realm="probe-lab"'
        if error.code != "missing_token":
            challenge += ', error="invalid_token"'
        raise HandshakeError(401, error.code, {"WWW-Authenticate": challenge}) from None


def _fit(request: web.Request, choice: Choice) -> web.WebSocketResponse:
    """The answer 101, not sent yet, but sure to be sent by a `prepare` in the same step.

    The subprotocol header is ours, so the library is told of none. HandshakeError when
    the library would refuse, _GoneError when nobody is there to be answered.
    """
    ws: web.WebSocketResponse = web.WebSocketResponse(
        timeout=CLOSE_WAIT_S,
        autoclose=False,
        autoping=False,
        max_msg_size=MESSAGE_BYTES_MAX + 1,  # the library refuses from its limit on
    )
    if choice.selected is not None:
        ws.headers["Sec-WebSocket-Protocol"] = choice.selected
    if not ws.can_prepare(request):
        raise HandshakeError(400, "bad_handshake")
    if request.transport is None or request.transport.is_closing():
        raise _GoneError
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
    ws = _fit(request, choice)
    if hang:
        state.ledger.handshake(request.path, "hung", 101, defect=defect)
    await ws.prepare(request)
    state.sessions[ws] = None
    try:
        if hang:
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
        raise _GoneError
    state.ledger.handshake(request.path, "dropped", None, defect="cold_start_drop")
    reset(transport)
    return web.Response(status=503)  # has nowhere to go: the transport is closing


async def _close_1011(
    state: State, request: web.Request, ws: web.WebSocketResponse, defect: str
) -> None:
    gone = request.transport is None or request.transport.is_closing() or ws.closed
    outcome: Outcome = "left" if gone else "closed_1011"
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
