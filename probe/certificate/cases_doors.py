"""The table of cases, continued: whom the lab lets in, and by which word.

Rows of the table of `cases`; its rule holds here, too.
"""

from __future__ import annotations

from typing import Final

from probe.certificate.case import Case, Count, Dose

_ROW: Final = Count(1.0, 1.0, "each hit is one handshake, and each handshake is a row of its own")
_SOME: Final = Count(
    None, 1.0, "each hit is one handshake; where the dialect promises nothing it is not counted"
)
_TOKEN: Final = Count(1.0, 1.0, "each hit is one token, shown once")
_SKEW: Final = Count(
    None, 1.0, "each hit is one token; one that expired 2 s ago may be within a skew"
)


def _door(defect: str, *codes: str, n: int, least: str, count: Count = _ROW) -> Case:
    """A case under negotiation; `n`: the handshakes that the defect can hit."""
    return Case(
        defect,
        "negotiation",
        codes,
        Dose("1", f"{n} handshakes, every one of them hit"),
        Dose(least, f"{least} of {n} handshakes: P(no hit) < 0.1 %"),
        count,
        stage="matrix",
    )


_NEGOTIATION: Final = (
    _door(
        "accept_without_subprotocol",
        "negotiation.none_selected",
        n=116,
        least="0.1",
        count=_SOME,
    ),
    _door("echo_unoffered_subprotocol", "negotiation.unoffered", n=116, least="0.1"),
    _door(
        "echo_first_offered",
        "negotiation.wrong_selection",
        "negotiation.accepted_unsupported",
        n=20,
        least="0.3",
    ),
    _door("echo_empty_subprotocol", "negotiation.empty_value", n=116, least="0.1"),
    _door("two_subprotocols", "negotiation.several_values", n=116, least="0.1"),
    _door("case_folding", "negotiation.case_folded", n=4, least="0.85"),
    _door("reject_after_accept_1003", "negotiation.closed_after_accept", n=28, least="0.25"),
    _door("bad_accept_key", "negotiation.wrong_accept", n=120, least="0.1"),
    _door("origin_ignored", "negotiation.origin_ignored", n=8, least="0.6"),
)


def _token(defect: str, *codes: str, n: int, least: str, count: Count = _TOKEN) -> Case:
    """A case under auth_matrix; `n`: the tokens that the defect can hit."""
    return Case(
        defect,
        "auth_matrix",
        codes,
        Dose("1", f"{n} tokens, every one of them hit"),
        Dose(least, f"{least} of {n} tokens: P(no hit) < 0.1 %"),
        count,
        stage="tokens",
    )


_TOKENS: Final = (
    _token("alg_none_accepted", "auth.alg_none", n=24, least="0.3"),
    _token("expired_accepted", "auth.expired", n=12, least="0.45", count=_SKEW),
    _token("audience_ignored", "auth.audience", "auth.issuer", n=24, least="0.3"),
    _token("key_confusion", "auth.key_confusion", n=36, least="0.2"),
)

_LIFE: Final = (
    Case(
        "refresh_drops_session",
        "token_refresh",
        ("refresh.dropped",),
        Dose("1", "40 refreshes with a good token, every one of them hit"),
        Dose("0.2", "0.2 of 40 refreshes with a good token: P(no hit) < 0.1 %"),
        Count(None, 1.0, "each hit is one refresh; one with a bad token may end the session"),
        stage="life",
    ),
    Case(
        "expiry_ignored",
        "token_refresh",
        ("auth.expiry_ignored",),
        Dose("1", "22 sessions whose token expires, every one of them hit"),
        Dose("0.3", "0.3 of 22 sessions whose token expires: P(no hit) < 0.1 %"),
        Count(1.0, 1.0, "each hit is one session, and each session is counted"),
        stage="life",
    ),
)

DOORS: Final[tuple[Case, ...]] = (*_NEGOTIATION, *_TOKENS, *_LIFE)
