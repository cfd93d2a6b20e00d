"""Heads of HTTP messages as they were on the wire, read for what a negotiation turns on.

The rule: read leniently and kept in order, with duplicates; a head that was cut, or that is
illegal on purpose, is read as far as it goes. Lists are split as RFC 9110 section 5.6.1 has
it, tokens are those of section 5.6.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_TOKEN: Final = frozenset(
    b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)
PROTOCOL: Final = b"sec-websocket-protocol"


@dataclass(frozen=True, slots=True)
class Head:
    """The first line and the header lines, as (name, value without blanks around it)."""

    first: bytes
    lines: tuple[tuple[bytes, bytes], ...]

    def all(self, name: bytes) -> tuple[bytes, ...]:
        """Every value of a header, in order; `name` in lower case."""
        return tuple(value for key, value in self.lines if key.lower() == name)

    def elements(self, name: bytes) -> tuple[bytes, ...]:
        """The elements of all lines of a list header; empty ones are left out."""
        parts = b",".join(self.all(name)).split(b",")
        return tuple(part.strip(b" \t") for part in parts if part.strip(b" \t"))


def read_head(data: bytes) -> Head:
    """The head at the beginning of `data`; a body behind it is left alone."""
    first, *rest = data.partition(b"\r\n\r\n")[0].split(b"\r\n")
    lines: list[tuple[bytes, bytes]] = []
    for line in rest:
        if line[:1] in (b" ", b"\t") and lines:  # folded: RFC 9112 section 5.2
            name, value = lines[-1]
            lines[-1] = name, value + b" " + line.strip(b" \t")
        elif line:
            name, _, value = line.partition(b":")
            lines.append((name, value.strip(b" \t")))
    return Head(first, tuple(lines))


def is_token(value: bytes) -> bool:
    """Whether this may be the name of a subprotocol or of an extension."""
    return bool(value) and _TOKEN.issuperset(value)
