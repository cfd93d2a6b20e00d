"""What one session on a WebSocket was: its messages in order, however they were got.

From a connection of our own (`talk`) or from a browser's archive (`har`): what is made of them
(`drafting`) does not know which.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

TEXT: Final = 1
_PLACE: Final = re.compile(r"\{(run|thread|user|token|n|size|pad)\}")


@dataclass(frozen=True, slots=True)
class Message:
    """One whole message.

    `opcode` as on the wire, 1 text, 2 binary. Of one that the client sent: `template` is what
    it was made of, and `places` what stood for whom in it; `opening` says that it belongs to
    the opening, such as a login.
    """

    sent: bool
    payload: bytes = field(repr=False)
    opcode: int = TEXT
    template: str = ""
    places: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    opening: bool = False

    def place(self, name: str) -> str | None:
        """What stood for `{name}`; None where the message has no such place."""
        return dict(self.places).get(name)


@dataclass(frozen=True, slots=True)
class Session:
    """One connection that was open; `cut`: a bound was reached, and there was more."""

    messages: tuple[Message, ...]
    cut: bool = False

    @property
    def asked_at(self) -> int:
        """Index of the first message that is sent behind the opening; their number where none."""
        for index, message in enumerate(self.messages):
            if message.sent and not message.opening:
                return index
        return len(self.messages)


def filled(template: str, values: Mapping[str, str]) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The text of a template, and what was put where; a place without a value stands as it is."""
    put: dict[str, str] = {}

    def replace(found: re.Match[str]) -> str:
        if found[1] not in values:
            return found[0]
        put[found[1]] = values[found[1]]
        return values[found[1]]

    text = _PLACE.sub(replace, template)
    return text, tuple(put.items())
