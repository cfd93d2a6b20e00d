"""Shrinking a race: does a smaller one still show the anomaly, and what is tried next.

Theory of operation. At one offset and its control the race is tried as it is, a fixed number of
pairs; only where that shows the anomaly (`confirmed`, one-sided Fisher at 1 %) variants of it
follow, one removal at a time. A variant is tried in at most `LOOKS` blocks of fresh pairs and
judged after each:

- *shows*: Fisher at ALPHA / LOOKS (Bonferroni over the looks), so that a variant without any
  difference between the two offsets is taken for one that shows with at most 1 %;
- *spoilt*: it goes wrong at the control more often than the race as it is does;
- *gone*: so few anomalies at the offset that one which came half as often as before, counted
  above the background, would have shown more, but for at most 5 % (BETA over the looks);
- *void*: most of its trials told nothing, since an actor did not come to its gate;
- *open*: none of these, which at the last look means undecided.

A removal is made only where its variant shows. Because many are tried, what is left at the end is
tried once more on fresh pairs, as many as the race had, and told by those alone.

The rule: engine and judge call the same `weigh`, and what was not tried is never called minimal.
Sources: Fisher as in `trials`; delta debugging as in `model.shrinking`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from probe.model.shrinking import candidates, joined
from probe.model.shrinking import variant as made
from probe.stats.binomial import tail_to
from probe.stats.trials import ALPHA_CONFIRM, confirmed

if TYPE_CHECKING:
    from probe.model.race import Race, Told
    from probe.model.shrinking import Removal, Removed

LOOKS: Final = 4
BETA: Final = 0.05
RISEN: Final = 0.05
VOIDS_MAX: Final = 4  # in a row, from the first trial of a variant on

Weighed = Literal["shows", "spoilt", "gone", "void", "open"]
Phase = Literal["baseline", "removal", "confirm", "over"]


class Counts(NamedTuple):
    """Anomalies of trials at the offset, of those at the control, and trials that told nothing."""

    k1: int = 0
    n1: int = 0
    k0: int = 0
    n0: int = 0
    void: int = 0

    def plus(self, told: Told, *, at: bool) -> Counts:
        """One trial more."""
        if told == "void":
            return self._replace(void=self.void + 1)
        bad = told != "fine"
        if at:
            return self._replace(k1=self.k1 + bad, n1=self.n1 + 1)
        return self._replace(k0=self.k0 + bad, n0=self.n0 + 1)

    @property
    def trials(self) -> int:
        """All of them."""
        return self.n1 + self.n0 + self.void


NONE: Final = Counts()


def shown(counts: Counts, *, alpha: float = ALPHA_CONFIRM) -> tuple[bool, float]:
    """Does it go wrong more often at the offset than at the control: (yes, p-value)."""
    return confirmed(*counts[:4], alpha=alpha)


def risen(counts: Counts, baseline: Counts, *, alpha: float = RISEN) -> bool:
    """Whether it goes wrong at the control more often than the race as it is."""
    return confirmed(counts.k0, counts.n0, baseline.k0, baseline.n0, alpha=alpha)[0]


def weigh(counts: Counts, baseline: Counts) -> Weighed:
    """What the trials of one variant say; see the module. `baseline` has shown the anomaly."""
    if counts.void > counts.n1 + counts.n0:
        return "void"
    if shown(counts, alpha=ALPHA_CONFIRM / LOOKS)[0]:
        return "spoilt" if risen(counts, baseline) else "shows"
    half = (baseline.k1 / baseline.n1 + baseline.k0 / baseline.n0) / 2
    if counts.n1 and tail_to(counts.k1, counts.n1, half) <= BETA / LOOKS:
        return "gone"
    if risen(counts, baseline, alpha=BETA / LOOKS):
        return "spoilt"
    return "open"


@dataclass(slots=True)
class Shrinker:
    """What is tried next, trial by trial. `race` has an `at`, and `shrink` trials in all.

    `removed` was taken away so far, `trying` is what is being tried: a race without those.
    """

    race: Race
    phase: Phase = "baseline"
    removed: Removed = ()
    trying: Removed = ()
    counts: Counts = NONE
    baseline: Counts = NONE
    why: str = ""
    """Why it ended before all was tried, or ""."""
    _looks: int = 0
    _made: int = 0
    _tried: set[frozenset[Removal]] | None = None

    @property
    def pairs(self) -> int:
        """Pairs of trials of the race as it is, of its smallest, and at most of each variant."""
        return self.race.confirm // 2

    def variant(self) -> Race:
        """The race that is being tried."""
        found = made(self.race, self.trying)
        assert found is not None
        return found

    def block(self) -> int:
        """How many pairs of trials are wanted next of what is being tried; 0: it is over."""
        match self.phase:
            case "over":
                return 0
            case "removal":
                size = -(-self.pairs // LOOKS)
                return min(size, self.pairs - self._looks * size)
            case _:
                return self.pairs

    def tell(self, told: Told, *, at: bool) -> None:
        """What one trial told, at the offset or at its control."""
        self.counts = self.counts.plus(told, at=at)
        self._made += 1

    @property
    def hopeless(self) -> bool:
        """Whether the rest of a block would only tell nothing, too."""
        return self.counts.void >= VOIDS_MAX and self.counts.trials == self.counts.void

    def look(self) -> None:
        """A block is over: decide, and go on to what comes next."""
        match self.phase:
            case "baseline":
                self.baseline = self.counts
                self._tried = {frozenset()}
                if shown(self.baseline)[0]:
                    self._next()
                else:
                    self.phase = "over"
            case "removal":
                self._looks += 1
                found = weigh(self.counts, self.baseline)
                if found == "shows":
                    self.removed = self.trying
                if found != "open" or self.block() <= 0:
                    self._next()
                else:
                    self._spare()
            case _:
                self.phase = "over"

    def finish(self, why: str) -> None:
        """Try no further removal; what is left is still confirmed."""
        self.why = self.why or why
        if self.phase == "removal":
            self._begin("confirm" if self.removed else "over", self.removed)

    def _next(self) -> None:
        assert self._tried is not None
        left = candidates(self.race, self.removed, self._tried)
        if not left:
            self._begin("confirm" if self.removed else "over", self.removed)
            return
        self._begin("removal", joined(self.removed, left[0]))
        self._tried.add(frozenset(self.trying))
        self._spare()

    def _spare(self) -> None:
        """Leave as many trials as the last word takes."""
        if self._made + 2 * (self.block() + self.pairs) > self.race.shrink:
            self.finish("the trials that were planned are used up")

    def _begin(self, phase: Phase, trying: Removed) -> None:
        self.phase, self.trying = phase, trying
        self.counts, self._looks = NONE, 0
