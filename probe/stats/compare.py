"""Before and now: the interval of a difference, and what it says against a margin.

A run is the unit, since its samples share a machine, a network and an hour. Five ways, by
what there is:

    pairs    both were played side by side, block by block: the median of the Walsh averages of
             the paired differences, with the interval of the signed-rank test (Student's t
             below ten pairs)
    ranks    eight runs or more of each: the Hodges-Lehmann shift, with the interval of the
             rank-sum test. Both tests are permutation tests, and hold for any distribution
    pooled   eight runs or more of each, of which each is too short for the quantile: that of all
             their samples, whose shares are clustered by run
    spread   fewer, but it is known how much runs of the same thing differ: Student's t
    blocks   one run of each, and nothing known of that: the interval holds what varies within a
             run (quantiles by Woodruff from shares that are clustered by blocks of time; two
             arms by MOVER). What differs from run to run is not in it; the margin has to be.

Differences are on the scale of their row: of logarithms, or of the values. An interval is asked
for at any alpha, so that the p-value of "beyond the margin" is the smallest alpha whose
interval lies beyond it, and Holm's correction and the interval that is shown never disagree.

Sources: Hodges and Lehmann, Annals of Mathematical Statistics 34 (1963); Hollander, Wolfe and
Chicken, Nonparametric Statistical Methods, 3rd ed., sections 3.3 and 4.3; Woodruff, JASA 47
(1952); Korn and Graubard (see `clusters`); Zou and Donner, Statistics in Medicine 27 (2008), for
MOVER; von Neumann, Annals of Mathematical Statistics 12 (1941), for successive differences.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from scipy import special

from probe.stats.binomial import ALPHA
from probe.stats.rates import holm

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

Bounds = tuple[float, float]
How = Literal["pairs", "ranks", "spread", "pooled", "blocks"]
Said = Literal["better", "same", "worse", "undecided"]
RANKS_MIN: Final = 8
"""Runs of each arm from which ranks are used."""
PAIRED_RANKS_MIN: Final = 10
"""Pairs from which they are: of fewer, ranks could not find seven rows at once to differ."""
PAIRS_MIN: Final = 3
DOF_MIN: Final = 2
EXACT_MAX: Final = 50 * 50
"""Products of the arms' numbers up to which the null distribution is counted out."""
_ALPHA_MIN: Final = 1e-12
_HALVINGS: Final = 60


@dataclass(frozen=True, slots=True)
class Spread:
    """How much one run of the same thing differs from the next: standard deviation, freedom."""

    sd: float
    dof: float


@dataclass(frozen=True, slots=True)
class Side:
    """One arm as it was seen: its value, and its two-sided interval at any alpha."""

    value: float
    at: Callable[[float], Bounds]


@dataclass(frozen=True, slots=True)
class Difference:
    """Now less before; `at(alpha)` is its two-sided interval, an end infinite if unbounded."""

    value: float
    at: Callable[[float], Bounds]
    how: How

    def p_beyond(self, margin: float) -> tuple[float, float]:
        """Two-sided p-values against "not above the margin" and "not below minus the margin"."""
        above = _smallest(lambda alpha: self.at(alpha)[0] > margin)
        below = _smallest(lambda alpha: self.at(alpha)[1] < -margin)
        return above, below


def decided(
    found: Sequence[tuple[Difference, float, float]], *, alpha: float = ALPHA
) -> list[Said]:
    """What each of a family says: rows of (difference, margin, what is too small to matter).

    Higher is worse. Over all rows together at most `alpha` of comparisons of the same thing
    name any row better or worse (Holm); "same" needs the whole interval within what is too
    small to matter, and no correction, since all of them must hold.
    """
    beyond = [each.p_beyond(margin) for each, margin, _ in found]
    adjusted = holm(np.array([min(p) for p in beyond], dtype=np.float64))
    out: list[Said] = []
    for (each, _, small), (above, below), p in zip(found, beyond, adjusted, strict=True):
        low, high = each.at(alpha)
        if p <= alpha:
            out.append("worse" if above <= below else "better")
        elif -small <= low and high <= small:
            out.append("same")
        else:
            out.append("undecided")
    return out


def spread_of(
    arms: Sequence[NDArray[np.float64]], course: NDArray[np.float64] | None = None
) -> Spread | None:
    """The spread of runs within `arms`, or of a `course` of runs in time; None if not known.

    Of a course the successive differences count, so that a slow drift, which two runs side by
    side do not see, is left out; a sudden change stays in, and makes the spread wider.
    """
    dof = float(sum(len(arm) - 1 for arm in arms if len(arm) > 1))
    if dof >= DOF_MIN:
        square = sum(float(((arm - arm.mean()) ** 2).sum()) for arm in arms if len(arm) > 1)
        return Spread(math.sqrt(square / dof), dof)
    if course is None or len(course) - 1 < PAIRS_MIN:
        return None
    n = len(course)
    square = float((np.diff(course) ** 2).sum()) / (2 * (n - 1))
    return Spread(math.sqrt(square), 2 * (n - 1) ** 2 / (3 * n - 4))


