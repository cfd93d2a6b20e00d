"""Findings about tokens: bad ones that get in, good ones that do not, and what comes between.

Rows of the table of `catalogue`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from probe.check.entry import Entry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from probe.check.entry import Severity

_CONTROL: Final = "a good token got in the same way, before and after"
_GOOD: Final = "a good token got in, in this stage"
_SEQUENCE: Final = "docs/field.md, authentication races"
_LIFE: Final = "docs/field.md, token reuse and life"


def _bad(cause: str, source: str, severity: Severity = "critical") -> Entry:
    return Entry(severity, "witness", {"": cause}, source, _CONTROL)


def _sequence(severity: Severity, cause: str, source: str = _SEQUENCE) -> Entry:
    return Entry(severity, "witness", {"": cause}, source, _GOOD)


AUTHENTICATION: Final[Mapping[str, Entry]] = {
    "auth.absent": _bad("nobody asks for a token here", "RFC 6750 section 3"),
    "auth.expired": _bad(
        "`exp` is not checked, or with a leeway of hours", "RFC 7519 section 4.1.4"
    ),
    "auth.not_yet_valid": _bad("`nbf` is not checked", "RFC 7519 section 4.1.5", "major"),
    "auth.audience": _bad(
        "`aud` is not checked: a token for any other service of this issuer opens this one",
        "RFC 7519 section 4.1.3; RFC 8725 section 3.9",
    ),
    "auth.issuer": _bad(
        "`iss` is not checked: a token of anybody whose key is known opens this service",
        "RFC 8725 section 3.8",
    ),
    "auth.wrong_key": _bad(
        "the signature is not checked: anybody writes tokens for anybody",
        "RFC 7515 section 5.2; RFC 8725 section 3.3",
    ),
    "auth.embedded_key": _bad(
        "the key is taken from the token itself (`jwk`): anybody writes tokens for anybody",
        "RFC 7515 sections 4.1.3 and 10.3",
    ),
    "auth.alg_none": _bad(
        "the algorithm is taken from the token, and `none` with it: fix the algorithms that are "
        "accepted",
        "RFC 7518 section 3.6; RFC 8725 sections 2.1, 3.1 and 3.2",
    ),
    "auth.no_signature": _bad("an empty signature counts as a good one", "RFC 7515 section 5.2"),
    "auth.key_confusion": _bad(
        "the algorithm is taken from the token, so that the public key serves as an HMAC secret: "
        "fix one algorithm for each key",
        "RFC 8725 sections 2.1 and 3.1",
    ),
    "auth.tampered": _bad("the signature is not checked over the payload", "RFC 7515 section 5.2"),
    "auth.malformed": _bad(
        "what cannot be read as a token is not refused: an exception that is swallowed, or a way "
        "round for tests",
        "RFC 7519 section 7.2",
    ),
    "auth.missing_subject": _bad(
        "a token without `sub` gets in, as nobody: whose events are its own?",
        "RFC 7519 section 4.1.2; the dialect's recipients",
        "major",
    ),
    "auth.revoked": _bad(
        "a revoked token still opens connections: the handshake asks a cache, or nobody",
        "RFC 7009 section 2.1",
    ),
    "auth.another_user": _bad(
        "the user is taken from what the client says, not from its token", "RFC 7519 section 4.1.2"
    ),
    "auth.unknown_key_id": _bad(
        "the key id is not looked at: a hint", "RFC 7515 section 4.1.4", "info"
    ),
    "auth.huge_lifetime": _bad(
        "no bound on how long a token may live: one that is stolen works for years",
        "RFC 6750 section 5.3",
        "info",
    ),
    "auth.within_skew": _bad(
        "a leeway for clocks, which is allowed", "RFC 7519 section 4.1.4", "info"
    ),
    "auth.two_that_differ": _bad(
        "of two tokens in one request one is not looked at", "RFC 6750 sections 2 and 3.1", "info"
    ),
    "auth.rejected_good": _bad(
        "a good token is refused: another key, audience or clock than the probe's, or a lockout "
        "after bad ones",
        "RFC 7519 section 7.2",
        "major",
    ),
    "auth.error": _bad(
        "a bad token makes the service fail instead of saying no: an exception that is not caught, "
        "or 1011 chosen where 1008 or a code of 4000 to 4999 says no",
        "RFC 6750 section 3.1",
        "minor",
    ),
    "auth.left_open": _bad(
        "a connection without authentication has no deadline, or a longer one than a client waits",
        _SEQUENCE,
        "info",
    ),
    "auth.early_frame_lost": _sequence(
        "major",
        "what comes before the token is validated is read and thrown away: read only when the "
        "session is ready, or keep it",
    ),
    "auth.early_frame_served": _sequence(
        "major",
        "messages are served before the token is validated, though the dialect promises that "
        "they are refused",
    ),
    "auth.early_frame_served_to_bad": _sequence(
        "critical",
        "the connection is served before its token is validated: whoever is quick gets events "
        "without a good token",
    ),
    "auth.second_user": _sequence(
        "critical", "a token of another user changes whose events an open connection gets"
    ),
    "auth.expiry_ignored": _sequence(
        "critical",
        "the token is checked at the handshake alone: an open connection outlives it",
        "docs/field.md, token reuse and life; RFC 7519 section 4.1.4",
    ),
    "auth.never_closed": _sequence(
        "info", "a connection that never authenticates has no deadline: it costs memory for ever"
    ),
    "auth.again": _sequence("info", "what happens at a second authentication is not promised"),
    "auth.sequence": _sequence("major", "see the step at which most of these clients failed"),
    "refresh.dropped": _sequence(
        "critical", "the connection is ended by its own refresh, and what was under way is lost"
    ),
    "refresh.refused": _sequence("major", "a good new token of the same user is not taken", _LIFE),
    "refresh.unanswered": _sequence(
        "major", "the new token is not looked at, or not told of", _LIFE
    ),
    "refresh.lost": _sequence(
        "major",
        "the answer says that the new token holds, and the connection ends at the expiry of the "
        "old one: its timer was not set anew",
        _LIFE,
    ),
}
