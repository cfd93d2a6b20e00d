"""Tails of the binomial distribution, through the regularized incomplete beta function.

With B ~ Bin(n, p): P(B >= k) = I_p(k, n - k + 1) (Abramowitz and Stegun, 26.5.24).
`scipy.special` has I; `scipy.stats` would give the same for a far longer import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scipy import special

if TYPE_CHECKING:
    from collections.abc import Callable

ALPHA = 0.05


def tail_from(k: int, n: int, p: float) -> float:
    """P(B >= k) for B ~ Bin(n, p); any integer k, n >= 0, p in [0, 1]."""
    if k <= 0:
        return 1.0
    if k > n:
        return 0.0
    return float(special.betainc(k, n - k + 1, p))


def tail_to(k: int, n: int, p: float) -> float:
    """P(B <= k) = 1 - I_p(k + 1, n - k) for B ~ Bin(n, p); arguments as in `tail_from`."""
    if k < 0:
        return 0.0
    if k >= n:
        return 1.0
    # The complement is a function of its own, so that small tails keep their digits.
    return float(special.betaincc(k + 1, n - k, p))


def first_true(holds: Callable[[int], bool], low: int, high: int) -> int:
    """Smallest integer in [low, high] where `holds` turns true, by bisection; high + 1 if none.

    `holds` is to be false up to some point and true after it.
    """
    high += 1
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
