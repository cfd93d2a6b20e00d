"""What some defects give a client instead of a session: a reset, a Close at once, silence."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Literal

from aiohttp import WSMsgType, web

from probe.lab.ends import close_by_server, end_when_closed, reset
from probe.lab.offers import OfferError, choose
from probe.lab.upgrade import GoneError, check_handshake, fit

if TYPE_CHECKING:
    from probe.lab.hits import Hits
    from probe.lab.state import State

_CLOSE_AFTER_S: Final = 0.005


async def cold_start(state: State, request: web.Request, defect: str) -> web.StreamResponse:
    """What a client gets that comes while the lab boots, by the defect that hit."""
    if defect == "cold_start_drop":
        return _drop(state, request)
    check_handshake(request)
    try:
        selected = choose(request.headers.getall("Sec-WebSocket-Protocol", [])).selected
    except OfferError:
        selected = None
    ws = fit(request, () if selected is None else (selected,))
    if defect == "cold_start_hang":
        return await _hang(state, request, ws)
    return await _close(state, request, ws, (1011, b"service starting"), defect, "closed_1011")


async def refuse_late(state: State, request: web.Request, hits: Hits) -> web.StreamResponse:
    """Accept what cannot be served for its subprotocols, and close it with 1003."""
    ws = fit(request, ())
    hits.write(state.ledger, endpoint=request.path)
    last = (1003, b"unsupported subprotocol")
    return await _close(state, request, ws, last, "reject_after_accept_1003", "closed_1003")


def _drop(state: State, request: web.Request) -> web.StreamResponse:
    transport = request.transport
    if transport is None or transport.is_closing():
        raise GoneError
    state.ledger.handshake(request.path, "dropped", None, defect="cold_start_drop")
    reset(transport)
    return web.Response(status=503)  # has nowhere to go: the transport is closing


async def _close(
    state: State,
    request: web.Request,
    ws: web.WebSocketResponse,
    last: tuple[int, bytes],
    defect: str,
    outcome: Literal["closed_1011", "closed_1003"],
) -> web.StreamResponse:
    """Accept, and close a few milliseconds later with this code and reason."""
    await ws.prepare(request)
    state.sessions[ws] = None
    try:
        await asyncio.sleep(_CLOSE_AFTER_S)
        gone = request.transport is None or request.transport.is_closing() or ws.closed
        state.ledger.handshake(request.path, "left" if gone else outcome, 101, defect=defect)
        await close_by_server(state, ws, *last)
    finally:
        del state.sessions[ws]
    return ws


async def _hang(
    state: State, request: web.Request, ws: web.WebSocketResponse
) -> web.StreamResponse:
    """Accept, read and say nothing, until the client goes or the lab stops.

    A Close from the client ends the connection without a Close in answer.
    """
    state.ledger.handshake(request.path, "hung", 101, defect="cold_start_hang")
    await ws.prepare(request)
    state.sessions[ws] = None
    silent = (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.PING, WSMsgType.PONG)
    try:
        while (await ws.receive()).type in silent:
            pass
        if not await end_when_closed(state, ws) and request.transport is not None:
            request.transport.abort()
    finally:
        del state.sessions[ws]
    return ws
