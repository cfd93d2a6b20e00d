"""Plan: scenario x target x seed, every intended time fixed before a socket opens.

A pure function of its inputs: the same seed gives the same bytes (tokens and WebSocket
keys are drawn elsewhere and are no part of it). One row is one client; its number is its
session number in the history. So processes need nobody to hand out work: each makes the plan
and takes its shard. The clients of a capacity stage are made level by level, as purely. The
safety ceilings are checked here, on what was planned.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from probe.errors import ConfigError, Problem
from probe.model.arrivals import closed_clients, open_arrivals
from probe.model.auth import Auth, EnvAuth, NoAuth
from probe.model.capacity import LEVEL_MAX, LEVELS_MAX
from probe.model.groups import Group, check_fit, groups_of
from probe.model.releases import race_clients
from probe.model.target import is_loopback
from probe.units import canonical_rate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from probe.model.capacity import Capacity
    from probe.model.curve import Curve
    from probe.model.dialect import Dialect
    from probe.model.race import Race
    from probe.model.scenario import Population, Scenario, Stage
    from probe.model.target import Target

__all__ = [
    "CLIENT", "CLIENTS_MAX", "Group", "Peak", "Plan", "StagePlan",
    "ceilings", "groups_of", "make_plan", "peak",
]  # fmt: skip

CLIENT: Final = np.dtype(
    [
        ("session", "<u4"),
        ("trial", "<i4"),
        ("offset_ns", "<i8"),  # since the stage's start, or since time zero of the trial
        ("stop_ns", "<i8"),  # closed load: when it stops, same origin; else -1
        ("population", "<i4"),  # index into Plan.populations
        ("endpoint", "<i4"),  # index into the target's endpoints, in file order
        ("identity", "<i4"),
    ]
)
SECOND_NS: Final = 1_000_000_000
CLIENTS_MAX: Final = 5_000_000
FIRST_CLIMBER: Final = 1 << 30  # session; those of a plan are below, and run keys need 2**31


@dataclass(frozen=True, slots=True)
class Climbers:
    """What the clients of a capacity stage have in common, whatever level they belong to.

    `place` of the stage in the scenario, `population` and `endpoints` by their indices; `shared`:
    how many identities all clients of the run share, None for one each.
    """

    place: int
    population: int
    endpoints: tuple[int, ...]
    shared: int | None


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One stage's clients, ordered by trial and time."""

    name: str
    stage: Stage
    clients: NDArray[np.void]
    trials: int
    span_ns: int
    climbers: Climbers | None = None

    def level(self, rate_per_s: float, number: int, seed: int) -> NDArray[np.void]:
        """The clients of one level of a capacity stage, by the seed of the plan."""
        climbers, capacity = self.climbers, self.stage.capacity
        assert climbers is not None
        assert capacity is not None
        offsets = capacity.arrivals(rate_per_s, (seed, climbers.place, number))
        clients = np.zeros(len(offsets), dtype=CLIENT)
        order = np.arange(len(offsets))
        first = FIRST_CLIMBER + climbers.place * LEVELS_MAX * LEVEL_MAX + number * LEVEL_MAX
        clients["session"] = first + order
        clients["trial"], clients["population"] = number, climbers.population
        clients["offset_ns"], clients["stop_ns"] = offsets, -1
        clients["endpoint"] = np.resize(climbers.endpoints, len(offsets))
        users = order % capacity.users if capacity.users is not None else first + order
        clients["identity"] = users % climbers.shared if climbers.shared else users
        return clients


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that will be attempted."""

    seed: int
    stages: tuple[StagePlan, ...]
    groups: tuple[Group, ...]
    identities: int

    def to_bytes(self) -> bytes:
        """The plan as bytes; equal seeds and files give equal bytes."""
        return b"".join(
            stage.clients.tobytes() if stage.climbers is None else repr(stage.climbers).encode()
            for stage in self.stages
        )

    @property
    def digest(self) -> str:
        """Sha256 of the bytes, in hex."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @property
    def clients(self) -> int:
        """How many clients it has in all."""
        return sum(len(stage.clients) for stage in self.stages)


