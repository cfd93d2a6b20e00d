"""The pieces that a page is made of, as plain data that the script knows how to place.

The rule: every figure carries the table of what it shows, and one without data is not drawn but
says that nothing was measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from probe.report import figures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Block = dict[str, Any]
ROWS_MAX: Final = 200


def section(name: str, title: str, blocks: Sequence[Block]) -> Block:
    """A part of the page with a heading; `name` is what a link to it ends in."""
    return {"id": name, "title": title, "blocks": list(blocks)}


def words(text: str, tone: str = "") -> Block:
    """A paragraph; `tone` "veto" for what must not be taken as judged, "quiet" for a remark."""
    return {"kind": "words", "text": text, "tone": tone}


def nothing(text: str) -> Block:
    """Where a figure would stand, had there been anything to draw."""
    return words(f"Nothing measured: {text}.", "quiet")


def items(texts: Sequence[str]) -> Block:
    """A list."""
    return {"kind": "items", "items": list(texts)}


def code(lines: Sequence[str], label: str = "") -> Block:
    """Lines as they are, which can be copied."""
    return {"kind": "code", "lines": list(lines), "label": label}


def table(
    caption: str, header: Sequence[str], rows: Sequence[Sequence[object]], *, folded: bool = False
) -> Block:
    """A table of texts; `folded` shows its caption until it is opened. Past ROWS_MAX it says so."""
    cut = [[str(cell) for cell in row] for row in rows[:ROWS_MAX]]
    more = len(rows) - ROWS_MAX
    return {
        "kind": "table",
        "caption": caption,
        "header": list(header),
        "rows": cut,
        "folded": folded,
        "more": f"{more:,} more rows are in the run's JSON files." if more > 0 else "",
    }


def facts(caption: str, told: Mapping[str, Any], *, folded: bool = False) -> Block:
    """Names with their values, maps within maps as dotted names."""
    rows = [
        [figures.words(key), figures.cell(key, value)] for key, value in figures.flat(told).items()
    ]
    return table(caption, ["what", "value"], rows, folded=folded)


def figure(draw: str, title: str, note: str, data: Mapping[str, Any], behind: Block) -> Block:
    """A drawing of `data` by the script's function `draw`, and the table behind it."""
    return {
        "kind": "figure",
        "draw": draw,
        "title": title,
        "note": note,
        "data": dict(data),
        "behind": {**behind, "folded": True},
    }
