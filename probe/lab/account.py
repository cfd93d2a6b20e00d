"""What a user may set for themselves: how many connections they may have at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from probe.lab.oauth import OAuthError, bearer, refusal
from probe.lab.state import SESSIONS_MAX
from probe.lab.upgrade import json_answer

if TYPE_CHECKING:
    from aiohttp import web

    from probe.lab.state import State

_DIGITS_MAX: Final = 6


async def set_limits(state: State, request: web.Request) -> web.Response:
    """PUT /account/limits?connections=N: the Bearer's user may have N connections from now on."""
    try:
        _, claims = bearer(state, request, revoked=False)
        most = _whole(request.query.get("connections", ""))
    except OAuthError as error:
        return refusal(error)
    state.places.allow(claims.subject, most)
    return json_answer(200, {"connections": most})


def _whole(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX:
        return min(int(text), SESSIONS_MAX)
    raise OAuthError(400, "invalid_request", "connections: a whole number")
