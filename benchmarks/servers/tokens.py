"""The token of a handshake, and what is spoken, for the servers written in Python."""

from __future__ import annotations

import jwt

WHO = "probe"
SPOKEN = ("jwt-auth", "probe.v2")


def is_good(offers: list[str], authorization: str, key: str) -> bool:
    """Whether a good token stands among the offers, or else in the header."""
    token = next((each[4:] for each in offers if each.startswith("jwt.")), "")
    token = token or authorization.removeprefix("Bearer ")
    try:
        jwt.decode(token, key, ["HS256"], audience=WHO, issuer=WHO)
    except jwt.InvalidTokenError:
        return False
    return True
