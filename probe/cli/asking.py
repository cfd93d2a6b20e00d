"""What a run asks of the judging wing while it goes on: go or no-go, and where to climb next.

Apart from `judging`, since a stored run is judged without anything that acts.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from probe.check.climb import Climbing
from probe.check.verdict import Outcome
from probe.cli.files import read
from probe.cli.judging import judge_run
from probe.engine.stage import Judge
from probe.history.columns import History
from probe.history.folder import HISTORY, RESOLVED
from probe.model.resolved import Resolved

if TYPE_CHECKING:
    from pathlib import Path

    from probe.check.climb import Climb


@dataclass(slots=True)
class Climbed:
    """How far the climb that is under way has come, for whoever watches; "" where none is.

    `last` is what the level that was played last showed, `within` and `beyond` what is proven.
    """

    stage: str = ""
    last: str = ""
    within: str = ""
    beyond: str = ""


def judge_of(folder: Path, climbed: Climbed) -> Judge:
    """Whom a run asks while it goes on; beside the loop, which has sockets to see to.

    What a climb has shown so far is written into `climbed`.
    """
    climbs: dict[str, Climbing] = {}

    async def failed(stage: str) -> str:
        return await asyncio.to_thread(why_failed, folder, stage)

    async def rate(stage: str) -> float | None:
        found = climbs.setdefault(stage, Climbing(stage))
        climbed.stage = stage
        return await asyncio.to_thread(next_rate, folder, found, climbed)

    return Judge(failed, rate)


def next_rate(folder: Path, climbing: Climbing, climbed: Climbed) -> float | None:
    """Where a capacity stage climbs next; None when its search is over."""
    resolved = Resolved.from_toml(read(folder / RESOLVED), str(folder / RESOLVED))
    found = climbing.climb(History.open(folder / HISTORY), resolved)
    level = found.search.next()
    _note(climbed, found)
    return level


def _note(climbed: Climbed, found: Climb) -> None:
    shown, knee = found.rule.shown, found.search.knee()
    if not found.runs:
        return
    last = found.runs[-1]
    judged = next(x for x in found.search.levels if x.rate_per_s == last.rate_per_s)
    state = "unfit" if last.unfit else judged.status
    climbed.last = f"{shown(last.rate_per_s)} {state}"
    climbed.within = "" if knee.low_per_s is None else shown(knee.low_per_s)
    climbed.beyond = "" if knee.high_per_s is None else shown(knee.high_per_s)


def why_failed(folder: Path, stage: str) -> str:
    """The messages of what has failed in a stage by now and is not accepted, or ""."""
    judgement = judge_run(folder, only_stage=stage)
    bad = (Outcome.FAIL, Outcome.ERROR)
    mine = [c for c in judgement.checks if c.stage == stage and not c.accepted]
    return "; ".join(c.message for c in mine if c.verdict in bad)
