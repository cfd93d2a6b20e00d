"""Which size to try next, to find where a slow reader begins to lose: a policy, no draw in it.

The rule: the same tries in the same order give the same next size. The largest size comes
first, since a service that keeps it needs no search; then the geometric middle between the
largest clean size and the smallest dirty one, until both are within 10 % of each other.
A size is dirty when any of its repeats lost, and is left only after all of its repeats.
"""

from __future__ import annotations

from collections import Counter
from math import isqrt
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

CLOSE: Final = 1.1


def step_of(seen: Sequence[tuple[int, bool]]) -> tuple[int, int]:
    """(largest clean size below every dirty one, smallest dirty size); 0 where there is none.

    `seen` holds (size, whether it lost) of every repeat.
    """
    dirty = {size for size, lost in seen if lost}
    high = min(dirty, default=0)
    clean = (size for size, _ in seen if size not in dirty and (not high or size < high))
    return max(clean, default=0), high


def next_size(seen: Sequence[tuple[int, bool]], upto: int, repeats: int) -> int | None:
    """The size of the next repeat, from 1 to `upto`; None when the search is over."""
    tries = Counter(size for size, _ in seen)
    for size, count in tries.items():
        if count < repeats:
            return size
    if upto not in tries:
        return upto
    low, high = step_of(seen)
    if not high or high - low <= 1 or (low and high <= CLOSE * low):
        return None
    return max(isqrt(max(low, 1) * high), low + 1)
