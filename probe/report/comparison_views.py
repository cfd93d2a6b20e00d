"""A comparison for the terminal and for Markdown, from what `comparison` says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from probe.report import comparison as said
from probe.report.markup import escaped, line, table
from probe.report.visible import visible

if TYPE_CHECKING:
    from rich.console import Console

COLOURS: Final = {"worse": "red", "better": "green", "same": "green", "undecided": "yellow"}
WIDE: Final = 96
"""Columns from which the column of runs of the same thing is shown."""
FINDINGS_MAX: Final = 10


def screen(told: dict[str, Any], console: Console) -> list[Text]:
    """Lines no wider than the console: headline, table by stage, findings, remarks."""
    ascii_only = not console.encoding.lower().startswith("utf")

    def wrapped(text: str, style: str = "", indent: str = "") -> list[Text]:
        shown = Text(visible(text, ascii_only=ascii_only), style)
        lines = shown.wrap(console, max(1, console.width - len(indent)), overflow="fold")
        for each in lines:
            each.rstrip()
        return [Text(indent) + each for each in lines]

    colour = f"bold {COLOURS.get(told['said'], 'yellow')}"
    if told["said"] == "the same run":
        colour = "bold"
    out = wrapped(f"compared: {said.headline(told)}", colour)
    out += wrapped(f"{told['scenario']} -> {told['target']}  {said.arms(told)}", indent="  ")
    out += _table(told, console.width, ascii_only=ascii_only)
    lines = said.finding_lines(told)
    for each in lines[:FINDINGS_MAX]:
        out += wrapped(each, "red" if each.startswith("new") else "", "  ")
    if len(lines) > FINDINGS_MAX:
        out += wrapped(f"... and {len(lines) - FINDINGS_MAX} more findings", indent="  ")
    for each in said.remarks(told):
        out += wrapped(each, "dim", "  ")
    return out


def _table(told: dict[str, Any], width: int, *, ascii_only: bool) -> list[Text]:
    """The rows in columns, by stage; where they do not fit, what is said first, numbers below."""
    rows = [[visible(cell, ascii_only=ascii_only) for cell in row] for row in said.cells(told)]
    if not rows:
        return []
    judged = [row for row in told["rows"] if not row["why"]]
    stages = [row["stage"] for row in judged]
    for each, row in zip(rows, judged, strict=True):
        below = "  " if row["head"] else ""
        each[0] = f"  {below}{visible(row['name'], ascii_only=ascii_only)}"
    header = list(said.HEADER)
    if width < WIDE:
        rows, header = [[*row[:4], *row[5:]] for row in rows], [*header[:4], *header[5:]]
    widths = [max(len(row[k]) for row in (header, *rows)) for k in range(len(header))]
    folded = sum(widths) + 2 * len(widths) > width
    if folded:
        widths = [max(len(row[0]) for row in rows)]
    out = [] if folded else [_line(header, widths, "dim")]
    for place, (stage, row) in enumerate(zip(stages, rows, strict=True)):
        if not place or stage != stages[place - 1]:
            out.append(Text(f"  {visible(stage, ascii_only=ascii_only)}", "bold"))
        if folded:
            out.append(_line([row[0], row[-1]], [*widths, 0]))
            out.append(Text(f"      {row[1]} -> {row[2]}  {row[3]}", "dim"))
        else:
            out.append(_line(row, widths))
    for shown in out:
        shown.rstrip()
        shown.truncate(width)
    return out


def _line(row: list[str], widths: list[int], style: str = "") -> Text:
    """Names to the left, numbers to the right, the verdict in its colour."""
    cells = [
        cell.rjust(size) if k else cell.ljust(size)
        for k, (cell, size) in enumerate(zip(row[:-1], widths, strict=False))
    ]
    shown = Text("  " + "  ".join(cells), style)
    return shown.append("  ").append(row[-1], style or COLOURS.get(row[-1].lower(), ""))


def comparison_markdown(told: dict[str, Any] | None, *, level: int = 2) -> str:
    """A section for report.md, a pull request or a worklog; "" where nothing was compared."""
    if not told:
        return ""
    parts = [f"{'#' * level} Compared: {escaped(said.headline(told))}"]
    parts.append(line(f"{told['scenario']} -> {told['target']}: {said.arms(told)}"))
    if rows := said.cells(told):
        parts.append(table(said.HEADER, rows))
    for lines in (said.finding_lines(told), said.remarks(told)):
        parts += ["\n".join(f"- {line(each)}" for each in lines)] * bool(lines)
    return "\n\n".join(parts)
