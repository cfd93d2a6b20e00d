"""Gatling's injection steps, understood as a shape: its words where they mean the same, and told.

Numbers are seconds, users, and users per second, as there; it counts whole seconds and whole
users, and so do these. A stress peak has the instants of Gatling's own formula. Its closed steps
replace every user that ends by a new one, which is not done here. Source: Gatling's
documentation of injection, and its `controller/inject/open/OpenInjectionStep.scala`.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from probe import units
from probe.model.artillery import COUNT_MAX, Positive, Seconds
from probe.model.base import Strict
from probe.model.curve import Curve, S, Track

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

PEAK_MAX: Final = 100_000
_EPSILON: Final = 1e-6
_KINDS: Final = {
    "at_once_users": (),
    "nothing_for": (),
    "ramp_users": ("during",),
    "constant_users_per_sec": ("during",),
    "ramp_users_per_sec": ("to", "during"),
    "stress_peak_users": ("during",),
    "increment_users_per_sec": ("times", "each_level_lasting"),
}
_MAY: Final = {
    "constant_users_per_sec": ("randomized",),
    "ramp_users_per_sec": ("randomized",),
    "increment_users_per_sec": ("separated_by_ramps_lasting", "starting_from"),
}
_CLOSED: Final = (
    "constant_concurrent_users", "ramp_concurrent_users", "increment_concurrent_users"
)  # fmt: skip


class Injection(Strict):
    """One injection step: what it is called there, and the words that follow it there."""

    model_config = ConfigDict(alias_generator=to_camel)

    at_once_users: int | None = Field(default=None, ge=1, le=COUNT_MAX)
    """So many users at once."""
    nothing_for: Positive | None = None
    """A pause."""
    ramp_users: int | None = Field(default=None, ge=1, le=COUNT_MAX)
    """So many users, evenly over `during`."""
    constant_users_per_sec: float | None = Field(default=None, ge=0, le=units.RATE_HZ_MAX)
    """Users per second, for `during`."""
    ramp_users_per_sec: float | None = Field(default=None, ge=0, le=units.RATE_HZ_MAX)
    """Users per second at the beginning; `to` is the end."""
    stress_peak_users: int | None = Field(default=None, ge=1, le=PEAK_MAX)
    """So many users over `during`, most of them in its middle."""
    increment_users_per_sec: float | None = Field(default=None, gt=0, le=units.RATE_HZ_MAX)
    """How many users per second each level has more."""
    constant_concurrent_users: int | None = None
    """Refused: write clients or clients_curve, with once = false."""
    ramp_concurrent_users: int | None = None
    """Refused: write clients or clients_curve, with once = false."""
    increment_concurrent_users: int | None = None
    """Refused: write clients or clients_curve, with once = false."""
    during: Positive | None = None
    """How long the step lasts."""
    to: float | None = Field(default=None, ge=0, le=units.RATE_HZ_MAX)
    """Of rampUsersPerSec: users per second at its end."""
    randomized: bool | None = None
    """Arrivals by chance (Poisson) in place of even ones."""
    times: int | None = Field(default=None, ge=1, le=1000)
    """Of incrementUsersPerSec: how many levels."""
    each_level_lasting: Positive | None = None
    """Of incrementUsersPerSec: how long each level lasts."""
    separated_by_ramps_lasting: Seconds | None = None
    """Of incrementUsersPerSec: how long the way between levels takes."""
    starting_from: float | None = Field(default=None, ge=0, le=units.RATE_HZ_MAX)
    """Of incrementUsersPerSec: users per second of the first level."""

    @model_validator(mode="after")
    def _means_the_same_here(self) -> Injection:
        given = {key for key in Injection.model_fields if getattr(self, key) is not None}
        for key in given.intersection(_CLOSED):
            raise ValueError(
                f"{to_camel(key)} puts a new user in the place of each that ends, which is not "
                "done here: for users that play again and again, and leave when their time is "
                "over, write clients (or clients_curve), lasts and once = false"
            )
        kinds = [key for key in _KINDS if key in given]
        if len(kinds) != 1:
            found = ", ".join(map(to_camel, kinds)) or "none"
            allowed = ", ".join(map(to_camel, _KINDS))
            raise ValueError(
                f"an injection step is one of these; found {found}; allowed: {allowed}"
            )
        kind = kinds[0]
        for key in _KINDS[kind]:
            if key not in given:
                raise ValueError(f"{to_camel(kind)} needs `{to_camel(key)}`")
        for key in sorted(given - {kind, *_KINDS[kind], *_MAY.get(kind, ())}):
            raise ValueError(f"`{to_camel(key)}` does not go with {to_camel(kind)}")
        self._check_whole(kind)
        return self

    def _check_whole(self, kind: str) -> None:
        lasting = [self.during, self.each_level_lasting, self.separated_by_ramps_lasting]
        if any(each and each % S for each in (*lasting, self.nothing_for)):
            raise ValueError("Gatling counts whole seconds, and so does this: write whole ones")
        for seconds, start, end in self.lines():
            users = seconds * (start + end) / 2
            if not self.randomized and abs(users - round(users)) > _EPSILON:
                raise ValueError(
                    f"{to_camel(kind)} brings {users:g} users, which Gatling rounds: choose rates "
                    "and times that bring whole ones, or write rate_curve"
                )

    def lines(self) -> Iterator[tuple[int, float, float]]:
        """(seconds, users per second at the start, and at the end) of what is a rate."""
        during = (self.during or 0) // S
        if self.constant_users_per_sec is not None:
            yield during, self.constant_users_per_sec, self.constant_users_per_sec
        elif self.ramp_users_per_sec is not None:
            yield during, self.ramp_users_per_sec, self.to or 0.0
        elif self.increment_users_per_sec is not None:
            yield from self._stairs(self.increment_users_per_sec)

    def _stairs(self, by: float) -> Iterator[tuple[int, float, float]]:
        each = (self.each_level_lasting or 0) // S
        ramp = (self.separated_by_ramps_lasting or 0) // S
        start = self.starting_from or 0.0
        for k in range(self.times or 0):
            # From nothing, each level has its ramp before it; else the ramps are in between.
            level = start + (k + 1 if ramp and not start else k) * by
            if ramp and (k or not start):
                yield ramp, level - by, level
            yield each, level, level


def steps_curve(steps: Sequence[Injection], lasts_ns: int) -> Curve:
    """One step after the other."""
    if lasts_ns:
        raise ValueError("`lasts` does not go with gatling: its steps say how long they last")
    rates = [step for step in steps if any(line[0] for line in step.lines())]
    random = {bool(step.randomized) for step in rates}
    if len(random) > 1:
        raise ValueError(
            "some rates are randomized and some are not: one shape has one spacing; write two "
            "populations"
        )
    track = Track()
    for step in steps:
        if step.nothing_for is not None:
            track.pause(step.nothing_for)
        elif step.at_once_users is not None:
            track.burst(np.zeros(step.at_once_users, dtype=np.int64), 0)
        elif step.ramp_users is not None:
            track.spread(step.ramp_users, step.during or 0)
        elif step.stress_peak_users is not None:
            track.burst(_peak(step.stress_peak_users, step.during or 0), step.during or 0)
        for seconds, start, end in step.lines():
            track.line(seconds * S, start, end)
    even = random != {True}
    return Curve(open=True, points=track.points(), instants=track.instants(), even=even)


def _peak(users: int, lasts_ns: int) -> NDArray[np.int64]:
    """A smooth step: user k of n comes where the normal distribution reaches k / (n + 2)."""
    normal = NormalDist()
    at = np.array([normal.inv_cdf(k / (users + 2)) for k in range(1, users + 1)])
    return np.asarray(np.rint((at - at[0]) / (-2 * at[0]) * lasts_ns), dtype=np.int64)
