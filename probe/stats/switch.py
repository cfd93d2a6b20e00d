"""When a state switched from False to True, from observations that each took a while.

A server judges a request at some instant between its sending and its answer: the window
[earliest, latest] of that observation. If the state switched once, at S, a False seen in
[e, l] was judged before S, so S > e; a True seen in [e, l] was judged at S or later, so
S <= l. Hence S lies in (max e over the Falses, min l over the Trues]: interval-censored
data, without any assumption on where in its window the server judged.

If those bounds cross, some False was surely judged after some True: the state flapped,
there is no one instant, and none is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class SwitchInterval:
    """The switch lies in (low_ns, high_ns]; None is an open side.

    low_ns is None if False was never seen (it may have switched before anybody looked),
    high_ns if True was never seen (not switched yet), both if the state flapped. `relapses`
    counts the Falses that were surely judged after some True, from `n_before` Falses and
    `n_after` Trues.
    """

    low_ns: int | None
    high_ns: int | None
    flapped: bool
    relapses: int
    n_before: int
    n_after: int


@dataclass(frozen=True, slots=True)
class GapInterval:
    """b - a of two switches lies strictly between low_ns and high_ns; None is an open side.

    b surely came after a if low_ns >= 0, surely before it if high_ns <= 0. If either state
    flapped, both sides are open.
    """

    low_ns: int | None
    high_ns: int | None
    flapped: bool


def switch_interval(before_windows: ArrayLike, after_windows: ArrayLike) -> SwitchInterval:
    """Interval of the instant at which a state turned from False to True.

    `before_windows` int64[b, 2] the windows [earliest, latest] in ns of the observations
    that saw False, `after_windows` int64[a, 2] of those that saw True; either may be empty,
    in any order. Raises ValueError for other shapes or a window that ends before it starts.
    """
    before, after = _windows(before_windows), _windows(after_windows)
    low = int(before[:, 0].max()) if len(before) else None
    high = int(after[:, 1].min()) if len(after) else None
    relapses = int(np.count_nonzero(before[:, 0] >= high)) if high is not None else 0
    if relapses:
        low = high = None
    return SwitchInterval(low, high, relapses > 0, relapses, len(before), len(after))


def gap_interval(a: SwitchInterval, b: SwitchInterval) -> GapInterval:
    """Interval of b - a: (b.low - a.high, b.high - a.low), open where an end is unknown.

    For a readiness gap, a is health turning healthy and b the WebSocket turning good.
    """
    return GapInterval(
        low_ns=b.low_ns - a.high_ns if b.low_ns is not None and a.high_ns is not None else None,
        high_ns=b.high_ns - a.low_ns if b.high_ns is not None and a.low_ns is not None else None,
        flapped=a.flapped or b.flapped,
    )


def _windows(windows: ArrayLike) -> NDArray[np.int64]:
    array = np.asarray(windows, dtype=np.int64)
    if array.size == 0:
        return array.reshape(0, 2)
    if array.ndim != 2 or array.shape[1] != 2:  # noqa: PLR2004 - a window has two ends
        raise ValueError(f"windows are rows of [earliest, latest], not of shape {array.shape}")
    if np.any(array[:, 0] > array[:, 1]):
        raise ValueError("a window ends before it starts")
    return array
