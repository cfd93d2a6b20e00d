"""k6's executors, understood as a shape: its words where they mean the same here, and told.

A word is taken only where what it says can be done exactly; everything else is refused with
what to write instead. Arrival rates start each iteration at the instant that k6 aims at: a
constant rate at the start of each gap, a ramping one where the integral reaches the next whole
number. Source: k6's documentation of executors and of graceful stop, and its
`lib/executor/*.go`.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from probe.model.base import Duration, Strict
from probe.model.curve import END, START, Curve, Lasting, S, Track

_NO_VUS: Final = (
    "no VUs run out here, and no iteration is dropped for want of one: drop it; how many clients "
    "there may be at a time is the target's safety.clients_max"
)
_PATIENCE: Final = "how long sessions may take to finish is the stage's `patience`: drop it"
_GRACE: Final = (
    "k6 lets an iteration finish for 30 s after its client should stop, and here the curve ends "
    'it at once: write {name} = "0s" as you would there for the same'
)
_OPEN: Final = {
    "pre_allocated_vus": _NO_VUS,
    "max_vus": _NO_VUS,
    "graceful_stop": _PATIENCE,
}
_NEEDS: Final = {
    "constant-arrival-rate": ("rate", "duration"),
    "ramping-arrival-rate": ("stages",),
    "constant-vus": ("duration", "graceful_stop"),
    "ramping-vus": ("stages", "graceful_stop", "graceful_ramp_down"),
    "per-vu-iterations": (),
}
_MAY: Final = {
    "constant-arrival-rate": ("time_unit",),
    "ramping-arrival-rate": ("time_unit", "start_rate"),
    "constant-vus": ("vus",),
    "ramping-vus": ("start_vus",),
    "per-vu-iterations": ("vus", "iterations"),
}
_SAID: Final = {
    "constant-arrival-rate": "no VUs run out and nothing is dropped; sessions have the patience "
    "of the stage to finish",
    "ramping-arrival-rate": "no VUs run out and nothing is dropped; sessions have the patience "
    "of the stage to finish",
    "constant-vus": "a client is one user that plays its script again and again",
    "ramping-vus": "a client is one user that plays its script again and again, and leaves as "
    "soon as the line is below it",
    "per-vu-iterations": "what bounds it are the budget and the patience of the stage, not 10 min",
}


class _Words(Strict):
    model_config = ConfigDict(alias_generator=to_camel)


class Step(_Words):
    """One of k6's stages."""

    duration: Duration
    """How long the way to `target` takes."""
    target: int = Field(ge=0)
    """Iterations per time unit, or VUs, at its end."""


class K6(_Words):
    """A scenario of k6, as far as it is about load."""

    executor: Literal[
        "constant-arrival-rate", "ramping-arrival-rate", "constant-vus", "ramping-vus",
        "per-vu-iterations", "shared-iterations", "externally-controlled",
    ]  # fmt: skip
    """Which executor; those that cannot be had exactly are refused, and why is told."""
    rate: int | None = Field(default=None, ge=1)
    """Iterations started per time unit."""
    time_unit: Lasting | None = None
    """What `rate` and the stages' targets count by; unset: 1s."""
    duration: Lasting | None = None
    """How long it lasts."""
    start_rate: int | None = Field(default=None, ge=0)
    """Iterations per time unit at the beginning; unset: 0."""
    stages: tuple[Step, ...] = ()
    """The line that the rate or the VUs follow."""
    vus: int | None = Field(default=None, ge=1)
    """VUs, which are clients here; unset: 1."""
    start_vus: int | None = Field(default=None, ge=0, alias="startVUs")
    """VUs at the beginning; unset: 1."""
    iterations: int | None = Field(default=None, ge=1)
    """Iterations of each VU: only 1."""
    start_time: Duration | None = None
    """When it begins."""
    graceful_stop: Duration | None = None
    """Has to be "0s" where the curve ends clients."""
    graceful_ramp_down: Duration | None = None
    """Has to be "0s"."""
    pre_allocated_vus: int | None = Field(default=None, alias="preAllocatedVUs")
    """Refused: no VUs run out here; the bound is safety.clients_max of the target."""
    max_vus: int | None = Field(default=None, alias="maxVUs")
    """Refused: no VUs run out here; the bound is safety.clients_max of the target."""
    max_duration: Duration | None = None
    """Refused: what bounds a stage is its `budget`."""

    @model_validator(mode="after")
    def _means_the_same_here(self) -> K6:
        name = self.executor
        if name not in _NEEDS:
            raise ValueError(_NOT_HERE[name])
        given = {key for key in K6.model_fields if getattr(self, key) not in (None, ())}
        for key in sorted(given - {"executor", "start_time", *_NEEDS[name], *_MAY[name]}):
            raise ValueError(f"{_camel(key)}: {self._why_not(key)}")
        for key in _NEEDS[name]:
            grace = key.startswith("graceful")
            if grace and getattr(self, key) != 0:
                raise ValueError(f"{_camel(key)}: {_GRACE.format(name=_camel(key))}")
            if not grace and key not in given:
                raise ValueError(f"{name} needs `{_camel(key)}`")
        if self.iterations is not None and self.iterations > 1:
            raise ValueError(
                f"iterations: a client plays its script once; found {self.iterations}; write the "
                "steps that often in the script, or let clients play on for a time: clients, "
                "lasts, once = false"
            )
        return self

    def _why_not(self, key: str) -> str:
        if key in _OPEN and self.executor.endswith("arrival-rate"):
            return _OPEN[key]
        if key == "max_duration":
            return "what bounds a stage is its `budget`: drop it, and set that"
        if key == "graceful_stop":
            return _PATIENCE
        return f"{self.executor} has no such option"

    def curve(self, lasts_ns: int) -> Curve:
        """The curve; see the module for where each arrival is."""
        if lasts_ns:
            raise ValueError("`lasts` does not go with k6: its words say how long it lasts")
        track = Track()
        if self.start_time:
            track.pause(self.start_time)
        if self.executor.endswith("arrival-rate"):
            return self._rates(track)
        if self.stages:
            level = 1 if self.start_vus is None else self.start_vus
            for stage in self.stages:
                track.line(stage.duration, level, stage.target)
                level = stage.target
        else:
            vus = float(self.vus or 1)
            track.line(self.duration or 0, vus, vus)
        loops = self.executor != "per-vu-iterations"
        return Curve(open=False, points=track.points(), loops=loops)

    def _rates(self, track: Track) -> Curve:
        unit_s = (self.time_unit or S) / S
        if self.rate is not None:
            track.line(self.duration or 0, self.rate / unit_s, self.rate / unit_s)
            return Curve(open=True, points=track.points(), even=True, first=START)
        level = self.start_rate or 0
        for stage in self.stages:
            track.line(stage.duration, level / unit_s, stage.target / unit_s)
            level = stage.target
        return Curve(open=True, points=track.points(), even=True, first=END)

    def said(self, curve: Curve) -> str:
        """What was understood, as the curve that came of it."""
        return f"k6's {self.executor} is here {curve.written()}; {_SAID[self.executor]}"


_NOT_HERE: Final = {
    "shared-iterations": "shared-iterations lets clients take turns at a common number of "
    "iterations, which is not done here: for so many sessions at once write `clients`, for so "
    "many over a time `rate` and `lasts`",
    "externally-controlled": "externally-controlled changes load from outside while it runs, and "
    "here all of it is fixed beforehand: write `clients_curve`",
}


def _camel(key: str) -> str:
    return K6.model_fields[key].alias or key
