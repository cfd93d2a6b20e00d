"""Whether a token lets its user in: verified, not revoked, and what the defects make of it.

The one place where a token is judged, for the handshake, the first message and a refresh.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from probe.lab.claims import TokenError
from probe.lab.dependency import block
from probe.lab.hits import Hits
from probe.lab.lingering import lingers

if TYPE_CHECKING:
    from probe.lab.claims import Claims
    from probe.lab.state import State


def admit(state: State, token: str, connection_id: str) -> Claims:
    """Judge the token that is to open a session, and tell the breaker; raises TokenError."""
    hits = Hits(state.defects)
    claims = admit_at_door(state, token, hits, connection_id)
    hits.write(state.ledger, user_id=claims.subject, connection_id=connection_id)
    return claims


def admit_at_door(state: State, token: str, hits: Hits, connection_id: str | None = None) -> Claims:
    """The same, but the caller writes the hits, once there is a connection; raises TokenError."""
    try:
        claims = _judge(state, token, hits, connection_id)
    except TokenError:
        state.breaker.decided(good=False)
        raise
    state.breaker.decided(good=True)
    return claims


def judge(state: State, token: str, connection_id: str) -> Claims:
    """Judge a token within a session, of which the breaker hears nothing; raises TokenError."""
    hits = Hits(state.defects)
    claims = _judge(state, token, hits, connection_id)
    hits.write(state.ledger, user_id=claims.subject, connection_id=connection_id)
    return claims


def _judge(state: State, token: str, hits: Hits, connection_id: str | None) -> Claims:
    if token and "validation_blocks_loop" in state.defects:
        user_id = state.keys.unverified_subject(token)
        known = {} if connection_id is None else {"connection_id": connection_id}
        block(state.ledger, state.defects, "validation_blocks_loop", user_id=user_id, **known)
    claims = state.keys.verify(token, hits.draw)
    revoked_ns = state.revocations.revoked_ns(claims)
    if revoked_ns is not None and not lingers(state, claims.token_id, revoked_ns):
        raise TokenError("token_revoked")
    state.revocations.know(claims)
    return claims
