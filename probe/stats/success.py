"""Success as a function of time: a curve in bins, and the moment from which it lasts.

An empty bin knows nothing: its rate and bounds are NaN, never 0 or 1. Each bin's interval
is Clopper-Pearson (see `rates`) and stands by itself: over many bins, some miss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from probe.stats.binomial import ALPHA
from probe.stats.rates import clopper_pearson_bounds

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True, eq=False)
class SuccessCurve:
    """Success per bin; bin i holds edges_ns[i] <= t < edges_ns[i+1].

    `edges_ns` int64[b+1]; `n`, `k` int64[b], observations and successes; `rate`, `low`,
    `high` float64[b], two-sided, NaN where n is 0. `outside` observations lie in no bin.
    """

    edges_ns: NDArray[np.int64]
    n: NDArray[np.int64]
    k: NDArray[np.int64]
    rate: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    outside: int


@dataclass(frozen=True, slots=True)
class Sustained:
    """Success from `at_ns` to the last observation, with `n` successes as its evidence.

    `last_failure_ns` is the time of the last failure before; None if there was none, and
    then success may have begun earlier than anybody looked.
    """

    at_ns: int
    last_failure_ns: int | None
    n: int


def success_curve(
    t_ns: ArrayLike, ok: ArrayLike, edges_ns: ArrayLike, *, alpha: float = ALPHA
) -> SuccessCurve:
    """Count successes per bin. `t_ns` int64[n] in any order, `ok` bool[n], edges rising.

    Raises ValueError for shapes that do not fit, fewer than 2 edges or edges that do not rise.
    """
    times, good = _observations(t_ns, ok)
    edges = np.asarray(edges_ns, dtype=np.int64)
    if edges.ndim != 1 or len(edges) < 2 or np.any(np.diff(edges) <= 0):  # noqa: PLR2004 - a bin has two ends
        raise ValueError("edges are one row of at least 2 rising times")
    bins = len(edges) - 1
    place = np.searchsorted(edges, times, side="right") - 1
    inside = (place >= 0) & (place < bins)
    n = np.bincount(place[inside], minlength=bins).astype(np.int64)
    k = np.bincount(place[inside & good], minlength=bins).astype(np.int64)
    low, high = clopper_pearson_bounds(k, n, alpha / 2)
    empty = n == 0
    return SuccessCurve(
        edges_ns=edges,
        n=n,
        k=k,
        rate=np.where(empty, np.nan, k / np.maximum(n, 1)),
        low=np.where(empty, np.nan, low),
        high=np.where(empty, np.nan, high),
        outside=int(len(times) - n.sum()),
    )


def first_sustained(t_ns: ArrayLike, ok: ArrayLike) -> Sustained | None:
    """The first success after which no observation failed; None if there is none.

    `t_ns` int64[n] in any order, `ok` bool[n]. A success at the same nanosecond as a failure
    is not counted as after it. Raises ValueError for shapes that do not fit.
    """
    times, good = _observations(t_ns, ok)
    failures = times[~good]
    last_failure = int(failures.max()) if len(failures) else None
    lasting = times if last_failure is None else times[times > last_failure]
    if not len(lasting):
        return None
    return Sustained(int(lasting.min()), last_failure, len(lasting))


def _observations(t_ns: ArrayLike, ok: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    times, good = np.asarray(t_ns, dtype=np.int64), np.asarray(ok, dtype=np.bool_)
    if times.ndim != 1 or times.shape != good.shape:
        raise ValueError(
            f"times {times.shape} and outcomes {good.shape} are not rows of one length"
        )
    return times, good
