"""The HTTP side: health, tokens, JWKS, the control of defects, the totals of the ledger.

The control answers to peers on loopback only. The token endpoint follows RFC 6749
(sections 4.3, 4.4, 5.1, 5.2), with the lab's one secret as every password, and takes a
static key in X-Api-Key besides. No answer repeats a credential.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import resource
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from probe.lab.defects import DefectError
from probe.lab.handshake import ENDPOINTS, json_answer, serve_websocket
from probe.lab.state import REVISION, SERVER, VERSION
from probe.lab.tokens import EXPIRES_IN_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from probe.lab.state import State
    from probe.lab.tokens import Algorithm

    Route = Callable[[State, web.Request], Awaitable[web.StreamResponse]]

BODY_BYTES_MAX: Final = 64 * 1024
_SUBJECT_CHARS_MAX: Final = 256


def build_app(state: State) -> web.Application:
    """All routes of the lab over this state."""
    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app.on_response_prepare.append(_sign)
    routes: tuple[tuple[str, str, Route], ...] = (
        ("GET", "/health", _health),
        ("GET", "/.well-known/jwks.json", _jwks),
        ("POST", "/auth/token", _token),
        ("GET", "/_lab/defects", _defects),
        ("POST", "/_lab/defects", _change_defects),
        ("GET", "/_lab/ledger", _ledger),
        *(("GET", endpoint, serve_websocket) for endpoint in ENDPOINTS),
    )
    for method, path, route in routes:
        app.router.add_route(method, path, partial(route, state))
    return app


async def _sign(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = SERVER
    response.headers["X-Revision"] = REVISION


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
        "memory_bytes": _resident_bytes(),
    }
    return json_answer(status, body, {"Retry-After": "1"} if status == 503 else None)  # noqa: PLR2004 -- Service Unavailable


def _resident_bytes() -> int:
    """The memory of this process that is in RAM; 0 where the system does not say (no /proc)."""
    try:
        with Path("/proc/self/statm").open("rb") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


async def _jwks(state: State, _request: web.Request) -> web.Response:
    return json_answer(200, state.keys.jwks())


class _OAuthError(Exception):
    def __init__(self, status: int, code: str, description: str) -> None:
        super().__init__(code)
        self.status = status
        self.body = {"error": code, "error_description": description}


async def _token(state: State, request: web.Request) -> web.Response:
    no_store = {"Cache-Control": "no-store"}
    try:
        fields = await _token_fields(request)
        subject = _grant(state, request, fields)
        algorithm = _algorithm(fields)
    except _OAuthError as error:
        if error.status == 401:  # noqa: PLR2004 -- Unauthorized
            no_store["WWW-Authenticate"] = 'Basic realm="probe-lab"'
        return json_answer(error.status, error.body, no_store)
    body = {
        "access_token": state.keys.mint(subject, algorithm),
        "token_type": "Bearer",
        "expires_in": EXPIRES_IN_S,
    }
    return json_answer(200, body, no_store)


async def _token_fields(request: web.Request) -> dict[str, str]:
    """The text fields of a form or JSON body; an empty body has none."""
    data: Any
    if request.content_type == "application/json":
        try:
            data = msgspec.json.decode(await request.read() or b"{}")
        except msgspec.DecodeError:
            raise _OAuthError(400, "invalid_request", "the body is not JSON") from None
    else:
        data = dict(await request.post())
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        raise _OAuthError(400, "invalid_request", "the fields must be texts")
    return data


def _grant(state: State, request: web.Request, fields: dict[str, str]) -> str:
    """The subject to mint for, once the credentials are found good."""
    api_key = request.headers.get("X-Api-Key")
    grant = fields.get("grant_type")
    if api_key is not None:
        if not state.keys.is_secret(api_key):
            raise _OAuthError(401, "invalid_client", "the X-Api-Key is wrong")
        holder = fields.get("username") or fields.get("client_id") or "api-key"
    elif grant == "client_credentials":
        holder, secret = _client(request, fields)
        if not holder or not state.keys.is_secret(secret):
            raise _OAuthError(401, "invalid_client", "client_id is missing or the secret is wrong")
    elif grant == "password":
        holder = fields.get("username", "")
        if not holder or not state.keys.is_secret(fields.get("password", "")):
            raise _OAuthError(400, "invalid_grant", "username is missing or the password is wrong")
    elif grant is None:
        raise _OAuthError(400, "invalid_request", "grant_type or X-Api-Key is missing")
    else:
        raise _OAuthError(400, "unsupported_grant_type", "supported: client_credentials, password")
    subject = fields.get("subject") or holder
    if len(subject) > _SUBJECT_CHARS_MAX:
        raise _OAuthError(400, "invalid_request", "the subject is too long")
    return subject


def _client(request: web.Request, fields: dict[str, str]) -> tuple[str, str]:
    """Name and secret of a client: HTTP Basic, or in the body (RFC 6749 section 2.3.1)."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return fields.get("client_id", ""), fields.get("client_secret", "")
    try:
        name, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return name, secret


def _algorithm(fields: dict[str, str]) -> Algorithm:
    match fields.get("alg", "HS256"):
        case "HS256":
            return "HS256"
        case "EdDSA":
            return "EdDSA"
        case _:
            raise _OAuthError(400, "invalid_request", "alg: HS256 or EdDSA")


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
    except msgspec.DecodeError:
        return json_answer(400, {"error": 'send a JSON object like {"cold_start_hang": 0.5}'})
    except DefectError as error:
        return json_answer(400, {"error": str(error)})
    state.ledger.defects(state.defects.as_json())
    return json_answer(200, {"defects": state.defects.as_json()})


async def _ledger(state: State, request: web.Request) -> web.Response:
    if not _is_local(request):
        return _not_local()
    return json_answer(200, state.ledger.totals())
