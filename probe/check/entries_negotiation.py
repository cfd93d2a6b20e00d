"""Findings about negotiation: what the matrix of handshakes shows beside `catalogue`.

Rows of the table of `catalogue`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from probe.check.entry import Entry

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHOICE: Final = "RFC 6455 section 4.2.2, /subprotocol/"
_PLAIN: Final = "the plain good request is accepted"
_DOCS: Final = "docs/negotiation.md"

NEGOTIATION: Final[Mapping[str, Entry]] = {
    "negotiation.unoffered": Entry(
        "critical",
        "witness",
        {
            "": "the service answers with a subprotocol of its own choice instead of one of the "
            "offers: every client must fail the connection"
        },
        f"{_CHOICE}; section 4.1, item 6",
        _PLAIN,
    ),
    "negotiation.empty_value": Entry(
        "critical",
        "witness",
        {
            "": "the service writes the header also where it chose nothing; leave it out then: an "
            "empty value is not legal"
        },
        _CHOICE,
        _PLAIN,
    ),
    "negotiation.several_values": Entry(
        "critical",
        "witness",
        {"": "the service echoes all offers, or two layers write the header: one value is legal"},
        "RFC 6455 sections 4.2.2 and 11.3.4",
        _PLAIN,
    ),
    "negotiation.case_folded": Entry(
        "critical",
        "witness",
        {
            "": "the service compares subprotocols without regard to case, and answers with its "
            "own spelling, which was not offered"
        },
        f"{_CHOICE}; section 4.1, item 6",
        _PLAIN,
    ),
    "negotiation.wrong_accept": Entry(
        "critical",
        "witness",
        {"": "the accept value answers another key: a proxy that caches, or a wrong computation"},
        "RFC 6455 section 4.2.2, item 5.4",
    ),
    "negotiation.extension": Entry(
        "critical",
        "witness",
        {"": "the service agrees to an extension without looking at its parameters or its name"},
        "RFC 6455 section 4.2.2, /extensions/; RFC 7692 section 7",
        _PLAIN,
    ),
    "negotiation.no_version": Entry(
        "major",
        "witness",
        {"": "a refusal of the version has to tell which ones the service knows"},
        "RFC 6455 sections 4.2.2, /version/, and 4.4",
        _PLAIN,
    ),
    "negotiation.illegal_accepted": Entry(
        "major",
        "witness",
        {
            "": "the service lets in what is no WebSocket handshake; it has to stop and answer "
            "with an HTTP error"
        },
        "RFC 6455 section 4.2.1",
        _PLAIN,
    ),
    "negotiation.token_ignored": Entry(
        "critical",
        "witness",
        {"": "the service lets in a client that showed no token, or half of one"},
        "docs/field.md, authentication",
        _PLAIN,
    ),
    "negotiation.origin_ignored": Entry(
        "critical",
        "witness",
        {
            "": "the service does not look at Origin: a page of a stranger can use the session "
            "of whoever visits it"
        },
        "RFC 6455 section 10.2; the dialect's promises.origins",
        _PLAIN,
    ),
    "negotiation.server_fault": Entry(
        "info", "witness", {"": "the service fails over a request instead of refusing it"}, _DOCS
    ),
    "negotiation.by_hand": Entry(
        "info",
        "witness",
        {"": "the header was written by hand, and the client library was told of no offer"},
        "docs/field.md, Negotiation",
    ),
}
