"""`probe history`: the runs there are, newest first, and the course of their figures."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from probe.check.verdict import Outcome
from probe.cli.arms import stored, told_of
from probe.cli.console import console
from probe.errors import ConfigError, Problem
from probe.report.document import json_bytes, settled
from probe.report.past import Past, courses, past_of, plot
from probe.report.terminal import COLOURS
from probe.report.visible import visible

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = 1
LISTED = 20
VERDICT_WIDTH = max(map(len, Outcome))


def command(
    scenario: Annotated[str | None, typer.Argument(help="Only runs of this scenario.")] = None,
    only: Annotated[str | None, typer.Option("--scenario", "-s", help="The same.")] = None,
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="Only runs against this target.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", "-n", min=1, max=10_000, help="At most so many runs; listed are 20."
        ),
    ] = None,
    plotted: Annotated[
        bool, typer.Option("--plot", help="The course of each figure, and where it changed.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Where run directories are.")] = Path("results"),
    json: Annotated[bool, typer.Option("--json", help="Print it as JSON on stdout.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours.")] = False,
) -> None:
    """List the stored runs, newest first, with their verdicts and main figures."""
    if scenario is not None and only not in {None, scenario}:
        raise ConfigError(Problem("--scenario", "", f"{scenario} was named already", only or ""))
    scenario = scenario or only
    found = [run for run in pasts(out) if _asked(run, scenario, target)]
    shown = found[: limit or (len(found) if plotted or json else LISTED)]
    if json:
        whole: dict[str, Any] = {"schema": SCHEMA, "runs": [asdict(run) for run in shown]}
        if plotted:
            whole["courses"] = [asdict(each) for each in courses(shown)]
        sys.stdout.buffer.write(json_bytes(settled(whole)))
        return
    screen = console(no_color=no_color)
    if not shown:
        screen.print(f"no run that was judged is in {out}", markup=False)
    elif plotted:
        _plot(shown, screen)
    else:
        _list(shown, screen)
        if len(found) > len(shown):
            screen.print(f"... and {len(found) - len(shown):,} older runs", markup=False)


def pasts(out: Path) -> list[Past]:
    """Every run that was judged, newest first; one whose reports cannot be read is left out."""
    found = []
    for folder in stored(out):
        verdict = told_of(folder)
        if verdict.get("run_id"):
            found.append(past_of(verdict, told_of(folder, "summary.json")))
    return sorted(found, key=lambda run: run.started, reverse=True)


def _asked(run: Past, scenario: str | None, target: str | None) -> bool:
    return scenario in {None, run.scenario} and target in {None, run.target}


def _list(runs: list[Past], screen: Console) -> None:
    """Verdict, run, target, figures; the figures go below where the line is too narrow."""
    name_width = max(len(run.run_id) for run in runs)
    target_width = max(len(run.target) for run in runs)
    lines = []
    for run in runs:
        figures = ", ".join(each.text for each in run.main) or "no figure"
        if not run.fit:
            figures += "; the probe was unfit"
        head = Text(f"{run.verdict:<{VERDICT_WIDTH}}", COLOURS.get(_outcome(run.verdict), ""))
        head.append(f"  {visible(run.run_id):<{name_width}}", "")
        head.append(f"  {visible(run.target):<{target_width}}", "dim")
        lines.append((head, figures))
    beside = all(len(head) + 2 + len(figures) <= screen.width for head, figures in lines)
    for head, figures in lines:
        below = Text(f"{'':{VERDICT_WIDTH}}  {figures}")
        shown = [head.append(f"  {figures}")] if beside else [head, below]
        for line in shown:
            line.rstrip()
            line.truncate(screen.width)
            screen.print(line)


def _outcome(verdict: str) -> Outcome:
    return Outcome(verdict) if verdict in set(Outcome) else Outcome.ERROR


def _plot(runs: list[Past], screen: Console) -> None:
    ascii_only = not screen.encoding.lower().startswith("utf")
    for number, course in enumerate(courses(runs)):
        if number:
            screen.print()
        for line in plot(course, screen.width, ascii_only=ascii_only):
            shown = Text(visible(line, ascii_only=ascii_only))
            shown.truncate(screen.width)
            screen.print(shown)
