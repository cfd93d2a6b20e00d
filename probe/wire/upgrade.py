"""Whether a 101 is the answer to what was asked (RFC 6455 sections 4.1 and 11.3).

The rule: judged on the raw headers, never by a client library's opinion. `SUBPROTOCOL_NONE`
is told but legal; every other bit fails the connection.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from websockets.exceptions import InvalidHeader, NegotiationError
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
)
from websockets.headers import parse_extension

from probe.history.records import Violation
from probe.wire.request import Facts, accept_for
from probe.wire.response import HEAD_BYTES_MAX

if TYPE_CHECKING:
    from probe.wire.response import Response

FATAL: Final = ~Violation.SUBPROTOCOL_NONE
ALIKE_MAX: Final = 16
_TOKEN: Final = frozenset(
    b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)
_UPGRADE: Final = b"upgrade"
_JUDGED: Final = frozenset(
    (
        _UPGRADE,
        b"connection",
        b"sec-websocket-accept",
        b"sec-websocket-protocol",
        b"sec-websocket-extensions",
    )
)


def violations(response: Response, facts: Facts) -> tuple[int, str]:
    """Bits of `Violation` and the sentence that says each; (0, "") for a right answer."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in response.headers:
        low = name.lower()
        if low in _JUDGED:
            found.setdefault(low, []).append(value)
    bits, words = 0, []
    for bit, text in (
        (Violation.UPGRADE, _upgrade(found.get(_UPGRADE, []))),
        (Violation.CONNECTION, _connection(found.get(b"connection", []))),
        (Violation.ACCEPT, _accept(found.get(b"sec-websocket-accept", []), facts.key)),
        _subprotocol(found.get(b"sec-websocket-protocol", []), facts.subprotocols),
        (Violation.EXTENSION, _extension(found.get(b"sec-websocket-extensions", []), facts)),
    ):
        if text:
            bits |= bit
            words.append(text)
    return bits, "; ".join(words)


class Alike:
    """The shapes of 101s that were judged right, each as a pattern.

    A service answers thousands of upgrades alike but for the accept value, the subprotocol and
    the values of headers that nobody judges (a date, an id). A head of a known shape needs no
    full reading: what is left to judge is the accept value, by its own place and content, and
    whether what was chosen was offered this time.
    """

    __slots__ = ("_shapes",)

    def __init__(self) -> None:
        self._shapes: list[tuple[re.Pattern[bytes], bool]] = []  # and whether one is chosen

    def remember(self, response: Response) -> None:
        """Note a head that `violations` found right (SUBPROTOCOL_NONE apart)."""
        if len(self._shapes) < ALIKE_MAX:
            shape = _shape(response)
            self._shapes.append((shape, "chosen" in shape.groupindex))

    def judge(self, head: bytes, facts: Facts) -> int:
        """The bits that `violations` would find, or -1 for a head that it must read."""
        for shape, chooses in self._shapes if len(head) <= HEAD_BYTES_MAX else ():
            found = shape.fullmatch(head)
            if found is None:
                continue
            if found["accept"] != accept_for(facts.key):
                return -1
            if not chooses:
                return Violation.SUBPROTOCOL_NONE if facts.subprotocols else 0
            return 0 if found["chosen"].decode("ascii") in facts.subprotocols else -1
        return -1


def _shape(response: Response) -> re.Pattern[bytes]:
    """What a head may be that differs from this one only where it makes no difference."""
    status, *lines = response.raw[:-4].split(b"\r\n")
    parts = [re.escape(status)]
    for line, (name, _) in zip(lines, response.headers, strict=True):
        low = name.lower()
        if low == b"sec-websocket-accept":
            value = rb"[\t ]*(?P<accept>[^\t\r\n ]+)[\t ]*"
        elif low == b"sec-websocket-protocol":
            value = rb"[\t ]*(?P<chosen>[!#-'*+\-.0-9A-Z^-z|~]+)[\t ]*"
        elif low in _JUDGED:
            value = re.escape(line[len(name) + 1 :])
        else:
            value = rb"[\t\x20-\x7e\x80-\xff]*"
        parts.append(re.escape(name) + b":" + value)
    return re.compile(b"\r\n".join(parts) + rb"\r\n\r\n")


def deflate_of(response: Response) -> PerMessageDeflate | None:
    """The agreed compression of an answer without violations; None when there is none."""
    values = response.all(b"sec-websocket-extensions")
    return _agreed(b", ".join(values)) if values else None


def _upgrade(values: list[bytes]) -> str:
    if len(values) == 1 and values[0].lower() == b"websocket":
        return ""
    return f"Upgrade is {_shown(values)}, not websocket"


def _connection(values: list[bytes]) -> str:
    if any(part.strip(b" \t") == _UPGRADE for v in values for part in v.lower().split(b",")):
        return ""
    return f"Connection is {_shown(values)}, without Upgrade"


def _accept(values: list[bytes], key: bytes) -> str:
    if len(values) == 1 and values[0] == accept_for(key):
        return ""
    return f"Sec-WebSocket-Accept is {_shown(values)}, which does not answer the key"


def _subprotocol(values: list[bytes], offered: tuple[str, ...]) -> tuple[Violation, str]:
    if not values:
        none = f"none of the subprotocols {', '.join(offered)} was chosen" if offered else ""
        return Violation.SUBPROTOCOL_NONE, none
    chosen = values[0]
    if len(values) > 1 or not chosen or not _TOKEN.issuperset(chosen):
        return Violation.SUBPROTOCOL_MALFORMED, f"Sec-WebSocket-Protocol is {_shown(values)}"
    if chosen.decode("ascii") not in offered:
        return Violation.SUBPROTOCOL_UNOFFERED, f"subprotocol {_shown(values)} was not offered"
    return Violation.SUBPROTOCOL_UNOFFERED, ""


def _extension(values: list[bytes], facts: Facts) -> str:
    if not values:
        return ""
    if not facts.extensions:
        return f"extension {_shown(values)} was not offered"
    try:
        agreed = _agreed(b", ".join(values))
    except (InvalidHeader, NegotiationError, UnicodeError) as error:
        return f"extension {_shown(values)} cannot be agreed to: {error}"
    if agreed is None or "permessage-deflate" not in facts.extensions:
        return f"extension {_shown(values)} was not offered"
    return ""


def _agreed(value: bytes) -> PerMessageDeflate | None:
    agreed: list[PerMessageDeflate] = []
    for name, params in parse_extension(value.decode("ascii")):
        if name != "permessage-deflate":
            return None
        agreed.append(_factory().process_response_params(params, agreed))
    return agreed[0] if agreed else None


@lru_cache(maxsize=1)
def _factory() -> ClientPerMessageDeflateFactory:
    return ClientPerMessageDeflateFactory()


def _shown(values: list[bytes]) -> str:
    if not values:
        return "missing"
    return ", ".join(repr(value[:120])[1:] for value in values)
