"""Reading journals while they are being written: whole rows, each once.

The rule: bounded. Where more is written than is read, what lies between is passed over, and
that is told: figures that rest on rows are then no longer known.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from probe.history.merging import WORKER
from probe.history.records import DTYPE, ROW

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

PIECE_ROWS: Final = 1 << 20
BEHIND_MAX: Final = 4 * PIECE_ROWS
TEXT_MAX: Final = 400
_LENGTH_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """New rows of one journal, in the order of writing; `passed` rows before them were not read."""

    rows: NDArray[np.void]
    journal: Journal
    passed: int = 0


class Journal:
    """One journal that is being written."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self._folder = folder
        self._read = 0
        self._rows: int | None = None
        self._texts: int | None = None

    def new(self) -> Piece | None:
        """What has come since the last time, or as much of it as is read at once; None: nothing."""
        try:
            if self._rows is None:
                self._rows = os.open(self._folder / "rows.bin", os.O_RDONLY)
            whole = os.fstat(self._rows).st_size // ROW.size
        except OSError:
            return None
        passed = 0
        if whole - self._read > BEHIND_MAX:
            passed = whole - PIECE_ROWS - self._read
            self._read += passed
        count = min(whole - self._read, PIECE_ROWS)
        if count <= 0:
            return None
        data = os.pread(self._rows, count * ROW.size, self._read * ROW.size)
        rows = np.frombuffer(data[: len(data) // ROW.size * ROW.size], dtype=DTYPE)
        self._read += len(rows)
        return Piece(rows, self, passed)

    def text(self, reference: int) -> str:
        """A stored text, as much of it as is shown; "" where there is none."""
        if reference <= 0:
            return ""
        try:
            if self._texts is None:
                self._texts = os.open(self._folder / "texts.bin", os.O_RDONLY)
            size = int.from_bytes(os.pread(self._texts, _LENGTH_BYTES, reference), "little")
            data = os.pread(self._texts, min(size, TEXT_MAX), reference + _LENGTH_BYTES)
        except OSError:
            return ""
        return data.decode("utf-8", "replace")

    def close(self) -> None:
        """Let the files go."""
        for file in (self._rows, self._texts):
            if file is not None:
                os.close(file)
        self._rows = self._texts = None


class Tail:
    """All journals of a run: the driver's first, then its workers', as they appear."""

    def __init__(self, history: Path) -> None:
        self._history = history
        self._journals = {"": Journal(history, "")}

    def new(self) -> list[Piece]:
        """At most one piece of each."""
        for folder in sorted(self._history.glob(f"{WORKER}*")):
            self._journals.setdefault(folder.name, Journal(folder, folder.name))
        found = [journal.new() for journal in self._journals.values()]
        return [piece for piece in found if piece is not None]

    def close(self) -> None:
        """Let all files go."""
        for journal in self._journals.values():
            journal.close()
