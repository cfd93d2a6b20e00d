"""The endpoints for tokens: given, revoked, all of a user revoked by a logout.

The token endpoint follows RFC 6749 (sections 4.3, 4.4, 5.1, 5.2), with the lab's one secret
as every password, and takes a static key in X-Api-Key besides. The revocation endpoint
follows RFC 7009; the client is known by the very token it wants to be rid of, as its Bearer
(RFC 6750), so revoking it once more is answered like the first time. No answer repeats a
credential.
"""

from __future__ import annotations

import base64
import binascii
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from probe.lab.claims import TokenError
from probe.lab.revocations import FullError
from probe.lab.tokens import EXPIRES_IN_S
from probe.lab.upgrade import json_answer

if TYPE_CHECKING:
    from aiohttp import web

    from probe.lab.claims import Claims
    from probe.lab.state import State
    from probe.lab.tokens import Algorithm

_SUBJECT_CHARS_MAX: Final = 256
_NO_STORE: Final = MappingProxyType({"Cache-Control": "no-store"})


class OAuthError(Exception):
    """An answer of RFC 6749 section 5.2: status, code, and what is wrong in words."""

    def __init__(self, status: int, code: str, description: str) -> None:
        super().__init__(code)
        self.status = status
        self.body = {"error": code, "error_description": description}


async def give_token(state: State, request: web.Request) -> web.Response:
    """POST /auth/token: a new token for whoever shows the secret."""
    headers = dict(_NO_STORE)
    try:
        fields = await _fields(request)
        subject = _grant(state, request, fields)
        algorithm = _algorithm(fields)
    except OAuthError as error:
        if error.status == 401:  # noqa: PLR2004 -- Unauthorized
            headers["WWW-Authenticate"] = 'Basic realm="probe-lab"'
        return json_answer(error.status, error.body, headers)
    token = state.keys.mint(subject, algorithm)
    if state.fleet is None:
        state.revocations.know(state.keys.verify(token))
    else:
        state.fleet.know(token, state.keys.unverified_subject(token))
    body = {
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": EXPIRES_IN_S,
    }
    return json_answer(200, body, headers)


async def _fields(request: web.Request) -> dict[str, str]:
    """The text fields of a form or JSON body; an empty body has none."""
    data: Any
    if request.content_type == "application/json":
        try:
            data = msgspec.json.decode(await request.read() or b"{}")
        except msgspec.DecodeError:
            raise OAuthError(400, "invalid_request", "the body is not JSON") from None
    else:
        data = dict(await request.post())
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        raise OAuthError(400, "invalid_request", "the fields must be texts")
    return data


def _grant(state: State, request: web.Request, fields: dict[str, str]) -> str:
    """The subject to mint for, once the credentials are found good."""
    api_key = request.headers.get("X-Api-Key")
    grant = fields.get("grant_type")
    if api_key is not None:
        if not state.keys.is_secret(api_key):
            raise OAuthError(401, "invalid_client", "the X-Api-Key is wrong")
        holder = fields.get("username") or fields.get("client_id") or "api-key"
    elif grant == "client_credentials":
        holder, secret = _client(request, fields)
        if not holder or not state.keys.is_secret(secret):
            raise OAuthError(401, "invalid_client", "client_id is missing or the secret is wrong")
    elif grant == "password":
        holder = fields.get("username", "")
        if not holder or not state.keys.is_secret(fields.get("password", "")):
            raise OAuthError(400, "invalid_grant", "username is missing or the password is wrong")
    elif grant is None:
        raise OAuthError(400, "invalid_request", "grant_type or X-Api-Key is missing")
    else:
        raise OAuthError(400, "unsupported_grant_type", "supported: client_credentials, password")
    subject = fields.get("subject") or holder
    if len(subject) > _SUBJECT_CHARS_MAX or not subject.strip():
        raise OAuthError(400, "invalid_request", "the subject is too long or blank")
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
            raise OAuthError(400, "invalid_request", "alg: HS256 or EdDSA")


async def revoke(state: State, request: web.Request) -> web.Response:
    """POST /auth/revoke: the token is refused from now on, and its sessions are closed."""
    try:
        claims = await _own_token(state, request)
        if not state.revocations.is_revoked(claims):
            state.revocations.revoke(claims, time.perf_counter_ns())
    except (OAuthError, FullError) as error:
        return refusal(error)
    return json_answer(200, {}, _NO_STORE)


async def log_out(state: State, request: web.Request) -> web.Response:
    """POST /auth/logout: the same for all tokens of the Bearer's user; a revoked one may not."""
    try:
        _, claims = bearer(state, request, revoked=False)
        state.revocations.revoke_user(claims.subject, time.perf_counter_ns())
    except (OAuthError, FullError) as error:
        return refusal(error)
    return json_answer(200, {}, _NO_STORE)


async def _own_token(state: State, request: web.Request) -> Claims:
    """The token to revoke, which is the Bearer."""
    shown = (await _fields(request)).get("token")
    if not shown:
        raise OAuthError(400, "invalid_request", "the field token is missing")
    own, claims = bearer(state, request, revoked=True)
    if shown != own:
        raise OAuthError(400, "unauthorized_client", "a Bearer can revoke itself alone")
    return claims


def bearer(state: State, request: web.Request, *, revoked: bool) -> tuple[str, Claims]:
    """The token that authorises a request, a revoked one too if so asked; and its claims.

    OAuthError where it is none.
    """
    scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
    token = rest.strip() if scheme.lower() == "bearer" else ""
    try:
        claims = state.keys.verify(token)
    except TokenError as error:
        raise OAuthError(401, "invalid_token", error.code) from None
    if not state.has(claims.subject):
        state.ledger.fault("misdirected")
        raise OAuthError(421, "misdirected", "another process of the lab has this user")
    if not revoked and state.revocations.is_revoked(claims):
        raise OAuthError(401, "invalid_token", "token_revoked")
    return token, claims


def refusal(error: OAuthError | FullError) -> web.Response:
    """The answer to a request that was refused."""
    if isinstance(error, FullError):
        body = {"error": "temporarily_unavailable", "error_description": "too much was revoked"}
        return json_answer(503, body, {**_NO_STORE, "Retry-After": "1"})
    challenge = {"WWW-Authenticate": 'Bearer realm="probe-lab", error="invalid_token"'}
    headers = {**_NO_STORE, **(challenge if error.status == 401 else {})}  # noqa: PLR2004 -- Unauthorized
    return json_answer(error.status, error.body, headers)
