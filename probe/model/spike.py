"""What a service is held to after a spike: that it finds its way back by itself.

The load falls back to what it was before; whether the clients are served as well again is
what is judged (`probe.stats.spike`). The rule: a stage that could not tell whether a service
stays broken is refused when it is read, and never played: it has one population in the shape
of a spike, the same load before and after, and is watched for as long as the way back may take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import Field, field_validator

from probe.model.base import Duration, Fraction, Strict
from probe.units import canonical_duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from probe.model.shape import Shape

S: Final = 1_000_000_000


class AfterSpike(Strict):
    """Back to a share of the goodput before the spike, in time, or the service is metastable."""

    within: Duration = 1 * S
    """A client counts as served when it is ready this long after its intended start."""
    goodput: Fraction = Field(default=0.9, gt=0)
    """Share of the goodput before the spike that counts as back."""
    least: Duration = 120 * S
    """The way back may take this long, or `spikes` times the spike if that is longer."""
    spikes: float = Field(default=5.0, ge=0, le=1000)
    """How many times the length of the spike it may take; see `least`."""
    required: bool = True
    """False: what is not decided does not count in the verdict; a FAIL does."""

    @field_validator("goodput")
    @classmethod
    def _can_be_proven(cls, goodput: float) -> float:
        if goodput >= 1:
            raise ValueError(
                "no count of clients proves that all are served as before: ask for less, such as "
                '"99%"'
            )
        return goodput

    def budget_ns(self, spike_ns: int) -> int:
        """How long the way back from a spike of that length may take."""
        return max(self.least, round(self.spikes * spike_ns))


def spike_of(shapes: Mapping[str, Shape]) -> tuple[str, int, int, int]:
    """The population in the shape of a spike; its begin, end and the shape's end, ns.

    Counted from the stage's time zero. Raises ValueError where there is not exactly one.
    """
    spiked = [name for name, each in shapes.items() if each.spike is not None]
    if len(spiked) != 1:
        found = f"found {', '.join(spiked)}" if spiked else "found none"
        raise ValueError(f"expect.after_spike needs one population with shape.spike; {found}")
    shape = shapes[spiked[0]]
    spike = shape.spike
    assert spike is not None
    began = shape.after + spike.at
    ended = began + spike.rise + spike.hold + spike.fall
    return spiked[0], began, ended, shape.after + (shape.lasts or 0)


def tells(rule: AfterSpike, shapes: Mapping[str, Shape], stage_ns: int, patience_ns: int) -> None:
    """ValueError where a stage of `stage_ns`, that waits so long, cannot tell what is asked."""
    name, began, ended, until = spike_of(shapes)
    shape = shapes[name]
    where = f"populations.{name}.shape"
    if not shape.curve().open:
        raise ValueError(f"after_spike counts arrivals: write the levels of {where}.spike as rates")
    spike = shape.spike
    assert spike is not None
    if not spike.base or spike.peak <= spike.base:
        raise ValueError(
            f"{where}.spike has no load to come back to: base is above 0, peak above it"
        )
    if not spike.at:
        raise ValueError(f"{where}.spike begins at once: what was before it? Give it a later `at`")
    needed = ended + rule.budget_ns(ended - began)
    for what, has in ((f"{where}.lasts", until), ("the stage's budget", stage_ns)):
        if has < needed:
            raise ValueError(
                f"the way back may take {canonical_duration(needed - ended)} after the spike: "
                f"{what} is at least {canonical_duration(needed)}, or lower after_spike.least"
            )
    if patience_ns < rule.within:
        raise ValueError(
            "the last clients are given up before after_spike.within: raise `patience`"
        )
