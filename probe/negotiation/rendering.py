"""A row of the matrix made into bytes, from the plain good request.

The rule: only what the row names differs from the plain request, and it differs as written;
nothing is mended, quoted or escaped. One pass fills a template, so that a token is never
read as one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from probe.negotiation.head import PROTOCOL, Head, read_head
from probe.negotiation.repertoire import PADDING, PLACE

if TYPE_CHECKING:
    from probe.model.handshake import HandshakeCase
    from probe.negotiation.repertoire import Repertoire

PAUSE_NS: Final = 3_000_000_000
BETWEEN_BYTES_NS: Final = 1_000_000
_OFFER: Final = re.compile(r"\{(token|user)\}")
_END: Final = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A request: its head, and all of it as (bytes, ns to wait before them).

    `offered` are the subprotocols in it, as a server reads them; `extensions` the offer of
    them, "" for none. No repr shows the bytes, which hold a token.
    """

    head: bytes = field(repr=False)
    parts: tuple[tuple[bytes, int], ...] = field(repr=False)
    key: bytes
    offered: tuple[str, ...] = field(repr=False)
    extensions: str

    @property
    def lasts_ns(self) -> int:
        """How long the pauses are together."""
        return sum(pause for _, pause in self.parts)


def render(
    case: HandshakeCase,
    plain: bytes,
    repertoire: Repertoire,
    *,
    token: str = "",
    user: str = "",
    secure: bool = False,
) -> Rendered:
    """The request of a row; `plain` is the good one without offers. ValueError if it is none.

    The row has what it needs (`Repertoire.lacking`).
    """
    if not plain.endswith(_END):
        raise ValueError("the plain request is no whole head")
    base = read_head(plain)
    lines = [b"%s: %s" % line for line in base.lines]
    names = [name.lower() for name, _ in base.lines]
    first = base.first
    values = _offered(case, repertoire, token, user)
    own = (("Sec-WebSocket-Protocol", tuple(f"Sec-WebSocket-Protocol: {v}" for v in values)),)
    known = _known(base, secure=secure)
    for name, templates in (*own, *case.lines):
        # What was put into an offer is never filled again.
        filled = templates if name == own[0][0] else [_filled(each, known) for each in templates]
        wanted = [each.encode() for each in filled]
        if not name:
            (first,) = wanted
            continue
        low = name.lower().encode()
        at = names.index(low) if low in names else len(lines)
        lines[at : at + names.count(low)] = wanted
        names[at : at + names.count(low)] = [low] * len(wanted)
    head = b"\r\n".join([first, *lines]) + _END
    read = read_head(head)
    return Rendered(
        head,
        _parts(case, head),
        key=(*read.all(b"sec-websocket-key"), b"")[0],
        offered=tuple(each.decode("utf-8", "replace") for each in read.elements(PROTOCOL)),
        extensions=b", ".join(read.all(b"sec-websocket-extensions")).decode("latin-1"),
    )


def other_token(token: str) -> str:
    """Another token that looks alike: the same with its last sign changed."""
    last = "A" if token[-1:] != "A" else "B"
    return token[:-1] + last


def _known(base: Head, *, secure: bool) -> dict[str, str]:
    words = base.first.split(b" ")
    return {
        "resource": words[1].decode("latin-1") if len(words) > 1 else "/",
        "host": (*base.all(b"host"), b"")[0].decode("latin-1"),
        "key": (*base.all(b"sec-websocket-key"), b"")[0].decode("latin-1"),
        "scheme": "https" if secure else "http",
    }


def _filled(template: str, known: dict[str, str]) -> str:
    return PLACE.sub(lambda match: known[match[1]], template)


def _offered(case: HandshakeCase, repertoire: Repertoire, token: str, user: str) -> tuple[str, ...]:
    """The values of Sec-WebSocket-Protocol, a line each; none where nothing is offered."""
    places = repertoire.places()
    if case.offers == ("{default}",) and not repertoire.default:
        return ()
    values = {"token": token, "user": user}

    def one(template: str) -> str:
        return _OFFER.sub(lambda match: values[match[1]], template)

    def place(match: re.Match[str]) -> str:
        name, templates = match[1], places[match[1]]
        if name == "pad":
            return match[0]  # its length is known when the rest is there
        if name == "broken":
            middle = len(token) // 2
            values["token"] = f"{token[:middle]},{token[middle:]}"
        elif name == "other":
            values["token"] = other_token(token)
        else:
            values["token"] = token
        glue = " \t,\t " if name == "blanks" else ", "
        return glue.join(one(each) for each in templates)

    return tuple(_padded(PLACE.sub(place, template), case) for template in case.offers)


def _padded(value: str, case: HandshakeCase) -> str:
    """`value` with its padding as long as it takes; without it where it is long enough."""
    for name, size in (found for each in case.offers for found in PLACE.findall(each)):
        if name == "pad":
            mark = f"{{pad:{size}}}"
            missing = int(size) - (len(value) - len(mark)) - len(PADDING)
            if missing > 0:
                value = value.replace(mark, PADDING + "p" * missing)
            else:
                value = value.replace(f", {mark}", "")
    return value


def _parts(case: HandshakeCase, head: bytes) -> tuple[tuple[bytes, int], ...]:
    match case.sent:
        case "whole":
            return ((head + case.behind, 0),)
        case "bytes":
            pause = BETWEEN_BYTES_NS
            return tuple((head[at : at + 1], pause if at else 0) for at in range(len(head)))
        case "paused":
            middle = len(head) // 2
            return ((head[:middle], 0), (head[middle:], PAUSE_NS))
