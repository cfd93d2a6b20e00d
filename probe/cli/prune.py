"""`probe prune`: keep the store of runs within bounds.

The rule: nothing goes without `--yes`, and what would go is told one by one. Never removed are
the latest run, the last run of each scenario and target that passed (the next `--baseline
latest` is compared with it), a run that another one is compared with, and one that may still be
going on. Only run directories right below the folder are looked at, and no link is followed.
"""

from __future__ import annotations

import contextlib
import shutil
import stat
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probe.check.verdict import Outcome
from probe.cli.arms import stored, told_of
from probe.cli.baseline import baselines
from probe.errors import ConfigError, ProbeError, Problem
from probe.history.folder import HISTORY, LATEST, RESOLVED
from probe.report.visible import visible
from probe.units import duration_ns, size_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

STILL_S = 3600.0
"""A run without a verdict whose files are younger may still be going on."""
DAY_H = 24


@dataclass(frozen=True, slots=True)
class Stored:
    """One run directory: of what, when it began, how large; `kept` says why it has to stay."""

    folder: Path
    kind: tuple[str, str]
    started: datetime
    size: int
    kept: str


def command(
    keep: Annotated[
        int | None, typer.Option(min=1, help="Keep the newest N of each scenario and target.")
    ] = None,
    max_size: Annotated[
        str | None, typer.Option("--max-size", help="At most so much in all, such as 2GB.")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option("--older-than", help="Remove what is older, such as 30d or 12h.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, it is only told.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell, which is the default.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Where run directories are.")] = Path("results"),
) -> None:
    """Remove old runs, or tell which would go; never the latest or a baseline."""
    if keep is None and max_size is None and older_than is None:
        allowed = "--keep, --max-size, --older-than"
        raise ConfigError(Problem("prune", "", "needs to know what to keep", "", allowed))
    if yes and dry_run:
        raise ConfigError(Problem("--dry-run", "", "does not go with --yes"))
    most = _read("--max-size", max_size, size_bytes)
    age = _read("--older-than", older_than, _age)
    runs = runs_in(out, datetime.now(UTC))
    going = chosen(runs, datetime.now(UTC), keep, most, age)
    for run, why in going:
        sys.stdout.write(visible(f"{run.folder.name}  {_told(run.size)}  {why}") + "\n")
        if yes:
            _remove(run.folder)
    freed, total = sum(run.size for run, _ in going), sum(run.size for run in runs)
    did = "removed" if yes else "would go, with --yes"
    sys.stdout.write(f"{len(going)} of {len(runs)} runs {did}: {_told(freed)} of {_told(total)}\n")
    over = most is not None and total - freed > most
    if over:
        sys.stdout.write("what is left is still above --max-size: the rest has to stay\n")


def runs_in(out: Path, now: datetime) -> list[Stored]:
    """Every run directory, newest first."""
    # A link resolves to a run of another place, or to one that is here already.
    folders = [each for each in dict.fromkeys(stored(out)) if each.parent == out.resolve()]
    latest = (out / LATEST).resolve()
    compared_with = baselines(folders)
    found: list[Stored] = []
    passed: set[tuple[str, str]] = set()
    for folder in folders[::-1]:
        told = told_of(folder)
        kind = str(told.get("scenario", "")), str(told.get("target", ""))
        kept = ""
        if folder == latest or not found:
            kept = "the latest"
        elif folder in compared_with:
            kept = "a baseline"
        elif not told and _age_of(folder) < STILL_S:
            kept = "may still be going on"
        if told.get("verdict") == Outcome.PASS and kind not in passed:
            passed.add(kind)
            kept = kept or "the last that passed"
        found.append(Stored(folder, kind, _started(folder, told, now), _size(folder), kept))
    return found


def chosen(
    runs: Iterable[Stored],
    now: datetime,
    keep: int | None,
    most: int | None,
    age: timedelta | None,
) -> list[tuple[Stored, str]]:
    """Which of these, newest first, go, and why; the oldest first."""
    counts: dict[tuple[str, str], int] = {}
    going: list[tuple[Stored, str]] = []
    left: list[Stored] = []
    for run in runs:
        counts[run.kind] = counts.get(run.kind, 0) + 1
        if run.kept:
            left.append(run)
        elif keep is not None and counts[run.kind] > keep:
            going.append((run, f"{keep} newer ones of {' -> '.join(run.kind)} stay"))
        elif age is not None and now - run.started > age:
            going.append((run, f"from {run.started:%Y-%m-%d}"))
        else:
            left.append(run)
    total = sum(run.size for run in left)
    for run in left[::-1]:
        if most is not None and total > most and not run.kept:
            going.append((run, "for the size of all"))
            total -= run.size
    return sorted(going, key=lambda pair: pair[0].folder.name)


def _read(option: str, text: str | None, parse: Any) -> Any:
    try:
        return None if text is None else parse(text)
    except ValueError as error:
        raise ConfigError(Problem(option, "", str(error))) from None


def _age(text: str) -> timedelta:
    """A duration; days as well, which are no unit of a run."""
    days = text.strip().removesuffix("d")
    try:
        if text.strip().endswith("d") and days.isdecimal():
            return timedelta(days=int(days))
        return timedelta(seconds=duration_ns(text) / 1e9)
    except OverflowError:
        raise ValueError(f"{text!r} is longer than any time can be told") from None


def _started(folder: Path, told: dict[str, Any], now: datetime) -> datetime:
    """As it was told, else by the folder's name, else by its last change."""
    for text, form in ((str(told.get("started", "")), ""), (folder.name[:15], "%Y%m%d-%H%M%S")):
        try:
            if form:
                return datetime.strptime(text, form).replace(tzinfo=UTC)
            return datetime.fromisoformat(text).astimezone(UTC)
        except ValueError:
            continue
    return now - timedelta(seconds=_age_of(folder))


def _age_of(folder: Path) -> float:
    """Seconds since anything in it was written."""
    times = [folder.stat().st_mtime]
    for path in (folder / HISTORY, *(folder / HISTORY).rglob("*")):
        with contextlib.suppress(FileNotFoundError):  # of a run that goes on, files come and go
            times.append(path.stat().st_mtime)
    return time.time() - max(times)


def _size(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            told = path.lstat()
            size += told.st_size if stat.S_ISREG(told.st_mode) else 0
    return size


def _remove(folder: Path) -> None:
    """A run directory and nothing else; ProbeError where the system refuses."""
    if folder.is_symlink() or not (folder / RESOLVED).is_file():
        raise ProbeError(f"{folder}: is no run directory, and was left alone")
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise ProbeError(f"{folder}: could not be removed: {error.strerror}") from None


def _told(size: int) -> str:
    for unit, scale in (("GB", 1000**3), ("MB", 1000**2), ("kB", 1000)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} B"
