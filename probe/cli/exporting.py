"""`probe export`: a stored run for other programs, as metrics or as a row for each session."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from probe.cli.judging import judge_run
from probe.cli.outputs import FORMS, export_all, outputs
from probe.errors import ConfigError, Problem
from probe.history.folder import find_run

EXIT_NOT_DELIVERED: Final = 1


def command(
    run: Annotated[str, typer.Argument(help="A run directory, a run id, or `latest`.")] = "latest",
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to",
            help=f"{'|'.join(FORMS)}, then =FILE, or =http://… to push metrics; unset: stdout "
            "(repeatable).",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where run directories are.")] = Path("results"),
) -> None:
    """Export a stored run: metrics for Prometheus or OTLP, sessions as CSV, JSON, Parquet."""
    if not to:
        raise ConfigError(Problem("--to", "", "in which form?", allowed=", ".join(FORMS)))
    chosen = outputs(to, "--to", stdout=True)
    folder = find_run(out, run)
    if not export_all(chosen, judge_run(folder), folder):
        raise typer.Exit(EXIT_NOT_DELIVERED)
