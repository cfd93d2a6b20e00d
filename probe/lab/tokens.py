"""Tokens of the lab: minted, published as JWKS, verified (RFC 7519, RFC 8037).

Two algorithms: HS256 with the shared secret, and EdDSA with an Ed25519 key whose seed is
SHA-256 of a label and the secret, so that it is the same in every life. A token names its
algorithm itself, but the key is chosen by us per algorithm and nothing else is taken, so
a public key can never serve as an HMAC secret. Refusals are fixed words: no part of a
token is ever repeated.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from typing import Any, Final, Literal

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ISSUER: Final = "probe-lab"
AUDIENCE: Final = "probe-lab"
LEEWAY_S: Final = 1
EXPIRES_IN_S: Final = 3600
_SEED_LABEL: Final = b"probe-lab/ed25519/"

Algorithm = Literal["HS256", "EdDSA"]


class TokenError(Exception):
    """A token was refused; `code` is a fixed word of ours."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


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

    def _key(self, algorithm: object) -> bytes | Ed25519PublicKey:
        match algorithm:
            case "HS256":
                return self._secret
            case "EdDSA":
                return self._public
            case _:
                raise TokenError("unsupported_algorithm")

    def mint(self, subject: str, algorithm: Algorithm) -> str:
        """A token for that subject, good for an hour."""
        now_s = int(time.time())
        claims: dict[str, Any] = {
            "sub": subject,
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": now_s,
            "exp": now_s + EXPIRES_IN_S,
        }
        if algorithm == "EdDSA":
            return jwt.encode(claims, self._private, algorithm, headers={"kid": self.kid})
        return jwt.encode(claims, self._secret, algorithm)

    def verify(self, token: str) -> str:
        """The subject of a good token; TokenError otherwise, "missing_token" for none."""
        if not token:
            raise TokenError("missing_token")
        try:
            algorithm = jwt.get_unverified_header(token).get("alg")
            claims = jwt.decode(
                token,
                self._key(algorithm),
                algorithms=[str(algorithm)],
                audience=AUDIENCE,
                issuer=ISSUER,
                leeway=LEEWAY_S,
                options={"require": ["sub", "exp"]},
            )
        except jwt.ExpiredSignatureError:
            raise TokenError("token_expired") from None
        except jwt.InvalidSignatureError:
            raise TokenError("bad_signature") from None
        except (jwt.InvalidAudienceError, jwt.InvalidIssuerError):
            raise TokenError("wrong_audience_or_issuer") from None
        except jwt.MissingRequiredClaimError:
            raise TokenError("missing_claim") from None
        except (jwt.PyJWTError, ValueError):
            raise TokenError("invalid_token") from None
        subject = claims["sub"]
        if not subject:
            raise TokenError("missing_claim")
        return str(subject)
