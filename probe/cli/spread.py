"""`--workers`: how many processes a run takes, and which stages they play.

The rule: what was asked for is done or refused with its reason, never less in silence. Without
`--workers` it is one process while that suffices (`probe.engine.shard` has the figures), else
as many as it takes, at most one for each core; whatever is decided is told.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from probe.engine.run import Spread
from probe.engine.shard import CLIENTS_OF_ONE, RATE_OF_ONE, ceilings_of, wanted, whole
from probe.errors import ConfigError, Problem

if TYPE_CHECKING:
    from probe.cli.calibration import Quote
    from probe.cli.files import Loaded
    from probe.model.plan import Plan

WORKERS_MAX = 256


def spread(
    loaded: Loaded, plan: Plan, workers: int | None, known: Quote
) -> tuple[Spread | None, list[str]]:
    """How the run is divided (None: not at all), and what is to be told of it.

    A machine that was measured to carry less than the default is taken at that. ConfigError
    where more than one worker was asked for and the run cannot be divided among them.
    """
    left = whole(plan, loaded.dialect)
    shared = frozenset(stage.name for stage in plan.stages) - set(left)
    one = RATE_OF_ONE
    if known.calibration is not None:
        one = min(one, known.calibration.connects_per_s or one)
    count = workers
    if count is None:
        every = [s.name for s in plan.stages if s.stage.activity == "load"]
        count = wanted(plan, shared, _cores(), one)
        if count == 1 and wanted(plan, every, _cores(), one) > 1:
            return None, [f"one process, though the plan is large: {_words(left, every)}"]
    if count == 1:
        return None, []
    if not shared:
        raise ConfigError(Problem("--workers", "", _words(left, left), str(workers), "1"))
    fewer, ceilings = _within(plan, loaded.target.safety.clients_max, count, shared)
    if fewer < count and workers is not None:
        why = f"the peaks of {count} processes may together be more clients than the target allows"
        hint = "take fewer workers, or plan fewer clients"
        raise ConfigError(Problem("--workers", "", why, str(workers), str(fewer), hint))
    if fewer == 1:
        return None, ["one process: the plan is too near to the target's ceiling to be divided"]
    told = f"{fewer} workers play {', '.join(s.name for s in plan.stages if s.name in shared)}"
    if workers is None:
        told += f" (one carries {one:,.0f} arrivals/s or {CLIENTS_OF_ONE:,} clients)"
    notes = [told] + ([f"one process: {_words(left, left)}"] if left else [])
    return Spread(loaded.scenario, fewer, shared, ceilings), notes


def _within(
    plan: Plan, most: int | None, count: int, shared: frozenset[str]
) -> tuple[int, tuple[int, ...] | None]:
    """At most `count` processes that keep a ceiling for sure, and what each of them may have."""
    if most is None:
        return count, None
    for fewer in range(count, 1, -1):
        found = ceilings_of(plan, most, fewer, shared)
        if found is not None:
            return fewer, tuple(found)
    return 1, None


def _cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux; containers and taskset lower it
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _words(left: dict[str, str], names: object) -> str:
    """Why stages are not divided, those with the same reason together."""
    assert isinstance(names, list | dict)
    by_why: dict[str, list[str]] = {}
    for name in names:
        if name in left:
            by_why.setdefault(left[name], []).append(name)
    return "; ".join(f"{', '.join(each)}: {why}" for why, each in by_why.items())
