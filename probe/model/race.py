"""Race: actions that are released against each other, and the offset that is tried.

Theory of operation. A *trial* plays every actor's script once, each with an identity of its
own (or one shared by label). Up to its first `gate` a script prepares; when all actors of the
trial stand at their gates they are released at one shared instant T, each at T plus the
offset of its gate. Later gates of a script wait for T plus their own offset. Exactly one
offset of a race is `swept`: it is chosen anew for every trial by the policy of
`probe.stats.window`, within `range`. A script is steps, or an `async def` beside which its gates
are declared. A trial is an *anomaly* when an actor does not come to
the end of its script, though it came to its gate; what the script expects says what is right.

A *release* is one shared instant. With a `comb` it carries several trials, each with an offset
of its own: as many whole sets of actors, or one set in which the swept actor is there several
times. In the latter the other actors belong to no one trial, and are judged for themselves.

The offset that counts is measured: what the swept gate let go, minus the first gate with a
fixed offset, in the order of the file. What was let go is a write, or for a request over HTTP
its answer, since no client can know any earlier that it holds.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from probe.model.base import SWEPT, Duration, GateOffset, Name, Offset, Strict
from probe.model.race_script import Gated, RaceScript, gates_of, idle_gate
from probe.model.script import Gate, Step, Token, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from probe.model.script import Play

MS = 1_000_000
S = 1_000 * MS
COMB_MAX = 1_000
GOALS_MIN = 20
VOIDS_MIN = 10
SHRINK_BY_MIN = 12
"""Fewer trials show nothing at a level of 1 % that is shared by several looks."""
CALIBRATION = "calibration"
"""The clients that measure the jitter before the first trial."""


class Actor(Strict):
    """One side of a race."""

    declared: SkipJsonSchema[tuple[GateOffset, ...]] = Field(default=(), alias="gates")
    """Of an `async def`: the offsets of its gates, in the order in which it passes them."""
    script: RaceScript
    """Steps, or in a Python scenario an `async def` that takes the session."""
    finally_: tuple[Step, ...] = Field(default=(), alias="finally")
    """Clean-up steps: played at the end, however it went; they decide nothing."""
    present: Name = "default"
    """Presentation of the dialect that it uses."""
    endpoints: tuple[Name, ...] = ()
    """Endpoints in turn, trial by trial; none given: all of the target's."""
    user: Name | None = None
    """Actors of a trial with the same label are one user with one token; unset: its own."""
    finding: Name | None = None
    """What its own anomalies are called; unset: as the race's."""

    @field_validator("script")
    @classmethod
    def _passes_its_gates(
        cls, script: tuple[Step, ...] | str | Play, info: ValidationInfo
    ) -> tuple[Step, ...] | str | Play:
        declared = info.data.get("declared")
        if declared is None:  # a mistake of its own
            return script
        if isinstance(script, tuple):
            if declared:
                raise ValueError(
                    "`gates` goes with an `async def`, and these are steps: put "
                    '{ do = "gate" } among them where a gate is passed, and drop `gates`'
                )
            if (number := idle_gate(script)) is not None:
                raise ValueError(
                    f"gate {number} lets nothing go: put an action behind it, or drop the gate"
                )
            return script
        if not declared:
            raise ValueError(
                "its gates are not declared: put beside it the offset of each, in the order in "
                f'which it passes them, such as gates = ["0ms", "swept"]; found {name_of(script)}'
            )
        return script if isinstance(script, str) else Gated(script, declared)

    @field_validator("finally_")
    @classmethod
    def _cleans_up_ungated(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        if any(isinstance(step, Gate) for step in steps):
            raise ValueError("clean-up waits for nobody: drop the gate")
        return steps

    @property
    def steps(self) -> tuple[Step, ...]:
        """Its steps; none of an `async def`, which nobody can look into."""
        return self.script if isinstance(self.script, tuple) else ()

    @property
    def gates(self) -> tuple[Gate, ...]:
        """The gates of its script, in order."""
        offsets = self.declared or gates_of(self.script)
        return tuple(Gate.model_construct(do="gate", offset=offset) for offset in offsets)


class Race(Strict):
    """What is tried, at which offsets, and what it is called when it goes wrong."""

    actors: dict[Name, Actor] = Field(min_length=1)
    """Who races, by name."""
    range: tuple[Offset, Offset]
    """Offsets that are tried, from and to."""
    shape: Literal["window", "step"] = "window"
    """Whether the anomaly is looked for within a window, or up to (or from) an instant, as
    where it begins with the first action and no offset can be before that."""
    goal: Duration = 3 * MS
    """Localised when the half-width of the 95 % interval of the centre is at most this."""
    jitter: Duration | None = None
    """Standard deviation between a measured offset and the one at the service; unset: it is
    measured beforehand, by pairs of pings on two connections."""
    at: Offset | None = None
    """No search: only this offset and `control` are tried in turn, `confirm` trials in all."""
    control: Offset | None = None
    """The offset against which `at` is held; unset: the end of the range farther from it."""
    shrink: int = Field(default=0, ge=0, le=100_000)
    """With `at`: look for the fewest clients and steps that still show the anomaly there, in at
    most so many trials, `confirm` of them for each race that is tried. 0: do not."""
    trials: int = Field(default=300, ge=1, le=100_000)
    """At most, before a window is confirmed."""
    confirm: int = Field(default=120, ge=0, le=100_000)
    """Most trials that confirm, centre and control together."""
    comb: int = Field(default=1, ge=1, le=COMB_MAX)
    """Trials under way at a time, each at an offset of its own: of whole trials each begins
    10 ms after the one before, so that they do not stand in each other's way."""
    comb_of: Literal["all", "swept"] = "all"
    """What a comb multiplies: whole trials, or only the actor whose offset is swept."""
    spacing: Duration = 0
    """With a comb of the swept actor: they are at least so far apart, as where what one of them
    does decides for a while what the next one meets (a breaker that is half-open)."""
    within: Duration = 10 * S
    """From the release to the end of every script; what takes longer has failed."""
    tolerated: Offset | None = None
    """Anomalies up to this offset are promised (a revocation may take a while); unset: none."""
    finding: Name | None = None
    """What an anomaly is called: `race.<finding>`, a name of one's own, or one of the shipped
    scenarios', which brings its likely cause; unset: `race.window` or `race.step`."""
    noun: str = "trial"
    """What one trial is, in a sentence: "first message"."""
    since: str | None = None
    """What offsets count from, in a sentence: "the refresh"; unset: the step behind the first
    gate with a fixed offset, or that gate where an `async def` passes it."""
    anomaly: str = "went wrong"
    """What an anomaly is, in a sentence: "got no answer"."""

    @field_validator("range", mode="before")
    @classmethod
    def _is_two_offsets(cls, value: object) -> object:
        if not isinstance(value, list | tuple) or len(value) != 2:  # noqa: PLR2004 -- from and to
            raise ValueError('a range is two offsets; allowed: such as ["0ms", "400ms"]')
        return value

    @model_validator(mode="after")
    def _hangs_together(self) -> Race:
        if self.range[0] >= self.range[1]:
            raise ValueError("range goes from the smaller offset to the larger")
        if self.range[1] - self.range[0] < GOALS_MIN * self.goal:
            raise ValueError(f"range is under {GOALS_MIN} times the goal: nothing to search")
        if CALIBRATION in self.actors:
            raise ValueError(f"{CALIBRATION!r} names the clients that measure the jitter")
        if self.spacing and self.comb_of != "swept":
            raise ValueError('`spacing` goes with comb_of = "swept"')
        if self.spacing * (self.comb - 1) > self.range[1] - self.range[0]:
            raise ValueError(f"{self.comb} of them so far apart do not fit into the range")
        if self.at is not None and not self.range[0] <= self.at <= self.range[1]:
            raise ValueError("`at` is outside of the range")
        if self.at is None and self.control is not None:
            raise ValueError("`control` goes with `at`")
        if self.at is None and self.shrink:
            raise ValueError("`shrink` goes with `at`")
        if self.shrink and not SHRINK_BY_MIN <= self.confirm <= self.shrink // 2:
            raise ValueError(
                f"with `shrink`, `confirm` is at least {SHRINK_BY_MIN} and at most half of it: "
                "the race as it is and the smallest take as many each"
            )
        return self

    @model_validator(mode="after")
    def _has_its_gates(self) -> Race:
        swept = [n for n, a in self.actors.items() for g in a.gates if g.offset == "swept"]
        if len(swept) != 1:
            raise ValueError(f'exactly one gate has offset = "swept"; found {_places(self.actors)}')
        for name, actor in self.actors.items():
            if not actor.gates:
                raise ValueError(f"the script of {name} has no gate")
        fixed = [g for a in self.actors.values() for g in a.gates if g.offset != "swept"]
        if not fixed:
            raise ValueError("a race needs a gate with a fixed offset, which the other is against")
        self._is_in_order()
        self._labels_join()
        return self

    def _is_in_order(self) -> None:
        """Gates of one script are passed in their order, so that some offsets cannot be."""
        name, number = self.reference()
        if name != self.swept:
            return
        low, high = self.range
        if number < self.swept_gate():
            if low < 0:
                raise ValueError(
                    f"the swept gate of {name} is behind the one that offsets count from, so that "
                    'none can be negative: begin the range at "0ms"'
                )
        elif high > 0:
            raise ValueError(
                f"the swept gate of {name} is before the one that offsets count from, so that "
                'none can be positive: end the range at "0ms"'
            )

    def _labels_join(self) -> None:
        """A label is there to make two of them one user; one that only one has is a slip."""
        labels = Counter(actor.user for actor in self.actors.values() if actor.user)
        for name, actor in self.actors.items():
            several = self.comb > 1 and self.comb_of == "swept" and name == self.swept
            if actor.user and labels[actor.user] == 1 and not several and len(self.actors) > 1:
                others = sorted(set(labels) - {actor.user})
                hint = f"; others have {', '.join(map(repr, others))}" if others else ""
                raise ValueError(
                    f"actors.{name}.user: no other actor is {actor.user!r}{hint}: "
                    "actors with the same label are one user; drop it where it is alone"
                )

    @property
    def swept(self) -> str:
        """The name of the actor whose offset is tried."""
        return next(n for n, a in self.actors.items() if any(g.offset == "swept" for g in a.gates))

    @property
    def kept_against(self) -> int:
        """With `at`: the control offset, ns."""
        assert self.at is not None
        if self.control is not None:
            return self.control
        low, high = self.range
        return low if self.at - low > high - self.at else high

    @property
    def trials_max(self) -> int:
        """Most trials that tell anything."""
        if self.shrink:
            return self.shrink
        return self.confirm if self.at is not None else self.trials + self.confirm

    @property
    def voids_max(self) -> int:
        """Most trials that may tell nothing before the stage gives up."""
        return max(VOIDS_MIN, self.trials_max // 4)

    @property
    def releases(self) -> int:
        """Most releases; a few are not full, as where a search comes to its end."""
        if self.shrink:
            return self.shrink  # a comb of one has a release for each trial
        return -(-(self.trials_max + self.voids_max) // self.comb) + 3

    @property
    def sessions(self) -> int:
        """Clients of one release."""
        others = len(self.actors) - 1
        return others + self.comb if self.comb_of == "swept" else (others + 1) * self.comb

    def reference(self) -> tuple[str, int]:
        """The actor and the number of the gate that offsets are measured from."""
        return next(
            (name, number)
            for name, actor in self.actors.items()
            for number, gate in enumerate(actor.gates)
            if gate.offset != "swept"
        )

    @property
    def against(self) -> str:
        """What offsets count from, in words."""
        if self.since is not None:
            return self.since
        name, number = self.reference()
        actor = self.actors[name]
        if not actor.steps:
            which = f"gate {number + 1}" if len(actor.gates) > 1 else "the gate"
            return f"{which} of {name}"
        gates = [k for k, step in enumerate(actor.steps) if isinstance(step, Gate)]
        behind = actor.steps[gates[number] :]
        what = next(step.do for step in behind if not isinstance(step, Gate | Token))
        return f"the {what} of {name}"

    def swept_gate(self) -> int:
        """The number of the swept gate in its actor's script."""
        gates = self.actors[self.swept].gates
        return next(number for number, gate in enumerate(gates) if gate.offset == "swept")

    def own(self, name: str) -> bool:
        """Whether each trial has an actor of this name to itself."""
        return self.comb_of == "all" or self.comb == 1 or name == self.swept


def _places(actors: dict[str, Actor]) -> str:
    """Which gates are swept, by their place in the file."""
    found = []
    for name, actor in actors.items():
        gates = [k for k, step in enumerate(actor.steps) if isinstance(step, Gate)]
        for number, gate in enumerate(actor.gates):
            if gate.offset == SWEPT:
                place = f"script.{gates[number]}" if gates else f"gates.{number}"
                found.append(f"actors.{name}.{place}")
    if found:
        return f"{len(found)}: {', '.join(found)}"
    return "none" if any(actor.gates for actor in actors.values()) else "no gate at all"


Told = Literal["void", "fine", "anomaly", "unplaced"]


class Played(NamedTuple):
    """How one actor played.

    Whether it came to its gate and let go what waited there; whether it came to the end of its
    script (None: it was stopped); whether it saw a breach of the contract or what is another's.
    """

    reached: bool
    finished: bool | None
    odd: bool = False


def told_by(actors: Iterable[Played], *, placed: bool) -> Told:
    """What one trial tells; `placed`: its offset was measured.

    An actor that never came to its gate, or was stopped, makes it void.
    """
    odd = False
    for actor in actors:
        if not actor.reached or actor.finished is None:
            return "void"
        odd |= not actor.finished or actor.odd
    if odd:
        return "anomaly" if placed else "unplaced"
    return "fine" if placed else "void"
