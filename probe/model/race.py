"""Race: actions that are released against each other, and the offset that is tried.

Theory of operation. A *trial* plays every actor's script once, each with an identity of its
own (or one shared by label). Up to its first `gate` a script prepares; when all actors of the
trial stand at their gates they are released at one shared instant T, each at T plus the
offset of its gate. Later gates of a script wait for T plus their own offset. Exactly one
offset of a race is `swept`: it is chosen anew for every trial by the policy of
`probe.stats.window`, within `range`. A trial is an *anomaly* when an actor does not come to
the end of its script, though it came to its gate; what the script expects says what is right.

A *release* is one shared instant. With a `comb` it carries several trials, each with an offset
of its own: as many whole sets of actors, or one set in which the swept actor is there several
times. In the latter the other actors belong to no one trial, and are judged for themselves.

The offset that counts is measured: what the swept gate let go, minus the first gate with a
fixed offset, in the order of the file. What was let go is a write, or for a request over HTTP
its answer, since no client can know any earlier that it holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field, model_validator

from probe.model.base import Duration, Name, Offset, Strict
from probe.model.script import Gate, Step

if TYPE_CHECKING:
    from collections.abc import Iterable

MS = 1_000_000
S = 1_000 * MS
COMB_MAX = 1_000
GOALS_MIN = 20
VOIDS_MIN = 10
CALIBRATION = "calibration"
"""The clients that measure the jitter before the first trial."""


class Actor(Strict):
    """One side of a race."""

    script: tuple[Step, ...] = Field(min_length=1)
    finally_: tuple[Step, ...] = Field(default=(), alias="finally")
    """Clean-up steps: played at the end, however it went; they decide nothing."""
    present: Name = "default"
    endpoints: tuple[Name, ...] = ()
    """Endpoints in turn, trial by trial; none given: all of the target's."""
    user: Name | None = None
    """Actors of a trial with the same label are one user with one token; unset: its own."""
    finding: Name | None = None
    """What its own anomalies are called; unset: as the race's."""

    @property
    def gates(self) -> tuple[Gate, ...]:
        """The gates of its script, in order."""
        return tuple(step for step in self.script if isinstance(step, Gate))


class Race(Strict):
    """What is tried; see the module."""

    actors: dict[Name, Actor] = Field(min_length=1)
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
    trials: int = Field(default=300, ge=1, le=100_000)
    """At most, before a window is confirmed."""
    confirm: int = Field(default=120, ge=0, le=100_000)
    """Most trials that confirm, centre and control together."""
    comb: int = Field(default=1, ge=1, le=COMB_MAX)
    """Trials under way at a time, each at an offset of its own: of whole trials each begins
    10 ms after the one before, so that they do not stand in each other's way."""
    comb_of: Literal["all", "swept"] = "all"
    """What a comb multiplies: whole trials, or only the actor whose offset is swept."""
    within: Duration = 10 * S
    """From the release to the end of every script; what takes longer has failed."""
    tolerated: Offset | None = None
    """Anomalies up to this offset are promised (a revocation may take a while); unset: none."""
    finding: Name | None = None
    """What an anomaly is called: `race.<finding>` of the catalogue; unset: `race.window` or
    `race.step`."""
    noun: str = "trial"
    """What one trial is, in a sentence: "first message"."""
    since: str | None = None
    """What offsets count from, in a sentence: "the refresh"; unset: the step behind the first
    gate with a fixed offset."""
    anomaly: str = "went wrong"
    """What an anomaly is, in a sentence: "got no answer"."""

    @model_validator(mode="after")
    def _hangs_together(self) -> Race:
        if self.range[0] >= self.range[1]:
            raise ValueError("range goes from the smaller offset to the larger")
        if self.range[1] - self.range[0] < GOALS_MIN * self.goal:
            raise ValueError(f"range is under {GOALS_MIN} times the goal: nothing to search")
        if CALIBRATION in self.actors:
            raise ValueError(f"{CALIBRATION!r} names the clients that measure the jitter")
        if self.at is None and self.control is not None:
            raise ValueError("`control` goes with `at`")
        swept = [n for n, a in self.actors.items() for g in a.gates if g.offset == "swept"]
        if len(swept) != 1:
            raise ValueError('exactly one gate has offset = "swept"')
        for name, actor in self.actors.items():
            if not actor.gates:
                raise ValueError(f"the script of {name} has no gate")
            if actor.script[-1].do == "gate":
                raise ValueError(f"nothing follows the last gate of {name}")
        fixed = [g for a in self.actors.values() for g in a.gates if g.offset != "swept"]
        if not fixed:
            raise ValueError("a race needs a gate with a fixed offset, which the other is against")
        return self

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
        return self.confirm if self.at is not None else self.trials + self.confirm

    @property
    def voids_max(self) -> int:
        """Most trials that may tell nothing before the stage gives up."""
        return max(VOIDS_MIN, self.trials_max // 4)

    @property
    def releases(self) -> int:
        """Most releases; a few are not full, as where a search comes to its end."""
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
        script = self.actors[name].script
        gates = [k for k, step in enumerate(script) if isinstance(step, Gate)]
        what = next(step.do for step in script[gates[number] :] if not isinstance(step, Gate))
        return f"the {what} of {name}"

    def swept_gate(self) -> int:
        """The number of the swept gate in its actor's script."""
        gates = self.actors[self.swept].gates
        return next(number for number, gate in enumerate(gates) if gate.offset == "swept")

    def own(self, name: str) -> bool:
        """Whether each trial has an actor of this name to itself."""
        return self.comb_of == "all" or self.comb == 1 or name == self.swept


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
