"""`--accepted`: which file of known findings a run is judged with, and the copy it keeps.

The rule: what is named is read or refused. Unnamed, it is `accepted.toml` beside the scenario, else
in `./scenarios`; the path that was used is told, and the run keeps what it said, redacted, so
that it is judged alike without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from probe.check.accepted import Accepted, read_accepted
from probe.cli.files import read
from probe.history.folder import ACCEPTED

if TYPE_CHECKING:
    from probe.cli.files import Loaded
    from probe.redact import Redactor

BYTES_MAX = 1_000_000


def accepted_of(file: Path | None, loaded: Loaded) -> tuple[Accepted | None, list[str]]:
    """What a run is judged with, and what is to be told of it; ConfigError for its mistakes."""
    path = file or _found(loaded)
    if path is None:
        return None, []
    found = read_accepted(read(path, at_most=BYTES_MAX), str(path))
    embedded = loaded.target.embedded
    mine = found.meant_for(loaded.name, loaded.target_name, embedded=embedded)
    words = f"{len(mine)} of {len(found.accepted)} entries speak of this run"
    return found, [f"known findings: {path}; {words}"]


def _found(loaded: Loaded) -> Path | None:
    places = (loaded.scenario_path.parent / ACCEPTED, Path("scenarios") / ACCEPTED)
    return next((path for path in places if path.is_file()), None)


def keep(folder: Path, accepted: Accepted | None, redactor: Redactor) -> None:
    """The copy in the run's folder."""
    if accepted is not None:
        (folder / ACCEPTED).write_text(accepted.to_toml(redactor.text), encoding="utf-8")


def kept(folder: Path) -> Accepted | None:
    """What a stored run was judged with."""
    path = folder / ACCEPTED
    return read_accepted(read(path), str(path)) if path.is_file() else None
