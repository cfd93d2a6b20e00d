"""Tokens signed here (RFC 7519), as the service itself would sign them.

The rule: the key is read, checked and prepared once; after that a token costs one
`jwt.encode`. Every token has a random `jti`, so that two tokens minted in one second are
two, and a service that refuses reuse sees none where none was meant. A control that must
be refused for its age is minted with `now_s` in the past.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from probe.errors import ConfigError, Problem
from probe.model.auth import MintAuth, check_key_text, render

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue

Key: TypeAlias = (
    bytes | RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey | Ed448PrivateKey
)

_NS_PER_S = 1_000_000_000
_FILE_BYTES_MAX = 64 * 1024
_RSA_BITS_MIN = 2048
_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}


@dataclass(frozen=True, slots=True)
class Signer:
    """A mint that is ready: the `[auth]` table, and its key prepared."""

    auth: MintAuth
    key: Key = field(repr=False)

    def subject(self, index: int, seed: int) -> str:
        """The `sub` of identity `index`."""
        return render(self.auth.subject, index, seed)

    def expires_at_s(self, now_s: float) -> int:
        """The `exp` of a token minted at `now_s` (wall seconds)."""
        return int(now_s) + self.auth.lifetime // _NS_PER_S

    def mint(self, index: int, seed: int, now_s: float) -> str:
        """A new token of identity `index`; `now_s` is wall time in seconds since 1970."""
        return self.sign(self.claims(index, seed, now_s), self.header())

    def header(self) -> dict[str, str]:
        """What stands in the header of a token beside `alg` and `typ`."""
        return {} if self.auth.key_id is None else {"kid": self.auth.key_id}

    def sign(self, payload: Mapping[str, object], header: dict[str, str]) -> str:
        """A token with these claims, good or not, signed with the service's key."""
        return jwt.encode(dict(payload), self.key, self.auth.algorithm, header or None)

    def claims(self, index: int, seed: int, now_s: float) -> dict[str, object]:
        """What a new token of identity `index` says."""
        auth = self.auth
        since = int(now_s) - auth.skew // _NS_PER_S
        payload: dict[str, object] = {
            "sub": self.subject(index, seed),
            "iat": since,
            "nbf": since,
            "exp": self.expires_at_s(now_s),
            "jti": os.urandom(12).hex(),
        }
        if auth.issuer is not None:
            payload["iss"] = auth.issuer
        if auth.audience is not None:
            several = isinstance(auth.audience, tuple)
            payload["aud"] = list(auth.audience) if several else auth.audience
        for name, value in auth.claims.items():
            payload[name] = _filled(value, index, seed)
        return payload


def mint(
    auth: MintAuth,
    index: int,
    *,
    seed: int,
    now_s: float,
    origin: str = "target",
    folder: Path = Path(),
) -> str:
    """One token by itself; for many, prepare a `signer` once. Raises ConfigError."""
    return signer(auth, key_text(auth, origin, folder), origin).mint(index, seed, now_s)


def key_text(auth: MintAuth, origin: str, folder: Path) -> str:
    """The key as text, from the table or its file (relative to `folder`). Raises ConfigError."""
    if auth.key is not None:
        return auth.key.get_secret_value()
    assert auth.key_file is not None
    path = folder / auth.key_file
    text, problem = "", ""
    try:
        with path.open("rb") as file:
            text = file.read(_FILE_BYTES_MAX).decode("ascii")
        check_key_text(auth.algorithm, text)
    except OSError as error:
        problem = f"cannot be read: {error.strerror or type(error).__name__}"
    except UnicodeDecodeError:
        problem = "this is no PEM file"
    except ValueError as error:
        problem = str(error)
    if problem:
        raise _wrong(origin, "auth.key_file", problem, str(path))
    return text


def signer(auth: MintAuth, text: str, origin: str = "target") -> Signer:
    """A signer with the key in `text` prepared. Raises ConfigError, without the key."""
    if auth.algorithm.startswith("HS"):
        return Signer(auth, text.encode())
    path = "auth.key" if auth.key_file is None else "auth.key_file"
    try:
        key = load_pem_private_key(text.encode(), password=None)
    except TypeError:
        hint = "write it unencrypted, such as with `openssl pkey`"
        raise _wrong(origin, path, "the private key is encrypted", "", hint) from None
    except (ValueError, UnsupportedAlgorithm):
        # What the library says may quote the input.
        raise _wrong(origin, path, "the private key in this PEM cannot be read") from None
    if not isinstance(
        key, RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey | Ed448PrivateKey
    ):
        raise _wrong(origin, path, "this kind of key signs no token", type(key).__name__)
    if problem := _misfit(auth.algorithm, key):
        raise _wrong(origin, path, problem)
    return Signer(auth, key)


def _misfit(algorithm: str, key: Key) -> str:
    """Why `key` cannot serve `algorithm`; "" when it can."""
    match key:
        case RSAPrivateKey() if algorithm[:2] in ("RS", "PS"):
            if key.key_size >= _RSA_BITS_MIN:
                return ""
            return (
                f"{algorithm} needs an RSA key of at least {_RSA_BITS_MIN} bits "
                f"(RFC 7518, section 3.3); this one has {key.key_size}"
            )
        case EllipticCurvePrivateKey() if algorithm in _CURVES:
            if key.curve.name == _CURVES[algorithm]:
                return ""
            return f"{algorithm} needs the curve {_CURVES[algorithm]}; this is {key.curve.name}"
        case Ed25519PrivateKey() | Ed448PrivateKey() if algorithm == "EdDSA":
            return ""
    kind = {"RS": "an RSA", "PS": "an RSA", "ES": "an elliptic-curve"}.get(algorithm[:2], "an Ed")
    return f"{algorithm} needs {kind} key; this is another kind"


def _filled(value: JsonValue, index: int, seed: int) -> JsonValue:
    if isinstance(value, str):
        return render(value, index, seed)
    if isinstance(value, list):
        return [_filled(item, index, seed) for item in value]
    if isinstance(value, dict):
        return {name: _filled(item, index, seed) for name, item in value.items()}
    return value


def _wrong(origin: str, path: str, message: str, found: str = "", hint: str = "") -> ConfigError:
    return ConfigError(Problem(origin, path, message, found, "", hint))
