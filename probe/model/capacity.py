"""Capacity: how a stage climbs to the knee of a service, and what each level is held to.

A level is held for `settle` and then measured for `lasts`. What a level counts is `of`:

    connects     clients that come per second, each with its script (open load)
    messages     questions per second, over a fixed number of connections that stay
    connections  connections that stay, each asked by a ping every `ping_every`

Connections that stay are asked at instants that are fixed beforehand, whether or not the
answer before has come. Which level comes next is found out by `probe.stats.knee` from what
those before it showed, so that the plan has no clients of it: their numbers, tokens and
instants follow from the seed and from the number of the level alone.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import numpy as np
from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    WithJsonSchema,
    field_serializer,
    model_validator,
)

from probe.model.arrivals import open_arrivals
from probe.model.base import Duration, Fraction, Name, Quantile, Rate, Strict
from probe.model.script import Script, Step
from probe.units import canonical_rate, rate_hz

if TYPE_CHECKING:
    from numpy.typing import NDArray

S: Final = 1_000_000_000
ALPHA: Final = 0.05
SPARE: Final = 5 / 3  # of the least number of clients with which a quantile has an upper bound
LEVELS_MAX: Final = 80
LEVEL_MAX: Final = 1 << 19
"""Clients of one level; numbers of sessions are handed out level by level, as many to each."""
QUESTIONS_MAX: Final = 1 << 23
"""Questions of one level."""
_UNTIL: Final = re.compile(r"\s*(p[0-9.]+)\s*<=?\s*([0-9.]+\s*[a-zµ]+)\s*", re.ASCII)
_OF_STAYING: Final = ("opening", "patience", "spacing")
_ONLY: Final = {
    "connects": ("phase", "script", "users"),
    "messages": ("connections", *_OF_STAYING),
    "connections": ("ping_every", *_OF_STAYING),
}
"""Which keys belong to one way alone."""


def _level(text: str | float) -> float:
    if isinstance(text, int) and not isinstance(text, bool) and text > 0:
        return float(text)
    return rate_hz(text)


Level = Annotated[
    float,
    BeforeValidator(_level),
    PlainSerializer(canonical_rate),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^\d+(\.\d+)?/(s|min|h)$"},
                {"type": "integer", "minimum": 1},
            ],
            "examples": ["50/s", 500],
        }
    ),
]
"""A rate, or of connections how many."""


class Capacity(Strict):
    """Stairs of load, then bisection, until the knee lies between two near levels."""

    of: Literal["connects", "messages", "connections"] = "connects"
    """What a level counts: connects per second, messages per second, or open connections."""
    until: str | None = None
    """Short for `quantile` and `within`, as in `"p99<500ms"`."""
    phase: Literal["tcp", "upgrade", "ready", "connect"] = "connect"
    """Of connects: which latency is held to it; `connect` is ready minus the intended start.
    Of messages and connections it is the answer minus the intended question."""
    quantile: Quantile = 0.99
    """Which quantile of the latency is held to `within`."""
    within: Duration = 500_000_000
    """The limit of that quantile."""
    goodput: Fraction = 0.98
    """Share of the clients offered that completed their script, or of the questions that were
    answered within `patience`."""
    begin: Level = 50.0
    """The first level."""
    most: Level = 10_000.0
    """No level is above it, nor above what the target allows (`safety`)."""
    factor: float = Field(default=1.5, gt=1, le=10)
    """From one stair to the next."""
    closeness: float = Field(default=1.1, gt=1, le=10)
    """The knee is found when the two levels that bound it are this near, as a ratio."""
    repeats: int = Field(default=3, ge=1, le=100)
    """Of each of those two; a level that stays open gets up to twice as many and two."""
    settle: Duration = 2 * S
    """What comes in this time of a level is not measured."""
    lasts: Duration = 10 * S
    """How long each repeat is measured. Low rates take longer: a p99 wants 500 answers."""
    pause: Duration = 500_000_000
    """Between two levels."""
    connections: int = Field(default=50, ge=1, le=LEVEL_MAX)
    """Of messages: over how many connections they go."""
    ping_every: Duration = 5 * S
    """Of connections: how often each is asked, on average."""
    spacing: Literal["poisson", "even"] = "poisson"
    """How questions are spaced: independent of each other, or even over all and in turn."""
    opening: Rate = 200.0
    """How fast connections that are missing at a level are opened before it begins."""
    patience: Duration = 5 * S
    """A question that has no answer by then counts as unanswered."""
    script: Script = "visit"
    """Of connects: what each client does."""
    finally_: tuple[Step, ...] = Field(default=(), alias="finally")
    """Clean-up steps: played at the end of every session, however it went."""
    endpoints: tuple[Name, ...] = ()
    """Endpoints in round robin; none given: all of the target's."""
    present: Name = "default"
    """Presentation of the dialect that these clients use."""
    users: int | None = Field(default=None, ge=1)
    """Of connects: how many users all clients are, in round robin; unset: each is its own."""

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

    @model_validator(mode="before")
    @classmethod
    def _counts_in_its_unit(cls, data: Any) -> Any:
        """Told beforehand: once they are read, a rate and a number look the same."""
        of = data.get("of", "connects") if isinstance(data, dict) else None
        if of not in _ONLY:
            return data
        for name in sorted({"begin", "most"} & data.keys()):
            if isinstance(data[name], str) == (of == "connections"):
                want = "a number, such as 500" if of == "connections" else "a rate, such as '50/s'"
                raise ValueError(f"of {of}, `{name}` is {want}; found {data[name]!r}")
        return data

    @model_validator(mode="after")
    def _speaks_of_one_thing(self) -> Capacity:
        for name in sorted({name for names in _ONLY.values() for name in names}):
            changed = getattr(self, name) != type(self).model_fields[name].default
            if changed and name not in _ONLY[self.of]:
                raise ValueError(f"`{name}` says nothing of levels of {self.of}: drop it")
        return self

    @model_validator(mode="after")
    def _leads_somewhere(self) -> Capacity:
        if not (self.begin and self.lasts and self.opening and self.ping_every and self.patience):
            raise ValueError("a level, a time or `opening` is 0: nothing would be measured")
        if self.begin > self.most:
            raise ValueError("`begin` is above `most`: there is no level")
        asked = self.asks_per_s(self.most) * self.span_ns(self.most) / S
        for what, number, bound in (
            ("clients", self.most if self.of == "connections" else 0, LEVEL_MAX),
            ("questions", asked, QUESTIONS_MAX) if self.stays else ("clients", asked, LEVEL_MAX),
        ):
            if number > bound:
                raise ValueError(
                    f"the highest level would bring over {bound:,} {what}: lower `most`, or "
                    "shorten `lasts`"
                )
        return self

    @field_serializer("begin", "most")
    def _written(self, level: float) -> str | int:
        return round(level) if self.of == "connections" else canonical_rate(level)

    @property
    def stays(self) -> bool:
        """Whether connections stay and are asked, in place of clients that come and go."""
        return self.of != "connects"

    @property
    def unit(self) -> str:
        """Of a level, as it is written behind the number."""
        return {"connects": "/s", "messages": "messages/s", "connections": "connections"}[self.of]

    def shown(self, level: float) -> str:
        """A level as people read it: "50/s", "50 messages/s", "1,200 connections"."""
        match self.of:
            case "connects":
                return canonical_rate(level)
            case "messages":
                count, _, per = canonical_rate(level).partition("/")
                return f"{count} messages/{per}"
            case "connections":
                return f"{round(level):,} connections"

    def clients(self, level: float) -> int:
        """How many connections stay at a level."""
        return round(level) if self.of == "connections" else self.connections

    @property
    def peak(self) -> tuple[float, int]:
        """Most arrivals of clients per second, and most clients at one time."""
        return (self.opening, self.clients(self.most)) if self.stays else (
            self.most, round(self.most)
        )  # fmt: skip

    def highest(self, rate_max: float | None, clients_max: int | None) -> float:
        """`most`, or what the target allows where that is less; it says nothing of messages."""
        allowed = {"connects": rate_max, "connections": clients_max}.get(self.of)
        return min(self.most, math.inf if allowed is None else float(allowed))

    def asks_per_s(self, level: float) -> float:
        """What is offered at a level: clients or questions, per second."""
        return level * S / self.ping_every if self.of == "connections" else level

    def span_ns(self, level: float) -> int:
        """How long a level is offered its load: until it has settled, and while it is measured."""
        least = SPARE * math.log(ALPHA) / math.log(self.quantile)
        return self.settle + max(self.lasts, math.ceil(least / self.asks_per_s(level) * S))

    def arrivals(self, level: float, seed: tuple[int, int, int]) -> NDArray[np.int64]:
        """Offsets (ns, ascending) of the clients of a level; of those that stay, from its opening.

        `seed` is that of the plan, the place of the stage and the number of the level.
        """
        if self.stays:
            return np.arange(self.clients(level)) * round(S / self.opening)
        return self._instants(level, self.span_ns(level), seed)[:LEVEL_MAX]

    def questions(
        self, level: float, seed: tuple[int, int, int]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Offsets (ns, ascending) of the questions of a level, and which connection is asked."""
        among, span = self.clients(level), self.span_ns(level)
        offsets = self._instants(self.asks_per_s(level), span, seed)[:QUESTIONS_MAX]
        if self.spacing == "even":
            return offsets, np.arange(len(offsets)) % among
        # One stream dealt out at random is a Poisson stream for each.
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([*seed, 1])))
        return offsets, rng.integers(0, among, len(offsets))

    def _instants(
        self, rate_per_s: float, span_ns: int, seed: tuple[int, int, int]
    ) -> NDArray[np.int64]:
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
        curve = [(0, rate_per_s), (span_ns, rate_per_s)]
        return open_arrivals(curve, even=self.spacing == "even", rng=rng)
