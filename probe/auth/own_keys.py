"""JWTs signed with keys of our own, which no service knows.

The rule: the key is of the kind that the algorithm of the good token wants, so that nothing but
whose key it is can be wrong. Each is made anew and forgotten.
"""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from probe.auth.unmade import UnmadeError

if TYPE_CHECKING:
    from probe.auth.mint import Key

_SECRET_BYTES: Final = 64
_RSA_BITS: Final = 2048
_CURVES: Final = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


def signed(header: dict[str, Any], payload: dict[str, Any]) -> str:
    """With the algorithm that `header` names. Raises UnmadeError for one without a key."""
    algorithm = str(header.get("alg"))
    rest = {name: value for name, value in header.items() if name not in ("alg", "typ")}
    return jwt.encode(payload, _own_key(algorithm), algorithm, rest)


def embedded(header: dict[str, Any], payload: dict[str, Any]) -> str:
    """With a key whose public half the header shows (RFC 7515, section 4.1.3)."""
    key = ed25519.Ed25519PrivateKey.generate()
    point = base64.urlsafe_b64encode(key.public_key().public_bytes_raw()).rstrip(b"=").decode()
    shown = {"kty": "OKP", "crv": "Ed25519", "x": point}
    rest = {name: value for name, value in header.items() if name not in ("alg", "typ", "kid")}
    return jwt.encode(payload, key, "EdDSA", {**rest, "jwk": shown})


def _own_key(algorithm: str) -> Key:
    if algorithm in ("HS256", "HS384", "HS512"):
        return os.urandom(_SECRET_BYTES)
    if algorithm in _CURVES:
        return ec.generate_private_key(_CURVES[algorithm])
    if algorithm[:2] in ("RS", "PS"):
        return rsa.generate_private_key(65_537, _RSA_BITS)
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    raise UnmadeError(f"we have no key for the algorithm {algorithm[:20]!r} of this source")
