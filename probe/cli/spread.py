"""`--workers`: how many processes a run takes, and which stages they play.

The rule: what was asked for is done or refused with its reason, never less in silence. Without
`--workers` it is one process while that suffices (`probe.engine.shard` has the figures), else
as many as it takes, at most one for each core; whatever is decided is told. With `--engine ray`
they are other hosts' processes, as many as it takes, and the cluster says whether it has room.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

from probe.engine.cluster import missing
from probe.engine.run import Spread
from probe.engine.shard import CLIENTS_OF_ONE, RATE_OF_ONE, ceilings_of, wanted, whole
from probe.errors import ConfigError, Problem

if TYPE_CHECKING:
    from probe.cli.calibration import Quote
    from probe.cli.files import Loaded
    from probe.model.plan import Plan

WORKERS_MAX = 256
LOCAL, RAY = "local", "ray"
ENGINES = (LOCAL, RAY)


def cluster_of(engine: str, address: str | None) -> str | None:
    """The address of the cluster to play on, "" for one of our own; None: none is asked for.

    ConfigError where it cannot be had.
    """
    if engine not in ENGINES:
        raise ConfigError(
            Problem("--engine", "", "there is no such engine", engine, "|".join(ENGINES))
        )
    if engine == LOCAL:
        if address is not None:
            raise ConfigError(Problem("--address", "", "only --engine ray has an address", address))
        return None
    if find_spec("ray") is None:
        raise ConfigError(missing())
    if address is not None and "://" in address:
        why = "the probe joins a cluster as a part of it, not through Ray's client server"
        hint = "run it on a node of the cluster, with --address HOST:6379 or auto"
        raise ConfigError(Problem("--address", "", why, address, hint=hint))
    return address or ""


def spread(
    loaded: Loaded, plan: Plan, workers: int | None, known: Quote, cluster: str | None = None
) -> tuple[Spread | None, list[str]]:
    """How the run is divided (None: not at all), and what is to be told of it.

    A machine that was measured to carry less than the default is taken at that. ConfigError
    where more than one worker was asked for and the run cannot be divided among them.
    """
    if cluster is not None and loaded.target.network.sources:
        why = "these are addresses of this machine, and the nodes of a cluster have others"
        raise ConfigError(Problem("target", "network.sources", why))
    left = whole(plan, loaded.dialect)
    shared = frozenset(stage.name for stage in plan.stages) - set(left)
    one = RATE_OF_ONE
    if known.calibration is not None:
        one = min(one, known.calibration.connects_per_s or one)
    count = workers
    if count is None and cluster is not None:
        count = wanted(plan, shared, WORKERS_MAX, one)
    elif count is None:
        every = [s.name for s in plan.stages if s.stage.activity == "load"]
        count = wanted(plan, shared, _cores(), one)
        if count == 1 < wanted(plan, every, _cores(), one):
            return None, [f"one process, though the plan is large: {_words(left, every)}"]
    if count == 1 and cluster is None:
        return None, []
    if not shared:
        raise ConfigError(Problem("--workers", "", _words(left, left), str(workers), "1"))
    fewer, ceilings = _within(plan, loaded.target.safety.clients_max, count, shared)
    if fewer < count and workers is not None:
        why = f"the peaks of {count} processes may together be more clients than the target allows"
        hint = "take fewer workers, or plan fewer clients"
        raise ConfigError(Problem("--workers", "", why, str(workers), str(fewer), hint))
    if fewer == 1 and cluster is None:
        return None, ["one process: the plan is too near to the target's ceiling to be divided"]
    names = [s.name for s in plan.stages if s.name in shared]
    notes = [_told(fewer, names, cluster, one if workers is None else None)]
    notes += [f"one process: {_words(left, left)}"] if left else []
    return Spread(loaded.scenario, fewer, shared, ceilings, cluster), notes


def _told(count: int, stages: list[str], cluster: str | None, one: float | None) -> str:
    """What was decided; `one`: what one worker carries, where that decided it."""
    told = f"{count} worker{'s play' if count > 1 else ' plays'} {', '.join(stages)}"
    if cluster is not None:
        told += f" on the Ray cluster at {cluster}" if cluster else " on a Ray of our own, here"
    if one is not None:
        told += f" (one carries {one:,.0f} arrivals/s or {CLIENTS_OF_ONE:,} clients)"
    return told


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
