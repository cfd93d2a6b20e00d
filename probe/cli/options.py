"""The options of `probe run`, each with its words for the help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from probe.cli.spread import WORKERS_MAX

SEED_MAX: Final = 2**32
TargetOption = Annotated[
    str | None, typer.Option("--target", "-t", help="Name or file of a target.")
]
SetsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Change the scenario: stages.load.trials=5, or target.…, dialect.… (repeatable).",
    ),
]
RestartsOption = Annotated[int | None, typer.Option(min=1, max=10_000, help="How many restarts.")]
StageOption = Annotated[list[str] | None, typer.Option(help="Run only this stage (repeatable).")]
AtOption = Annotated[
    str | None, typer.Option(help="Try a race at this offset alone, such as +12ms.")
]
TrialsOption = Annotated[
    int | None, typer.Option(min=1, max=10_000, help="How often, at each of the two.")
]
ShrinkOption = Annotated[
    bool,
    typer.Option("--shrink", help="With --at: the fewest clients and steps that show it."),
]
UntilOption = Annotated[
    str | None, typer.Option(help="The limit of the capacity stage, such as 'p99<500ms'.")
]
DefectOption = Annotated[
    list[str] | None,
    typer.Option(help="Switch on a defect of the embedded lab: NAME[=VALUE] (repeatable)."),
]
SeedOption = Annotated[
    int | None, typer.Option(min=0, max=SEED_MAX, help="The same seed gives the same plan.")
]
WorkersOption = Annotated[
    int | None,
    typer.Option(min=1, max=WORKERS_MAX, help="Processes that play the load; unset: as it takes."),
]
EngineOption = Annotated[
    str, typer.Option(help="Where workers are: local, or ray (docs/cluster.md).")
]
AddressOption = Annotated[
    str | None, typer.Option(help="Of the Ray cluster: HOST:6379, auto; unset: our own.")
]
AcceptedOption = Annotated[
    Path | None,
    typer.Option(help="Known findings; unset: accepted.toml beside the scenario."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print the plan and open no socket.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Tell which files are used.")]