def make_plan(scenario: Scenario, target: Target, dialect: Dialect, seed: int) -> Plan:
    """Fix every client's time, endpoint and identity; ConfigError where parts do not fit."""
    groups = groups_of(scenario, dialect)
    check_fit(scenario, target, dialect, groups)
    shared = _shared(target.auth)
    session = identity = number = 0
    stages: list[StagePlan] = []
    for place, (name, stage) in enumerate(scenario.stages.items()):
        mine = [g for g in groups if g.stage == name]
        if stage.race is not None:
            clients = _racers(name, stage.race, target, (session, number), shared)
            session = identity = session + len(clients)
            number += len(mine)
            stages.append(StagePlan(name, stage, clients, stage.race.releases, 0))
            continue
        if stage.capacity is not None:
            # Its levels are found out while it runs.
            climbers = Climbers(place, number, _chosen(stage.capacity, target), shared)
            stages.append(StagePlan(name, stage, np.zeros(0, CLIENT), 0, 0, climbers))
            number += 1
            continue
        parts: list[NDArray[np.void]] = []
        # Before anything is made: a slip of the pen may ask for more than memory holds.
        curves = [g.population.shape.curve() for g in mine]
        _bounded(name, session + stage.trials * sum(curve.expected for curve in curves))
        for trial in range(stage.trials):
            for k, (group, curve) in enumerate(zip(mine, curves, strict=True)):
                rng = np.random.Generator(
                    np.random.PCG64(np.random.SeedSequence([seed, place, trial, k]))
                )
                part = _clients(group.population, curve, stage, target, rng)
                part["trial"], part["population"] = trial, number + k
                parts.append(part)
        clients = np.concatenate(parts)
        _bounded(name, session + len(clients))
        clients = clients[np.lexsort((clients["offset_ns"], clients["trial"]))]
        clients["session"] = np.arange(session, session + len(clients))
        clients["identity"] = _identities(clients, mine, number, identity)
        if shared:
            clients["identity"] %= shared
        session += len(clients)
        identity = session
        number += len(mine)
        ends = zip(mine, curves, strict=True)
        span = max(g.population.shape.after + curve.span_ns for g, curve in ends)
        stages.append(StagePlan(name, stage, clients, stage.trials, span))
    return Plan(seed, tuple(stages), groups, min(shared or session, session))


def _racers(
    name: str, race: Race, target: Target, first: tuple[int, int], shared: int | None
) -> NDArray[np.void]:
    """The clients of a race; `first` session and population."""
    _bounded(name, first[0] + race.releases * race.sessions)
    clients = race_clients(race, list(target.endpoints), CLIENT)
    clients["session"] = np.arange(first[0], first[0] + len(clients))
    clients["population"] += first[1]
    clients["identity"] += first[0]
    if shared:
        clients["identity"] %= shared
    return clients


def _identities(
    clients: NDArray[np.void], groups: list[Group], number: int, first: int
) -> NDArray[np.int64]:
    """A user of its own for every client, but where a population says how many users it is."""
    out = np.arange(first, first + len(clients))
    for k, group in enumerate(groups):
        if group.population.users is not None:
            mine = np.flatnonzero(clients["population"] == number + k)
            out[mine] = first + np.arange(len(mine)) % group.population.users
    return out


def _bounded(stage: str, clients: float) -> None:
    if clients > CLIENTS_MAX:
        raise ConfigError(
            Problem("scenario", f"stages.{stage}", f"more than {CLIENTS_MAX:,} clients")
        )


def _shared(auth: Auth) -> int | None:
    """How many identities all clients share on purpose; None: one per client."""
    match auth:
        case NoAuth():
            return None
        case EnvAuth():
            return 1
        case _:
            return auth.identities


def _chosen(population: Population | Capacity, target: Target) -> tuple[int, ...]:
    """Its endpoints by their indices; all of the target's where it names none."""
    names = list(target.endpoints)
    return tuple(names.index(name) for name in population.endpoints) or tuple(range(len(names)))


