"""Trials at chosen offsets: where a sweep looks, and the test on fresh data.

What a search found is confirmed by trials that had no part in finding it: half at the window,
half at a control offset, the number fixed beforehand, one-sided Fisher at 0.01. The power of
that test is summed exactly over both binomials wherever that is affordable.

Sources: Fisher's exact test as in `tables`; its sample size by Casagrande, Pike and Smith,
Biometrics 34 (1978); a difference of rates by Newcombe, Statistics in Medicine 17 (1998), method
10; the golden-ratio sequence is the additive recurrence of least discrepancy (Knuth, TAOCP 3,
6.4, theorem S).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import special

from probe.stats.binomial import first_true

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

ALPHA_CONFIRM: Final = 0.01
POWER: Final = 0.9
CONFIRM_MIN: Final = 30  # at each offset: what a search found looks better than it is
PAIRS_MIN: Final = 50
EXACT_MAX: Final = 800
NEGLIGIBLE: Final = 1e-7  # counts less likely than this do not move a power
_Z: Final = 1.959963984540054  # two-sided 95 % of a normal
_GOLDEN: Final = 0.6180339887498949
_MAD_TO_SD: Final = 1.4826  # 1 / Phi^-1(3/4): the median of |x| of a normal x is 0.6745 sd


def golden(start: float, i: int) -> float:
    """The i-th point of the golden-ratio sequence in [0, 1) that begins at `start`."""
    return (start + _GOLDEN * i) % 1.0


def pairs_jitter(deltas_ns: ArrayLike) -> int:
    """The jitter s in ns from pairs with a known offset: 1.4826 times the MAD.

    `deltas_ns` is what was seen minus what is known. The median absolute deviation lets a
    few stragglers pass that would double a standard deviation. Raises ValueError under 50.
    """
    deltas = np.asarray(deltas_ns, dtype=np.float64)
    if deltas.ndim != 1 or len(deltas) < PAIRS_MIN:
        raise ValueError(f"the jitter takes at least {PAIRS_MIN} pairs, there are {deltas.size}")
    return round(_MAD_TO_SD * float(np.median(np.abs(deltas - np.median(deltas)))))


def confirmed(
    k1: int, n1: int, k0: int, n0: int, *, alpha: float = ALPHA_CONFIRM
) -> tuple[bool, float]:
    """Is the rate of `k1` of `n1` above that of `k0` of `n0`: (yes, one-sided p-value).

    No trials on a side have a p-value of 1. Raises ValueError for impossible counts.
    """
    if not (0 <= k1 <= n1 and 0 <= k0 <= n0):
        raise ValueError(f"{k1} of {n1} and {k0} of {n0} are no counts")
    p_value = float(_tail(np.array([k1]), n1, np.array([k0]), n0)[0])
    return p_value <= alpha, p_value


def difference(k1: int, n1: int, k0: int, n0: int) -> tuple[float, float]:
    """Two-sided 95 % interval of k1/n1 - k0/n0: Newcombe's, from two Wilson intervals.

    Raises ValueError where a side has no trials.
    """
    if not (0 <= k1 <= n1 and 0 <= k0 <= n0 and n1 and n0):
        raise ValueError(f"{k1} of {n1} and {k0} of {n0} have no difference")
    rate1, (low1, high1) = k1 / n1, _wilson(k1, n1)
    rate0, (low0, high0) = k0 / n0, _wilson(k0, n0)
    gap = rate1 - rate0
    return (
        gap - math.hypot(rate1 - low1, high0 - rate0),
        gap + math.hypot(high1 - rate1, rate0 - low0),
    )


def _wilson(k: int, n: int) -> tuple[float, float]:
    middle = (k + _Z**2 / 2) / (n + _Z**2)
    half = _Z / (n + _Z**2) * math.sqrt(k * (n - k) / n + _Z**2 / 4)
    return middle - half, middle + half


@lru_cache(maxsize=256)
def confirm_n(p1: float, p0: float, *, power: float = POWER, alpha: float = ALPHA_CONFIRM) -> int:
    """Trials at each of two offsets, for Fisher to tell rates `p1` and `p0` with that power.

    Exact up to 800; above that the approximation, which is a few percent too high unless `p0`
    is tiny. Raises ValueError unless 0 <= p0 < p1 <= 1.
    """
    if not 0 <= p0 < p1 <= 1:
        raise ValueError(f"rates of {p1} inside and {p0} outside cannot be told")
    enough = _approximate_n(p1, p0, power, alpha)
    if enough > EXACT_MAX:
        return enough
    # Whole counts make the power a saw; what is found is one of its teeth.
    return first_true(lambda n: _power(n, p1, p0, alpha) >= power, 2, enough)


def _approximate_n(p1: float, p0: float, power: float, alpha: float) -> int:
    """Casagrande, Pike and Smith's formula, with its continuity correction."""
    mean, gap = (p1 + p0) / 2, p1 - p0
    z_alpha, z_beta = float(special.ndtri(1 - alpha)), float(special.ndtri(power))
    spread = math.sqrt(p1 * (1 - p1) + p0 * (1 - p0))
    a = (z_alpha * math.sqrt(2 * mean * (1 - mean)) + z_beta * spread) ** 2
    return math.ceil(a * (1 + math.sqrt(1 + 4 * gap / a)) ** 2 / (4 * gap**2))


