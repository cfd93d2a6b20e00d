"""Shape: how much load when, in one of several ways to write a curve.

Open load is arrivals per second, which wait for nobody; closed load is a number of clients.
Whatever it is written as, planning reads `curve()` alone. Words of k6, Artillery and Gatling
stand in a table of their own; what they were understood as is told (`said`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from probe.model.artillery import Phase, phases_curve, phases_said
from probe.model.base import Duration, Rate, Strict
from probe.model.curve import Curve
from probe.model.forms import Form, Ramp, Sine, Soak, Spike, Stairs
from probe.model.gatling import Injection, steps_curve
from probe.model.k6 import K6
from probe.model.replay import Replay

FORMS: Final = (
    "rate", "rate_curve", "clients", "clients_curve", "ramp", "stairs", "spike", "sine", "soak",
    "herd", "replay", "k6", "artillery", "gatling",
)  # fmt: skip
_BORROWED: Final = {
    "k6": ("executor", "stages", "vus", "duration", "preAllocatedVUs", "iterations"),
    "artillery": ("phases", "arrivalRate", "rampTo", "arrivalCount", "maxVusers"),
    "gatling": (
        "inject", "atOnceUsers", "nothingFor", "rampUsers", "constantUsersPerSec",
        "rampUsersPerSec", "stressPeakUsers", "incrementUsersPerSec", "constantConcurrentUsers",
        "rampConcurrentUsers",
    ),
}  # fmt: skip
_TABLES: Final = {
    "k6": 'k6 = { executor = "constant-arrival-rate", rate = 40, duration = "30s" }',
    "artillery": "artillery = [{ duration = 60, arrivalRate = 5, rampTo = 50 }]",
    "gatling": 'gatling = [{ atOnceUsers = 10 }, { rampUsers = 50, during = "30s" }]',
}


class Shape(Strict):
    """Load over time as a piecewise-linear curve.

    One of: `rate` and `rate_curve` (open load, arrivals per second), `clients`,
    `clients_curve` and `herd` (closed load), or a short form for either: `ramp`, `stairs`,
    `spike`, `sine`, `soak`, `replay`. See docs/shapes.md.
    """

    rate: Rate | None = None
    """So many arrivals a second, for as long as it `lasts`."""
    rate_curve: tuple[tuple[Duration, Rate], ...] = ()
    """Points (time, rate); linear in between, a step where two points share a time."""
    clients: int | None = Field(default=None, ge=1)
    """So many clients at once; with `once = false` for as long as it `lasts`."""
    clients_curve: tuple[tuple[Duration, Annotated[int, Field(ge=0)]], ...] = ()
    """Points (time, clients). Who comes again after a fall of the curve is a new client."""
    ramp: Ramp | None = None
    """From one level to another."""
    stairs: Stairs | None = None
    """Levels one after the other."""
    spike: Spike | None = None
    """A level, for a while another one, and the first again."""
    sine: Sine | None = None
    """A level that swings."""
    soak: Soak | None = None
    """One level for long."""
    herd: int | None = Field(default=None, ge=1)
    """So many clients at once, who climb the dialect's retry ladder until they are in."""
    replay: Replay | None = None
    """Arrivals as they were recorded."""
    k6: K6 | None = None
    """A scenario of k6: its executor, with that executor's options."""
    artillery: tuple[Phase, ...] = ()
    """Artillery's phases."""
    gatling: tuple[Injection, ...] = ()
    """Gatling's injection steps."""
    lasts: Duration | None = None
    """How long the shape lasts; a curve, stairs, a replay and borrowed words say it themselves."""
    after: Duration = 0
    """When the shape begins, since the stage's start or the restart."""
    arrivals: Literal["poisson", "even"] | None = None
    """How open arrivals are spaced; the same seed gives the same instants. Unset: poisson, and
    where the words are another tool's as that tool does it."""
    once: bool = True
    """Closed load: each client plays its script once; false: again and again until the end."""

    @model_validator(mode="before")
    @classmethod
    def _words_stand_in_their_table(cls, data: Any) -> Any:
        """Words of other tools are known, and belong into a table that says whose they are."""
        for tool, words in _BORROWED.items() if isinstance(data, dict) else ():
            for word in words:
                if word in data:
                    raise ValueError(
                        f"{word} is a word of {tool.capitalize() if tool != 'k6' else tool}: such "
                        f"words stand in a table of their own, as in shape = {{ {_TABLES[tool]} }}"
                    )
        return data

    @model_validator(mode="after")
    def _is_one_shape(self) -> Shape:
        given = [name for name in FORMS if getattr(self, name) not in (None, ())]
        if len(given) != 1:
            found = f"; found {', '.join(given)}" if given else ""
            raise ValueError(f"a shape is one of: {', '.join(FORMS)}{found}")
        if (self.rate_curve or self.clients_curve) and self.lasts is not None:
            raise ValueError("a curve lasts until its last point: drop `lasts`")
        times = [point[0] for point in self.rate_curve or self.clients_curve]
        if times and (len(times) < 2 or times[0] != 0 or times != sorted(times)):  # noqa: PLR2004 -- a line has two ends
            raise ValueError("a curve has at least two points, starts at 0 and goes forward")
        curve = self.curve()
        endless = (self.rate is not None or not self.once) and not curve.span_ns
        if endless and not self.unread:
            raise ValueError("`lasts` is missing: how long does this load last?")
        if self.arrivals and (self.gatling or (self.replay is not None and self.replay.single)):
            why = "its steps say `randomized`" if self.gatling else "every arrival was recorded"
            raise ValueError(f"drop `arrivals`: {why}")
        if curve.expected <= 0 and not self.unread:
            raise ValueError("this shape brings no clients")
        return self

    def curve(self) -> Curve:
        """The load itself, from the shape's own beginning; ValueError where parts do not fit.

        Its `even` and `loops` are decided, by this shape and by what its words mean.
        """
        curve = self._written()
        even = bool(curve.even) if self.arrivals is None else self.arrivals == "even"
        loops = not curve.open and (curve.loops or not self.once)
        return replace(curve, even=even, loops=loops)

    def _written(self) -> Curve:
        """What the form says by itself."""
        lasts_ns = self.lasts or 0
        forms: tuple[Form | None, ...] = (
            self.ramp, self.stairs, self.spike, self.sine, self.soak, self.replay, self.k6,
        )  # fmt: skip
        for form in forms:
            if form is not None:
                return form.curve(lasts_ns)
        if self.artillery:
            return phases_curve(self.artillery, lasts_ns)
        if self.gatling:
            return steps_curve(self.gatling, lasts_ns)
        if points := self.rate_curve or self.clients_curve:
            lines = tuple((time, float(level)) for time, level in points)
            return Curve(open=bool(self.rate_curve), points=lines)
        level = float(self.rate if self.rate is not None else self.clients or self.herd or 0)
        return Curve(open=self.rate is not None, points=((0, level), (lasts_ns, level)))

    @property
    def form(self) -> str:
        """Which of FORMS it is written as."""
        return next(name for name in FORMS if getattr(self, name) not in (None, ()))

    @property
    def unread(self) -> bool:
        """Whether it replays a file of which nobody has handed in the text."""
        return self.replay is not None and not self.replay.text

    def said(self) -> str:
        """What words of another tool were understood as; "" where there are none."""
        curve = self.curve()
        if self.k6 is not None:
            return self.k6.said(curve)
        if self.artillery:
            return phases_said(self.artillery, curve)
        return f"Gatling's steps are here {curve.written()}" if self.gatling else ""
