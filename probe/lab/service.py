"""The HTTP side: all routes; health, JWKS, the control of defects, the totals of the ledger.

The control answers to peers on loopback only. The endpoints for tokens are in `oauth`, what
a user may set in `account`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import resource
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from probe.lab.account import set_limits
from probe.lab.defects import DefectError
from probe.lab.fleet import merged
from probe.lab.handshake import ENDPOINTS, serve_websocket
from probe.lab.oauth import give_token, log_out, revoke
from probe.lab.state import REVISION, SERVER, VERSION
from probe.lab.upgrade import json_answer, sign

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from probe.lab.state import State

    Route = Callable[[State, web.Request], Awaitable[web.StreamResponse]]

BODY_BYTES_MAX: Final = 64 * 1024
SWITCHING: Final = 101


def build_app(state: State) -> web.Application:
    """All routes of the lab over this state."""
    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app.on_response_prepare.append(partial(_sign, state))
    common: tuple[tuple[str, str, Route], ...] = (
        ("GET", "/health", _health),
        ("GET", "/.well-known/jwks.json", _jwks),
        ("POST", "/auth/token", give_token),
        ("GET", "/_lab/defects", _defects),
        ("POST", "/_lab/defects", _change_defects),
        ("GET", "/_lab/ledger", _ledger),
    )
    of_users: tuple[tuple[str, str, Route], ...] = (
        ("POST", "/auth/revoke", revoke),
        ("POST", "/auth/logout", log_out),
        ("PUT", "/account/limits", set_limits),
        *(("GET", endpoint, serve_websocket) for endpoint in ENDPOINTS),
    )
    for routes, elsewhere in ((common, state.share), (of_users, state.fleet)):
        for method, path, route in routes:
            here = route if elsewhere is None else _misdirected
            app.router.add_route(method, path, partial(here, state))
    return app


async def _misdirected(state: State, _request: web.Request) -> web.Response:
    """What is for another process of this lab, in a spelling that the front did not know."""
    state.ledger.fault("misdirected")
    return json_answer(421, {"error": "misdirected"})


async def _sign(state: State, request: web.Request, response: web.StreamResponse) -> None:
    sign(request, response, SERVER, REVISION)
    if not state.alone and response.status != SWITCHING:
        # The next request on it could be of a user of another process.
        response.force_close()
        response.headers["Connection"] = "close"


async def _health(state: State, _request: web.Request) -> web.Response:
    slow_ns = state.defects.duration_ns("slow_dependency")
    if slow_ns is not None and state.healthy and not state.stopping:
        await asyncio.sleep(slow_ns / 1e9)
    healthy = state.healthy and not state.stopping
    word = "healthy" if healthy else "stopping" if state.stopping else "starting"
    status = 200 if healthy else 503
    postgres, redis = {"status": "ok"}, {"status": "ok"}
    if healthy and state.defects.hits("health_503"):
        status, word, redis = 503, "unhealthy", {"status": "unreachable"}
        state.ledger.hit("health_503")
    elif healthy and slow_ns is not None:
        word, postgres = "degraded", {"status": "degraded"}
        state.ledger.hit("slow_dependency", delay_ns=slow_ns)
    state.ledger.count_health(status)
    body = {
        "status": word,
        "version": VERSION,
        "revision": REVISION,
        "uptime": (time.perf_counter_ns() - state.up_ns) / 1e9,
        "dependencies": {"postgres": postgres, "redis": redis},
        "memory_bytes": _resident_bytes(state),
    }
    return json_answer(status, body, {"Retry-After": "1"} if status == 503 else None)  # noqa: PLR2004 -- Service Unavailable


def _resident_bytes(state: State) -> int:
    """The memory of the lab that is in RAM; 0 where the system does not say (no /proc).

    What several processes share is counted for each.
    """
    others = () if state.fleet is None else state.fleet.pids
    try:
        pages = [Path(f"/proc/{pid}/statm").read_text().split()[1] for pid in ("self", *others)]
    except OSError:
        return 0
    return sum(map(int, pages)) * resource.getpagesize()


async def _jwks(state: State, _request: web.Request) -> web.Response:
    return json_answer(200, state.keys.jwks())


def _is_local(request: web.Request) -> bool:
    try:
        peer = ipaddress.ip_address(request.remote or "")
    except ValueError:
        return False
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:
        return peer.ipv4_mapped.is_loopback
    return peer.is_loopback


def _not_local() -> web.Response:
    return json_answer(403, {"error": "the control answers on loopback only"})


async def _defects(state: State, request: web.Request) -> web.Response:
    if not _is_local(request):
        return _not_local()
    return json_answer(200, {"defects": state.defects.as_json()})


async def _change_defects(state: State, request: web.Request) -> web.Response:
    if not _is_local(request):
        return _not_local()
    try:
        wanted = msgspec.json.decode(await request.read(), type=dict[str, Any])
        state.defects.change(wanted)
        if state.fleet is not None:
            await state.fleet.change(wanted)
    except msgspec.DecodeError:
        return json_answer(400, {"error": 'send a JSON object like {"cold_start_hang": 0.5}'})
    except DefectError as error:
        return json_answer(400, {"error": str(error)})
    state.ledger.defects(state.defects.as_json())
    return json_answer(200, {"defects": state.defects.as_json()})


async def _ledger(state: State, request: web.Request) -> web.Response:
    if not _is_local(request):
        return _not_local()
    totals = state.ledger.totals()
    if state.fleet is not None:
        totals = merged(totals, await state.fleet.totals())
    return json_answer(200, totals)
