"""What a token says of itself, read without its key: for eyes, never for a decision.

The library behind it is loaded with the first token that is taken apart, since it takes 9 MB
that a process without tokens has no use for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from probe.redact import mask

# Three parts, the first of them a JSON object in base64url: what `probe.redact` knows by sight.
_JWT = re.compile(r"eyJ[A-Za-z0-9_\-]{5,}\.[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]*")
_TOKEN_CHARS_MAX = 64 * 1024
_SECONDS_MAX = 2**53


@dataclass(frozen=True, slots=True)
class Described:
    """A JSON Web Token taken apart, unverified; its signature is masked.

    `header` and `claims` are empty and `signature` is "" for a token of any other form,
    of which only `length` (characters) is told. `expires_in_s` counts from the moment that
    was handed in, negative once expired; None without a numeric `exp`.
    """

    is_jwt: bool
    length: int
    header: dict[str, Any]
    claims: dict[str, Any]
    signature: str
    expires_in_s: float | None


def describe(token: str, now_s: float) -> Described:
    """Take `token` apart as of `now_s` (wall seconds). Raises nothing."""
    opaque = Described(False, len(token), {}, {}, "", None)
    if len(token) > _TOKEN_CHARS_MAX:
        return opaque
    import jwt  # noqa: PLC0415 -- see the module

    try:
        parts = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        return opaque
    expires = expiry_s(parts["payload"])
    return Described(
        is_jwt=True,
        length=len(token),
        header=parts["header"],
        claims=parts["payload"],
        signature=mask(token.rpartition(".")[2].encode("ascii", "replace")).decode(),
        expires_in_s=None if expires is None else expires - now_s,
    )


def expiry_s(claims: dict[str, Any]) -> float | None:
    """The `exp` claim in wall seconds, or None where it is no number (RFC 7519, 4.1.4)."""
    return seconds(claims.get("exp"))


def seconds(value: object) -> float | None:
    """A number of seconds, or None for anything else; infinities and NaN are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < _SECONDS_MAX else None


def subject(claims: dict[str, Any]) -> str:
    """The `sub` claim, or "" where it is no plain text."""
    value = claims.get("sub")
    return value if isinstance(value, str) and value.isprintable() else ""


def looks_like_jwt(token: str) -> bool:
    """Whether every redactor masks `token` without being told of it."""
    return _JWT.fullmatch(token) is not None
