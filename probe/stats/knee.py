"""At which rate does a service leave its limits? A search by stairs, then by bisection.

    stairs   the first rate, then each `factor` times the last, until one is beyond; down
             from the first where none was within
    bisect   between the highest rate proven within and the lowest proven beyond, in ratios;
             a level that is open is repeated, and where it stays open both of its sides are
             looked at
    confirm  the two rates that bound the knee have `repeats_min` repeats, and there are
             `levels_min` levels in all, for the curve

The rule: the knee lies between the highest rate *proven* within and the lowest *proven*
beyond, and nothing else is said of it. Where the generator gave out, the level counts as an
end of the search and never as beyond: without a rate that is, the answer is "at least".
Deterministic for what it is told. The caller runs each rate for a stretch that is long
against the memory of the service, after a while to settle (`benchmarks/knee.py`).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from probe.stats.levels import judge_level

if TYPE_CHECKING:
    from probe.stats.levels import Judged, Limit, Limits, Measured

State = Literal["found", "at_least", "at_most", "unknown"]
Why = Literal["resolved", "open", "generator", "ceiling", "floor", "budget", "inconsistent"]

DOWN_MAX: Final = 8  # stairs below the first rate
UNFIT_MAX: Final = 3  # repeats in which the generator gave out, until it is taken as its end
DIGITS: Final = 4  # of a rate that was computed
CLOSENESS_MIN: Final = 1.01


@dataclass(frozen=True, slots=True)
class Course:
    """How to search. Rates are arrivals (or whatever is offered) per second.

    With `whole` they are whole numbers, and may count something else, such as connections.
    `most_per_s` is never exceeded. A knee is resolved when the rates that bound it are at
    most `closeness` apart, as a ratio, or nothing lies between them. Raises ValueError for a
    course that leads nowhere.
    """

    first_per_s: float
    most_per_s: float
    factor: float = 1.5
    closeness: float = 1.1
    levels_min: int = 6
    repeats_min: int = 3
    repeats_max: int = 8
    runs_max: int = 80
    whole: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.first_per_s <= self.most_per_s < math.inf:
            raise ValueError(f"from {self.first_per_s} to {self.most_per_s}: no rate to begin with")
        if self.factor <= 1 or self.closeness < CLOSENESS_MIN:
            raise ValueError(f"rates are told apart by a factor of {CLOSENESS_MIN} at least")
        if not 1 <= self.repeats_min <= self.repeats_max or self.levels_min < 1:
            raise ValueError("at least one level and one repeat, and at most no fewer than least")

    def rounded(self, rate_per_s: float) -> float:
        """A rate that was computed, as a person would write it."""
        if self.whole:
            return max(1.0, round(rate_per_s))
        return float(f"{rate_per_s:.{DIGITS}g}")


@dataclass(frozen=True, slots=True)
class Knee:
    """What is known of the knee: it lies from `low_per_s` to `high_per_s`.

    found: both are proven. at_least: nothing was beyond. at_most: nothing was within.
    unknown: neither. `first` names the limits that the lowest rate beyond is proven to break,
    or the probe where that gave out; () where nothing did. `why` is why the search is over,
    None while it goes on. `consistent` is False where a rate beyond lies below one that is
    within; the bounds then enclose both.
    """

    state: State
    low_per_s: float | None
    high_per_s: float | None
    first: tuple[Limit, ...]
    why: Why | None
    consistent: bool


class Search:
    """One search: ask `next` for a rate, run one repeat of it, `tell` what was measured.

    A repeat is told at the rate that was asked for; one at another rate is a level of its own.
    """

    def __init__(self, limits: Limits, course: Course) -> None:
        self.limits = limits
        self.course = course
        self._measured: dict[float, list[Measured]] = {}
        self._judged: dict[float, Judged] = {}
        self._runs = 0
        self._why: Why | None = None

    @property
    def levels(self) -> tuple[Judged, ...]:
        """All levels so far, by rate."""
        return tuple(self._judged[rate] for rate in sorted(self._judged))

    def tell(self, measured: Measured) -> None:
        """Take one repeat of a level."""
        rate = measured.rate_per_s
        self._runs += 1
        self._measured.setdefault(rate, []).append(measured)
        self._judged[rate] = judge_level(rate, self._measured[rate], self.limits)

    def next(self) -> float | None:
        """The rate of the next repeat; None when the search is over."""
        if self._why is None and self._runs >= self.course.runs_max:
            self._why = "budget"
        if self._why is not None:
            return None
        for step in (
            self._stair,
            self._stair_down,
            self._settled,
            self._halved,
            self._confirmed,
            self._filled,
        ):
            rate = step()
            if rate is not None or self._why is not None:
                return rate
        self._why = self._reason()
        return None

    def knee(self) -> Knee:
        """What is known so far."""
        low, high = self._bounds()
        first: tuple[Limit, ...] = ()
        if high is not None:
            first = self._judged[high].broken
        elif any(self._gave_out(level) for level in self.levels):
            first = ("probe",)
        states: dict[tuple[bool, bool], State] = {
            (True, True): "found",
            (True, False): "at_least",
            (False, True): "at_most",
            (False, False): "unknown",
        }
        state = states[low is not None, high is not None]
        return Knee(state, low, high, first, self._why, self._is_consistent())

    def _stair(self) -> float | None:
        """Up until a level is beyond or the generator gives out."""
        if not self._judged:
            return self.course.first_per_s
        top = self.levels[-1]
        if top.status == "beyond" or self._gave_out(top):
            return None
        if self._may_repeat(top, self.course.repeats_min):
            return top.rate_per_s
        if top.rate_per_s >= self.course.most_per_s:
            return None
        up = self.course.rounded(top.rate_per_s * self.course.factor)
        return min(up if up > top.rate_per_s else up + 1, self.course.most_per_s)

    def _stair_down(self) -> float | None:
        """Down until a level is within, where none was on the way up."""
        bottom = self.levels[0]
        if any(level.status == "within" for level in self.levels):
            return None
        # Further down there are fewer answers to prove anything with.
        if self._may_repeat(bottom, self.course.repeats_max):
            return bottom.rate_per_s
        if bottom.rate_per_s < self.course.first_per_s / self.course.factor**DOWN_MAX:
            self._why = "generator" if self._gave_out(bottom) else "floor"
            return None
        down = self._new(bottom.rate_per_s / self.course.factor)
        self._why = "floor" if down is None else None
        return down

    def _settled(self) -> float | None:
        """A level that contradicts another, or that is open between the bounds, is repeated."""
        if not self._is_consistent():
            within, beyond = self._extremes()
            torn = [
                level
                for level in self.levels
                if beyond <= level.rate_per_s <= within and level.status != "open"
            ]
            fewest = min(torn, key=lambda level: level.repeats)
            if fewest.repeats < self.course.repeats_max:
                return fewest.rate_per_s
            self._why = "inconsistent"
            return None
        for level in self._between():
            if self._may_repeat(level, self.course.repeats_max):
                return level.rate_per_s
        return None

    def _halved(self) -> float | None:
        """The middle of what is not known yet: of the wider side of what stays open."""
        low, end = self._ends()
        inside = self._between()
        if low is None or end is None:
            return None
        if not inside:
            gap, least = (low, end), self.course.closeness
        else:
            sides = (low, inside[0].rate_per_s), (inside[-1].rate_per_s, end)
            gap, least = max(sides, key=_ratio), math.sqrt(self.course.closeness)
        return self._new(math.sqrt(gap[0] * gap[1])) if _ratio(gap) > least else None

    def _confirmed(self) -> float | None:
        """A rate that bounds the knee has its repeats, or it may be open again."""
        for rate in self._bounds():
            if rate is None or self._judged[rate].repeats >= self.course.repeats_min:
                continue
            if self._judged[rate].unfit < UNFIT_MAX:
                return rate
            self._why = "generator"
        return None

    def _filled(self) -> float | None:
        """Enough levels for a curve: in the middle of the widest gap, or below the lowest."""
        if len(self._judged) >= self.course.levels_min:
            return None
        low, _ = self._bounds()
        rates = [level.rate_per_s for level in self.levels if low and level.rate_per_s <= low]
        gaps = list(itertools.pairwise(rates))
        widest = max(gaps, key=_ratio, default=None)
        if widest is None or _ratio(widest) < self.course.factor:
            return self._new(self.levels[0].rate_per_s / self.course.factor)
        return self._new(math.sqrt(widest[0] * widest[1]))

    def _new(self, rate_per_s: float) -> float | None:
        """The rate, rounded; None where that is a level which is known."""
        rate = self.course.rounded(rate_per_s)
        return None if rate in self._judged else rate

    def _reason(self) -> Why:
        low, end = self._ends()
        beyond = self._bounds()[1]
        if end is None:
            return "open" if self._between() else "ceiling"
        if low is not None and beyond is not None:
            next_to_it = self.course.whole and beyond - low <= 1
            if next_to_it or beyond / low <= self.course.closeness:
                return "resolved"
        return "generator" if beyond is None else "open"

    def _may_repeat(self, level: Judged, most: int) -> bool:
        return level.status == "open" and level.repeats < most and not self._gave_out(level)

    @staticmethod
    def _gave_out(level: Judged) -> bool:
        return level.status == "open" and level.unfit >= UNFIT_MAX

    def _extremes(self) -> tuple[float, float]:
        """The highest rate within (0 for none) and the lowest beyond (inf for none)."""
        rates = {
            status: [level.rate_per_s for level in self.levels if level.status == status]
            for status in ("within", "beyond")
        }
        return max(rates["within"], default=0.0), min(rates["beyond"], default=math.inf)

    def _is_consistent(self) -> bool:
        within, beyond = self._extremes()
        return within < beyond

    def _bounds(self) -> tuple[float | None, float | None]:
        """The rates that are proven and enclose the knee, each None if there is none."""
        within, beyond = self._extremes()
        lows = [
            level.rate_per_s
            for level in self.levels
            if level.status == "within" and level.rate_per_s < beyond
        ]
        highs = [
            level.rate_per_s
            for level in self.levels
            if level.status == "beyond" and level.rate_per_s > within
        ]
        return max(lows, default=None), min(highs, default=None)

    def _ends(self) -> tuple[float | None, float | None]:
        """The same, but the generator may have given out below what is beyond."""
        low, high = self._bounds()
        ends = [level.rate_per_s for level in self.levels if self._gave_out(level)]
        ends = [rate for rate in ends if low is None or rate > low]
        return low, min(ends if high is None else [*ends, high], default=None)

    def _between(self) -> list[Judged]:
        """The open levels between the two ends."""
        low, end = self._ends()
        if low is None:
            return []
        most = math.inf if end is None else end
        return [level for level in self.levels if low < level.rate_per_s < most]


def _ratio(gap: tuple[float, float]) -> float:
    return gap[1] / gap[0]
