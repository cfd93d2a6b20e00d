"""The public key of a service, as somebody who may only know that much would hold it.

For one use: as the secret of an HMAC, which no service may accept (RFC 8725, section 2.1).
It comes from the private key that mints, or from the JWK Set that the service publishes
(RFC 7517); of a set the first key counts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import jwt
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

if TYPE_CHECKING:
    import ssl

    from probe.auth.mint import Signer

_BODY_BYTES_MAX: Final = 64 * 1024
_WITHIN_S: Final = 5.0
_OK: Final = 200


class NoPublicKeyError(Exception):
    """It could not be had; the message says why."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Three spellings of one key, and its key id, if it has one.

    `pem` is the SubjectPublicKeyInfo, `raw` the bytes of a key of an Edwards curve and else
    the DER of the same, `jwk` the JSON as it was published.
    """

    pem: bytes
    raw: bytes
    jwk: bytes
    kid: str | None = None


def public_of(signer: Signer) -> PublicKey | None:
    """The public half of the key that mints; None for a shared secret, which has none."""
    if isinstance(signer.key, bytes):
        return None
    key = signer.key.public_key()
    shown = jwt.get_algorithm_by_name(signer.auth.algorithm).to_jwk(key, as_dict=True)
    return _spelled(key, shown, signer.auth.key_id)


async def published(url: str, tls: ssl.SSLContext | None) -> PublicKey:
    """The first key of the JWK Set at `url`. Raises NoPublicKeyError."""
    timeout = aiohttp.ClientTimeout(total=_WITHIN_S)
    connector = aiohttp.TCPConnector(ssl=tls or True, force_close=True)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            status, body = answer.status, await answer.content.read(_BODY_BYTES_MAX)
    except (aiohttp.ClientError, OSError, TimeoutError):
        raise NoPublicKeyError("the service's public keys (auth.jwks) could not be had") from None
    if status != _OK:
        raise NoPublicKeyError(f"the service's public keys (auth.jwks) were answered with {status}")
    return parse(body)


def parse(body: bytes) -> PublicKey:
    """The first key of a JWK Set. Raises NoPublicKeyError."""
    try:
        shown: dict[str, Any] = json.loads(body)["keys"][0]
        key: Any = jwt.PyJWK(shown).key
        kid = shown.get("kid")
        return _spelled(key, shown, kid if isinstance(kid, str) else None)
    except (ValueError, LookupError, TypeError, AttributeError, jwt.PyJWTError, RecursionError):
        raise NoPublicKeyError(
            "what auth.jwks answers is no set of public keys (RFC 7517)"
        ) from None


def _spelled(key: Any, shown: dict[str, Any], kid: str | None) -> PublicKey:
    pem: bytes = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    raw: bytes
    if isinstance(key, Ed25519PublicKey | Ed448PublicKey):
        raw = key.public_bytes_raw()
    else:
        raw = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(pem, raw, json.dumps(shown, separators=(",", ":")).encode(), kid)
