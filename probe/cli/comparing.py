"""`probe compare`: before and now, from stored runs alone."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probe.check.comparing.comparison import compare
from probe.check.comparing.rows import SMALL
from probe.cli.arms import course_of, runs_at, same_course, taken_all
from probe.cli.console import console
from probe.errors import ConfigError, Problem
from probe.report.comparison import comparison_document, unsettled
from probe.report.comparison_views import comparison_markdown, screen
from probe.report.document import json_bytes
from probe.units import fraction

if TYPE_CHECKING:
    from rich.console import Console

EXIT_WORSE = 1
EXIT_UNDECIDED = 3
MARGIN_MAX = 0.5


class FailOn(StrEnum):
    """What a comparison must not come to."""

    WORSE = "worse"
    UNDECIDED = "undecided"


def command(
    before: Annotated[
        str, typer.Argument(help="A run, its id, `latest`, or a directory of runs: as it was.")
    ],
    now: Annotated[str, typer.Argument(help="The same: as it is.")] = "latest",
    out: Annotated[Path, typer.Option(help="Where run directories are.")] = Path("results"),
    aa: Annotated[
        list[str] | None,
        typer.Option(help="Runs of the same thing, from which their spread is known (repeatable)."),
    ] = None,
    margin: Annotated[
        str, typer.Option(help="What a timing may change by and still be called the same.")
    ] = f"{SMALL:.0%}",
    fail_on: Annotated[
        FailOn, typer.Option("--fail-on", help="worse: exit 1; undecided: exit 3 as well.")
    ] = FailOn.WORSE,
    json: Annotated[bool, typer.Option("--json", help="Print comparison.json on stdout.")] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print it as Markdown, for a pull request.")
    ] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours.")] = False,
) -> None:
    """Compare stored runs: before and now, figure by figure, with what runs differ by anyhow."""
    small = margin_of(margin)
    folders = runs_at(out, before), runs_at(out, now)
    shared = set(folders[0]) & set(folders[1])
    if shared and set(folders[0]) != set(folders[1]):
        message = "stands on both sides; a run is compared with others"
        raise ConfigError(Problem("compare", "", message, min(shared).name))
    first = taken_all(folders[0])
    last = first if set(folders[0]) == set(folders[1]) else taken_all(folders[1])
    known = [folder for name in aa or [] for folder in runs_at(out, name)]
    course = same_course(first[-1], known or course_of(*folders))
    told = comparison_document(compare(first, last, course=course, small=small))
    if json:
        sys.stdout.buffer.write(json_bytes(told))
    elif markdown:
        sys.stdout.write(comparison_markdown(told) + "\n")
    else:
        show_comparison(told, console(no_color=no_color))
    raise typer.Exit(exit_code(told, fail_on))


def margin_of(text: str) -> float:
    """A share above 0 and at most 50 %; ConfigError."""
    try:
        share = fraction(text)
    except ValueError as error:
        raise ConfigError(Problem("--margin", "", str(error))) from None
    if not 0 < share <= MARGIN_MAX:
        raise ConfigError(Problem("--margin", "", "does not fit", text, "above 0 %, at most 50 %"))
    return share


def exit_code(told: dict[str, Any], fail_on: FailOn) -> int:
    """1 where it is worse; 3 where nothing was compared, or, if asked, it is undecided."""
    match told["said"]:
        case "worse":
            return EXIT_WORSE
        case "nothing compared":
            return EXIT_UNDECIDED
        case _ if fail_on is FailOn.UNDECIDED and unsettled(told):
            return EXIT_UNDECIDED
        case _:
            return 0


def show_comparison(told: dict[str, Any] | None, screen_on: Console) -> None:
    """Print it; nothing where nothing was compared with."""
    for line in screen(told, screen_on) if told else ():
        screen_on.print(line)
