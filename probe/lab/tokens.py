"""Tokens of the lab: minted, published as JWKS, verified (RFC 7515, RFC 8037).

Two algorithms: HS256 with the shared secret, and EdDSA with an Ed25519 key whose seed is
SHA-256 of a label and the secret, so that it is the same in every life. A token names its
algorithm itself, but the key is chosen by us per algorithm and nothing else is taken, so
a public key can never serve as an HMAC secret (RFC 8725 section 2.1), unless a defect is to
show just that. Refusals are fixed words: no part of a token is ever repeated.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
import uuid
from typing import TYPE_CHECKING, Any, Final, Literal

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from probe.lab.claims import AUDIENCE, ISSUER, TokenError, read_claims

if TYPE_CHECKING:
    from probe.lab.claims import Claims, Excused

EXPIRES_IN_S: Final = 3600
NOBODY: Final = "nobody"
_SUBJECT_CHARS_MAX: Final = 256
_SEED_LABEL: Final = b"probe-lab/ed25519/"
_JWS: Final = jwt.PyJWS()

Algorithm = Literal["HS256", "EdDSA"]


def _never(_defect: str) -> bool:
    return False


class Keys:
    """The secret and what follows from it."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._private = Ed25519PrivateKey.from_private_bytes(
            hashlib.sha256(_SEED_LABEL + self._secret).digest()
        )
        self._public = self._private.public_key()
        raw = self._public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        self._x = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        self.kid = "lab-" + hashlib.sha256(raw).hexdigest()[:16]
        self._readings = self._read_as_bytes(self._public, raw)

    def is_secret(self, offered: str) -> bool:
        """Whether this is the secret, in constant time."""
        return hmac.compare_digest(offered.encode("utf-8", "surrogatepass"), self._secret)

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The public key as a JWK set."""
        key = {
            "kty": "OKP",
            "crv": "Ed25519",
            "x": self._x,
            "kid": self.kid,
            "use": "sig",
            "alg": "EdDSA",
        }
        return {"keys": [key]}

    def mint(self, subject: str, algorithm: Algorithm) -> str:
        """A token for that subject, good for an hour; no two are alike."""
        now_s = int(time.time())
        claims: dict[str, Any] = {
            "sub": subject,
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": now_s,
            "exp": now_s + EXPIRES_IN_S,
            "jti": uuid.uuid4().hex,
        }
        if algorithm == "EdDSA":
            return jwt.encode(claims, self._private, algorithm, headers={"kid": self.kid})
        return jwt.encode(claims, self._secret, algorithm)

    def verify(self, token: str, excused: Excused = _never) -> Claims:
        """The claims of a good token; TokenError otherwise, "missing_token" for none.

        A check that fails asks `excused`, by the name of the defect that switches it off.
        """
        if not token:
            raise TokenError("missing_token")
        try:
            payload = self._payload(token, excused)
        except jwt.InvalidSignatureError:
            raise TokenError("bad_signature") from None
        except (jwt.PyJWTError, ValueError):
            raise TokenError("invalid_token") from None
        return read_claims(payload, token.rpartition(".")[0], excused)

    def unverified_subject(self, token: str) -> str:
        """Whom a token names, unchecked; `NOBODY` when it cannot be read or is unfit to repeat."""
        try:
            subject = msgspec.json.decode(_unverified(token), type=dict[str, Any]).get("sub")
        except (jwt.PyJWTError, ValueError, RecursionError):
            return NOBODY
        return fit_to_repeat(subject)

    def _payload(self, token: str, excused: Excused) -> bytes:
        """The payload once the signature is found good; PyJWTError or TokenError otherwise."""
        header = jwt.get_unverified_header(token)
        match header.get("alg"):
            case "HS256":
                try:
                    return _verified(token, self._secret, "HS256")
                except jwt.InvalidSignatureError:
                    if self._is_confused(token) and excused("key_confusion"):
                        return _unverified(token)
                    raise
            case "EdDSA":
                if header.get("kid", self.kid) != self.kid:
                    raise TokenError("unknown_key")
                return _verified(token, self._public, "EdDSA")
            case str(other) if other.lower() == "none" and excused("alg_none_accepted"):
                return _unverified(token)
            case _:
                raise TokenError("unsupported_algorithm")

    def _is_confused(self, token: str) -> bool:
        """Whether the public key, in one of its usual spellings, was the HMAC secret."""
        signed, _, written = token.rpartition(".")
        try:
            signature = base64.urlsafe_b64decode(written + "=" * (-len(written) % 4))
        except ValueError:
            return False
        return any(
            hmac.compare_digest(hmac.digest(reading, signed.encode(), "sha256"), signature)
            for reading in self._readings
        )

    def _read_as_bytes(self, public: Ed25519PublicKey, raw: bytes) -> tuple[bytes, ...]:
        """The public key as someone may hold it: raw, JWK, its `x`, DER, PEM."""
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        jwk = msgspec.json.encode(self.jwks()["keys"][0])
        return raw, jwk, self._x.encode(), der, pem, pem.rstrip(b"\n")


def fit_to_repeat(subject: object) -> str:
    """That subject, or `NOBODY` for one that is none, too long, or looks like a token."""
    if not isinstance(subject, str) or len(subject) > _SUBJECT_CHARS_MAX:
        return NOBODY
    return subject if subject.strip() and "eyJ" not in subject else NOBODY


def _verified(token: str, key: bytes | Ed25519PublicKey, algorithm: Algorithm) -> bytes:
    payload: bytes = _JWS.decode(token, key, [algorithm])
    return payload


def _unverified(token: str) -> bytes:
    payload: bytes = _JWS.decode(token, options={"verify_signature": False})
    return payload
