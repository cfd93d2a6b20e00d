"""Two counts against two others: Fisher's exact test, without `scipy.stats`.

In a table of two groups (a with and b without, c with and d without), with all margins held,
a is hypergeometric: P(a) = C(a+b, a) C(c+d, c) / C(n, a+c). Two-sided: the sum over all tables
that are no more likely than the one seen (Fisher; Agresti, Categorical Data Analysis, 2.6).
"""

from __future__ import annotations

import numpy as np
from scipy import special

_TIES = 1e-7  # relative; tables as likely as the one seen, but for rounding


def fisher(a: int, b: int, c: int, d: int) -> float:
    """Two-sided p-value of [[a, b], [c, d]]; 1.0 where a margin is empty.

    Raises ValueError for a negative count.
    """
    if min(a, b, c, d) < 0:
        raise ValueError(f"counts are 0 or more, not {a}, {b}, {c}, {d}")
    n, row, column = a + b + c + d, a + b, a + c
    low, high = max(0, column - (n - row)), min(row, column)
    if low == high:
        return 1.0
    k = np.arange(low, high + 1)
    logs = _choose(row, k) + _choose(n - row, column - k)
    logs -= special.logsumexp(logs)
    seen = logs[a - low]
    return float(min(1.0, np.exp(logs[logs <= seen + _TIES]).sum()))


def _choose(
    n: int, k: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The logarithm of n over k."""
    out = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    return np.asarray(out, dtype=np.float64)
