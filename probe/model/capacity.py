"""Capacity: how a stage climbs to the knee of a service, and what each level is held to.

A level is open load at a constant rate, held for `settle` and then measured for `lasts`. Which
rate comes next is found out by `probe.stats.knee` from what the levels before it showed, so
that the plan has no clients of it: their numbers, tokens and instants follow from the seed and
from the number of the level alone.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from pydantic import Field, model_validator

from probe.model.arrivals import open_arrivals
from probe.model.base import Duration, Fraction, Name, Quantile, Rate, Strict
from probe.model.script import Script, Step

if TYPE_CHECKING:
    from numpy.typing import NDArray

S: Final = 1_000_000_000
ALPHA: Final = 0.05
SPARE: Final = 5 / 3  # of the least number of clients with which a quantile has an upper bound
LEVELS_MAX: Final = 80
LEVEL_MAX: Final = 1 << 19
"""Clients of one level; numbers of sessions are handed out level by level, as many to each."""
_UNTIL: Final = re.compile(r"\s*(p[0-9.]+)\s*<=?\s*([0-9.]+\s*[a-zµ]+)\s*", re.ASCII)


class Capacity(Strict):
    """Stairs of open load, then bisection, until the knee lies between two near rates."""

    until: str | None = None
    """Short for `quantile` and `within`, as in `"p99<500ms"`."""
    phase: Literal["tcp", "upgrade", "ready", "connect"] = "connect"
    """Which latency is held to it; `connect` is ready minus the intended start."""
    quantile: Quantile = 0.99
    within: Duration = 500_000_000
    goodput: Fraction = 0.98
    """Share of the clients offered that completed their script."""
    begin: Rate = 50.0
    """The first level."""
    most: Rate = 10_000.0
    """No level is above it, nor above what the target allows (`safety.rate_max`)."""
    factor: float = Field(default=1.5, gt=1, le=10)
    """From one stair to the next."""
    closeness: float = Field(default=1.1, gt=1, le=10)
    """The knee is found when the two rates that bound it are this near, as a ratio."""
    repeats: int = Field(default=3, ge=1, le=100)
    """Of each of those two; a level that stays open gets up to twice as many and two."""
    settle: Duration = 2 * S
    """What comes in this time of a level is not measured."""
    lasts: Duration = 10 * S
    """How long each repeat is measured. Low rates take longer: a p99 wants 500 clients."""
    pause: Duration = 500_000_000
    """Between two levels, after the last client of the one has gone."""
    script: Script = "visit"
    finally_: tuple[Step, ...] = Field(default=(), alias="finally")
    endpoints: tuple[Name, ...] = ()
    """Endpoints in round robin; none given: all of the target's."""
    present: Name = "default"
    users: int | None = Field(default=None, ge=1)
    """How many users all clients are, in round robin; unset: each is its own."""

    @model_validator(mode="before")
    @classmethod
    def _until_is_short(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "until" not in data:
            return data
        text, data = data["until"], {name: each for name, each in data.items() if name != "until"}
        found = _UNTIL.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise ValueError(
                f"until is a quantile and its limit, as in 'p99<500ms'; found {text!r}"
            )
        if both := sorted({"quantile", "within"} & data.keys()):
            raise ValueError(f"`until` says what `{both[0]}` says: drop one of them")
        return data | {"quantile": found[1], "within": found[2]}

    @model_validator(mode="after")
    def _leads_somewhere(self) -> Capacity:
        if self.begin > self.most:
            raise ValueError("`begin` is above `most`: there is no level")
        if self.most * self.span_ns(self.most) / S > LEVEL_MAX:
            raise ValueError(
                f"the highest level would bring over {LEVEL_MAX:,} clients: lower `most`, or "
                "shorten `lasts`"
            )
        if not self.lasts:
            raise ValueError("`lasts` is 0: nothing would be measured")
        return self

    def span_ns(self, rate_per_s: float) -> int:
        """How long a level lets clients in: until it has settled, and while it is measured."""
        least = SPARE * math.log(ALPHA) / math.log(self.quantile)
        return self.settle + max(self.lasts, math.ceil(least / rate_per_s * S))

    def arrivals(self, rate_per_s: float, seed: tuple[int, int, int]) -> NDArray[np.int64]:
        """Offsets (ns, ascending) of the clients of a level.

        `seed` is that of the plan, the place of the stage and the number of the level.
        """
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
        curve = [(0, rate_per_s), (self.span_ns(rate_per_s), rate_per_s)]
        return open_arrivals(curve, even=False, rng=rng)[:LEVEL_MAX]
