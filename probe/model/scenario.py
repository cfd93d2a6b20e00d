"""Scenario: what a probe run does, stage by stage, and what it expects.

A stage is one activity. `preflight` asks the services for their health and opens one
connection per endpoint; `matrix` goes through a table (the presentations of the dialect,
handshakes, bad tokens), and compares each answer with what is right; `race` releases actions
against each other, and looks for the offsets at which they go wrong; `load` lets populations
of clients arrive along a curve, counted from the start of the stage or from a restart of the
target.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from probe.model.base import Duration, Fraction, Name, Quantile, Strict
from probe.model.capacity import Capacity, Level
from probe.model.race import Race
from probe.model.script import Script, Step
from probe.model.shape import Shape
from probe.model.spike import AfterSpike, tells

if TYPE_CHECKING:
    from collections.abc import Iterator

MS = 1_000_000
S = 1_000 * MS

Phase = Literal["lag", "resolve", "tcp", "tls", "upgrade", "ready", "connect", "first_event"]
"""`connect` is the headline: ready minus the intended start."""


class Population(Strict):
    """Clients that do the same."""

    shape: Shape
    """How many come, and when: see docs/shapes.md."""
    script: Script = "visit"
    """Steps, or `visit`: connect, one run where the dialect has runs, settle, close."""
    finally_: tuple[Step, ...] = Field(default=(), alias="finally")
    """Clean-up steps: played at the end of every session, however it went."""
    endpoints: tuple[Name, ...] = ()
    """Endpoints in round robin; none given: all of the target's."""
    present: Name = "default"
    """Presentation of the dialect that these clients use."""
    users: int | None = Field(default=None, ge=1)
    """How many users these clients are, in round robin; populations of one stage that set
    it share the users: the first client of each is the same user. Unset: each is its own."""
    retry: bool = False
    """Whether a failed connect is tried again on the dialect's retry ladder."""
    jitter: Fraction = 0.0
    """How much each pause of the ladder is spread, evenly: 50% is from half to one and a half."""

    @model_validator(mode="before")
    @classmethod
    def _herds_climb(cls, data: Any) -> Any:
        """A herd is on the retry ladder by what it is."""
        shape = data.get("shape") if isinstance(data, dict) else None
        herd = shape.get("herd") if isinstance(shape, dict) else getattr(shape, "herd", None)
        if herd is None:
            return data
        if data.get("retry", True) is not True:
            raise ValueError("a herd climbs the retry ladder: drop `retry`, or write clients")
        return {**data, "retry": True}

    @model_validator(mode="after")
    def _does_something(self) -> Population:
        if self.script == ():
            raise ValueError("an empty script: these clients would do nothing, and succeed")
        return self


class Limit(Strict):
    """A rate over units of replication (restarts, sessions), gated by its 95 % bound."""

    rate: Fraction
    """The share that is wanted; its 95 % bound is what is judged."""
    within: Duration | None = None
    """The time in which a restart has to have come that far."""
    required: bool = True
    """False: what is not decided does not count in the verdict; a FAIL does."""


class LatencyLimit(Strict):
    """An upper limit for one quantile of one phase."""

    phase: Phase = "connect"
    """From where to where; `connect` is ready minus the intended start."""
    quantile: Quantile = 0.95
    """Which quantile is held to the limit; its upper 95 % bound is judged."""
    within: Duration
    """The limit."""
    population: Name | None = None
    """Only clients of this population; unset: all of the stage."""
    required: bool = True
    """False: what is not decided does not count in the verdict; a FAIL does."""


class Delivery(Strict):
    """Whether the events of runs arrived; see docs/methods.md, Delivery."""

    completeness: Fraction = 1.0
    """Of each event type: delivered / (delivered + lost + unknown), by its lower bound."""
    unknown: Fraction = 0.01
    """Share of events of which it may stay unknown whether they were lost."""
    required: bool = True
    """False: what is not decided does not count in the verdict; a FAIL does."""


class Drift(Strict):
    """How much worse the last third of a flat stage may be than its first third."""

    latency: Fraction = 0.5
    """Growth of the median time to the end of a run, and to connect."""
    memory: Fraction = 0.5
    """Growth of the memory that the service's health tells, where it tells it."""
    required: bool = True
    """False: what is not decided does not count in the verdict; a FAIL does."""


