"""Defects of the handshake: negotiation, tokens, and what guards the door.

Rows of the table of `table`. All but the breaker and what blocks the loop are drawn only
where the healthy lab would do otherwise.
"""

from __future__ import annotations

from typing import Final

from probe.lab.defect import Defect

_ACCEPTED: Final = "accepted handshake with offers"

_NEGOTIATION: Final = (
    Defect(
        "accept_without_subprotocol",
        "a handshake whose offers could be served is accepted without choosing one",
        drawn=_ACCEPTED,
    ),
    Defect(
        "echo_unoffered_subprotocol",
        "the subprotocol that is answered was not offered",
        drawn=_ACCEPTED,
    ),
    Defect(
        "echo_first_offered",
        "the first offer is chosen, whatever it is",
        drawn="handshake whose first offer is not the right choice",
    ),
    Defect(
        "echo_empty_subprotocol",
        "Sec-WebSocket-Protocol is answered with an empty value",
        drawn=_ACCEPTED,
    ),
    Defect(
        "two_subprotocols",
        "two subprotocols are answered, in a header line each",
        drawn=_ACCEPTED,
    ),
    Defect(
        "case_folding",
        "JWT-AUTH in any case counts as jwt-auth, and jwt-auth is answered",
        drawn="handshake in which that makes a difference",
    ),
    Defect(
        "reject_after_accept_1003",
        "a handshake whose offers cannot be served is accepted with 101, and closed with 1003 a "
        "few milliseconds later",
        drawn="handshake whose offers cannot be served",
    ),
    Defect(
        "bad_accept_key",
        "Sec-WebSocket-Accept answers another key than the client's",
        drawn="accepted handshake",
    ),
    Defect(
        "origin_ignored",
        "a page of a foreign origin may open a WebSocket",
        drawn="handshake of a foreign origin",
    ),
)

_TOKENS: Final = (
    Defect(
        "alg_none_accepted",
        "a token with the algorithm none needs no signature",
        drawn="token with the algorithm none",
    ),
    Defect(
        "expired_accepted",
        "a token is taken though it has expired, and then for 24 h more",
        drawn="token that is past its expiry",
    ),
    Defect(
        "audience_ignored",
        "a token is taken though it is for another audience, or from another issuer",
        drawn="token for another audience or from another issuer",
    ),
    Defect(
        "key_confusion",
        "a token is taken that was signed by HS256 with the bytes of the public key (raw, JWK, "
        "x, DER or PEM)",
        drawn="token that was signed so",
    ),
)

_GUARDS: Final = (
    Defect(
        "breaker_global",
        "after 3 failed authentications of anybody without a success between, every handshake is "
        "answered 503 for this long; then one is let in as a trial, which takes 5 ms and closes "
        "the breaker or opens it again",
        "duration",
        "15s",
        all_users=True,
    ),
    Defect(
        "breaker_sticks",
        "after 3 failed authentications of anybody without a success between, every handshake is "
        "answered 503 until the lab is restarted",
        "switch",
        "1",
        all_users=True,
    ),
    Defect(
        "breaker_half_open",
        "to decide the trial of a half-open breaker takes this long, and whoever comes meanwhile "
        "is answered 503; without another breaker_* it is one that is open for 1 s",
        "duration",
        "80ms",
        all_users=True,
    ),
    Defect(
        "cap_race",
        "a connection is checked against its user's cap when it comes, and counted only this "
        "long after; all that come in between get in",
        "duration",
        "50ms",
    ),
    Defect(
        "slow_accept_tail",
        "the 101 comes 2 s late",
        default="0.02",
        drawn="handshake that is let in",
    ),
    Defect(
        "validation_blocks_loop",
        "the loop sleeps for this long whenever a token is judged, and all connections with it",
        "duration",
        "100ms",
        all_users=True,
    ),
    Defect(
        "blocking_dependency",
        "the loop sleeps for this long when a run starts, and all connections with it",
        "duration",
        "300ms",
        all_users=True,
    ),
)

HANDSHAKES: Final[tuple[Defect, ...]] = (*_NEGOTIATION, *_TOKENS, *_GUARDS)
