"""Which framing of `probe.contract.framing` reads what a service sent.

The rule: the one that reads every message, the plainest first; and where none reads all of
them, a prefix that stands before JSON in most. What nothing reads is opaque, and told to be.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from probe.contract.framing import split_of
from probe.model.dialect import Dialect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probe.contract.framing import Split
    from probe.start.seen import Message

_PLAIN: Final = ("json", "several", "headers")
_PREFIX: Final = re.compile(rb"([^\[{\s]{1,8})[\[{]")
_ARRAY: Final = re.compile(rb'[^\[{\s]{1,8}\["')


@dataclass(frozen=True, slots=True)
class Framing:
    """A framing with its prefix; `read` of `of` messages gave an object."""

    name: str
    prefix: str
    read: int
    of: int
    path: str = "type"

    def objects(self, payload: bytes) -> list[dict[str, Any]]:
        """The JSON objects of one message; none where it holds none or cannot be read."""
        split = _split(self.name, self.prefix, self.path)
        found = [] if split is None else split(payload)[0]
        return [each for each in found if each is not None]


def framing_of(received: Sequence[Message]) -> Framing:
    """The framing of these messages."""
    payloads = [message.payload for message in received if message.opcode == 1]
    total = len(received)
    for name in _PLAIN:
        read = _reads(name, "", payloads)
        if read and read == len(payloads):
            return Framing(name, "", read, total)
    prefixes = Counter(
        (bool(_ARRAY.match(payload)), found[1].decode("utf-8", "replace"))
        for payload in payloads
        if (found := _PREFIX.match(payload))
    )
    # Socket.IO has its events in arrays, and other packets under other prefixes.
    for _, prefix in sorted(prefixes, key=lambda each: (not each[0], -prefixes[each])):
        if read := _reads("prefixed", prefix, payloads):
            return Framing("prefixed", prefix, read, total)
    read = _reads("json", "", payloads)
    if 2 * read > total:
        return Framing("json", "", read, total)
    return Framing("opaque", "", 0, total)


def _reads(name: str, prefix: str, payloads: Sequence[bytes]) -> int:
    split = _split(name, prefix, "type")
    assert split is not None
    results = [split(payload) for payload in payloads]
    return sum(not why and any(found) for found, why in results)


def _split(name: str, prefix: str, path: str) -> Split | None:
    tables = {
        "title": "a framing", "present": {"default": {}}, "framing": name, "prefix": prefix,
        "paths": {"type": path},
    }  # fmt: skip
    return split_of(Dialect.model_validate(tables))
