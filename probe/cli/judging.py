"""From a run directory to a judgement: the roof reads the files, the judging wing judges."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from probe.check.climb import climb
from probe.check.judge import judge
from probe.check.verdict import Outcome
from probe.check.view import views
from probe.cli.files import read
from probe.engine.stage import Judge
from probe.history.columns import History
from probe.history.folder import HISTORY, RESOLVED
from probe.model.resolved import Resolved

if TYPE_CHECKING:
    from pathlib import Path

    from probe.check.verdict import Judgement


def judge_run(folder: Path, *, only_stage: str | None = None) -> Judgement:
    """Judge what is stored in a run directory; opens no socket, runs no stored code."""
    resolved = Resolved.from_toml(read(folder / RESOLVED), str(folder / RESOLVED))
    return judge(History.open(folder / HISTORY), resolved, only_stage=only_stage)


def judge_of(folder: Path) -> Judge:
    """Whom a run asks while it goes on; beside the loop, which has sockets to see to."""

    async def failed(stage: str) -> str:
        return await asyncio.to_thread(why_failed, folder, stage)

    async def rate(stage: str) -> float | None:
        return await asyncio.to_thread(next_rate, folder, stage)

    return Judge(failed, rate)


def next_rate(folder: Path, stage: str) -> float | None:
    """Where a capacity stage climbs next, per second; None when its search is over."""
    resolved = Resolved.from_toml(read(folder / RESOLVED), str(folder / RESOLVED))
    every = views(History.open(folder / HISTORY), resolved)
    return climb(next(view for view in every if view.name == stage)).search.next()


def why_failed(folder: Path, stage: str) -> str:
    """The messages of what has failed in a stage by now, or ""."""
    judgement = judge_run(folder, only_stage=stage)
    bad = (Outcome.FAIL, Outcome.ERROR)
    return "; ".join(c.message for c in judgement.checks if c.stage == stage and c.verdict in bad)
