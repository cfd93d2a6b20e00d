"""What a stage is held to beyond the delivery of events: the topics, and the checks they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from probe.check.drift import drift
from probe.check.gone import gone
from probe.check.large import large
from probe.check.limits import rate_limit
from probe.check.modes import modes
from probe.check.pings import pings
from probe.check.pressure import pressure
from probe.check.spike import after_spike
from probe.check.stays import stays

if TYPE_CHECKING:
    from collections.abc import Callable

    from probe.check.bound import Part
    from probe.check.view import StageView

STRAIN: Final[tuple[Callable[[StageView], Part], ...]] = (
    gone, stays, pings, pressure, rate_limit, large, modes, drift, after_spike,
)  # fmt: skip


def strained(view: StageView) -> list[tuple[str, bool]]:
    """The last part of each check's id, and whether it is required.

    Not `service`: it is held against what the other checks were asked for, and says nothing
    of a stage that did not run.
    """
    expect = view.stage.expect
    told = ("pressure.told",) if view.resolved.dialect.dropped is not None else ()
    every = (
        (expect.stays, ("stays",)),
        (expect.pings, ("pings",)),
        (expect.pressure, ("pressure.step", *told)),
        (expect.rate_limit, tuple(f"rate_limit.{w}" for w in ("told", "per_user", "passes"))),
        (expect.large, ("large",)),
        (expect.modes, ("modes",)),
    )
    out = [(what, True) for wanted, whats in every if wanted for what in whats]
    if expect.drift is not None:
        out += [("drift.latency", expect.drift.required), ("drift.memory", False)]
    if expect.after_spike is not None:
        out.append(("after_spike", expect.after_spike.required))
    return out
