"""What this machine can hold, against what a plan asks of it: told before the first socket.

The rule: a limit that does not fit is an error with the command that raises it, never a run
that fails in its midst; only the soft limit of descriptors is raised, as far as the hard one
allows. What a plan cannot know (how long open clients stay) is for the watch to see. Sources:
proc(5), setrlimit(2), and ip_local_port_range in the kernel's ip-sysctl.rst.
"""

from __future__ import annotations

import errno
import resource
import socket
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from probe.engine import machine
from probe.engine.shard import dealt, shard
from probe.errors import ConfigError, Problem
from probe.model.plan import peak

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from probe.engine.run import Spread
    from probe.model.plan import Plan, StagePlan
    from probe.wire.route import Route

DESCRIPTORS_MORE: Final = 128
"""What a process needs beside its connections: files, pipes, requests for health."""
CLIENT_BYTES: Final = 16 * 1024
CLIENT_TLS_BYTES: Final = 64 * 1024
"""Memory of one client with its connection and identity, rounded up; see docs/workers.md."""
_PORTS_MAX: Final = 64_512  # from 1024 on


def fit(plan: Plan, routes: Iterable[Route], spread: Spread | None) -> None:
    """ConfigError for every limit that the plan does not fit, with how to raise it.

    What a cluster plays is held against the limits of its hosts, there (`fit_part`).
    """
    _fit(*_here(plan, spread), list(routes))


def foretold(plan: Plan, routes: Iterable[Route], spread: Spread | None) -> list[str]:
    """What `fit` would refuse or raise, in words; nothing is done."""
    here, shared, count = _here(plan, spread)
    clients, ways = _most(here, count, shared), list(routes)
    found = (_descriptors(clients, count), _ports(here, ways), _memory(here, ways))
    told = [f"would be refused: {problem}" for problem in found if problem is not None]
    if found[0] is None and (needed := _to_raise(clients)) is not None:
        told.append(f"the soft limit of descriptors would be raised to {needed:,}")
    return told


def _here(plan: Plan, spread: Spread | None) -> tuple[Plan, frozenset[str], int]:
    """What this host plays, the stages that several processes share, and how many those are."""
    if spread is None:
        return plan, frozenset(), 1
    if spread.cluster is None:
        return plan, spread.stages, spread.count
    stages = tuple(stage for stage in plan.stages if stage.name not in spread.stages)
    return replace(plan, stages=stages), frozenset(), 1


def fit_part(
    plan: Plan, routes: Iterable[Route], whole: Iterable[str], here: Sequence[int], count: int
) -> None:
    """The same of the host on which the workers `here` of `count` run; not of stages `whole`."""
    rest = {*whole}
    stages = tuple(
        replace(stage, clients=stage.clients[np.isin(dealt(stage.clients, count), here)])
        for stage in plan.stages
        if stage.name not in rest
    )
    shared = frozenset(stage.name for stage in stages)
    _fit(replace(plan, stages=stages), shared, len(here), list(routes))


def _fit(plan: Plan, shared: frozenset[str], count: int, ways: list[Route]) -> None:
    clients = _most(plan, count, shared)
    found = (_descriptors(clients, count), _ports(plan, ways), _memory(plan, ways))
    problems = [problem for problem in found if problem is not None]
    if problems:
        raise ConfigError(*problems)
    if (needed := _to_raise(clients)) is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def own_addresses(sources: Iterable[str]) -> None:
    """ConfigError for an address to connect from that this machine does not have."""
    problems = []
    for address in sources:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_STREAM) as trial:
                trial.bind((address, 0))
        except OSError as error:
            hint = ""
            if error.errno == errno.EADDRNOTAVAIL:
                hint = f"add it: ip addr add {address} dev DEVICE"
            words = f"cannot connect from here: {error.strerror}"
            problems.append(Problem("target", "network.sources", words, address, hint=hint))
    if problems:
        raise ConfigError(*problems)


def _most(plan: Plan, count: int, shared: frozenset[str]) -> int:
    """The most clients that one process has at one time."""
    whole = [_clients(plan, stage) for stage in plan.stages if stage.name not in shared]
    parts = [
        _clients(plan, stage)
        for index in range(count)
        for stage in shard(plan, index, count).stages
        if stage.name in shared
    ]
    return max(whole + parts, default=0)


def _clients(plan: Plan, stage: StagePlan) -> int:
    return peak(stage, plan.groups).clients


def _to_raise(clients: int) -> int | None:
    """To what the soft limit of descriptors has to be raised; None where it is enough."""
    needed = clients + DESCRIPTORS_MORE
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY or needed <= soft else needed


def _descriptors(clients: int, count: int) -> Problem | None:
    """Whether the soft limit is enough, or may be raised as far as is needed."""
    needed = _to_raise(clients)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if needed is None or hard == resource.RLIM_INFINITY or needed <= hard:
        return None
    why = f"a process would need {needed:,} descriptors, and may have {hard:,}"
    more = -(-clients * count // max(hard - DESCRIPTORS_MORE, 1))
    hint = f"raise it, as root: ulimit -Hn {needed}; or divide the load: --workers {more}"
    return Problem("this machine", "", why, hint=hint)


def _ports(plan: Plan, routes: list[Route]) -> Problem | None:
    """Whether every address that is dialled has as many ports to be dialled from."""
    ports = machine.local_ports()
    if ports is None:
        return None
    most: Counter[tuple[str, int]] = Counter()
    for place in {(route.connect_host, route.connect_port) for route in routes}:
        ends = [k for k, route in enumerate(routes) if _place(route) == place]
        for stage in plan.stages:
            rows = stage.clients[np.isin(stage.clients["endpoint"], ends)]
            there = _clients(plan, replace(stage, clients=rows)) if len(rows) else 0
            most[place] = max(most[place], there)
    if not most:  # all of it is played elsewhere
        return None
    place, needed = max(most.items(), key=lambda each: each[1])
    sources = max(len(routes[0].sources), 1)
    if needed <= ports * sources:
        return None
    why = (
        f"{needed:,} connections to {place[0]}:{place[1]} at one time, and this machine has "
        f"{ports:,} ports to connect from at each address"
    )
    more = -(-needed // ports)
    hint = f"name {more} addresses of this machine in the target's network.sources"
    if needed <= _PORTS_MAX * sources:
        hint = f'sysctl -w net.ipv4.ip_local_port_range="1024 65535"; or {hint}'
    return Problem("this machine", "", why, f"{sources}", hint=hint)


def _place(route: Route) -> tuple[str, int]:
    return route.connect_host, route.connect_port


def _memory(plan: Plan, routes: list[Route]) -> Problem | None:
    """Whether all clients at one time, on all processes together, have their memory."""
    clients = max((_clients(plan, stage) for stage in plan.stages), default=0)
    rooms = [room for room in (machine.memory(), machine.Group().room()) if room is not None]
    left = min((room.left for room in rooms), default=None)
    needed = clients * (CLIENT_TLS_BYTES if any(route.secure for route in routes) else CLIENT_BYTES)
    if left is None or needed <= left:
        return None
    why = (
        f"{clients:,} clients at one time take about {needed >> 20:,} MiB, and {left >> 20:,} MiB "
        "are left"
    )
    return Problem("this machine", "", why, hint="plan fewer clients, or take more machines")
