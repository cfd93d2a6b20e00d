"""The WebSocket handshake: judged by hand, then accepted or refused before the upgrade.

Order of judgement: is the lab ready (else the cold-start defects have their turn), is the
request a WebSocket handshake at all (RFC 6455 section 4.2.1), is there room, may a page of
that origin come in, can the offered subprotocols be served, is it clear who the user is, are
they who they say, and have they not too many connections already. Where several processes
serve, a user of another one is refused, and so is who is to be known only by a first message:
an open connection cannot be given to the process that has the user. Each refusal is an HTTP
answer with a JSON body of fixed words and closes the connection. The ledger line is written
first and the answer in the same step of the loop, so a lab that is killed has no answer out
that its ledger does not know, and no stamp is later than the peer's sight of it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import TYPE_CHECKING, Final

from aiohttp import web

from probe.lab.admission import admit_at_door
from probe.lab.breaker import OpenError
from probe.lab.capacity import OverloadError
from probe.lab.claims import Claims, TokenError
from probe.lab.heads import bearers
from probe.lab.hits import Hits
from probe.lab.offers import SUPPORTED, OfferError, answers, negotiate
from probe.lab.origins import is_allowed
from probe.lab.places import CAP_RACE, FullError
from probe.lab.session import Session
from probe.lab.state import SESSIONS_MAX
from probe.lab.table import COLD_START
from probe.lab.turned_away import cold_start, refuse_late
from probe.lab.unjudged import Unjudged
from probe.lab.upgrade import (
    GoneError,
    HandshakeError,
    alter,
    check_handshake,
    fit,
    json_answer,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from probe.lab.offers import Choice
    from probe.lab.state import State

    # Who comes: judged, with a token that is judged later, or known by the first message.
    Who = Claims | Unjudged | None

ENDPOINTS: Final = ("/ws", "/ws/factory", "/ws/isolated", "/ws/legacy", "/api/v1/websocket")
_SLOW_ACCEPT_S: Final = 2.0


async def serve_websocket(state: State, request: web.Request) -> web.StreamResponse:
    """Answer one request to a WebSocket endpoint, and serve the connection to its end."""
    try:
        if not state.ready and not state.stopping:
            defect = state.defects.first_hit(COLD_START)
            if defect is not None:
                return await cold_start(state, request, defect)
        return await _answer(state, request)
    except HandshakeError as refusal:
        return _refuse(state, request.path, refusal)
    except GoneError:
        state.ledger.handshake(request.path, "left", None)
        return web.Response(status=503)  # has nowhere to go


async def _answer(state: State, request: web.Request) -> web.StreamResponse:
    """Judge a handshake and serve what is let in; HandshakeError, GoneError."""
    _check_open(state)
    check_handshake(request)
    if not state.alone and _tells_later(request):
        raise HandshakeError(501, "first_message_needs_one_process")
    if len(state.sessions) >= SESSIONS_MAX:
        raise HandshakeError(503, "too_many_connections", {"Retry-After": "1"})
    try:
        trial = state.breaker.enter(request.path)
    except OpenError as error:
        retry = {"Retry-After": str(error.retry_after_s)}
        raise HandshakeError(503, "circuit_open", retry) from None
    hits = Hits(state.defects)
    try:
        _check_origin(request, hits)
        try:
            choice = negotiate(request.headers.getall("Sec-WebSocket-Protocol", []), hits)
        except OfferError as error:
            if error.code == "ambiguous_token":
                raise HandshakeError(400, error.code) from None
            if hits.draw("reject_after_accept_1003"):
                return await refuse_late(state, request, hits)
            raise HandshakeError(400, error.code, supported=SUPPORTED) from None
        if trial:
            await _keep_waiting(state, request, state.breaker.weigh())
            _check_open(state)
        if not _tells_later(request):
            await _validated(state, request)
        who = _authenticate(state, request, choice, hits)
        _check_share(state, who)
        if isinstance(who, Claims):
            return await _serve_one_of(state, request, choice, who, hits)
        return await _serve(state, request, choice, who, hits)
    finally:
        state.breaker.leave(trial)


async def _serve_one_of(
    state: State, request: web.Request, choice: Choice, who: Claims, hits: Hits
) -> web.StreamResponse:
    """Serve one more connection of a user who is known; HandshakeError beyond their cap."""
    try:
        place = state.places.take(who.subject)
    except FullError:
        raise HandshakeError(429, "too_many_connections", {"Retry-After": "1"}) from None
    try:
        if place.over_ns is not None:
            hits.note(CAP_RACE, after_ns=place.over_ns)
        return await _serve(state, request, choice, who, hits)
    finally:
        state.places.leave(place)


async def _serve(
    state: State, request: web.Request, choice: Choice, who: Who, hits: Hits
) -> web.StreamResponse:
    """Send the 101 and serve the session; the hits are written with the answer."""
    user = {} if who is None or isinstance(who, Unjudged) else {"user_id": who.subject}
    if hits.draw("slow_accept_tail"):
        await _dawdle(state, request, user)
    subprotocols = answers(choice, hits)
    if hits.draw("bad_accept_key"):
        alter(request, "Sec-WebSocket-Accept", _wrong_accept(request))
    ws = fit(request, subprotocols)
    transport = request.transport
    assert transport is not None  # `fit` has just seen it
    session = Session(state, request, ws, transport)
    hits.write(state.ledger, **user, connection_id=session.connection_id)
    state.ledger.handshake(request.path, "accepted", 101, connection_id=session.connection_id)
    stream = await ws.prepare(request)
    state.sessions[ws] = None
    try:
        await session.serve(who, stream)
    finally:
        del state.sessions[ws]
    return ws


async def _dawdle(state: State, request: web.Request, user: dict[str, str]) -> None:
    """Keep a client waiting for its 101; one who does not wait so long has met it as well."""
    await _keep_waiting(state, request, asyncio.sleep(_SLOW_ACCEPT_S))
    if request.transport is None or request.transport.is_closing():
        state.ledger.hit("slow_accept_tail", **user)
        raise GoneError
    _check_open(state)


async def _keep_waiting(state: State, request: web.Request, pause: Awaitable[None]) -> None:
    """Have an answer wait for this; the lab may stop meanwhile."""
    try:
        await pause
    except asyncio.CancelledError:  # with the lab stops all that still waits
        state.ledger.handshake(request.path, "left", None)
        raise


async def _validated(state: State, request: web.Request) -> None:
    """Wait until the validation is over, where the lab can do only so many at a time."""
    try:
        await state.station.serve("connects", endpoint=request.path)
    except OverloadError as error:
        raise HandshakeError(503, error.code, {"Retry-After": "1"}) from None
    _check_open(state)


def _tells_later(request: web.Request) -> bool:
    """Whether the first message is to bring the token."""
    return request.query.get("auth") == "message"


def _check_open(state: State) -> None:
    if state.stopping or not state.ready:
        word = "stopping" if state.stopping else "starting"
        raise HandshakeError(503, word, {"Retry-After": "1"})


def _check_share(state: State, who: Who) -> None:
    """A user belongs here; the front, which chose this process, has not judged the token."""
    match who:
        case Claims():
            user_id = who.subject
        case Unjudged():
            user_id = state.keys.unverified_subject(who.token)
        case None:
            return
    if not state.has(user_id):
        state.ledger.fault("misdirected")
        raise HandshakeError(421, "misdirected")


def _refuse(state: State, endpoint: str, refusal: HandshakeError) -> web.Response:
    response = json_answer(refusal.status, refusal.body, refusal.headers)
    response.force_close()
    state.ledger.handshake(endpoint, "rejected", refusal.status, error=refusal.body["error"])
    return response


def _check_origin(request: web.Request, hits: Hits) -> None:
    origins = request.headers.getall("Origin", [])
    if not is_allowed(origins, request.host) and not hits.draw("origin_ignored"):
        raise HandshakeError(403, "origin_not_allowed")


def _authenticate(state: State, request: web.Request, choice: Choice, hits: Hits) -> Who:
    """The user of the first presentation found: subprotocol, header, query, cookie.

    A bad one is refused; another, good one beside it does not mend it, and where the
    subprotocol and the header name different ones, neither is taken.
    """
    bearing = bearers(request.headers.getall("Authorization", ()))
    shown = {token for token in (choice.token, *bearing) if token is not None}
    if len(shown) > 1:
        raise HandshakeError(400, "ambiguous_token")
    if _tells_later(request):
        return None
    token = next(iter(shown), None)
    if token is None:
        token = request.query.get("token", request.cookies.get("token")) or ""
    if state.defects.window("auth_after_accept") is not None:
        return Unjudged(token)
    try:
        return admit_at_door(state, token, hits)
    except TokenError as error:
        challenge = 'Bearer realm="probe-lab"'
        if error.code != "missing_token":
            challenge += ', error="invalid_token"'
        raise HandshakeError(401, error.code, {"WWW-Authenticate": challenge}) from None


def _wrong_accept(request: web.Request) -> str:
    """An accept key of the right form that answers another key (section 4.2.2)."""
    other = request.headers["Sec-WebSocket-Key"].encode() + b"another key"
    return base64.b64encode(hashlib.sha1(other, usedforsecurity=False).digest()).decode()