def runs_difference(
    before: NDArray[np.float64], now: NDArray[np.float64], known: Spread | None
) -> Difference | None:
    """From one value per run, finite; None where nothing tells how much runs differ."""
    if min(len(before), len(now)) >= RANKS_MIN:
        shifts = np.sort((now[:, None] - before[None, :]).ravel())
        sizes = (len(before), len(now))
        return Difference(
            float(np.median(shifts)), lambda alpha: _ends(shifts, _rank_sum(*sizes, alpha)), "ranks"
        )
    spread = spread_of([before, now]) or known
    if spread is None:
        return None
    value = float(now.mean() - before.mean())
    error = spread.sd * math.sqrt(1 / len(before) + 1 / len(now))
    return Difference(value, _student(value, error, spread.dof), "spread")


def pairs_difference(shifts: NDArray[np.float64]) -> Difference | None:
    """From one difference per pair, finite; None for fewer than three pairs."""
    n = len(shifts)
    if n < PAIRS_MIN:
        return None
    if n < PAIRED_RANKS_MIN:
        value = float(shifts.mean())
        error = float(shifts.std(ddof=1)) / math.sqrt(n)
        return Difference(value, _student(value, error, n - 1), "pairs")
    first, second = np.triu_indices(n)
    walsh = np.sort((shifts[first] + shifts[second]) / 2)
    value = float(np.median(walsh))
    return Difference(value, lambda alpha: _ends(walsh, _signed_rank(n, alpha)), "pairs")


def sides_difference(before: Side, now: Side) -> Difference:
    """MOVER: from the arms' own intervals, which need not be symmetric."""
    value = now.value - before.value

    def at(alpha: float) -> Bounds:
        low_0, high_0 = before.at(alpha)
        low_1, high_1 = now.at(alpha)
        return (
            value - math.hypot(now.value - low_1, high_0 - before.value),
            value + math.hypot(high_1 - now.value, before.value - low_0),
        )

    return Difference(value, at, "blocks")


def _student(value: float, error: float, dof: float) -> Callable[[float], Bounds]:
    def at(alpha: float) -> Bounds:
        half = float(special.stdtrit(dof, 1 - alpha / 2)) * error
        return value - half, value + half

    return at


def _ends(ordered: NDArray[np.float64], rank: int) -> Bounds:
    """The rank-th smallest and largest; with rank 0 there is no bound."""
    if rank < 1:
        return -math.inf, math.inf
    return float(ordered[rank - 1]), float(ordered[-rank])


def _signed_rank(n: int, alpha: float) -> int:
    """The largest c with P(W <= c - 1) <= alpha / 2, W of the signed-rank test of n."""
    if n * n > EXACT_MAX:
        mean, sd = n * (n + 1) / 4, math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
        return max(0, math.floor(mean + 0.5 - float(special.ndtri(1 - alpha / 2)) * sd))
    return int(np.searchsorted(_signed_rank_tail(n), alpha / 2, side="right"))


def _rank_sum(n: int, m: int, alpha: float) -> int:
    """The same of the rank-sum test of n and m."""
    if n * m > EXACT_MAX:
        mean, sd = n * m / 2, math.sqrt(n * m * (n + m + 1) / 12)
        return max(0, math.floor(mean + 0.5 - float(special.ndtri(1 - alpha / 2)) * sd))
    return int(np.searchsorted(_rank_sum_tail(min(n, m), max(n, m)), alpha / 2, side="right"))


@cache
def _signed_rank_tail(n: int) -> NDArray[np.float64]:
    """P(W <= w) for w = 0, 1, …: each rank is in the sum or not, as likely."""
    ways = np.zeros(n * (n + 1) // 2 + 1)
    ways[0] = 1.0
    for rank in range(1, n + 1):
        ways[rank:] += ways[:-rank].copy()
        ways /= 2
    return np.cumsum(ways)


@cache
def _rank_sum_tail(n: int, m: int) -> NDArray[np.float64]:
    """P(U <= u) for u = 0, 1, …: coefficients of the Gaussian binomial, in whole numbers."""
    ways = [1] + [0] * (n * m)
    for i in range(1, n + 1):
        for u in range(n * m, m + i - 1, -1):
            ways[u] -= ways[u - m - i]
        for u in range(i, n * m + 1):
            ways[u] += ways[u - i]
    total = math.comb(n + m, n)
    return np.cumsum([way / total for way in ways])


def _smallest(holds: Callable[[float], bool]) -> float:
    """The smallest alpha at which an interval lies beyond; 1 where none below 1 does.

    The interval shrinks as alpha grows, so that what holds once holds from there on.
    """
    low, high = math.log(_ALPHA_MIN), 0.0
    if not holds(1 - 1e-9):
        return 1.0
    if holds(_ALPHA_MIN):
        return _ALPHA_MIN
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if holds(min(math.exp(middle), 1 - 1e-9)):
            high = middle
        else:
            low = middle
        if high - low < 1e-6:  # noqa: PLR2004 -- a millionth of itself: a p-value needs no more
            break
    return math.exp(high)
