"""When a generator of load is fit to measure: the limits, and lag as time sees it.

The rule: one place for the limits of docs/methods.md (Fitness), since two rooms go by them:
the watch tells of them while the run goes on, the check judges by them afterwards. A *taint*
vetoes what hangs on time or load; INVALID vetoes the run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MS: Final = 1_000_000
BEAT_NS: Final = 10 * MS
LAG_TAINT_NS: Final = 10 * MS
LAG_INVALID_NS: Final = 100 * MS
LAG_SHARE: Final = 0.1  # of the smallest latency limit that gates
STALL_NS: Final = 1_000 * MS  # one gap of this length: however long the run, it is told
CPU_TAINT, CPU_INVALID = 800, 950  # permille of one core
CPU_FOR_NS: Final = 5_000 * MS
STEAL_TAINT: Final = 20  # permille of the machine
PAUSE_TAINT_NS: Final = 10 * MS
SCHEDULE_TAINT_NS: Final = 5 * MS
ACHIEVED_MIN: Final = 0.95
DESCRIPTORS_LEFT: Final = 32  # for files, and for requests over HTTP
PORTS_TAINT: Final = 0.9  # of the local ports
MEMORY_LEFT: Final = 50  # permille of what there is


def lags_by_time(lags_ns: NDArray[np.int64], beat_ns: int = BEAT_NS) -> NDArray[np.int64]:
    """What lag an event would have met, due at any of the instants that beats stand for.

    A loop that stands still for three seconds writes one late beat, not three hundred, so that
    a quantile over beats would hardly see it. The beats that were missed count as well, each
    less late by one interval (the correction for coordinated omission; Tene, HdrHistogram).
    `lags_ns`: int64[n]; the result has at least as many.
    """
    lags = np.asarray(lags_ns, dtype=np.int64)
    each = 1 + np.maximum(lags - 1, 0) // beat_ns
    missed = np.arange(int(each.sum())) - np.repeat(np.cumsum(each) - each, each)
    whole: NDArray[np.int64] = np.repeat(lags, each) - missed * beat_ns
    return whole


def longest_above(times_ns: Any, above: Any) -> int:
    """The longest time, ns, that samples were above; a sample speaks of the time before it."""
    longest = held = 0
    for k in range(1, len(times_ns)):
        held = held + int(times_ns[k] - times_ns[k - 1]) if above[k] else 0
        longest = max(longest, held)
    return longest