class Expect(Strict):
    """What a stage is held to; what is not named here is reported, never judged."""

    latency: tuple[LatencyLimit, ...] = ()
    """Upper limits for quantiles of the phases of a connect."""
    success: Limit | None = None
    """Share of clients that completed their script."""
    recovery: Limit | None = None
    """Share of restarts whose first good session came within `within`."""
    readiness_gap: Limit | None = None
    """Share of restarts in which WebSockets worked at most `within` after health said healthy."""
    everybody_in: Limit | None = None
    """Share of restarts after which every retrying client was in within `within`."""
    definite: bool = False
    """Nobody is accepted and then closed, left in silence, or dropped without an answer."""
    runs: Limit | None = None
    """Share of sessions whose runs all had their events, in order and in time."""
    delivery: Delivery | None = None
    """Every event arrives, once, in order, in time, and nothing that was not asked for; as
    far as the dialect promises it."""
    replay: bool = False
    """What was missed in a gap is replayed after the reconnect (dialect: `replay`)."""
    broadcast: bool = False
    """All connections of a user get the events of all their runs (dialect: `recipients`)."""
    isolation: bool = False
    """Nobody gets anything of another user, as far as it is written out: run ids and whole
    tokens anywhere in a message, the user in its field."""
    contract: bool = False
    """Every message keeps the dialect's contract."""
    stays: bool = False
    """No connection that was ready is ended by the service unasked."""
    pings: bool = False
    """Every WebSocket ping is answered."""
    pressure: bool = False
    """A slow reader loses nothing within the promised queue, and a drop is announced."""
    rate_limit: bool = False
    """A flood is limited, the limit is told, is per user, and passes."""
    large: bool = False
    """Messages up to the promised size are taken, and larger ones are closed with 1009."""
    modes: bool = False
    """All endpoints behave alike."""
    drift: Drift | None = None
    """A long, flat load does not make the service slower or larger."""
    after_spike: AfterSpike | None = None
    """After a spike the service is soon as good as before it, under the load it bore before."""
    negotiation: bool = False
    """Every handshake of the negotiation matrix gets an answer that is right (`table`)."""
    authentication: bool = False
    """No bad token of the authentication matrix gets in, and every good one does (`table`)."""
    capacity: Level | None = None
    """The service stays within its limits at least up to this rate."""
    race: bool = False
    """No trial of the race goes wrong."""
    undisturbed: Duration | None = None
    """No ping of a client that only holds its connection waits longer than this: nothing
    blocks the service for everybody."""
    health: bool = False
    """Every service answers healthy, and none of its parts is degraded (preflight)."""
    connects: bool = False
    """Every endpoint lets a client in (preflight)."""
    offers: bool = False
    """Every presentation gets the answer that the dialect promises (matrix)."""

    @model_validator(mode="after")
    def _limits_are_judged(self) -> Expect:
        if self.readiness_gap is not None and self.readiness_gap.within is None:
            raise ValueError("readiness_gap needs `within`: how long may the gap be?")
        for name, limit in (("success", self.success), ("runs", self.runs)):
            if limit is not None and limit.within is not None:
                raise ValueError(f"{name}.within would not be judged: use `latency`, or drop it")
        return self


class Settle(Strict):
    """When a restarted target counts as settled, so that its trial may end early."""

    good: int = Field(default=10, ge=1)
    """Clients in a row, by intended time, that were let in."""
    linger: Duration = 100 * MS
    """Time after that, for what comes late."""


