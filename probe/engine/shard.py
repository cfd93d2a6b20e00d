"""Shards: which client of a plan belongs to which process, and what cannot be divided at all.

The rule: shards are a partition, so that one process and many play the same plan; and nothing is
judged less than in one process. Run ids of ours name their session, every process knows the
token and name of every user, and all else is judged from the merged rows: so clients may be dealt
out one by one, also those of one user. What a process would have to learn from another in the
midst of it (an id that the service gives, a token made meanwhile, the one instant of a race)
is left whole: one process plays that stage, and why is told before the start.

Clients are dealt by their place within their population and trial, so that each process has its
part of every population at every time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from probe.model.plan import peak
from probe.model.script import Refresh, Token

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from probe.model.dialect import Dialect
    from probe.model.plan import Group, Plan, StagePlan

RATE_OF_ONE: Final = 1_000.0
CLIENTS_OF_ONE: Final = 10_000
"""What one process carries by default: arrivals per second, and clients at a time."""


def shard(plan: Plan, index: int, count: int) -> Plan:
    """Shard `index` (from 0) of `count`; all of them together have each client once."""
    stages = tuple(
        replace(s, clients=s.clients[dealt(s.clients, count) == index]) for s in plan.stages
    )
    return replace(plan, stages=stages)


def dealt(rows: NDArray[np.void], count: int) -> NDArray[np.int64]:
    """Which of `count` processes has each client, int64[n], of CLIENT[n]."""
    out = np.zeros(len(rows), dtype=np.int64)
    if not len(rows):
        return out
    order = np.lexsort((np.arange(len(rows)), rows["population"], rows["trial"]))
    several = np.stack([rows["trial"][order], rows["population"][order]])
    begins = np.concatenate([[True], (several[:, 1:] != several[:, :-1]).any(axis=0)])
    first = np.maximum.accumulate(np.where(begins, np.arange(len(rows)), 0))
    # The first of each population to another process: small ones must not meet in one.
    out[order] = (np.arange(len(rows)) - first + rows["population"][order]) % count
    return out


def whole(plan: Plan, dialect: Dialect) -> dict[str, str]:
    """The stages that one process has to play, and why."""
    if any(callable(group.population.script) for group in plan.groups):
        why = "a script in Python is not sent to other processes"
        return {stage.name: why for stage in plan.stages}
    found = {}
    for stage in plan.stages:
        mine = [group for group in plan.groups if group.stage == stage.name]
        if why := _why_whole(stage, mine, dialect):
            found[stage.name] = why
    return found


def _why_whole(stage: StagePlan, groups: Iterable[Group], dialect: Dialect) -> str:
    rule = stage.stage
    if rule.capacity is not None and rule.capacity.stays:
        return "connections that stay are asked by one process"
    if rule.activity not in ("load", "capacity"):
        return f"a {rule.activity} is played by one process"
    if rule.anchor == "restart":
        return "when a restarted target has settled is seen by one process"
    if dialect.run is not None and "{run}" not in dialect.run.start:
        return "the service names the runs, and another process would not know whose they are"
    for group in groups:
        scripts = (group.population.script, group.population.finally_)
        steps = [step for script in scripts if not callable(script) for step in script or ()]
        if any(isinstance(step, Token | Refresh) for step in steps):
            return "its clients get new tokens, which another process would not know by sight"
    return ""


def ceilings_of(plan: Plan, most: int, count: int, shared: Iterable[str]) -> list[int] | None:
    """How many clients each process may have at one time, `most` together.

    Each gets what its shard plans and a part of what is left; None where that is more than
    the ceiling, since their peaks may come at different times.
    """
    names = set(shared)
    peaks = []
    for index in range(count):
        stages = [s for s in shard(plan, index, count).stages if s.name in names]
        peaks.append(max((peak(stage, plan.groups).clients for stage in stages), default=0))
    left = most - sum(peaks)
    if left < 0 or most < count:
        return None
    return [max(each, 0) + left * (k + 1) // count - left * k // count
            for k, each in enumerate(peaks)]  # fmt: skip


def wanted(plan: Plan, shared: Iterable[str], cores: int, one: float = RATE_OF_ONE) -> int:
    """How many processes the plan takes, at most one for each core: one while that suffices.

    `one`: the arrivals per second that one process carries.
    """
    names = set(shared)
    peaks = [peak(stage, plan.groups) for stage in plan.stages if stage.name in names]
    rate = max((each.rate for each in peaks), default=0.0)
    clients = max((each.clients for each in peaks), default=0)
    many = max(-(-rate // one), -(-clients // CLIENTS_OF_ONE), 1)
    return int(min(many, max(cores, 1)))
