"""`probe list`: the scenarios, targets and dialects there are, and where each comes from."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from probe.cli.console import console
from probe.cli.files import FOLDERS, known, read
from probe.errors import ConfigError
from probe.model.reading import parse


def command(
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours.")] = False,
) -> None:
    """List scenarios, targets and dialects."""
    screen = console(no_color=no_color)
    for kind in FOLDERS:
        table = Table(kind, "title", box=None, pad_edge=False)
        table.add_column("file", overflow="fold")
        for name, path in known(kind).items():
            title = ""
            if path.suffix == ".toml":
                try:
                    title = str(parse(read(path), str(path)).get("title", ""))
                except ConfigError as error:
                    title = f"({error.problems[0].message})"
            table.add_row(name, title, str(path))
        screen.print(table)
        screen.print()