class Stage(Strict):
    """One activity."""

    activity: Literal["preflight", "matrix", "race", "load", "capacity"] = "load"
    """What is done: look, go through a table, race, let clients come, or climb."""
    table: Literal["presentations", "negotiation", "authentication"] = "presentations"
    """Of a matrix: what is gone through."""
    cases: tuple[Name, ...] = ()
    """Of a matrix: only these cases; none given: all."""
    presents: tuple[Name, ...] = ()
    """Of a matrix of tokens or presentations: only these presentations; none given: all that
    are not optional."""
    race: Race | None = None
    """Of activity `race`: who races, and when."""
    capacity: Capacity | None = None
    """Of activity `capacity`: how the climb to the knee goes."""
    anchor: Literal["start", "restart"] = "start"
    """What times count from: the start of the stage, or each restart of the target."""
    trials: int = Field(default=1, ge=1, le=10_000)
    """Repeats; for anchor `restart` the number of restarts."""
    budget: Duration = 300 * S
    """After this much time in the stage no trial begins and no client is let go."""
    settle: Settle = Settle()
    """Of anchor `restart`: when a trial may end before its clients are all through."""
    populations: dict[Name, Population] = {}
    """Of a load: who comes, by name."""
    present: Name = "default"
    """Preflight: the presentation of the dialect that its clients use."""
    health_every: Duration | None = None
    """Ask every service for its health this often during the stage."""
    patience: Duration = 10 * S
    """After the last arrival, or the budget, sessions get this much time to finish."""
    gate: bool | Fraction = False
    """True: a FAIL here leaves the later stages unrun. A share such as "80%": so does a share
    of clients below it that completed their script."""
    abort_on_fail: bool = False
    """Stop the stage as soon as a witness has failed it."""
    expect: Expect = Expect()
    """What the stage is held to."""

    @model_validator(mode="after")
    def _fits_its_activity(self) -> Stage:
        if self.race is not None and self.activity != "race":
            raise ValueError(f'`race` goes with activity = "race"; found "{self.activity}"')
        if self.activity == "race" and self.race is None:
            raise ValueError('activity = "race" needs a table `race`: who races, and when')
        if (self.activity == "capacity") != (self.capacity is not None):
            raise ValueError('a table `capacity` and activity = "capacity" go together')
        if self.expect.capacity is not None and self.capacity is None:
            raise ValueError('expect.capacity goes with activity = "capacity"')
        if self.activity == "load" and not self.populations:
            raise ValueError("a load stage needs at least one population")
        if self.activity != "load" and (self.populations or self.anchor != "start"):
            raise ValueError(f"{self.activity} brings its own clients: drop populations and anchor")
        if self.activity != "preflight" and self.present != "default":
            raise ValueError("`present` is of a preflight; elsewhere each population has its own")
        return self

    @model_validator(mode="after")
    def _comes_back(self) -> Stage:
        if self.expect.after_spike is not None:
            if self.anchor != "start" or self.trials != 1:
                raise ValueError("expect.after_spike is of one load that nothing restarts")
            shapes = {name: each.shape for name, each in self.populations.items()}
            tells(self.expect.after_spike, shapes, self.budget, self.patience)
        return self

    @model_validator(mode="after")
    def _is_a_matrix(self) -> Stage:
        if self.activity != "matrix" and (self.table != "presentations" or self.cases):
            raise ValueError('`table` and `cases` go with activity = "matrix"')
        if self.presents and (self.activity != "matrix" or self.table == "negotiation"):
            raise ValueError("`presents` goes with a matrix of presentations or of tokens")
        if self.cases and self.table == "presentations":
            raise ValueError("`cases` goes with another table; name presentations in `presents`")
        return self

    @model_validator(mode="after")
    def _counts_restarts(self) -> Stage:
        if self.anchor != "restart":
            for name in ("recovery", "readiness_gap", "everybody_in"):
                if getattr(self.expect, name) is not None:
                    raise ValueError(f'expect.{name} counts restarts: it needs anchor = "restart"')
        return self


class Scenario(Strict):
    """One file in `scenarios/`."""

    title: str
    """One line that says what is asked."""
    target: str = "lab"
    """Name of the target file used where none is given (never where CI is set)."""
    stages: dict[Name, Stage] = Field(min_length=1)
    """By name, in the order in which they are played."""
    keep_messages: int = Field(default=200, ge=0)
    """How many messages of the run are kept whole (redacted) as evidence."""
    beyond: Literal["warn", "refuse"] = "warn"
    """What becomes of a plan beyond what `probe calibrate` found this machine to measure."""

    def said(self) -> Iterator[tuple[str, str]]:
        """(place, what it was understood as) of every shape in words of another tool."""
        for name, stage in self.stages.items():
            for each, population in stage.populations.items():
                if words := population.shape.said():
                    yield f"stages.{name}.populations.{each}.shape", words

    def with_trials(self, trials: int) -> Scenario:
        """The same with another number of restarts; for more of them, more time in proportion."""
        stages = {
            name: stage.model_copy(
                update={
                    "trials": trials,
                    "budget": max(stage.budget, stage.budget * trials // stage.trials),
                }
            )
            if stage.anchor == "restart"
            else stage
            for name, stage in self.stages.items()
        }
        return self.model_copy(update={"stages": stages})
