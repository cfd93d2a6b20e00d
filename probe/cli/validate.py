"""`probe validate`: every mistake of the named files at once, without a socket.

With `--against RUN`: whether the messages that a stored run has kept keep a dialect.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from probe.cli.console import console
from probe.cli.drawing import understood
from probe.cli.files import FOLDERS, find, known, load_dialect, load_scenario, load_target, read
from probe.contract.reading import reader_of
from probe.contract.stored import Comparison, compare, printable, start_of
from probe.errors import ConfigError, Problem
from probe.history.folder import find_run
from probe.model.groups import misplaced_gates
from probe.model.reading import parse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

EXIT_BROKEN: Final = 1
EXIT_INCONCLUSIVE: Final = 3


def command(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Files, or names of scenarios, targets or dialects; default: all."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            help="A run directory, a run id, or `latest`: hold its messages to the dialect."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where run directories are.")] = Path("results"),
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours.")] = False,
) -> None:
    """Check scenario, target and dialect files; variables need not be set for it."""
    screen = console(no_color=no_color)
    every = [(kind, path) for kind in ("scenario", "target", "dialect")
             for path in known(kind).values()]  # fmt: skip
    chosen = [each for name in names for each in _find(name)] if names else every
    dialects = [path for kind, path in chosen if kind == "dialect"]
    if against is not None and len(dialects) != 1:
        raise ConfigError(Problem("--against", "", "name exactly one dialect to hold the run to"))
    problems: list[Problem] = []
    for kind, path in chosen:
        try:
            notes = _read(kind, path)
        except ConfigError as error:
            problems += error.problems
        else:
            for line in (f"ok  {kind}  {path}", *(f"    {note}" for note in notes)):
                screen.print(line, markup=False, highlight=False, soft_wrap=True)
    if problems:
        raise ConfigError(*problems)
    if against is not None:
        raise typer.Exit(_compare(screen, dialects[0], find_run(out, against)))


def _compare(screen: Console, path: Path, folder: Path) -> int:
    """Print what the run's messages say of the dialect; the exit code."""
    dialect, _ = load_dialect(str(path))
    found = compare(folder, dialect)
    if found is None:
        raise ConfigError(Problem(str(path), "framing", "this dialect looks into no message"))
    for breach, count in found.counts.most_common():
        words, message = found.first[breach]
        line = f"{count:>7,} x  {breach[0].name.lower()}  {printable(words)}; {start_of(message)}"
        screen.print(line, markup=False, highlight=False, soft_wrap=True)
    screen.print(_summary(found), markup=False, highlight=False, soft_wrap=True)
    if not found.looked_at:
        return EXIT_INCONCLUSIVE
    return EXIT_BROKEN if found.counts else 0


def _summary(found: Comparison) -> str:
    kept = f"the run kept {found.kept:,} of the {found.received:,} messages that it received"
    if not found.looked_at:
        why = "" if not found.kept else ", and none of them whole and of a kind that can be read"
        return f"nothing was compared: {kept}{why}"
    result = f"{len(found.counts):,} distinct breaches" if found.counts else "no breach"
    return f"{result} in the {found.looked_at:,} messages looked at; {kept}"


def _find(name: str) -> list[tuple[str, Path]]:
    """The file of that path, or all that have the name: a target and its dialect may share it."""
    path = Path(name)
    if path.is_file():
        folder = path.resolve().parent.name
        return [({"targets": "target", "dialects": "dialect"}.get(folder, "scenario"), path)]
    found = [(kind, known(kind)[name]) for kind in FOLDERS if name in known(kind)]
    return found or [("scenario", find("scenario", name))]


def _read(kind: str, path: Path) -> list[str]:
    """What there is to tell of a file that is right; ConfigError for one that is not."""
    if kind == "scenario":
        _, scenario, _ = load_scenario(str(path), [])
        _raise(path, misplaced_gates(scenario))
        return understood(scenario)
    if kind == "target":
        load_target(str(path), Stand(parse(read(path), str(path))))
    else:
        dialect, _ = load_dialect(str(path))
        try:
            reader_of(dialect)
        except ConfigError as error:
            _raise(path, error.problems)
    return []


def _raise(path: Path, problems: Iterable[Problem]) -> None:
    """What is told of a kind of file is told of this one."""
    blamed = [replace(problem, origin=str(path)) for problem in problems]
    if blamed:
        raise ConfigError(*blamed) from None


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
