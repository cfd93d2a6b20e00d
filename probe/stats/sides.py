"""One arm of a comparison from the samples of one run: a value, and its interval at any alpha.

The rule: samples of one run are no independent draws. They count by blocks of time (or by
restart), whose shares tell how much they depend on each other; where that leaves too few
independent ones for a bound, there is none. Quantiles by Woodruff, JASA 47 (1952): the interval
of the share of samples at or below the quantile, read off the ordered samples.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import special

from probe.stats.binomial import ALPHA
from probe.stats.clusters import clustered
from probe.stats.compare import Side
from probe.stats.quantiles import nearest_rank

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from probe.stats.compare import Bounds

BLOCKS_MAX: Final = 20
BLOCKS_MIN: Final = 8
BLOCK_SAMPLES: Final = 10


def blocks_of(n: int) -> NDArray[np.int64]:
    """Which block each of n samples, in time order, is in: 8 to 20 of equal size."""
    number = min(max(n // BLOCK_SAMPLES, BLOCKS_MIN), BLOCKS_MAX)
    return np.arange(n, dtype=np.int64) * number // max(n, 1)


def quantile_side(values: NDArray[np.float64], cluster: NDArray[np.int64], q: float) -> Side:
    """The ln of the q-quantile of ns, float64[n] with +inf for what never came; n >= 1.

    `cluster` int64[n] from 0. The value is +inf where the quantile is among those.
    """
    ordered = np.log(np.maximum(np.sort(values), 1.0))
    n = len(ordered)
    rank = nearest_rank(n, q)
    value = float(ordered[rank - 1])
    trials = np.bincount(cluster)
    within = np.bincount(cluster[np.log(np.maximum(values, 1.0)) <= value], minlength=len(trials))
    # What is tied with the quantile lies on both sides of it; the share is q by definition.
    shift = within.sum() / n

    def at(alpha: float) -> Bounds:
        share = clustered(within, trials, alpha=alpha / 2)
        tail = math.log(alpha / 2)
        worth = min(share.n_eff, float(n))
        low = high = math.inf
        if worth * math.log1p(-q) <= tail:
            low = float(ordered[max(1, math.floor(n * min(q, share.low + q - shift))) - 1])
        else:
            low = -math.inf
        if worth * math.log(q) <= tail:
            at_rank = math.ceil(n * (share.high + q - shift)) + 1
            high = float(ordered[at_rank - 1]) if at_rank <= n else math.inf
        return min(low, value), max(high, value)

    return Side(value, at)


def rate_side(hits: NDArray[np.int64], trials: NDArray[np.int64]) -> Side:
    """A share from int64[clusters] each; at least one trial."""
    value = float(hits.sum() / trials.sum())

    def at(alpha: float) -> Bounds:
        found = clustered(hits, trials, alpha=alpha / 2)
        return found.low, found.high

    return Side(value, at)


def told_side(value: float, low: float, high: float) -> Side:
    """A figure that came with its 95 % interval; its ends move out as those of a normal do."""
    usual = float(special.ndtri(1 - ALPHA / 2))

    def at(alpha: float) -> Bounds:
        wider = float(special.ndtri(1 - alpha / 2)) / usual
        return value - wider * (value - low), value + wider * (high - value)

    return Side(value, at)
