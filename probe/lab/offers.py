"""What a client offers in Sec-WebSocket-Protocol, and which of it is chosen.

Read by hand from all lines of the header (RFC 6455 sections 4.2.1 and 11.3.4), since the
library reads the first line only. The choice is one of the offers, or none when none were
made (section 4.2.2); an offer of nothing but unknown ones is refused, clearly, and so are
two tokens that differ, since it cannot be told whose the connection is to be.

`negotiate` and `answers` are the same with the defects: the first for what is chosen, the
second for how it is answered. Each defect is drawn only where it would make a difference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probe.lab.hits import Hits

SUPPORTED: Final = ("jwt-auth", "jwt.<token>", "bearer.<token>")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)  # RFC 9110 section 5.6.2
_PLAIN: Final = "jwt-auth"
_WRAPPED: Final = "jwt."
_BEARER: Final = "bearer."
_STRANGERS: Final = ("lab.v1", "lab.v2")  # at most one of them can be all that was offered


@dataclass(frozen=True, slots=True)
class Choice:
    """The subprotocol to answer with (None: no header), the token it brought, all offers."""

    selected: str | None = None
    token: str | None = field(default=None, repr=False)
    offers: tuple[str, ...] = field(default=(), compare=False, repr=False)


class OfferError(Exception):
    """The offers cannot be served; `code` is a fixed word, never an offer (it may be a token)."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def choose(lines: Sequence[str]) -> Choice:
    """The choice among the offers in these header lines; OfferError when there is none."""
    return _pick(_read(lines)) if lines else Choice()


def _read(lines: Sequence[str]) -> tuple[str, ...]:
    # An empty element is allowed in a list by RFC 9110 section 5.6.1.2, an empty list is not.
    parts = (part.strip(" \t") for part in ",".join(lines).split(","))
    offers = tuple(offer for offer in parts if offer)
    if not offers or not all(_TOKEN.fullmatch(offer) for offer in offers):
        raise OfferError("malformed_subprotocol")
    return offers


def _pick(offers: tuple[str, ...]) -> Choice:
    wrapped = _prefixed(offers, _WRAPPED)
    bearer = _prefixed(offers, _BEARER)
    if (
        len(
            {
                *(offer[len(_WRAPPED) :] for offer in wrapped),
                *(offer[len(_BEARER) :] for offer in bearer),
            }
        )
        > 1
    ):
        raise OfferError("ambiguous_token")
    if _PLAIN in offers and wrapped:
        return Choice(_PLAIN, wrapped[0][len(_WRAPPED) :], offers)
    if bearer:
        return Choice(bearer[0], bearer[0][len(_BEARER) :], offers)
    if wrapped:
        return Choice(wrapped[0], wrapped[0][len(_WRAPPED) :], offers)
    if _PLAIN in offers:
        return Choice(_PLAIN, None, offers)
    raise OfferError("unsupported_subprotocol")


def _prefixed(offers: tuple[str, ...], prefix: str) -> list[str]:
    return [offer for offer in offers if offer.startswith(prefix) and offer != prefix]


def negotiate(lines: Sequence[str], hits: Hits) -> Choice:
    """As `choose`, unless a defect of choosing hits."""
    if not lines:
        return Choice()
    offers = _read(lines)
    choice = _attempt(offers)
    first = Choice(offers[0], None if choice is None else choice.token, offers)
    if first != choice and hits.draw("echo_first_offered"):
        return first
    folded = tuple(_PLAIN if offer.lower() == _PLAIN else offer for offer in offers)
    other = _attempt(folded)
    if other not in (None, choice) and hits.draw("case_folding"):
        choice = other
    if choice is None:
        raise OfferError("unsupported_subprotocol")
    return choice


def _attempt(offers: tuple[str, ...]) -> Choice | None:
    """The choice, None for nothing but unknown offers; OfferError for two tokens."""
    try:
        return _pick(offers)
    except OfferError as error:
        if error.code != "unsupported_subprotocol":
            raise
        return None


def answers(choice: Choice, hits: Hits) -> tuple[str, ...]:
    """The values of Sec-WebSocket-Protocol in the answer, a line each."""
    if choice.selected is None:
        return ()
    if hits.draw("accept_without_subprotocol"):
        return ()
    if hits.draw("echo_unoffered_subprotocol"):
        return (next(name for name in _STRANGERS if name not in choice.offers),)
    if hits.draw("echo_empty_subprotocol"):
        return ("",)
    if hits.draw("two_subprotocols"):
        others = (offer for offer in choice.offers if offer != choice.selected)
        return (choice.selected, next(others, choice.selected))
    return (choice.selected,)
