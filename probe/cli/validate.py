"""`probe validate`: every mistake of the named files at once, without a socket."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from probe.cli.console import console
from probe.cli.files import find, known, load_dialect, load_scenario, load_target, read
from probe.errors import ConfigError, Problem
from probe.model.reading import parse


def command(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Files, or names of scenarios, targets or dialects; default: all."),
    ] = None,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours.")] = False,
) -> None:
    """Check scenario, target and dialect files; variables need not be set for it."""
    screen = console(no_color=no_color)
    every = [(kind, path) for kind in ("scenario", "target", "dialect")
             for path in known(kind).values()]  # fmt: skip
    chosen = [_find(name) for name in names] if names else every
    problems: list[Problem] = []
    for kind, path in chosen:
        try:
            _read(kind, path)
        except ConfigError as error:
            problems += error.problems
        else:
            screen.print(f"ok  {kind}  {path}", markup=False)
    if problems:
        raise ConfigError(*problems)


def _find(name: str) -> tuple[str, Path]:
    path = Path(name)
    if path.is_file():
        folder = path.resolve().parent.name
        kind = {"targets": "target", "dialects": "dialect"}.get(folder, "scenario")
        return kind, path
    for kind in ("scenario", "target", "dialect"):
        if name in known(kind):
            return kind, known(kind)[name]
    return "scenario", find("scenario", name)


def _read(kind: str, path: Path) -> None:
    if kind == "scenario":
        load_scenario(str(path), [])
    elif kind == "target":
        load_target(str(path), Stand(parse(read(path), str(path))))
    else:
        load_dialect(str(path))


class Stand(dict[str, str]):
    """Stands for variables that are not set: shapes are checked, values are not known."""

    def __init__(self, target: dict[str, Any]) -> None:
        super().__init__()
        auth = target.get("auth")
        algorithm = auth.get("algorithm", "HS") if isinstance(auth, dict) else "HS"
        self._pem = not str(algorithm).startswith("HS")

    def get(self, name: str, default: object = None) -> str:  # noqa: ARG002 -- Mapping's
        """A value that has the shape its name asks for."""
        if "KEY" in name and self._pem:
            return "-----BEGIN PRIVATE KEY-----"
        if "WS" in name:
            return "ws://127.0.0.1:1/"
        if "URL" in name:
            return "http://127.0.0.1:1/"
        return "x" * 64
