"""One level of load, judged from its repeats: within the limits, beyond them, or open.

A level is an offered rate; a repeat is one measured stretch of it, whose answers are given
in the order of their intended arrival. Near saturation answers come in good and bad
stretches, so that a thousand of them say far less than a thousand independent ones, and
order-statistic intervals are too narrow. So the repeats are cut into batches, and the
number of answers is divided by the design effect

    d = m s^2 / (p (1 - p)),

with p the share of answers beyond the sample's own quantile (or of those that were no
good), s^2 the variance of that share between batches of m answers; d is at least 1. The
largest over several lengths of batches counts, and over thresholds with 1, 3 and 10 times
as many answers beyond them: a sample that by luck lacks a bad stretch would else have a low
quantile and a small d at once. The interval of the quantile then has the ranks of the
effective number of answers (Woodruff, JASA 47 (1952)), a share has Clopper and Pearson's
for it, and a factor (z/t)^2 pays for a d that comes from few batches (Korn and Graubard,
Survey Methodology 24 (1998)). `benchmarks/knee.py` says what coverage that has.

The rule: a repeat during which the generator was not fit proves nothing, and neither does a
number that is too small for its bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from scipy import special

from probe.stats.binomial import first_true
from probe.stats.quantiles import Failed, MoreThan, Value, nearest_rank

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from probe.stats.quantiles import Level

Status = Literal["within", "beyond", "open"]
Limit = Literal["latency", "errors", "goodput", "delivery", "probe"]

ALPHA_LOOK: Final = 0.03  # one-sided, of one look; see `Limits`
FAILED_NS: Final = int(np.iinfo(np.int64).max)
PARTS: Final = (20, 10, 5)  # batches that a repeat is cut into
BATCH_MIN: Final = 5  # answers; a repeat that is too short for that is one batch
TAILS: Final = (3, 10)  # times 1 - q beyond the threshold, besides once


@dataclass(frozen=True, slots=True)
class Limits:
    """What a level is held to: the q-quantile of its latency, its goodput, its delivery.

    Goodput is the share of the offered arrivals that were answered well; delivery the share
    of them whose events all came, judged only where a least is given. `alpha` is one-sided, of
    one look at one level. A search looks at several levels again and again, so it is below 5 %
    here for what the search says in the end to be right at 95 %.
    """

    latency_ns: int
    q: float = 0.99
    goodput_min: float = 0.98
    delivery_min: float | None = None
    alpha: float = ALPHA_LOOK

    def __post_init__(self) -> None:
        shares = [self.q, self.goodput_min, 0.5 if self.delivery_min is None else self.delivery_min]
        if self.latency_ns <= 0 or not all(0 < share < 1 for share in (*shares, self.alpha)):
            raise ValueError("a limit of time is positive, and a share is above 0 and below 1")


@dataclass(frozen=True, slots=True)
class Measured:
    """One repeat of a level; arrays of one length, in the order of intended arrival.

    `latency_ns` int64[n]: of each arrival what it took, `FAILED_NS` for one that failed, its
    bound for one that timed out (`censored` bool[n]). `good` bool[n] None: all that neither
    failed nor timed out. `delivered` bool[n] None: not looked at. `fit` is False where the
    generator gave out. Raises ValueError for lengths that differ or a negative latency.
    """

    rate_per_s: float
    latency_ns: NDArray[np.int64]
    censored: NDArray[np.bool_] | None = None
    good: NDArray[np.bool_] | None = None
    delivered: NDArray[np.bool_] | None = None
    fit: bool = True

    def __post_init__(self) -> None:
        if self.latency_ns.dtype != np.int64 or self.latency_ns.ndim != 1:
            raise ValueError("latencies are one row of whole ns")
        others = (self.censored, self.good, self.delivered)
        if any(each is not None and each.shape != self.latency_ns.shape for each in others):
            raise ValueError("the arrays of a repeat have one length")
        if np.any(self.latency_ns < 0) or self.rate_per_s <= 0:
            raise ValueError("a latency is not negative, and a rate is positive")

    @property
    def timed_out(self) -> NDArray[np.bool_]:
        """Which arrivals were given up on."""
        none = np.zeros(self.latency_ns.shape, np.bool_)
        return none if self.censored is None else self.censored

    @property
    def answered_well(self) -> NDArray[np.bool_]:
        """Which arrivals count as goodput."""
        ended: NDArray[np.bool_] = (self.latency_ns != FAILED_NS) & ~self.timed_out
        return ended if self.good is None else ended & self.good


@dataclass(frozen=True, slots=True)
class Share:
    """A share with its bounds, each one-sided at 1 - alpha; of nothing it is [0, 1]."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Judged:
    """What the repeats of one level show.

    `repeats` are those that count, `unfit` those that do not, `n` the answers, `n_effective`
    what they are worth. The quantile's `low` and `high` are one-sided bounds, None where n is
    too small for one. `broken` names the limits that are proven broken.
    """

    rate_per_s: float
    repeats: int
    unfit: int
    n: int
    n_effective: float
    estimate: Level | None
    low: Level | None
    high: Level | None
    goodput: Share
    delivery: Share | None
    broken: tuple[Limit, ...]
    status: Status


