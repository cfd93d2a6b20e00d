"""`probe report`: the reports of a stored run, made anew."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from probe.cli.comparing import show_comparison
from probe.cli.console import console
from probe.cli.judging import judge_run
from probe.cli.placing import places
from probe.history.folder import find_run
from probe.report.annotations import workflow_commands
from probe.report.document import document, json_bytes
from probe.report.junit import junit_xml
from probe.report.markdown import markdown
from probe.report.terminal import show
from probe.report.writer import write_reports


class Format(StrEnum):
    """What to print."""

    TERMINAL = "terminal"
    JSON = "json"
    JUNIT = "junit"
    MARKDOWN = "markdown"
    GITHUB = "github"


def command(
    run: Annotated[str, typer.Argument(help="A run directory, a run id, or `latest`.")] = "latest",
    form: Annotated[Format, typer.Option("--format", help="What to print.")] = Format.TERMINAL,
    write: Annotated[
        bool, typer.Option("--write", help="Write all reports into the run directory instead.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Where run directories are.")] = Path("results"),
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours.")] = False,
) -> None:
    """Print a report of a stored run, or write them all again."""
    folder = find_run(out, run)
    judgement = judge_run(folder)
    if write:
        for path in write_reports(judgement, folder):
            sys.stdout.write(f"{path}\n")
        return
    match form:
        case Format.TERMINAL:
            screen = console(no_color=no_color)
            show(judgement, screen, folder)
            show_comparison(judgement.summary.get("comparison"), screen)
        case Format.JSON:
            sys.stdout.buffer.write(json_bytes(document(judgement)))
        case Format.JUNIT:
            sys.stdout.buffer.write(junit_xml(judgement))
        case Format.MARKDOWN:
            sys.stdout.write(markdown(judgement))
        case Format.GITHUB:
            sys.stdout.write(workflow_commands(judgement, places(judgement)))
