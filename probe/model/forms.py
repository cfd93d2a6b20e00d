"""Short ways to write a curve: ramp, stairs, spike, sine, soak.

Each becomes straight lines between points, which is all that planning knows of it; the sine
alone is not made of straight lines, so that it states how far they may be off. Levels are
rates (`"50/s"`, open load) or numbers of clients (`50`, closed load), never both in one shape.
"""

from __future__ import annotations

from math import ceil, pi, sin, sqrt
from typing import Annotated, Final, Protocol

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from probe import units
from probe.model.base import Duration, Fraction, Strict
from probe.model.curve import Curve, Lasting, Point

POINTS_MAX: Final = 100_000
_QUARTERS: Final = 4


def _level(value: object) -> float | int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and "/" in value:
        return units.rate_hz(value)
    allowed = "a rate such as '50/s', or a number of clients such as 50"
    raise ValueError(f"not a level of load; found {value!r}; allowed: {allowed}")


Level = Annotated[
    int | float,
    BeforeValidator(_level),
    PlainSerializer(lambda level: level if isinstance(level, int) else units.canonical_rate(level)),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^\d+(\.\d+)?/(s|min|h)$"},
                {"type": "integer", "minimum": 0},
            ],
            "examples": ["50/s", 50],
        }
    ),
]
"""A rate of arrivals (a float inside), or a number of clients (an int)."""


class Form(Protocol):
    """A way to write a curve; `lasts_ns` is the shape's `lasts`, 0 where it says none."""

    def curve(self, lasts_ns: int) -> Curve:
        """The points; ValueError where the parts do not fit together."""
        ...


def _curve(levels: tuple[int | float, ...], points: list[Point]) -> Curve:
    """Open or closed as its levels are; a bare 0 is either."""
    rates = [level for level in levels if isinstance(level, float)]
    clients = [level for level in levels if isinstance(level, int) and level]
    if rates and clients:
        raise ValueError(
            f"rates and numbers of clients are mixed: {units.canonical_rate(rates[0])!r} and "
            f"{clients[0]}; write all levels as one or as the other"
        )
    return Curve(open=bool(rates), points=tuple((t, float(level)) for t, level in points))


def _need(lasts_ns: int, name: str) -> None:
    if not lasts_ns:
        raise ValueError(f"`lasts` is missing: how long does this {name} last?")


def _own(lasts_ns: int, name: str, mend: str) -> None:
    if lasts_ns:
        raise ValueError(f"`lasts` does not go with {name}: {mend}")


class Ramp(Strict):
    """From one level to another, then level until the shape's end."""

    from_: Level = Field(alias="from")
    """The level at the beginning."""
    to: Level
    """The level at the end."""
    over: Duration | None = None
    """How long the ramp itself takes; unset: as long as the shape lasts."""

    def curve(self, lasts_ns: int) -> Curve:
        """Two points, or three."""
        _need(lasts_ns, "ramp")
        over = lasts_ns if self.over is None else self.over
        if over > lasts_ns:
            raise ValueError(
                "the ramp is over after the shape: lengthen `lasts`, or shorten `over`"
            )
        points: list[Point] = [(0, self.from_), (over, self.to)]
        if over < lasts_ns:
            points.append((lasts_ns, self.to))
        return _curve((self.from_, self.to), points)


class Stairs(Strict):
    """Levels at equal distances, one after the other, up or down."""

    from_: Level = Field(alias="from")
    """The first level."""
    to: Level
    """The last level."""
    steps: int = Field(ge=2, le=1000)
    """How many levels, the first and the last among them."""
    each: Lasting
    """How long each level lasts."""
    rise: Duration = 0
    """How long the way from one level to the next takes."""

    def curve(self, lasts_ns: int) -> Curve:
        """Two points a level."""
        _own(lasts_ns, "stairs", "they last `steps` times `each`")
        gap = (self.to - self.from_) / (self.steps - 1)
        clients = isinstance(self.from_ or self.to, int)
        if clients and gap != int(gap):
            raise ValueError(
                f"the steps are no whole clients: from {self.from_:g} to {self.to:g} in "
                f"{self.steps} levels is {gap:g} each; change `to` or `steps`"
            )
        points: list[Point] = []
        for k in range(self.steps):
            begin = k * (self.each + self.rise)
            level = self.to if k == self.steps - 1 else self.from_ + k * gap
            points += [(begin, level), (begin + self.each, level)]
        return _curve((self.from_, self.to), points)


