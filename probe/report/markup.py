"""Markdown's pieces, out of which text that came from a server or a file cannot leave.

The rule: in prose and table cells every character that Markdown or HTML could act on is escaped,
after line ends and controls were spelled out; text from the wire stands in a fence longer than
any run of backticks in it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from probe.report.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROWS_MAX: Final = 100
_ACTIVE: Final = re.compile(r"[&<\\`*|~$#]|\](?=[(\[:])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;"}
_OPENS_BLOCK: Final = re.compile(r"^(\d*)(?=[-+=>\[]|(?<=\d)[.)](?:\s|$))")


def escaped(text: object) -> str:
    """Untrusted text as part of a line or a table cell, showing what it says.

    A closing bracket is escaped where a link, an image or a definition would need it.
    """
    return _ACTIVE.sub(
        lambda match: _ENTITIES.get(match[0], f"\\{match[0]}"), visible(text).strip()
    )


def line(text: object) -> str:
    """The same at the start of a line, where it could open a quote, a list or a heading."""
    return _OPENS_BLOCK.sub(r"\1\\", escaped(text))


def fenced(lines: Iterable[object], language: str = "text") -> str:
    """Untrusted lines as a code block that they cannot close."""
    shown = [visible(one) for one in lines]
    longest = max((len(run) for one in shown for run in re.findall(r"`+", one)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([fence + language, *shown, fence])


def table(header: Sequence[str], body: Sequence[Sequence[object]]) -> str:
    """A table with as many cells in each row as the header has; past the cap it says so."""
    lines = [header, ["---"] * len(header)]
    lines += [[escaped(cell) for cell in row] for row in body[:ROWS_MAX]]
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    more = len(body) - ROWS_MAX
    return f"{text}\n\n{more:,} more rows are in the JSON files of the run." if more > 0 else text