def _clients(
    population: Population, curve: Curve, stage: Stage, target: Target, rng: np.random.Generator
) -> NDArray[np.void]:
    shape = population.shape
    chosen = _chosen(population, target)
    if curve.open:
        starts = open_arrivals(curve.points, even=curve.even is True, rng=rng, first=curve.first)
        if len(curve.instants):
            starts = np.sort(np.concatenate([starts, curve.instants]))
        stops = np.full(len(starts), -1, dtype=np.int64)
    else:
        starts, stops = closed_clients(curve.points)
        if not curve.loops:
            stops[:] = -1
    copies = len(chosen) if stage.activity != "load" else 1  # every endpoint gets its own
    clients = np.zeros(len(starts) * copies, dtype=CLIENT)
    clients["offset_ns"] = np.repeat(starts, copies) + shape.after
    stops = np.where(stops >= 0, stops + shape.after, -1)
    clients["stop_ns"] = np.repeat(stops, copies)
    clients["endpoint"] = np.resize(chosen, len(clients))
    return clients


@dataclass(frozen=True, slots=True)
class Peak:
    """What a plan asks of the target at most.

    `rate` is arrivals per second: the highest point of the rate curves together, and whoever
    comes within one second beside them, which is closed clients and arrivals at fixed instants
    (of a shape that has both, the drawn ones count twice). `clients` counts those alive at a
    time; an open client counts for one second, a closed one until the curve ends it (one that
    plays once: for good), and the engine holds the ceiling whatever becomes of them.
    """

    rate: float
    clients: int


def peak(stage: StagePlan, groups: tuple[Group, ...]) -> Peak:
    """The peak of one stage's trials."""
    if stage.stage.race is not None:
        together = stage.stage.race.sessions
        return Peak(float(together), together)
    if stage.stage.capacity is not None:
        return Peak(*stage.stage.capacity.peak)
    curves = {k: g.population.shape.curve() for k, g in enumerate(groups) if g.stage == stage.name}
    opened = sum(curve.top for curve in curves.values() if curve.open)
    closed = [k for k, curve in curves.items() if not curve.open]
    single = [k for k, curve in curves.items() if not curve.open or len(curve.instants)]
    rate, clients = 0.0, 0
    bounds = np.searchsorted(stage.clients["trial"], np.arange(stage.trials + 1))
    for low, high in pairwise(bounds.tolist()):
        rows = stage.clients[low:high]
        starts, stops = rows["offset_ns"], rows["stop_ns"]
        stays = np.isin(rows["population"], closed)
        unstopped = np.where(stays, np.iinfo(np.int64).max, starts + SECOND_NS)
        # Who leaves just when another comes may still be there.
        ends = np.sort(np.where(stops >= 0, stops + 1, unstopped))
        alive = np.arange(1, len(rows) + 1) - np.searchsorted(ends, starts, side="right")
        clients = max(clients, int(alive.max(initial=0)))
        at = starts[np.isin(rows["population"], single)]
        densest = np.searchsorted(at, at + SECOND_NS, side="left") - np.arange(len(at))
        rate = max(rate, float(densest.max(initial=0)) + opened)
    return Peak(rate, clients)


def ceilings(plan: Plan, target: Target) -> None:
    """ConfigError where the plan exceeds what the target allows; before the first socket."""
    safety = target.safety
    problems: list[Problem] = []
    beyond = [host for host in target.hosts() if not is_loopback(host)]
    if beyond and not safety.may_load:
        problems.append(
            Problem(
                "target",
                "safety.may_load",
                f"this target is beyond loopback ({', '.join(beyond)}) and does not allow load",
                hint="set may_load = true with clients_max and rate_max, if you may",
            )
        )
    for stage in plan.stages:
        if stage.climbers is not None:
            continue  # it climbs no higher than it may, and stops where a client is refused
        top = peak(stage, plan.groups)
        if safety.clients_max is not None and top.clients > safety.clients_max:
            problems.append(_over(stage, "clients_max", top.clients, safety.clients_max))
        if safety.rate_max is not None and top.rate > safety.rate_max * (1 + 1e-9):
            problems.append(
                _over(stage, "rate_max", f"{top.rate:g}/s", canonical_rate(safety.rate_max))
            )
    if problems:
        raise ConfigError(*problems)


def _over(stage: StagePlan, name: str, planned: object, allowed: object) -> Problem:
    message = f"the stage {stage.name!r} plans {planned}, and this target allows {allowed}"
    mend = f"lower it, such as --set stages.{stage.name}.populations.NAME.shape.…"
    return Problem("target", f"safety.{name}", message, hint=mend)