class Spike(Strict):
    """A level, for a while another one, and the first again."""

    base: Level
    """The level before the spike and after it."""
    peak: Level
    """The level of the spike."""
    at: Duration
    """When the spike begins to rise."""
    hold: Duration = 0
    """How long it stays at its peak."""
    rise: Duration = 0
    """How long the way up takes."""
    fall: Duration = 0
    """How long the way down takes."""

    def curve(self, lasts_ns: int) -> Curve:
        """Six points."""
        _need(lasts_ns, "spike")
        if not self.rise + self.hold + self.fall:
            raise ValueError("this spike takes no time: give it `hold`, or `rise` and `fall`")
        times = [0, self.at, self.at + self.rise, self.at + self.rise + self.hold]
        times += [times[-1] + self.fall, lasts_ns]
        if times[-2] > lasts_ns:
            raise ValueError("the spike ends after the shape: lengthen `lasts`, or begin earlier")
        levels = [self.base, self.base, self.peak, self.peak, self.base, self.base]
        return _curve((self.base, self.peak), list(zip(times, levels, strict=True)))


class Sine(Strict):
    """A level that swings, such as the hours of a day.

    Straight lines between points on the sine; `error` is how far they may be from it, as a
    share of the swing. A whole period has the mass of the sine itself, whatever the error.
    """

    mean: Level
    """The level it swings about."""
    swing: Level
    """How far it goes above the mean and below it."""
    period: Lasting
    """How long one swing takes."""
    error: Fraction = Field(default=0.001, gt=0)
    """How far the straight lines may be from the sine, as a share of the swing."""
    phase: Fraction = 0.0
    """Where in the period it begins: 0 at the mean and rising, 75% at the lowest."""

    def curve(self, lasts_ns: int) -> Curve:
        """At least 4 points a period, as many as the error asks for."""
        _need(lasts_ns, "sine")
        if self.swing > self.mean:
            raise ValueError("the load would fall below 0: `swing` is at most `mean`")
        # A chord over 2 pi / n is at most (2 pi / n)^2 / 8 off; n a multiple of 4, so that
        # the highest, the lowest and the middle are points themselves.
        n = _QUARTERS * ceil(pi / sqrt(2 * self.error) / _QUARTERS)
        if lasts_ns / self.period * n > POINTS_MAX:
            raise ValueError(
                f"more than {POINTS_MAX:,} points: lengthen `period`, or allow a larger `error`"
            )
        first = self.phase * n
        inner = range(int(first) + 1, ceil(first + lasts_ns / self.period * n))
        times = [(k - first) / n * self.period for k in inner]
        points: list[Point] = [(0, self._at(first, n))]
        points += [
            (round(time), self._at(k, n)) for k, time in zip(inner, times, strict=True)
            if 0 < round(time) < lasts_ns
        ]  # fmt: skip
        points.append((lasts_ns, self._at(first + lasts_ns / self.period * n, n)))
        return _curve((self.mean, self.swing), points)

    def _at(self, k: float, n: int) -> float:
        # Rounded, so that the same place of every period has the same level.
        return max(self.mean + self.swing * round(sin(2 * pi * (k % n) / n), 12), 0.0)


class Soak(Strict):
    """One level for long, with a gentle way up and down where that is wanted."""

    level: Level
    """The level."""
    rise: Duration = 0
    """Time from nothing to the level. A stage that is judged for `drift` has none."""
    fall: Duration = 0
    """Time from the level to nothing, at the end."""

    def curve(self, lasts_ns: int) -> Curve:
        """Two points, or four."""
        _need(lasts_ns, "soak")
        if self.rise + self.fall > lasts_ns:
            raise ValueError("`rise` and `fall` take longer than the shape: lengthen `lasts`")
        points: list[Point] = [(0, 0), (self.rise, self.level)] if self.rise else [(0, self.level)]
        if self.fall:
            points += [(lasts_ns - self.fall, self.level), (lasts_ns, 0)]
        else:
            points.append((lasts_ns, self.level))
        return _curve((self.level,), points)