def judge_level(rate_per_s: float, measured: Sequence[Measured], limits: Limits) -> Judged:
    """Judge a level by all of its repeats together; they may be of different lengths."""
    fit = [each for each in measured if each.fit and len(each.latency_ns)]
    unfit = sum(not each.fit for each in measured)
    n = sum(len(each.latency_ns) for each in fit)
    if not n:
        nothing = Share(np.nan, 0.0, 1.0)
        return Judged(
            rate_per_s, 0, unfit, 0, 0.0, None, None, None, nothing, None, (), "open"
        )  # fmt: skip
    ranked = _Ranked.of(fit)
    rank = nearest_rank(n, limits.q)
    tails = [1 - times * (1 - limits.q) for times in TAILS if times * (1 - limits.q) <= 1 / 2]
    flags = [ranked.beyond(nearest_rank(n, q), fit) for q in (limits.q, *tails)]
    effective = n / max(_effect(each, limits.alpha) for each in flags)
    low, high = _ranks(n, effective, limits)
    bounds = (
        None if low is None else ranked.at_least(low),
        None if high is None else ranked.at_most(high),
    )
    goodput = _share([each.answered_well for each in fit], n / effective, limits.alpha)
    delivery = None
    if limits.delivery_min is not None:
        came = [each.delivered for each in fit if each.delivered is not None]
        delivery = _share(came, n / effective, limits.alpha)
    broken = _broken(bounds[0], goodput, delivery, limits)
    kept = (
        isinstance(bounds[1], Value)
        and bounds[1].ns <= limits.latency_ns
        and goodput.low >= limits.goodput_min
        and (delivery is None or delivery.low >= (limits.delivery_min or 0))
    )
    return Judged(
        rate_per_s,
        len(fit),
        unfit,
        n,
        effective,
        ranked.at_least(rank),
        *bounds,
        goodput,
        delivery,
        broken,
        "beyond" if broken else "within" if kept else "open",
    )


def _broken(
    low: Level | None, goodput: Share, delivery: Share | None, limits: Limits
) -> tuple[Limit, ...]:
    broken: list[Limit] = []
    match low:
        case Failed():
            broken.append("errors")
        case Value(ns) | MoreThan(ns) if ns > limits.latency_ns:
            broken.append("latency")
        case _:
            pass
    if goodput.high < limits.goodput_min:
        broken.append("goodput")
    if delivery is not None and delivery.high < (limits.delivery_min or 0):
        broken.append("delivery")
    return tuple(broken)


