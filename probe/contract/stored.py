"""The messages that a stored run has kept, held to a dialect: `probe validate --against`.

The rule: only what the run kept can be looked at, and that is told beside the result. The
engine keeps the first messages of each oddity, so a run that was held to a looser dialect
may have kept none of those that a stricter one would refuse.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from probe.contract.reading import reader_of
from probe.history.columns import History
from probe.history.folder import HISTORY
from probe.history.journal import TEXT_MAX
from probe.history.records import Kind, Odd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from probe.contract.reading import Reader, Said
    from probe.model.dialect import Dialect

_RECEIVED: Final = 1
_TEXT: Final = 1
_BINARY: Final = 2
_SHOWN_CHARS: Final = 120

Breach = tuple[Odd, str]


@dataclass(slots=True)
class Comparison:
    """What a stored run's messages say of a dialect."""

    received: int
    """Messages that the run received."""
    kept: int = 0
    """Those of them that it kept."""
    looked_at: int = 0
    """Those that could be held against the dialect: kept whole, and of a readable kind."""
    counts: Counter[Breach] = field(default_factory=Counter)
    first: dict[Breach, tuple[str, bytes]] = field(default_factory=dict)
    """Of each breach the words and the message of the first."""


def compare(folder: Path, dialect: Dialect) -> Comparison | None:
    """Hold the kept messages of a run against a dialect; None where it reads none at all.

    HistoryError where there is no history, ConfigError where a schema is none. A message
    counts once for each distinct breach in it.
    """
    read = reader_of(dialect)
    if read is None:
        return None
    history = History.open(folder / HISTORY)
    rows = history.of(Kind.KEPT)
    rows = rows[(rows["flag"] == _RECEIVED) & ((rows["a"] == _TEXT) | (rows["a"] == _BINARY))]
    out = Comparison(_received(history))
    for row in rows[rows["t"].argsort(kind="stable")]:
        message = history.text(int(row["b"]))
        if not int(row["b"]):
            continue
        out.kept += 1
        whole = len(message) < TEXT_MAX
        if whole and (dialect.framing != "json" or row["a"] == _TEXT):
            _look(message, read, out)
    return out


def _received(history: History) -> int:
    traffic = history.of(Kind.TRAFFIC)
    told = int(traffic[traffic["flag"] == _RECEIVED]["a"].sum())
    return told or len(history.of(Kind.GOT))


def _look(message: bytes, read: Reader, out: Comparison) -> None:
    out.looked_at += 1
    found: dict[Breach, str] = {}
    for said in read(message):
        for breach, words in _odd(said):
            found.setdefault(breach, words)
    for breach, words in found.items():
        out.counts[breach] += 1
        out.first.setdefault(breach, (words, message))


def _odd(said: Said) -> Iterator[tuple[Breach, str]]:
    """What is odd, with a key that is the same for the same mistake in another value."""
    match said.breach:
        case (Odd.UNKNOWN as what, words):
            yield (what, words), words
        case (Odd.MALFORMED as what, words):
            yield (what, words.partition(" at ")[0]), words
        case (what, words):
            yield (what, words.partition(": ")[0]), words
    if said.shape:
        yield (Odd.SHAPE, said.shape), f"in the shape {said.shape!r}"


def start_of(message: bytes) -> str:
    """The beginning of a message as one line of printable text."""
    return printable(message[: 4 * _SHOWN_CHARS].decode("utf-8", "backslashreplace"))


def printable(text: str) -> str:
    """One line of text without control characters, at most `_SHOWN_CHARS` of it."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return line if len(line) <= _SHOWN_CHARS else line[: _SHOWN_CHARS - 1] + "…"
