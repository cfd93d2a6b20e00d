"""Runs on disk without a socket: small histories, written as the engine leaves them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from probe.history.folder import HISTORY, RESOLVED, point_latest
from probe.history.records import DTYPE
from probe.report.writer import write_reports
from tests.histories import EVENTS, LOAD, Story

if TYPE_CHECKING:
    from pathlib import Path

    from probe.check.verdict import Judgement

STAGE: dict[str, Any] = {"load": {**LOAD, "expect": {"success": {"rate": "50%"}}}}
CLIENTS = 80
EVERY_MS = 40


def story(
    seed: int = 0,
    *,
    slower: float = 1.0,
    clients: int = CLIENTS,
    failing: int = 0,
    unfit: bool = False,
    stages: dict[str, Any] | None = None,
) -> Story:
    """A load whose connects take some 20 ms; the first `failing` clients are turned away."""
    rng = np.random.default_rng(seed)
    made = Story(stages or STAGE).stage(0, 0, clients * EVERY_MS + 1000)
    made.fit(30.0 if unfit else 0.1)
    for k in range(clients):
        took = 10 + 10 * slower + float(rng.normal(0, 1.0)) * slower
        way = "status" if k < failing else "good"
        runs = () if way == "status" else (EVENTS,)
        made.client(k * EVERY_MS, way, took=took, lasts=200, runs=runs)
    return made


def store(made: Story, folder: Path, **meta: Any) -> Path:
    """Write it as a run directory without reports."""
    history = folder / HISTORY
    history.mkdir(parents=True)
    (history / "rows.bin").write_bytes(np.array(made.rows, dtype=DTYPE).tobytes())
    (history / "texts.bin").write_bytes(bytes(made.texts))
    told = {**made.meta, "run_id": folder.name, **meta}
    (history / "meta.json").write_text(json.dumps(told))
    (folder / RESOLVED).write_text(made.resolved.to_toml())
    return folder


def report(folder: Path, judgement: Judgement) -> Path:
    """The same with its reports, and as the latest."""
    write_reports(judgement, folder)
    point_latest(folder)
    return folder