@dataclass(frozen=True, slots=True)
class _Ranked:
    """All answers by rank: in `early` a timeout ends at its bound, in `late` it never does."""

    early: NDArray[np.int64]
    late: NDArray[np.int64]

    @classmethod
    def of(cls, fit: Sequence[Measured]) -> _Ranked:
        early = np.concatenate([each.latency_ns for each in fit])
        late = np.concatenate([_never_ending(each) for each in fit])
        return cls(np.sort(early), np.sort(late))

    def at_least(self, rank: int) -> Level:
        """What the answer of this rank (from 1) surely took."""
        ns = int(self.early[rank - 1])
        if ns == FAILED_NS:
            return Failed()
        return Value(ns) if int(self.late[rank - 1]) == ns else MoreThan(ns)

    def at_most(self, rank: int) -> Level:
        """What it surely did not exceed, where that is known."""
        ns = int(self.late[rank - 1])
        return self.at_least(rank) if ns == FAILED_NS else Value(ns)

    def beyond(self, rank: int, fit: Sequence[Measured]) -> list[NDArray[np.bool_]]:
        """Of each repeat, which answers are beyond that rank; those of no end, if it has none."""
        ns = int(self.late[rank - 1])
        found = [_never_ending(each) for each in fit]
        return [each >= ns if ns == FAILED_NS else each > ns for each in found]


def _never_ending(each: Measured) -> NDArray[np.int64]:
    return np.where(each.timed_out, FAILED_NS, each.latency_ns)


def _effect(flags: Sequence[NDArray[np.bool_]], alpha: float) -> float:
    """By how much fewer answers there might as well be: the largest over lengths of batches."""
    p = float(np.concatenate(flags).mean())
    if p in {0.0, 1.0}:
        return 1.0
    effects = [1.0]
    for parts in PARTS:
        batches = [
            batch
            for each in flags
            for batch in np.array_split(each, parts if len(each) >= parts * BATCH_MIN else 1)
        ]
        if len(batches) < 2:  # noqa: PLR2004 -- one has no variance
            continue
        sizes = np.array([len(batch) for batch in batches])
        counts = np.array([int(batch.sum()) for batch in batches])
        # Of batches of about one size m: m s^2 = sum (k - m p)^2 / m / (batches - 1).
        spread = float((((counts - sizes * p) ** 2) / sizes).sum()) / (len(batches) - 1)
        scarce = special.stdtrit(len(batches) - 1, 1 - alpha) / special.ndtri(1 - alpha)
        effects.append(max(1.0, spread / (p * (1 - p))) * float(scarce) ** 2)
    return max(effects)


def _ranks(n: int, effective: float, limits: Limits) -> tuple[int | None, int | None]:
    """Ranks (from 1) of the one-sided bounds; None where the answers are too few for one.

    Those of `quantiles.interval_ranks`, with real numbers in place of whole ones.
    """
    q, alpha, part = limits.q, limits.alpha, effective / n

    def falls_short(rank: int) -> bool:  # P(B <= rank - 1) > alpha
        k = (rank - 1) * part
        return float(special.betaincc(k + 1, max(effective - k, 1e-9), q)) > alpha

    def reaches(rank: int) -> bool:  # P(B >= rank) <= alpha
        k = rank * part
        return float(special.betainc(k, effective - k + 1, q)) <= alpha

    low = first_true(falls_short, 1, n) - 1
    high = first_true(reaches, 1, n)
    return low if low >= 1 else None, high if high <= n else None


def _share(flags: Sequence[NDArray[np.bool_]], effect: float, alpha: float) -> Share:
    """The share of True, with bounds for the larger of its own design effect and `effect`.

    Bad answers that are few show no stretches of their own, and come in some all the same.
    """
    n = sum(len(each) for each in flags)
    if not n:
        return Share(np.nan, 0.0, 1.0)
    k = sum(int(each.sum()) for each in flags)
    effect = max(effect, _effect([~each for each in flags], alpha))
    k_effective, n_effective = k / effect, n / effect
    low = 0.0 if not k else float(
        special.betaincinv(k_effective, n_effective - k_effective + 1, alpha)
    )  # fmt: skip
    high = 1.0 if k == n else float(
        special.betaincinv(k_effective + 1, n_effective - k_effective, 1 - alpha)
    )  # fmt: skip
    return Share(k / n, low, high)
