"""What a case is: a defect, the scenario that ought to see it, and what it ought to say.

A case is tried at two doses: in full, where every chance is taken, and at the least that
the scenario claims to see. `orders` spells the cases out into single runs.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Level = Literal["full", "least", "healthy"]
HEALTHY: Final = "healthy"
TARGET: Final = "lab"
REPEATS: Final = 10


@dataclass(frozen=True, slots=True)
class Count:
    """How the finding's count compares with the ledger's hits, and why.

    `low` and `high` bound count / hits; None: unbounded. `why` says what makes it so.
    """

    low: float | None
    high: float | None
    why: str

    @property
    def compared(self) -> bool:
        """Whether there is anything to compare."""
        return self.low is not None or self.high is not None

    @property
    def word(self) -> str:
        """The relation as it stands in tables."""
        match self.low, self.high:
            case None, None:
                return "not compared"
            case float(low), None:
                return "at least" if low == 1 else f"at least {low:g} times"
            case None, float(high):
                return "at most" if high == 1 else f"at most {high:g} times"
            case low, high:
                if low == high:
                    return "equal" if low == 1 else f"{low:g} times"
                return f"{low:g} to {high:g} times"

    def holds(self, count: int, hits: int) -> bool:
        """Whether a finding's count fits the hits."""
        low = 0.0 if self.low is None else self.low * hits
        return low <= count and (self.high is None or count <= self.high * hits)


@dataclass(frozen=True, slots=True)
class Dose:
    """How much of a defect. `value` as it stands after NAME=; `sees` says why n is enough.

    `sets` come after those of the case and win over them.
    """

    value: str
    sees: str
    sets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """One defect of the lab.

    `least` is None for a switch, of which there is no less. Any of `codes` shows the defect;
    `beside` may come with it (a session that it breaks has failed, too). `drawn`: the ledger
    has a line for each hit, so a run without one shows nothing. `restarts` is how many there
    are, where the scenario restarts the target. `stage`: the one stage that is run; "": all.
    """

    defect: str
    scenario: str
    codes: tuple[str, ...]
    full: Dose
    least: Dose | None
    count: Count
    sets: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    restarts: int | None = None
    drawn: bool = True
    stage: str = ""

    def dose(self, level: Level) -> Dose | None:
        """What is given at that level, None for nothing."""
        return {"full": self.full, "least": self.least}.get(level)

    @property
    def allowed(self) -> frozenset[str]:
        """Every code that may stand in a verdict of this case."""
        return frozenset(self.codes) | frozenset(self.beside)


@dataclass(frozen=True, slots=True)
class Sound:
    """The healthy lab under one scenario: any finding is a false alarm."""

    scenario: str
    sets: tuple[str, ...] = ()
    restarts: int | None = None
    repeats: int = REPEATS


@dataclass(frozen=True, slots=True)
class Order:
    """One run: what is asked for, and by which name its result is kept."""

    case: str
    level: Level
    scenario: str
    seed: int
    defect: str = ""
    """NAME=VALUE, "" for the healthy lab."""
    sets: tuple[str, ...] = ()
    restarts: int | None = None
    stage: str = ""

    @property
    def name(self) -> str:
        """What people call it, and its folder."""
        return f"{self.case}-{self.level}-{self.seed}"

    @property
    def words(self) -> tuple[str, ...]:
        """The arguments of `probe`; without the folder that the run goes to."""
        words = ["run", self.scenario, "--target", TARGET, "--seed", str(self.seed)]
        for each in self.sets:
            words += ["--set", each]
        if self.restarts is not None:
            words += ["--restarts", str(self.restarts)]
        if self.stage:
            words += ["--stage", self.stage]
        if self.defect:
            words += ["--defect", self.defect]
        return tuple(words)

    @property
    def command(self) -> str:
        """The same as a person types it."""
        return shlex.join(("probe", *self.words))


def orders(
    cases: Iterable[Case],
    sound: Iterable[Sound],
    *,
    levels: Sequence[Level],
    repeats: int | None,
) -> list[Order]:
    """Every run, seed by seed, so that a certificate broken off has a bit of everything.

    `repeats` is how often each is run; None: `REPEATS` times, or as often as the healthy
    scenario says. Seeds count from 1, so more repeats go on from fewer.
    """
    found: list[Order] = []
    for case in cases:
        for level in levels:
            dose = case.dose(level)
            if dose is not None:
                first = Order(
                    case.defect,
                    level,
                    case.scenario,
                    1,
                    f"{case.defect}={dose.value}",
                    (*case.sets, *dose.sets),
                    case.restarts,
                    case.stage,
                )
                found += _seeds(first, repeats or REPEATS)
    for each in sound:
        if HEALTHY in levels:
            first = Order(each.scenario, HEALTHY, each.scenario, 1, "", each.sets, each.restarts)
            found += _seeds(first, repeats or each.repeats)
    return sorted(found, key=lambda order: order.seed)


def _seeds(order: Order, repeats: int) -> list[Order]:
    return [replace(order, seed=seed) for seed in range(1, repeats + 1)]
