"""Samples in the order of time: do they depend on each other, and what to do if they do.

Order-statistic intervals take independent samples. Where lag-1 autocorrelation is above
0.1 + 2/sqrt(n) (an allowance of 0.1, and two standard errors of white noise: Box and
Jenkins, Time Series Analysis, section 2.1.6) they are too narrow, and whole blocks are
resampled instead (moving blocks: Kuensch, Annals of Statistics 17 (1989); their length by
Politis and White, Econometric Reviews 23 (2004), for an AR(1) series). That still
under-covers the tails of few samples, and whoever prints such an interval says so.

Here, timeouts and failures are +inf: what is above every value has a rank, and no more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from probe.stats.binomial import ALPHA
from probe.stats.quantiles import nearest_rank

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

SERIES_MIN = 3
RESAMPLES = 999


@dataclass(frozen=True, slots=True)
class Dependence:
    """Lag-1 autocorrelations of a series, against the `limit` that both are judged by.

    `values` is that of the samples; `exceedance` that of "above the q-quantile or not",
    which is what an interval of this quantile rests on. NaN where it is not defined: too
    few samples, or all alike. `too_high` if either is above the limit.
    """

    values: float
    exceedance: float
    limit: float
    too_high: bool


@dataclass(frozen=True, slots=True)
class BlockInterval:
    """Block-bootstrap interval of a quantile, ns; None for a bound among timeouts and failures.

    `block` is the length of the blocks that were drawn, in samples.
    """

    low_ns: float | None
    high_ns: float | None
    block: int


def lag1_autocorrelation(series: ArrayLike) -> float:
    """r1 = sum (x_t - m)(x_{t+1} - m) / sum (x_t - m)^2 of a finite float[n] in time order.

    In [-1, 1]; NaN for fewer than 3 samples or a constant series. Raises ValueError for
    anything not finite.
    """
    x = np.asarray(series, dtype=np.float64)
    if x.ndim != 1 or not np.all(np.isfinite(x)):
        raise ValueError("autocorrelation takes one row of finite numbers")
    if len(x) < SERIES_MIN or x.min() == x.max():
        return math.nan
    centred = x - x.mean()
    # Scaled, so that squares of 1e-200 or 1e200 neither vanish nor overflow.
    centred /= np.abs(centred).max()
    return float(centred[:-1] @ centred[1:] / (centred @ centred))


def lag1_limit(n: int) -> float:
    """0.1 + 2/sqrt(n): above it the order-statistic interval is too narrow. inf for n = 0."""
    return 0.1 + 2 / math.sqrt(n) if n else math.inf


def dependence(series: ArrayLike, q: float) -> Dependence:
    """Judge the lag-1 autocorrelation of float[n] in time order, +inf for what was lost.

    For the values, +inf is put at the largest finite sample; the exceedances need no such
    choice. Raises ValueError for NaN, -inf, or q outside (0, 1).
    """
    x = _ordered(series)
    limit = lag1_limit(len(x))
    values = exceedance = math.nan
    if len(x):
        level = np.sort(x)[nearest_rank(len(x), q) - 1]
        above = x >= level if math.isinf(level) else x > level
        finite = x[np.isfinite(x)]
        values = lag1_autocorrelation(np.minimum(x, finite.max() if len(finite) else 0.0))
        exceedance = lag1_autocorrelation(above)
    # NaN is above nothing: where dependence cannot be seen, it is not claimed.
    return Dependence(values, exceedance, limit, values > limit or exceedance > limit)


def block_length(n: int, lag1: float) -> int:
    """Samples per block: (sqrt(6) r / (1 - r^2))^(2/3) n^(1/3), n^(1/3) to n/3, at least 1.

    Optimal for the mean of an AR(1) series with lag-1 autocorrelation r; NaN counts as 0.
    """
    r = 0.0 if math.isnan(lag1) else min(abs(lag1), 0.99)
    factor = max(1.0, math.cbrt(6 * (r / (1 - r * r)) ** 2))
    return max(1, min(math.ceil(factor * math.cbrt(n)), n // 3))


def block_bootstrap_quantile(
    series: ArrayLike,
    q: float,
    rng: np.random.Generator,
    *,
    block: int | None = None,
    resamples: int = RESAMPLES,
    alpha: float = ALPHA,
) -> BlockInterval:
    """Percentile interval of the q-quantile by moving blocks, two-sided at 1 - alpha.

    `series` float[n] in time order, +inf for what was lost; `rng` seeded by the caller, so
    that a report can be made again; `block` by `block_length` unless given. Takes
    O(resamples n) time and O(n) memory. Raises ValueError for no samples, NaN or -inf.
    """
    x = _ordered(series)
    n = len(x)
    if n == 0:
        raise ValueError("there is nothing to resample")
    rank = nearest_rank(n, q) - 1
    if block is None:
        found = dependence(x, q)
        block = block_length(n, float(np.fmax(found.values, found.exceedance)))
    if not 1 <= block <= n:
        raise ValueError(f"a block of {block} does not fit into {n} samples")
    estimates = np.empty(resamples)
    within = np.arange(block)
    for i in range(resamples):
        starts = rng.integers(0, n - block + 1, size=-(-n // block))
        drawn = x[(starts[:, np.newaxis] + within).ravel()[:n]]
        estimates[i] = np.partition(drawn, rank)[rank]
    estimates.sort()
    # Ranks round outwards: a resampled interval is too narrow as it is.
    low = float(estimates[max(0, math.floor((resamples + 1) * alpha / 2) - 1)])
    high = float(estimates[min(resamples, math.ceil((resamples + 1) * (1 - alpha / 2))) - 1])
    return BlockInterval(
        low_ns=low if math.isfinite(low) else None,
        high_ns=high if math.isfinite(high) else None,
        block=block,
    )


def _ordered(series: ArrayLike) -> NDArray[np.float64]:
    x = np.asarray(series, dtype=np.float64)
    if x.ndim != 1 or np.any(np.isnan(x)) or np.any(np.isneginf(x)):
        raise ValueError("a series is one row of numbers, +inf for what was lost")
    return x
