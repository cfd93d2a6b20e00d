"""What a token claims, and whether it may (RFC 7519 section 4.1).

The signature was checked before. Needed are a subject, an expiry, our issuer and our
audience; `nbf`, `iat` and `jti` are judged where they are given. A check that a defect may
switch off asks `excused` at the moment it fails, and only then.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Excused = Callable[[str], bool]

ISSUER: Final = "probe-lab"
AUDIENCE: Final = "probe-lab"
LEEWAY_S: Final = 1
LIFETIME_S_MAX: Final = 24 * 3600

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


class TokenError(Exception):
    """A token was refused; `code` is a fixed word of ours."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Claims:
    """Who a good token is for, and until when (seconds since 1970).

    `token_id` is a hex digest of what makes the token this one and fit for the ledger: of
    subject and `jti`, or without one of the part that is signed, since the same signature
    can be written in several ways.
    """

    subject: str
    expires_at_s: float
    token_id: str
    issued_at_s: float | None = None


def read_claims(payload: bytes, signed: str, excused: Excused) -> Claims:
    """The claims in a payload that are good now; TokenError otherwise.

    `signed` is header and payload as they stand in the token. A token that is let in though
    it has expired counts as one that expires as late as any may.
    """
    try:
        claims = _decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise TokenError("invalid_token") from None
    subject = _text(claims, "sub")
    if subject is None or not subject.strip():
        raise TokenError("missing_claim")
    expires_at_s, issued_at_s = _expiry(claims, time.time(), excused)
    _check_parties(claims, excused)
    name = _text(claims, "jti")
    parts = ("jti", subject, name) if name is not None else ("signed", signed)
    token_id = hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]
    return Claims(subject, expires_at_s, token_id, issued_at_s)


def _expiry(
    claims: Mapping[str, Any], now_s: float, excused: Excused
) -> tuple[float, float | None]:
    """Until when the token is good and since when it exists, if it says so."""
    expires_at_s = _instant(claims, "exp")
    if expires_at_s is None:
        raise TokenError("missing_claim")
    issued_at_s, good_from_s = _instant(claims, "iat"), _instant(claims, "nbf")
    if max(issued_at_s or 0, good_from_s or 0) > now_s + LEEWAY_S:
        raise TokenError("token_not_yet_valid")
    # Without `iat` it lives at least from now on.
    if expires_at_s - (now_s if issued_at_s is None else issued_at_s) > LIFETIME_S_MAX:
        raise TokenError("lifetime_too_long")
    if expires_at_s <= now_s - LEEWAY_S:
        if not excused("expired_accepted"):
            raise TokenError("token_expired")
        expires_at_s = now_s + LIFETIME_S_MAX
    return expires_at_s, issued_at_s


def _check_parties(claims: Mapping[str, Any], excused: Excused) -> None:
    """The token is from our issuer and for us; a list of audiences must name us."""
    issuer, audience = claims.get("iss"), claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if issuer == ISSUER and AUDIENCE in audiences:
        return
    if not excused("audience_ignored"):
        missing = issuer is None or not audience
        raise TokenError("missing_claim" if missing else "wrong_audience_or_issuer")


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    if value is not None and not isinstance(value, str):
        raise TokenError("invalid_token")
    return value


def _instant(claims: Mapping[str, Any], name: str) -> float | None:
    """A NumericDate (section 2), None where there is none."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TokenError("invalid_token")
    try:
        return float(value)
    except OverflowError:
        raise TokenError("invalid_token") from None
