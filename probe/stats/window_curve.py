"""P(anomaly | offset) in bins, for a plot: what was seen, without any model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from probe.stats.rates import clopper_pearson_bounds
from probe.stats.window import Span

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass(frozen=True, slots=True)
class Bin:
    """Trials with a measured offset from `low_ns` to below `high_ns`.

    `rate` has its Clopper-Pearson interval; of an empty bin it is NaN, from 0 to 1.
    """

    low_ns: int
    high_ns: int
    n: int
    hits: int
    rate: Span


def curve(
    offsets_ns: ArrayLike, anomalies: ArrayLike, lo_ns: int, hi_ns: int, bins: int = 40
) -> list[Bin]:
    """Bins of equal length over [lo, hi); trials outside it are in none.

    Raises ValueError for an empty range, no bins, or two lengths.
    """
    x, hit = np.asarray(offsets_ns, dtype=np.int64), np.asarray(anomalies, dtype=np.bool_)
    if lo_ns >= hi_ns or bins < 1 or x.ndim != 1 or x.shape != hit.shape:
        raise ValueError("a curve takes two rows of one length, a range, and at least one bin")
    edges = [lo_ns + (hi_ns - lo_ns) * i // bins for i in range(bins + 1)]
    n, _ = np.histogram(x[x < hi_ns], bins=edges)
    hits, _ = np.histogram(x[hit & (x < hi_ns)], bins=edges)
    low, high = clopper_pearson_bounds(hits, n, 0.025)
    return [
        Bin(
            edges[i],
            edges[i + 1],
            int(n[i]),
            int(hits[i]),
            Span(
                float(hits[i] / n[i]) if n[i] else float("nan"),
                float(low[i]),
                float(high[i]) if n[i] else 1.0,
            ),
        )
        for i in range(bins)
    ]
