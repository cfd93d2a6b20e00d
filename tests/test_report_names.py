"""What failed is named on the terminal, whole, whatever else has no room there."""

from io import StringIO

import pytest
from rich.console import Console

from probe.check.verdict import Check, Finding, Fitness, Judgement, Outcome
from probe.report import terminal

LONG = "matrix.negotiation.two_lines_unknown_first"


def screen(checks, *, width=80, findings=(), folder=None):
    judgement = Judgement(Outcome.FAIL, {}, tuple(checks), tuple(findings), Fitness(), {})
    console = Console(file=StringIO(), width=width, force_terminal=False, legacy_windows=False)
    return [line.plain for line in terminal.screen(judgement, console, folder)]


def check(name, verdict=Outcome.FAIL):
    message = "one header line for each offer: ought to be accepted; 1 x 401 " * 4
    return Check(name, "matrix", True, verdict, "witness", 1, message)


def named(lines):
    return "\n".join(lines).replace("\n  ", " ")


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_every_check_that_failed_is_named_whole(width):
    names = [LONG, *(f"matrix.negotiation.row_{k:02}" for k in range(12))]
    checks = [*map(check, names), *(check(f"fine.{k}", Outcome.PASS) for k in range(50))]
    finding = Finding("race.window", "major", "witness", 1, "so " * 200, "why " * 90, (), "again")
    lines = screen(checks, width=width, findings=[finding] * 3)
    for name in names:
        assert sum(name in line for line in lines) == 1, "\n".join(lines)
    assert max(map(len, lines)) <= width
    assert len(lines) <= terminal.LINES_MAX
    assert "50 PASS" in named(lines)


def test_of_very_many_some_are_named_and_the_rest_counted():
    lines = screen([check(f"s.{k:03}") for k in range(60)])
    text = named(lines)
    shown = sum(f"s.{k:03}" in text for k in range(60))
    assert 20 <= shown < 60
    assert f" and {60 - shown} more" in text
    assert "more checks: " in text
    assert len(lines) <= terminal.LINES_MAX


def test_where_all_fits_nothing_is_named_twice():
    lines = screen([check(LONG), check("a.b"), check("c.d", Outcome.PASS)])
    assert "as well" not in named(lines)
    at = next(k for k, line in enumerate(lines) if LONG in line)
    assert lines[at].split() == ["FAIL", LONG]
    assert "one header line" in lines[at + 1]


def test_a_command_that_would_be_split_within_a_word_is_in_the_report():
    finding = Finding(
        "race.window", "major", "witness", 1, "m", "c", (), f"probe run --set '{'x' * 90}'"
    )
    assert "again: the command is in report.md" in named(screen([check("a.b")], findings=[finding]))
