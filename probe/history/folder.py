"""The run directory: one folder per run, and `latest` beside it.

results/<run-id>/
    scenario.resolved.toml   what the run was held to
    accepted.toml            known findings, where there was a file of them
    history/                 rows.bin, texts.bin, meta.json
    history/worker-1/ …      the same of each worker, where there are several processes
    log.ndjson               what happened, for people and log shippers
    verdict.json summary.json junit.xml report.md
    baseline.json comparison.json    what it is compared with, and how it came out
    lab.log lab.ledger.ndjson    only with the embedded lab
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Final

from probe.errors import ConfigError, HistoryError, Problem

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

HISTORY: Final = "history"
RESOLVED: Final = "scenario.resolved.toml"
ACCEPTED: Final = "accepted.toml"
LOG: Final = "log.ndjson"
LATEST: Final = "latest"


def new_run(results: Path, scenario: str, now: datetime) -> Path:
    """Make `results/<run-id>`; ConfigError where that cannot be written."""
    run_id = f"{now:%Y%m%d-%H%M%S}-{scenario}-{secrets.token_hex(2)}"
    folder = results / run_id
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(
            Problem("--out", "", f"cannot be written: {error.strerror}", str(results))
        ) from None
    return folder


def point_latest(folder: Path) -> None:
    """Let `latest` name this run; a file system without links goes without."""
    link = folder.parent / LATEST
    part = folder.parent / f".{LATEST}.{os.getpid()}"
    try:
        part.symlink_to(folder.name)
        part.replace(link)
    except OSError:
        part.unlink(missing_ok=True)


def find_run(results: Path, name: str) -> Path:
    """A run by path, by id, or `latest`; HistoryError with what there is."""
    for folder in (results.parent / name if os.sep in name else results / name, results / name):
        if (folder / HISTORY).is_dir():
            return folder.resolve()
    names = {path.parent.name for path in results.glob(f"*/{HISTORY}")} - {LATEST}
    known = sorted(names)[-3:]
    there = f"; the newest are {', '.join(known)}" if known else ""
    raise HistoryError(f"{name}: no run of that name in {results}{there}")
