"""Artillery's load phases, understood as a shape: its words where they mean the same, and told.

Numbers are seconds and arrivals per second, as there. Source: Artillery's documentation of
`config.phases`, and its `core/lib/phases.js`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel

from probe import units
from probe.model.base import Strict
from probe.model.curve import Curve, Track, some_time

if TYPE_CHECKING:
    from collections.abc import Sequence

COUNT_MAX: Final = 1_000_000


def _seconds(value: str | float) -> int:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return units.duration_ns(f"{value}s")
    return units.duration_ns(value)


Seconds = Annotated[
    int,
    BeforeValidator(_seconds),
    PlainSerializer(units.canonical_duration),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}], "examples": [60, "1m"]}),
]
"""Nanoseconds inside; a bare number is seconds, as in the tools whose words these are."""
Positive = Annotated[Seconds, AfterValidator(some_time)]
"""The same, and not 0."""


class Phase(Strict):
    """One load phase."""

    model_config = ConfigDict(alias_generator=to_camel)

    duration: Positive | None = None
    """How long the phase lasts."""
    arrival_rate: float | None = Field(default=None, ge=0, le=units.RATE_HZ_MAX)
    """Arrivals per second, at the beginning where there is `rampTo`."""
    ramp_to: float | None = Field(default=None, ge=0, le=units.RATE_HZ_MAX)
    """Arrivals per second at the end."""
    arrival_count: int | None = Field(default=None, ge=1, le=COUNT_MAX)
    """So many arrivals, evenly over the phase."""
    pause: Positive | None = None
    """Nobody comes for so long."""
    max_vusers: int | None = None
    """Refused: the bound is safety.clients_max of the target."""
    name: str | None = None
    """A name; it changes nothing."""

    @model_validator(mode="after")
    def _is_one_kind(self) -> Phase:
        if self.max_vusers is not None:
            raise ValueError(
                "maxVusers leaves out whoever comes while so many are there, which is not done for "
                "one phase here: drop it; for the whole run it is the target's safety.clients_max"
            )
        kinds = {
            "arrivalRate": self.arrival_rate,
            "arrivalCount": self.arrival_count,
            "pause": self.pause,
        }
        given = [key for key, value in kinds.items() if value is not None]
        if len(given) != 1:
            found = ", ".join(given) or "none"
            raise ValueError(f"a phase is one of {', '.join(kinds)}; found {found}")
        if (self.pause is None) != (self.duration is not None):
            raise ValueError(
                "`duration` goes with arrivalRate and arrivalCount, and is needed there"
            )
        if self.ramp_to is not None and self.arrival_rate is None:
            raise ValueError("`rampTo` goes with arrivalRate, from which it ramps")
        return self


def phases_curve(phases: Sequence[Phase], lasts_ns: int) -> Curve:
    """One phase after the other."""
    if lasts_ns:
        raise ValueError("`lasts` does not go with artillery: its phases say how long they last")
    track = Track()
    for phase in phases:
        lasts = phase.duration or 0
        if phase.pause is not None:
            track.pause(phase.pause)
        elif phase.arrival_count is not None:
            track.spread(phase.arrival_count, lasts)
        else:
            rate = phase.arrival_rate or 0.0
            track.line(lasts, rate, rate if phase.ramp_to is None else phase.ramp_to)
    return Curve(open=True, points=track.points(), instants=track.instants(), even=True)


def phases_said(phases: Sequence[Phase], curve: Curve) -> str:
    """What was understood, as the curve that came of it."""
    text = f"Artillery's phases are here {curve.written()}"
    if any(phase.ramp_to is not None for phase in phases):
        text += "; a ramp is a straight line, where Artillery takes a step each second"
    return text
