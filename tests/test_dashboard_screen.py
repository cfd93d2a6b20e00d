"""The block and the lines: they fit their terminal, and a word says what a colour says."""

import io
import re

import pytest
from rich.console import Console

from probe.dashboard.screen import Block, lines_of, plain
from probe.dashboard.view import Trouble
from tests.dashboard_views import view

MANY = tuple(Trouble(f"status {k}", 5, "2 s ago", "") for k in range(400, 412))
WHYS = ("lag over 10 ms for 6.8% of the time (worker 12)", "steal 5.0 %")


@pytest.mark.parametrize("width", [10, 40, 60, 80, 120, 200])
@pytest.mark.parametrize("height", [3, 12, 40])
def test_no_line_is_wider_and_no_block_higher_than_its_terminal(width, height):
    for shown in (view(), view(troubles=MANY, kinds=30), view(fit="invalid", reasons=WHYS)):
        lines = lines_of(shown, width, height)
        assert len(lines) <= height
        assert max(line.cell_len for line in lines) <= width


def text_of(shown, width=80, height=40):
    return "\n".join(line.plain for line in lines_of(shown, width, height))


def test_a_block_tells_where_the_run_is_and_what_its_figures_rest_on():
    told = text_of(view())
    for words in (
        "restarts   stage 2 of 2", "restart 3 of 20", "stage about 40 s", "23%", "34 here now",
        "230 messages/s", "p50 12.3 ms", "p95 over 5 s", "p99 needs 368",
        "of 120 connects, 3 failed", "2 under way, the oldest for 1.2 s", "FIT",
        "1,200 x closed 1011 when ready  just now", "4 x status 503  8 s ago",
    ):  # fmt: skip
        assert words in told


@pytest.mark.parametrize(
    ("fit", "activity", "words"),
    [
        ("unfit", "load", "vetoed while the machine is unfit"),
        ("invalid", "load", "the machine is not fit at all"),
        ("unfit", "capacity", "each level is vetoed or not by itself"),
    ],
)
def test_what_is_vetoed_is_shown_as_that(fit, activity, words):
    told = text_of(view(fit=fit, activity=activity, reasons=WHYS))
    assert words in told
    assert fit.upper() in told
    assert "steal 5.0 %" in told


def test_where_refusals_are_asked_for_they_are_answers():
    assert "answers  1,200 x" in text_of(view(activity="matrix"))
    assert "trouble  1,200 x" in text_of(view())


def test_kinds_that_find_no_room_are_counted():
    told = text_of(view(troubles=MANY, kinds=12), height=13)
    assert f"and {12 - told.count('x status')} more kinds" in told
    assert "and 18 more kinds" in text_of(view(troubles=MANY, kinds=30))


def test_one_line_is_one_line_without_an_escape():
    told = plain(view(fit="unfit", reasons=("lag\x1b[2J\nof all",)))
    assert "\n" not in told
    assert "\x1b" not in told
    for words in ("restarts, restart 3 of 20, run about 40 s:", "p50 12.3 ms", "of 120 connects"):
        assert words in told
    assert "1,200 x closed 1011 when ready, 4 x status 503" in told
    assert "UNFIT: lag\\x1b[2J\\nof all" in told


class Glass:
    """What stands on a terminal of a width, of the codes that a block uses."""

    def __init__(self, written, width):
        self.rows = [""]
        for code, text in re.findall(r"(\x1b\[\d*[AJ]|\r|\n)|([^\x1b\r\n]+)", written):
            if code == "\n":
                self.rows.append("")
            elif code.endswith("A"):
                self.up = int(code[2:-1])
            elif code.endswith("J"):
                del self.rows[len(self.rows) - 1 - self.up :]
                self.rows.append("")
            elif text:
                self.rows[-1] += text
        self.rows = [row[at : at + width] for row in self.rows for at in range(0, len(row), width)]


def test_a_block_is_drawn_over_the_one_before_and_leaves_nothing():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80, height=24, color_system=None)
    console.print("before")
    block = Block(console)
    block.draw(view(elapsed="1 s"))
    block.draw(view(elapsed="2 s", troubles=MANY))
    block.draw(view(elapsed="3 s"))
    rows = Glass(stream.getvalue(), 80).rows
    assert sum("restarts   stage 2 of 2" in row for row in rows) == 1
    assert rows[:2] == ["before", "3 s   restarts   stage 2 of 2"]
    block.clear()
    assert Glass(stream.getvalue(), 80).rows == ["before"]


def test_a_block_goes_back_over_lines_that_a_narrower_terminal_has_wrapped():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100, height=40, color_system=None)
    block = Block(console)
    block.draw(view())
    lines = lines_of(view(), 99, 38)
    console.width = 40
    stream.truncate(0)
    stream.seek(0)
    block.clear()
    rows = sum(-(-line.cell_len // 40) for line in lines)
    assert stream.getvalue() == f"\r\x1b[{rows}A\x1b[J"
