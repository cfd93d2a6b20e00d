"""`probe issue`: one finding of a stored run, ready to be filed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from probe.cli.judging import judge_run
from probe.errors import ConfigError, Problem
from probe.history.folder import find_run
from probe.model.reading import nearest
from probe.report.issue_text import issue_text, issue_title


def command(
    run: Annotated[str, typer.Argument(help="A run directory, a run id, or `latest`.")] = "latest",
    code: Annotated[
        str, typer.Argument(help="Of the finding, such as delivery.lost; unset: the only one.")
    ] = "",
    title: Annotated[bool, typer.Option("--title", help="Only the title, as plain text.")] = False,
    out: Annotated[Path, typer.Option(help="Where run directories are.")] = Path("results"),
) -> None:
    """Print a finding of a stored run as the text of an issue, in Markdown."""
    judgement = judge_run(find_run(out, run))
    codes = list(dict.fromkeys(finding.code for finding in judgement.findings))
    if not codes and not code:
        # Nothing to file is no mistake; standard output stays empty, since it may be filed.
        sys.stderr.write(f"this run ({judgement.headline}) has no finding\n")
        return
    if not code and len(codes) > 1:
        raise ConfigError(Problem("CODE", "", "which finding?", allowed=", ".join(codes)))
    code = code or codes[0]
    if code not in codes:
        why, allowed = "this run has no such finding", ", ".join(codes)
        raise ConfigError(Problem("CODE", "", why, code, allowed, nearest(code, codes)))
    text = issue_title(judgement, code) + "\n" if title else issue_text(judgement, code)
    sys.stdout.write(text)
