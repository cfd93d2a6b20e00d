"""The runs that a comparison is made of: from what was typed to runs that were read.

The rule: each run is judged again from its own files, alone, so that what a report once said
does not count, and a run that was itself compared pulls in no third one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from probe.check.comparing.alike import same_thing
from probe.check.comparing.taken import Taken, take
from probe.check.judge import judge
from probe.cli.accepting import kept
from probe.cli.files import read
from probe.errors import ConfigError, HistoryError, Problem
from probe.history.columns import History
from probe.history.folder import HISTORY, LATEST, RESOLVED, find_run
from probe.model.resolved import Resolved

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

RUNS_MAX: Final = 200
COURSE_MAX: Final = 10
"""Runs of the same thing that are read: each takes as long as to judge it."""


def runs_at(out: Path, name: str) -> list[Path]:
    """A run by path, id or `latest`; or all runs of a directory, oldest first.

    HistoryError where there is neither, ConfigError where a directory has too many.
    """
    try:
        return [find_run(out, name)]
    except HistoryError:
        for folder in (Path(name), out / name):
            found = stored(folder)
            if len(found) > RUNS_MAX:
                message = "has too many runs to compare at once; name fewer"
                raise ConfigError(
                    Problem(name, "", message, f"{len(found):,}", f"at most {RUNS_MAX}")
                ) from None
            if found:
                return found
        raise


def stored(folder: Path) -> list[Path]:
    """The run directories right below a folder, oldest first; their names begin with the time."""
    if not folder.is_dir():
        return []
    found = [path.parent for path in folder.glob(f"*/{HISTORY}") if path.is_dir()]
    return sorted(path.resolve() for path in found if path.name != LATEST)


def told_of(folder: Path, name: str = "verdict.json") -> dict[str, Any]:
    """A run's verdict.json (or summary.json) as it stands; {} where none can be read."""
    try:
        told = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def readable(folder: Path) -> bool:
    """Whether this probe can read a run: it is there, and not of another version."""
    try:
        Resolved.from_toml(read(folder / RESOLVED), str(folder / RESOLVED))
        History.open(folder / HISTORY)
    except (ConfigError, HistoryError):
        return False
    return True


def taken(folder: Path) -> Taken:
    """One run as a comparison takes it; ConfigError, HistoryError where it cannot be read."""
    resolved = Resolved.from_toml(read(folder / RESOLVED), str(folder / RESOLVED))
    history = History.open(folder / HISTORY)
    return take(history, resolved, judge(history, resolved, accepted=kept(folder)))


def taken_all(folders: Iterable[Path]) -> list[Taken]:
    """Several, in the order of time."""
    return sorted((taken(folder) for folder in folders), key=lambda each: each.started)


def course_of(before: Sequence[Path], now: Sequence[Path]) -> list[Path]:
    """The runs beside the last one before that look like runs of the same thing, oldest first.

    Only where single runs are compared, since several tell themselves how much they differ. By
    their verdict.json alone; whether they really are is seen when they are read (`same_course`).
    """
    if len(before) + len(now) > 2:  # noqa: PLR2004 -- one run of each
        return []
    told = told_of(before[-1])
    found = []
    for folder in reversed(stored(before[-1].parent)):
        other = told_of(folder)
        alike = all(other.get(key) == told.get(key) for key in ("scenario", "target"))
        fit = (other.get("fitness") or {}).get("fit") and other.get("complete")
        earlier = str(other.get("started", "")) <= str(told.get("started", ""))
        if other and alike and fit and earlier and folder not in now and readable(folder):
            found.append(folder)
        if len(found) == COURSE_MAX:
            break
    return found[::-1]


def same_course(before: Taken, folders: Iterable[Path]) -> list[Taken]:
    """Those of them that were of the same thing as `before`, oldest first."""
    return [each for each in taken_all(folders) if same_thing(before, each)]
