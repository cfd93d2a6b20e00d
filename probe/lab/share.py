"""One lab of several processes: which of them has a user, and what one of them knows of it.

The rule: a user lives in one process, with all connections, runs, budget and revocations.
Which one follows from the name alone, so that the front (`front`), which reads it in a token
that nobody has checked, and the process that checks it say the same.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from probe.lab.capacity import Turn

PROCESSES_MAX: Final = 64
FRONT: Final = 0  # its number; those behind it count from 1


def owner(user_id: str, processes: int) -> int:
    """The number of the process that has this user, from 1."""
    return zlib.crc32(user_id.encode("utf-8", "surrogatepass")) % processes + 1


@dataclass(frozen=True, slots=True)
class Share:
    """A process behind the front: its number, of how many, and whom it asks for a turn.

    `turn` has the front plan one arrival at the capacity that all of them share.
    """

    number: int
    processes: int
    turn: Callable[[Callable[[Turn], None]], None]

    def has(self, user_id: str) -> bool:
        """Whether that user belongs here."""
        return owner(user_id, self.processes) == self.number
