"""The authentication matrix as data: one row a case.

The rule: every case is a token that is bad in exactly one way, or good in an unusual one;
`probe.auth.bad` makes it. A case is tried in every presentation of the dialect that ought to
be accepted, beside the good token as its positive control. What a service may do one way or
the other is informational: it is told, and never fails.

Sources: RFC 7519 (claims; which of them a token must have is left to the service, section 4),
RFC 7515 (header, signature), RFC 7518 (`none`), RFC 8725 (best current practices), RFC 6750
(how a token is shown, and refused), RFC 7009 (revocation).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from probe.model.dialect import Dialect, Presentation

Needs = Literal["nothing", "token", "jwt", "key", "public_key", "revoke", "user"]
"""What a case is made of: nothing, any token, a good JWT, the key that signs, the service's
public key, the dialect's way to revoke, a place that names the user beside the token."""
FRESH: Final = "fresh"
"""Not a row: a new good token, as `Token` takes it."""
BRIEF_S: Final = 3
"""How long a `brief` token lives at most, in whole seconds, as a token counts."""


@dataclass(frozen=True, slots=True)
class TokenCase:
    """One row. `expect` is what the service ought to do with it.

    `code` is the finding where it does otherwise: `auth.<code>`.
    """

    name: str
    title: str
    expect: Literal["accepted", "rejected", "informational"]
    section: str
    code: str
    needs: Needs = "key"


def _bad(name: str, title: str, section: str, needs: Needs = "key", code: str = "") -> TokenCase:
    return TokenCase(name, title, "rejected", section, code or name, needs)


def _told(name: str, title: str, section: str, needs: Needs = "key") -> TokenCase:
    return TokenCase(name, title, "informational", section, name, needs)


_HMAC: Final = "HS256 signed with the public key"
_ROWS: Final = (
    _bad("absent", "no token", "RFC 6750 section 3", "nothing"),
    _bad("expired", "expired an hour ago", "RFC 7519 section 4.1.4"),
    _bad("not_yet_valid", "valid from an hour on (`nbf`)", "RFC 7519 section 4.1.5"),
    _bad(
        "wrong_audience", "for another audience", "RFC 7519 section 4.1.3; RFC 8725 section 3.9",
        code="audience",
    ),
    _bad("wrong_issuer", "of another issuer", "RFC 8725 section 3.8", code="issuer"),
    _bad("wrong_key", "signed with a key of our own", "RFC 7515 section 5.2", "jwt"),
    _bad(
        "unknown_key", "signed with a key of our own, under a key id that nobody has",
        "RFC 7515 sections 4.1.4 and 5.2", "jwt", "wrong_key",
    ),
    _bad(
        "embedded_key", "signed with a key of our own, which its header brings along (`jwk`)",
        "RFC 7515 sections 4.1.3 and 10.3", "jwt",
    ),
    _told(
        "unknown_key_id", "rightly signed, under a key id that nobody has",
        "RFC 7515 section 4.1.4",
    ),
    _bad(
        "alg_none", "algorithm `none`, no signature",
        "RFC 7518 section 3.6; RFC 8725 section 3.2", "jwt",
    ),
    _bad(
        "alg_none_cased", "algorithm `nOnE`", "RFC 7515 sections 4.1.1 and 5.2", "jwt", "alg_none"
    ),
    _bad("no_signature", "its signature cut off", "RFC 7515 section 5.2", "jwt"),
    _bad(
        "key_confusion_pem", f"{_HMAC} as PEM", "RFC 8725 sections 2.1 and 3.1", "public_key",
        "key_confusion",
    ),
    _bad(
        "key_confusion_raw", f"{_HMAC} as bytes", "RFC 8725 sections 2.1 and 3.1", "public_key",
        "key_confusion",
    ),
    _bad(
        "key_confusion_jwk", f"{_HMAC} as JWK", "RFC 8725 sections 2.1 and 3.1", "public_key",
        "key_confusion",
    ),
    _bad("tampered", "another subject under the old signature", "RFC 7515 section 5.2", "token"),
    _bad("malformed", "half a token", "RFC 7519 section 7.2", "token"),
    _bad(
        "missing_subject", "without `sub`", "RFC 7519 section 4.1.2; the dialect's recipients"
    ),
    _told("huge_lifetime", "valid for ten years", "RFC 6750 section 5.3"),
    _told("within_skew", "expired 2 s ago, within what a skew may allow", "RFC 7519 section 4.1.4"),
    TokenCase(
        "brief", f"good, and expired {BRIEF_S} s later at most", "accepted",
        "RFC 7519 section 4.1.4", "rejected_good",
    ),
    _bad("revoked", "revoked before", "RFC 7009 section 2.1", "revoke"),
    _bad(
        "another_user", "good, of another user than the one named", "RFC 7519 section 4.1.2", "user"
    ),
    _told(
        "two_that_differ", "good, and a tampered one beside it in Authorization",
        "RFC 6750 sections 2 and 3.1", "token",
    ),
)  # fmt: skip

TOKEN_CASES: Final[Mapping[str, TokenCase]] = MappingProxyType({row.name: row for row in _ROWS})


def is_bad(case: str) -> bool:
    """Whether a token of this case, or `fresh`, ought to get nobody in."""
    return case in TOKEN_CASES and TOKEN_CASES[case].expect == "rejected"


def lacking(case: TokenCase, shown: Presentation, dialect: Dialect) -> str:
    """Why this dialect has no such case in this presentation; "" where it has."""
    match case.needs:
        case "revoke" if dialect.revoke is None:
            return "the dialect does not say how a token is revoked ([revoke])"
        case "user" if not _names_user(shown):
            return "this presentation names no {user} beside the token"
        case _:
            return ""


def expected(case: TokenCase, dialect: Dialect) -> str:
    """What the service ought to do: of what it does not promise, nothing."""
    if case.needs == "revoke" and dialect.promises.revocation is None:
        return "informational"
    # `sub` is optional (RFC 7519, section 4.1.2), but who serves users has to know whom.
    if case.name == "missing_subject" and dialect.promises.recipients != "user":
        return "informational"
    return case.expect


def _names_user(shown: Presentation) -> bool:
    places = (
        *shown.subprotocols, *shown.headers.values(), *shown.query.values(),
        *shown.cookies.values(), shown.first_message or "",
    )  # fmt: skip
    return any("{user}" in text for text in places)
