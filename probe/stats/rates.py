"""Rates: exact binomial intervals, gates over them, bounds from zero hits, many gates at once.

The unit that is counted must be independent: restarts in a cold start, sessions where
events cluster by session. Counting events instead makes every interval here too narrow.

A trial may be *unknown* (it may have gone either way). It is never dropped: a PASS has to
hold if all unknown trials went wrong, a FAIL if all of them went right.

Sources: Clopper and Pearson, Biometrika 26 (1934); Hanley and Lippman-Hand, JAMA 249
(1983), the rule of three; Holm, Scandinavian Journal of Statistics 6 (1979).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import special

from probe.stats.binomial import ALPHA, first_true, tail_from, tail_to

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

N_NEEDED_MAX = 10**9

Side = Literal["two", "lower", "upper"]
Decision = Literal["pass", "fail", "undecided"]


@dataclass(frozen=True, slots=True)
class RateInterval:
    """A rate in [0, 1] lies within `low` and `high`, at the confidence it was asked for."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Gate:
    """A limit judged: the decision and all that it rests on.

    `k` of `n` trials surely have the property, `unknown` more may have it. `low` and `high`
    are the one-sided bounds of the rate (each at 1 - alpha by itself). `p_fail` is the
    p-value against "the limit is kept": FAIL when it is at most alpha, and what Holm's
    correction takes. `n_needed` is an estimate for an undecided gate: the number of trials
    that would decide it if the share stayed as seen; None when it is decided, or when more
    trials alone would not decide it (the share sits on the limit, too many are unknown), or
    only more than 10^9 would.
    """

    decision: Decision
    k: int
    n: int
    unknown: int
    low: float
    high: float
    p_fail: float
    n_needed: int | None


def clopper_pearson(k: int, n: int, *, side: Side = "two", alpha: float = ALPHA) -> RateInterval:
    """Exact interval of a binomial rate after `k` hits in `n` trials, at 1 - alpha.

    low = BetaInv(a; k, n-k+1), high = BetaInv(1-a; k+1, n-k), with a = alpha/2 for "two"
    and a = alpha for one-sided "lower" (high is 1) and "upper" (low is 0). Of no trials it
    is [0, 1]: nothing is known. Raises ValueError unless 0 <= k <= n and 0 < alpha < 1.
    """
    _check_counts(k, n, 0)
    _check_alpha(alpha)
    low, high = clopper_pearson_bounds(
        np.array([k]), np.array([n]), alpha / 2 if side == "two" else alpha
    )
    return RateInterval(
        low=0.0 if side == "upper" else float(low[0]),
        high=1.0 if side == "lower" else float(high[0]),
    )


def clopper_pearson_bounds(
    k: NDArray[np.int64], n: NDArray[np.int64], tail: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both Clopper-Pearson bounds for arrays of counts of one shape, `tail` outside each."""
    # The beta distribution has no parameter 0: those ends are 0 and 1 by definition.
    low = np.where(k > 0, special.betaincinv(np.maximum(k, 1), n - k + 1, tail), 0.0)
    high = np.where(k < n, special.betainccinv(k + 1, np.maximum(n - k, 1), tail), 1.0)
    return low, high


def gate_rate(
    k: int,
    n: int,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    unknown: int = 0,
    alpha: float = ALPHA,
) -> Gate:
    """Judge a rate of `k` in `n` trials (`unknown` more of the n may be hits) by one limit.

    PASS when the one-sided 1 - alpha bound keeps the limit, FAIL when the opposite bound
    breaks it, else undecided. Give exactly one of `at_least` in (0, 1] and `at_most` in
    [0, 1). A limit of 1 (or 0) can be broken but never proven by counting: that is a
    question of absence, see `zero_bound`. Raises ValueError.
    """
    _check_counts(k, n, unknown)
    _check_alpha(alpha)
    if at_least is not None and at_most is None:
        if not 0 < at_least <= 1:
            raise ValueError(f"at_least is {at_least}; allowed: above 0, up to 1")
        limit, sure = at_least, k
    elif at_most is not None and at_least is None:
        if not 0 <= at_most < 1:
            raise ValueError(f"at_most is {at_most}; allowed: from 0, below 1")
        # Hits at most x is misses at least 1 - x.
        limit, sure = 1 - at_most, n - k - unknown
    else:
        raise ValueError("give exactly one of at_least and at_most")

    p_fail = tail_to(sure + unknown, n, limit)
    decision: Decision = "undecided"
    if n and tail_from(sure, n, limit) <= alpha:
        decision = "pass"
    elif n and p_fail <= alpha:
        decision = "fail"
    return Gate(
        decision=decision,
        k=k,
        n=n,
        unknown=unknown,
        low=clopper_pearson(k, n, side="lower", alpha=alpha).low,
        high=clopper_pearson(k + unknown, n, side="upper", alpha=alpha).high,
        p_fail=p_fail,
        n_needed=_n_to_decide(sure, n, unknown, limit, alpha) if decision == "undecided" else None,
    )


def zero_bound(n: int, *, alpha: float = ALPHA) -> float:
    """Upper 1 - alpha bound of a rate after 0 hits in `n` trials: 1 - alpha^(1/n), about 3/n.

    Of no trials it is 1: nothing is known.
    """
    _check_counts(0, n, 0)
    _check_alpha(alpha)
    return -math.expm1(math.log(alpha) / n) if n else 1.0


def n_for_zero(limit: float, *, alpha: float = ALPHA) -> int:
    """Smallest n for which 0 hits bound the rate at `limit`: ceil(ln alpha / ln(1 - limit)).

    `limit` in (0, 1). 29, 59, 299, 2,995 for 10, 5, 1, 0.1 %. Raises ValueError.
    """
    _check_alpha(alpha)
    if not 0 < limit < 1:
        raise ValueError(f"limit is {limit}; allowed: above 0, below 1")
    return math.ceil(math.log(alpha) / math.log1p(-limit))


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm-adjusted p-values, float64[m] in the order given; reject where <= alpha.

    The i-th smallest becomes max over j <= i of min(1, (m - j + 1) p_(j)). It holds under
    any dependence between the gates. Raises ValueError for a p outside [0, 1] or NaN.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise ValueError("p-values are one row of numbers from 0 to 1")
    order = np.argsort(p, kind="stable")
    stepped = np.minimum(1.0, p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(stepped)
    return adjusted


def _n_to_decide(sure: int, n: int, unknown: int, limit: float, alpha: float) -> int | None:
    """Trials that would decide "at least `limit`" if the shares stayed as they are."""
    if n == 0:
        return n_for_zero(1 - limit, alpha=alpha) if limit < 1 else None
    worst, best, target = Fraction(sure, n), Fraction(sure + unknown, n), Fraction(str(limit))

    def passes(trials: int) -> bool:
        return tail_from(math.floor(worst * trials), trials, limit) <= alpha

    def fails(trials: int) -> bool:
        return tail_to(math.ceil(best * trials), trials, limit) <= alpha

    if worst > target:
        decides = passes
    elif best < target:
        decides = fails
    else:
        return None
    # Whole counts make the tails a saw, so bisection ends on one of its teeth: an estimate.
    reach = n + 1
    while not decides(reach):
        reach *= 2
        if reach > N_NEEDED_MAX:
            return None
    return first_true(decides, max(n + 1, reach // 2), reach)


def _check_counts(k: int, n: int, unknown: int) -> None:
    if not (k >= 0 and unknown >= 0 and k + unknown <= n):
        raise ValueError(f"{k} hits and {unknown} unknown do not fit into {n} trials")


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; allowed: above 0, below 1")
