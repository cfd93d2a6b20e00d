"""What a client offers in Sec-WebSocket-Protocol, and which of it is chosen.

Read by hand from all lines of the header (RFC 6455 sections 4.2.1 and 11.3.4), since the
library reads the first line only. The choice is one of the offers, or none when none were
made (section 4.2.2); an offer of nothing but unknown ones is refused, clearly.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

SUPPORTED: Final = ("jwt-auth", "jwt.<token>", "bearer.<token>")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)  # RFC 9110 section 5.6.2


@dataclass(frozen=True, slots=True)
class Choice:
    """The subprotocol to answer with (None: no header) and the token it brought, if any."""

    selected: str | None = None
    token: str | None = None


class OfferError(Exception):
    """The offers cannot be served; `code` is a fixed word, never an offer (it may be a token)."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def choose(lines: Sequence[str]) -> Choice:
    """The choice among the offers in these header lines; OfferError when there is none."""
    if not lines:
        return Choice()
    # An empty element is allowed in a list by RFC 9110 section 5.6.1.2, an empty list is not.
    offers = [
        offer for offer in (part.strip(" \t") for part in ",".join(lines).split(",")) if offer
    ]
    if not offers or not all(_TOKEN.fullmatch(offer) for offer in offers):
        raise OfferError("malformed_subprotocol")
    wrapped = next((offer for offer in offers if offer.startswith("jwt.") and offer[4:]), None)
    bearer = next((offer for offer in offers if offer.startswith("bearer.") and offer[7:]), None)
    if "jwt-auth" in offers and wrapped:
        return Choice("jwt-auth", wrapped[4:])
    if bearer:
        return Choice(bearer, bearer[7:])
    if wrapped:
        return Choice(wrapped, wrapped[4:])
    if "jwt-auth" in offers:
        return Choice("jwt-auth")
    raise OfferError("unsupported_subprotocol")
