"""`probe list`: the scenarios, targets and dialects there are, and where each comes from."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from probe.cli.console import console
from probe.cli.files import FOLDERS, known, read
from probe.errors import ConfigError
from probe.model.reading import parse

if TYPE_CHECKING:
    from pathlib import Path


def command(
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours.")] = False,
) -> None:
    """List scenarios, targets and dialects."""
    screen = console(no_color=no_color)
    for kind in FOLDERS:
        table = Table(kind, "title", box=None, pad_edge=False)
        table.add_column("file", overflow="fold")
        for name, path in known(kind).items():
            table.add_row(name, _title(path), str(path))
        screen.print(table)
        screen.print()


def _title(path: Path) -> str:
    """As the file tells it; of Python the first line of what it says it is, and nothing is run."""
    try:
        text = read(path)
        if path.suffix == ".toml":
            return str(parse(text, str(path)).get("title", ""))
        told = ast.get_docstring(ast.parse(text)) or ""
    except ConfigError as error:
        return f"({error.problems[0].message})"
    except (SyntaxError, ValueError):
        return "(this is not Python)"
    return told.partition("\n")[0].rstrip(".")
