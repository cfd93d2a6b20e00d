"""Bad tokens: each bad in one way, made of what the source of the good ones can give.

The rule: nothing is invented. With the key that signs, every claim can be wrong under a right
signature; of a JWT alone, its header and payload are taken over and signed with a key of our
own, by hand where no library would (RFC 7515, section 5.1; `none` of RFC 7518, section 3.6;
HMAC with a public key, RFC 8725, section 2.1). What cannot be made is an UnmadeError with the
reason, never another token in its place. Whoever calls tells the redactor of each.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from probe.auth.describe import describe
from probe.auth.unmade import UnmadeError
from probe.model.bad_tokens import BRIEF_S, TOKEN_CASES

if TYPE_CHECKING:
    from collections.abc import Callable

    from probe.auth.identity import Identity
    from probe.auth.mint import Signer
    from probe.auth.public import PublicKey

_HOUR_S: Final = 3600
_YEARS_S: Final = 10 * 365 * 86_400
_SKEW_S: Final = 2
_ELSEWHERE: Final = "https://elsewhere.invalid"
_NOBODYS_KEY: Final = "nobody-has-this-key"
_READINGS: Final = {
    "key_confusion_pem": "pem", "key_confusion_raw": "raw", "key_confusion_jwk": "jwk",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Forged:
    """A token of one case, "" for none; `beside` is shown in Authorization as well.

    `expires_at_s` is wall time, None for unknown; `whose` is the other user whose token it is.
    """

    token: str = field(repr=False)
    beside: str = field(default="", repr=False)
    expires_at_s: float | None = None
    whose: Identity | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """What a case is made of: a good token of identity `index`, and what else there is.

    `signer` is None where the key is not ours, `public` where no public key is known.
    """

    good: str = field(repr=False)
    index: int
    seed: int
    now_s: float
    signer: Signer | None = None
    public: PublicKey | None = None


def forge(case: str, source: Source) -> Forged:
    """The token of that case of `TOKEN_CASES`. Raises UnmadeError."""
    match TOKEN_CASES[case].needs:
        case "nothing":
            return Forged("")
        case "token":
            return _of_any(case, source)
        case "jwt":
            return Forged(_of_jwt(case, *_parts(source.good)))
        case "public_key":
            return Forged(_confused(case, source))
        case "key":
            return _of_key(case, source)
        case needs:
            raise UnmadeError(f"{case} is not made of a token alone ({needs})")


# Of any token.


def _of_any(case: str, source: Source) -> Forged:
    if not source.good:
        raise UnmadeError("there is no token that could be altered")
    match case:
        case "tampered":
            return Forged(_tampered(source.good))
        case "malformed":
            # Before its signature begins: a token with half of one would be well-formed.
            signed = source.good.rpartition(".")[0] or source.good
            return Forged(source.good[: max(len(signed) // 2, 1)])
        case "two_that_differ":
            return Forged(source.good, beside=_tampered(source.good))
        case _:
            raise UnmadeError(f"{case} is not known")


def _tampered(good: str) -> str:
    """Another subject under the old signature; of a token of another form one sign changed."""
    try:
        _, payload = _parts(good)
    except UnmadeError:
        at = len(good) // 2
        return good[:at] + ("a" if good[at] != "a" else "b") + good[at + 1 :]
    head, _, signature = good.split(".")
    # An administrator is whom a forger would like to be, and nobody of ours is called so.
    return f"{head}.{_encoded(payload | {'sub': 'admin'})}.{signature}"


# Of a JWT, without its key.


def _parts(good: str) -> tuple[dict[str, Any], dict[str, Any]]:
    told = describe(good, 0.0)
    if not told.is_jwt:
        raise UnmadeError("the token of this source is no JWT, so that there is nothing to forge")
    return told.header, told.claims


def _of_jwt(case: str, header: dict[str, Any], payload: dict[str, Any]) -> str:
    # Here, where a JWT was taken apart, what signs is loaded already; without JWTs it never is.
    from probe.auth.own_keys import embedded, signed  # noqa: PLC0415 -- jwt and cryptography

    match case:
        case "alg_none":
            return _written({**header, "alg": "none"}, payload)
        case "alg_none_cased":
            return _written({**header, "alg": "nOnE"}, payload)
        case "no_signature":
            return _written(header, payload)
        case "wrong_key":
            return signed(header, payload)
        case "unknown_key":
            return signed({**header, "kid": _NOBODYS_KEY}, payload)
        case "embedded_key":
            return embedded(header, payload)
        case _:
            raise UnmadeError(f"{case} is not known")


def _confused(case: str, source: Source) -> str:
    """HS256 with what everybody knows as its secret; no library signs so."""
    header, payload = _parts(source.good)
    if source.public is None:
        raise UnmadeError("no public key of the service is known (auth.jwks)")
    if source.public.kid is not None:
        header = {**header, "kid": source.public.kid}
    secret: bytes = getattr(source.public, _READINGS[case])

    def mac(signed: bytes) -> bytes:
        return hmac.digest(secret, signed, hashlib.sha256)

    return _written({**header, "alg": "HS256"}, payload, mac)


# With the key.


def _changes(case: str, now_s: int) -> dict[str, object]:
    """What a case says otherwise than a good token of now."""
    long_ago: dict[str, object] = {"iat": now_s - 2 * _HOUR_S, "nbf": now_s - 2 * _HOUR_S}
    table: dict[str, dict[str, object]] = {
        "expired": {**long_ago, "exp": now_s - _HOUR_S},
        "within_skew": {**long_ago, "exp": now_s - _SKEW_S},
        "not_yet_valid": {"nbf": now_s + _HOUR_S, "exp": now_s + 2 * _HOUR_S},
        "wrong_audience": {"aud": _ELSEWHERE},
        "wrong_issuer": {"iss": _ELSEWHERE},
        "missing_subject": {"sub": None},
        "huge_lifetime": {"exp": now_s + _YEARS_S},
        "brief": {"exp": now_s + BRIEF_S},
        "unknown_key_id": {},
    }
    return table[case]


def _of_key(case: str, source: Source) -> Forged:
    signer = source.signer
    if signer is None:
        raise UnmadeError("the key that signs is not ours (only the source `mint` has it)")
    if case == "wrong_audience" and signer.auth.audience is None:
        raise UnmadeError("the target names no audience that could be wrong (auth.audience)")
    if case == "wrong_issuer" and signer.auth.issuer is None:
        raise UnmadeError("the target names no issuer that could be wrong (auth.issuer)")
    claims = signer.claims(source.index, source.seed, source.now_s)
    claims |= _changes(case, int(source.now_s))
    said = {name: value for name, value in claims.items() if value is not None}
    header = {"kid": _NOBODYS_KEY} if case == "unknown_key_id" else signer.header()
    expiry = said["exp"]
    assert isinstance(expiry, int)
    return Forged(signer.sign(said, header), expires_at_s=float(expiry))


# By hand.


def _written(
    header: dict[str, Any], payload: dict[str, Any], sign: Callable[[bytes], bytes] | None = None
) -> str:
    """The compact form (RFC 7515, section 7.1), signed by `sign` or not at all."""
    signed = f"{_encoded(header)}.{_encoded(payload)}"
    return f"{signed}.{_base64(sign(signed.encode()) if sign else b'')}"


def _encoded(table: dict[str, Any]) -> str:
    return _base64(json.dumps(table, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
