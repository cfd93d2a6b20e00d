"""The comparison with another run, as a part of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from probe.report import comparison as said
from probe.report.page import blocks

if TYPE_CHECKING:
    from probe.report.page.blocks import Block


def comparison_blocks(told: dict[str, Any] | None) -> list[Block]:
    """The same for the page; no block where nothing was compared."""
    if not told:
        return []
    out = [blocks.words(f"{said.headline(told)}."), blocks.words(said.arms(told), "quiet")]
    if rows := said.cells(told):
        out.append(blocks.table("Before and now", said.HEADER, rows))
    if lines := said.finding_lines(told):
        out.append(blocks.items(lines))
    if lines := said.remarks(told):
        out.append(blocks.items(lines))
    return out
