"""Where the stages of a stored run stand in the files of a repository, for annotations.

The rule: only a file that the run itself names, that is still there, and that lies within the
workspace; else nothing is said of a place.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from probe.cli.files import read
from probe.errors import ConfigError
from probe.report.annotations import Place

if TYPE_CHECKING:
    from collections.abc import Callable

    from probe.check.verdict import Judgement


def places(judgement: Judgement) -> Callable[[str], Place | None]:
    """A function from the name of a stage to its place; "" is the scenario itself."""
    named = str(judgement.run.get("scenario_file") or "")
    path = _within(Path(named)) if named else None
    try:
        lines = read(Path(named)).splitlines() if path is not None else []
    except ConfigError:
        path = None
    if path is None:
        return lambda _stage: None
    file = path.as_posix()
    return lambda stage: Place(file, _line(lines, stage))


def _within(path: Path) -> Path | None:
    """The path as the workspace sees it."""
    workspace = Path(os.environ.get("GITHUB_WORKSPACE") or Path.cwd()).resolve()
    whole = path.resolve()
    return whole.relative_to(workspace) if whole.is_relative_to(workspace) else None


def _line(lines: list[str], stage: str) -> int:
    """Where the stage's table begins, or the first line."""
    begins = re.compile(rf"\s*\[\s*stages\s*\.\s*\"?{re.escape(stage)}\"?\s*[.\]]")
    found = (n for n, line in enumerate(lines, 1) if stage and begins.match(line))
    return next(found, 1)