def _power(n: int, p1: float, p0: float, alpha: float) -> float:
    """P(one-sided p-value <= alpha) with n trials at each rate."""
    counts = np.arange(n + 1)
    of0, of1 = _binomial(counts, n, p0), _binomial(counts, n, p1)
    likely = counts[of0 > NEGLIGIBLE]
    low, high = np.full(len(likely), -1), np.full(len(likely), n + 1)
    # For each count outside, the smallest count inside that is significant.
    while np.any(high - low > 1):
        middle = np.clip((low + high) // 2, 0, n)
        enough = _tail(middle, n, likely, n) <= alpha
        open_ = high - low > 1
        high = np.where(open_ & enough, middle, high)
        low = np.where(open_ & ~enough, middle, low)
    reached = np.append(np.cumsum(of1[::-1])[::-1], 0.0)[high]
    return float(of0[likely] @ reached)


def _binomial(k: NDArray[np.int64], n: int, p: float) -> NDArray[np.float64]:
    """P(B = k) for B ~ Bin(n, p)."""
    logs = _log_factorials(n)
    ways = logs[n] - logs[k] - logs[n - k]
    out = np.exp(ways + special.xlogy(k, p) + special.xlog1py(n - k, -p))
    return np.asarray(out, dtype=np.float64)


def _tail(k1: NDArray[np.int64], n1: int, k0: NDArray[np.int64], n0: int) -> NDArray[np.float64]:
    """P(K >= k1) for K hypergeometric: of k1 + k0 hits among n1 + n0 trials, K fell on the n1."""
    logs = _log_factorials(n1 + n0)
    hits = k1 + k0
    span = int((np.minimum(hits, n1) - k1).max(initial=0)) + 1
    i = k1[:, None] + np.arange(span)[None, :]
    rest = hits[:, None] - i
    possible = (i <= n1) & (rest >= 0) & (rest <= n0)
    i, rest = np.where(possible, i, 0), np.where(possible, rest, 0)
    ways = logs[n1] - logs[i] - logs[n1 - i] + logs[n0] - logs[rest] - logs[n0 - rest]
    every = logs[n1 + n0] - logs[hits] - logs[n1 + n0 - hits]
    tails = np.where(possible, np.exp(ways - every[:, None]), 0.0).sum(axis=1)
    return np.asarray(np.minimum(1.0, tails), dtype=np.float64)


def _log_factorials(n: int) -> NDArray[np.float64]:
    """The logarithm of k! for k from 0 to n."""
    return np.asarray(special.gammaln(np.arange(n + 1) + 1.0), dtype=np.float64)
