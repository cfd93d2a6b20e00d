"""The public key of a service, as somebody who may only know that much would hold it.

For one use: as the secret of an HMAC, which no service may accept (RFC 8725, section 2.1).
It comes from the private key that mints, or from the JWK Set that the service publishes
(RFC 7517, `keyset`); of a set the first key counts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from probe.auth.unmade import UnmadeError

if TYPE_CHECKING:
    from probe.auth.mint import Signer


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


def parse(body: bytes) -> PublicKey:
    """The first key of a JWK Set. Raises UnmadeError."""
    try:
        shown: dict[str, Any] = json.loads(body)["keys"][0]
        key: Any = jwt.PyJWK(shown).key
        kid = shown.get("kid")
        return _spelled(key, shown, kid if isinstance(kid, str) else None)
    except (ValueError, LookupError, TypeError, AttributeError, jwt.PyJWTError, RecursionError):
        raise UnmadeError("what auth.jwks answers is no set of public keys (RFC 7517)") from None


def _spelled(key: Any, shown: dict[str, Any], kid: str | None) -> PublicKey:
    pem: bytes = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    raw: bytes
    if isinstance(key, Ed25519PublicKey | Ed448PublicKey):
        raw = key.public_bytes_raw()
    else:
        raw = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(pem, raw, json.dumps(shown, separators=(",", ":")).encode(), kid)
