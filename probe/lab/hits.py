"""The hits of one handshake or message, kept until it is known whose they are.

A defect of the door is drawn where the door decides, and only where it would decide
otherwise. Its line is written when the client gets to see the difference: with the 101. One
who is refused all the same saw none, and then nothing is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probe.lab.defects import Defects
    from probe.lab.ledger import Ledger


class Hits:
    """What was drawn and hit so far."""

    def __init__(self, defects: Defects) -> None:
        self._defects = defects
        self._noted: list[tuple[str, dict[str, object]]] = []

    def draw(self, defect: str) -> bool:
        """Draw for that defect, and keep the hit."""
        hit = self._defects.hits(defect)
        if hit:
            self.note(defect)
        return hit

    def note(self, defect: str, **fields: object) -> None:
        """Keep a hit that is no draw, with what else its line tells."""
        self._noted.append((defect, fields))

    def write(self, ledger: Ledger, **ids: object) -> None:
        """Write a line for each hit that was kept, with these ids, once."""
        for defect, fields in self._noted:
            ledger.hit(defect, **fields, **ids)
        self._noted.clear()
