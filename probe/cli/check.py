"""`probe check`: judge a stored run again, from its files alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from probe.cli.comparing import show_comparison
from probe.cli.console import console
from probe.cli.judging import judge_run
from probe.history.folder import find_run
from probe.report.document import document, json_bytes
from probe.report.terminal import show


def command(
    run: Annotated[str, typer.Argument(help="A run directory, a run id, or `latest`.")] = "latest",
    out: Annotated[Path, typer.Option(help="Where run directories are.")] = Path("results"),
    json: Annotated[bool, typer.Option("--json", help="Print verdict.json on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the exit code.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours.")] = False,
) -> None:
    """Judge a stored run again; no socket is opened and nothing it stored is run."""
    folder = find_run(out, run)
    judgement = judge_run(folder)
    if json:
        sys.stdout.buffer.write(json_bytes(document(judgement)))
    elif not quiet:
        screen = console(no_color=no_color)
        show(judgement, screen, folder)
        show_comparison(judgement.summary.get("comparison"), screen)
    raise typer.Exit(judgement.exit_code)
