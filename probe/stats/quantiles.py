"""Quantiles with their intervals, where timeouts and failures keep their ranks.

A sample is a value (int64 ns), a timeout (right-censored: more than its own bound) or a
failure (infinite). None is dropped and none is turned into a number: a quantile that
falls among the timeouts is "more than X", among the failures "failed". Estimates are
nearest ranks, X_(ceil(n q)), since an interpolated value was never seen.

With timeouts at mixed bounds the r-th smallest sample is only known to lie between L_(r)
(every timeout ends at its bound) and U_(r) (no timeout ever ends). Lower bounds are taken
from L and upper bounds from U, so that the interval holds wherever the timeouts truly end.

Interval: with B ~ Bin(n, q), l = max{l: P(B <= l-1) <= a}, u = min{u: P(B <= u-1) >= 1-a},
and X_(l) <= x_q <= X_(u), whatever the distribution (David and Nagaraja, Order Statistics,
3rd ed., section 7.1). It takes independent samples: see `series`. Percentiles are never
averaged; shards are merged as rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from probe.stats.binomial import ALPHA, first_true, tail_from, tail_to
from probe.stats.rates import Gate, Side, gate_rate

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Value:
    """A latency that was seen."""

    ns: int


@dataclass(frozen=True, slots=True)
class MoreThan:
    """Among the timeouts: at least `ns`, how much more is not known."""

    ns: int


@dataclass(frozen=True, slots=True)
class Failed:
    """Among the failures: it never succeeded."""


Level = Value | MoreThan | Failed


@dataclass(frozen=True, slots=True)
class Quantile:
    """The q-quantile of `n` samples (values, timeouts and failures together).

    `estimate` is None for no samples. `low` and `high` bound the quantile two-sided; None
    means that n is too small for a bound on that side. A `high` of MoreThan or Failed means
    that the upper bound lies beyond what was seen to end. `enough` is n >= `n_needed`, the
    smallest n that bounds both sides; below it no number is to be shown, but what is missing.
    """

    q: float
    n: int
    n_censored: int
    n_failed: int
    estimate: Level | None
    low: Level | None
    high: Level | None
    enough: bool
    n_needed: int


def quantile(
    values: ArrayLike,
    q: float,
    *,
    censored: ArrayLike = (),
    failed: int = 0,
    alpha: float = ALPHA,
) -> Quantile:
    """Nearest-rank quantile with its two-sided order-statistic interval at 1 - alpha.

    `values` int64[v] ns in any order, `censored` int64[c] the bound of each timeout in ns,
    `failed` how many failed; n = v + c + failed. Raises ValueError for q outside (0, 1),
    a negative count, or samples that are not whole numbers (NaN has no rank).
    """
    sample = _Sample.of(values, censored, failed)
    n = sample.n
    n_needed = smallest_n(q, alpha=alpha)
    low_rank, high_rank = interval_ranks(n, q, alpha=alpha)
    return Quantile(
        q=q,
        n=n,
        n_censored=len(sample.early) - len(sample.late),
        n_failed=failed,
        estimate=sample.level(nearest_rank(n, q)) if n else None,
        low=sample.level(low_rank) if low_rank is not None else None,
        high=sample.upper(high_rank) if high_rank is not None else None,
        enough=n >= n_needed,
        n_needed=n_needed,
    )


def gate_quantile(
    values: ArrayLike,
    q: float,
    limit_ns: int,
    *,
    censored: ArrayLike = (),
    failed: int = 0,
    alpha: float = ALPHA,
) -> Gate:
    """Judge "the q-quantile is at most `limit_ns`" by its one-sided 1 - alpha bounds.

    X_(u) <= limit exactly when P(B >= k) <= alpha for the k samples within the limit, so
    this is `gate_rate` of "at least q are within"; the Gate's rates are of samples within.
    A timeout at or above the limit is beyond it; one below is unknown, and then no number
    of samples may decide (`n_needed` None): the timeout has to be raised above the limit.
    """
    _check_q(q)
    sample = _Sample.of(values, censored, failed)
    bounds = _whole_numbers(censored)
    return gate_rate(
        int(np.searchsorted(sample.late, limit_ns, side="right")),
        sample.n,
        at_least=q,
        unknown=int(np.count_nonzero(bounds < limit_ns)),
        alpha=alpha,
    )


def nearest_rank(n: int, q: float) -> int:
    """Rank (from 1) of the q-quantile of n samples: ceil(n q), of q as it is written.

    In binary, 100 * 0.07 is above 7, and its ceiling would be 8.
    """
    _check_q(q)
    return math.ceil(n * Fraction(str(float(q))))


def interval_ranks(
    n: int, q: float, *, side: Side = "two", alpha: float = ALPHA
) -> tuple[int | None, int | None]:
    """Ranks (l, u), from 1, whose order statistics bound the q-quantile at 1 - alpha.

    "two" leaves alpha/2 outside each; "lower" and "upper" leave alpha outside the one
    bound asked for (the other is None). None also where n is too small for that bound.
    """
    _check_q(q)
    tail = alpha / 2 if side == "two" else alpha
    low = high = None
    if side != "upper":
        # The first l whose tail is too heavy, less one: the last that is light enough.
        last = first_true(lambda rank: tail_to(rank - 1, n, q) > tail, 1, n) - 1
        low = last if last >= 1 else None
    if side != "lower":
        # P(B >= u) <= tail says the same as P(B <= u-1) >= 1 - tail, and keeps its digits.
        first = first_true(lambda rank: tail_from(rank, n, q) <= tail, 1, n)
        high = first if first <= n else None
    return low, high


def smallest_n(q: float, *, side: Side = "two", alpha: float = ALPHA) -> int:
    """Smallest n whose interval has a finite bound on each side asked for.

    An upper bound takes q^n <= tail, a lower one (1-q)^n <= tail. Two-sided 95 %: p95 72,
    p99 368, p99.9 3,688; one-sided "upper": 59, 299, 2,995.
    """
    _check_q(q)
    tail = alpha / 2 if side == "two" else alpha
    upper = math.ceil(math.log(tail) / math.log(q))
    lower = math.ceil(math.log(tail) / math.log1p(-q))
    match side:
        case "two":
            return max(lower, upper)
        case "lower":
            return lower
        case "upper":
            return upper


@dataclass(frozen=True, slots=True)
class _Sample:
    """Sorted samples: `late` the values alone (U), `early` with the timeouts' bounds (L)."""

    late: NDArray[np.int64]
    early: NDArray[np.int64]
    n: int

    @classmethod
    def of(cls, values: ArrayLike, censored: ArrayLike, failed: int) -> _Sample:
        if failed < 0:
            raise ValueError(f"failed is {failed}; allowed: 0 or more")
        late = np.sort(_whole_numbers(values))
        bounds = _whole_numbers(censored)
        early = np.sort(np.concatenate([late, bounds])) if len(bounds) else late
        return cls(late, early, len(early) + failed)

    def level(self, rank: int) -> Level:
        """What is surely reached by the sample of this rank (from 1)."""
        if rank > len(self.early):
            return Failed()
        reached = int(self.early[rank - 1])
        exact = rank <= len(self.late) and int(self.late[rank - 1]) == reached
        return Value(reached) if exact else MoreThan(reached)

    def upper(self, rank: int) -> Level:
        """What the sample of this rank (from 1) surely does not exceed, where that is known."""
        return Value(int(self.late[rank - 1])) if rank <= len(self.late) else self.level(rank)


def _whole_numbers(samples: ArrayLike) -> NDArray[np.int64]:
    array = np.asarray(samples)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"samples are one row of whole ns, not {array.dtype} of {array.shape}")
    return array.astype(np.int64, copy=False)


def _check_q(q: float) -> None:
    if not 0 < q < 1:
        raise ValueError(f"q is {q}; allowed: above 0, below 1, such as 0.99")
