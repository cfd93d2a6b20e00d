"""A view on a terminal, as a block that is rewritten in place, or as one line in a log.

The rule: no line is wider than the terminal, and colour only repeats what a word says. A block is
drawn over the one before, of which it is known how many rows it takes: also when the terminal has
been made narrower since, and has wrapped it. A line is one line, however long, without any escape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.cells import cell_len
from rich.text import Text

from probe.report.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from probe.dashboard.view import View

LABEL: Final = 9
GAP: Final = "   "
BAR_MAX: Final = 40
NARROW: Final = 60
LINE_KINDS_MAX: Final = 3
ASKED: Final = ("matrix", "race")
"""Activities that ask for refusals: what is told there may be as it ought to be."""
_CHIP: Final = {
    "off": ("starting", "dim"), "fit": ("FIT", "bold green"),
    "unfit": ("UNFIT", "bold yellow"), "invalid": ("INVALID", "bold red"),
}  # fmt: skip
_VETO: Final = {
    "unfit": "vetoed while the machine is unfit", "invalid": "the machine is not fit at all",
}  # fmt: skip
_STATE: Final = {
    "starting": "starting", "stopping": "stopping: sessions end", "judging": "over, being judged",
}  # fmt: skip


class Block:
    """Draws views over each other on a console that is a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._widths: list[int] = []  # of the lines that stand there

    def draw(self, view: View) -> None:
        """The view, in place of the one before."""
        width, height = self._console.size
        lines = lines_of(view, width - 1, max(height - 2, 3))
        with self._console.capture() as drawn:
            for line in lines:
                self._console.print(line, no_wrap=True, overflow="ellipsis", crop=True)
        self._write(self._back(width) + drawn.get())
        self._widths = [min(cell_len(line.plain), width - 1) for line in lines]

    def clear(self) -> None:
        """Leave the terminal as it was before the first view."""
        self._write(self._back(self._console.size.width))
        self._widths = []

    def _back(self, width: int) -> str:
        """To where the block begins, all below erased; a line may stand in several rows by now."""
        rows = sum(max(-(-each // max(width, 1)), 1) for each in self._widths)
        return f"\r\x1b[{rows}A\x1b[J" if rows else ""

    def _write(self, text: str) -> None:
        self._console.file.write(text)
        self._console.file.flush()


def lines_of(view: View, width: int, height: int) -> list[Text]:
    """The view as lines of at most `width` cells, at most `height` of them."""
    found = [_head(view, width)]
    if view.share is not None:
        found.append(_bar(view.share, width))
    for label, pieces in _rows(view):
        found += _flow(label, pieces, width)
    return [*found, *_troubles(view, width, max(height - len(found), 1))][:height]


def _head(view: View, width: int) -> Text:
    stage = [view.stage or "starting", view.place] if view.stage else ["starting"]
    state = _STATE.get(view.state, "") if view.state != "starting" else ""
    words = GAP.join(visible(part) for part in (view.elapsed, *stage, state) if part)
    return _cut(Text(words, "bold"), width)


def _bar(share: float, width: int) -> Text:
    size = max(min(BAR_MAX, width - 7), 1)
    done = min(round(size * share), size)
    return _cut(Text(f"[{'#' * done}{'.' * (size - done)}] {share:.0%}"), width)


def _rows(view: View) -> Iterator[tuple[str, list[Text]]]:
    """Label and pieces of each row that has something to say."""
    yield "stage", [Text(each) for each in view.details]
    yield "left", [Text(each) for each in view.left]
    yield "clients", [Text(each) for each in view.clients]
    yield "rates", [Text(each) for each in view.rates]
    vetoed = _VETO.get(view.fit, "")
    if vetoed and view.activity == "capacity":
        vetoed = "each level is vetoed or not by itself"
    quantiles = [
        Text(f"{each.name} {each.words}", "dim" if each.words.startswith("needs") else "")
        for each in view.connect
    ]
    rests = [Text(each, "dim") for each in view.connect_on]
    if rests:
        yield "connect", [*quantiles, *rests, *([Text(vetoed, "yellow")] if vetoed else [])]
    word, style = _CHIP[view.fit]
    reasons = [Text(each, "yellow" if view.fit != "invalid" else "red") for each in view.reasons]
    yield "machine", [Text(word, style), *reasons, Text(view.lag, "dim")]


def _troubles(view: View, width: int, room: int) -> list[Text]:
    """A line for each kind, in as many lines as there is room for; the others are counted."""
    label = "answers" if view.activity in ASKED else "trouble"
    lines: list[Text] = []
    shown = view.troubles
    if view.kinds > min(len(shown), room):
        shown = shown[: room - 1]
    for each in shown:
        told = f": {each.newest}" if each.newest and width >= NARROW else ""
        line = Text(f"{label if not lines else '':{LABEL}}", "dim")
        line.append(f"{each.count:,} x {each.name}", "yellow")
        line.append(f"  {each.ago}{told}", "dim")
        lines.append(line)
    if view.kinds > len(shown):
        lines.append(Text(f"{'':{LABEL}}and {view.kinds - len(shown)} more kinds", "dim"))
    return [_cut(line, width) for line in lines]


def _flow(label: str, pieces: Sequence[Text], width: int) -> list[Text]:
    """Pieces side by side, as many as fit into a line; none is split."""
    if not pieces:
        return []
    lines = [Text(f"{label:{LABEL}}", "dim")]
    empty = True
    for piece in pieces:
        wanted = piece.cell_len + (0 if empty else len(GAP))
        if not empty and lines[-1].cell_len + wanted > width:
            lines.append(Text(" " * LABEL))
            empty = True
        if not empty:
            lines[-1].append(GAP)
        lines[-1].append_text(piece)
        empty = False
    return [_cut(line, width) for line in lines]


def _cut(line: Text, width: int) -> Text:
    line.truncate(max(width, 1), overflow="ellipsis")
    return line


def plain(view: View) -> str:
    """The view as one line."""
    parts = [f"{view.elapsed:>10}"]
    where = [view.stage or "starting", *view.details[:3], *view.left[-1:]]
    parts.append(", ".join(where) + ":")
    parts.append("; ".join([", ".join(view.clients), ", ".join(view.rates)]).rstrip("; "))
    quantiles = [f"{q.name} {q.words}" for q in view.connect if not q.words.startswith("needs")]
    if quantiles:
        parts.append(f"; connect {', '.join(quantiles)} {view.connect_on[0]}")
    if view.troubles:
        most = [f"{each.count:,} x {each.name}" for each in view.troubles[:LINE_KINDS_MAX]]
        parts.append(f"; {', '.join(most)}")
    if view.fit in _VETO:
        parts.append(f"; {_CHIP[view.fit][0]}: {', '.join(view.reasons)}")
    return visible(" ".join(parts).replace(" ;", ";"))
