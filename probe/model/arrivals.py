"""Intended times from a piecewise-linear curve: pacing as arithmetic, before any socket.

Open load inverts the cumulative rate: arrival k comes where the integral of the curve
reaches u_k, with u_k the sums of unit exponentials (Poisson) or k + 1/2 (even). Closed
load has a place for each whole number of clients; a client takes place n where the curve
reaches n and leaves it where the curve falls below, and whoever takes it again later is a
new client.
"""

from __future__ import annotations

from itertools import pairwise
from math import floor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from probe.model.curve import MIDDLE

if TYPE_CHECKING:
    from collections.abc import Sequence

Ints = NDArray[np.int64]


def open_arrivals(
    points: Sequence[tuple[int, float]],
    *,
    even: bool,
    rng: np.random.Generator,
    first: float = MIDDLE,
) -> Ints:
    """Arrival times (ns, ascending) for a rate curve of (ns, per second) points.

    `first` is the place of the first even arrival in its gap, 0 to 1.
    """
    time = np.array([point[0] for point in points], dtype=np.float64) / 1e9
    rate = np.array([point[1] for point in points], dtype=np.float64)
    widths = np.diff(time)
    mass = np.concatenate([[0.0], np.cumsum(widths * (rate[:-1] + rate[1:]) / 2)])
    total = mass[-1]
    if even:
        targets = np.arange(first, total, 1.0)
    else:
        # Enough exponentials to pass `total` for sure: mean + 10 standard deviations + 50.
        count = int(total + 10 * np.sqrt(total) + 50)
        targets = np.cumsum(-np.log1p(-rng.random(count)))
        targets = targets[targets < total]
    piece = np.clip(np.searchsorted(mass, targets, side="right") - 1, 0, len(widths) - 1)
    slope = np.divide(
        rate[piece + 1] - rate[piece],
        widths[piece],
        out=np.zeros_like(targets),
        where=widths[piece] > 0,
    )
    base, rest = rate[piece], targets - mass[piece]
    # rest = base*x + slope*x^2/2, solved in the form that stays exact for a slope of 0.
    root = np.sqrt(np.maximum(base * base + 2 * slope * rest, 0.0))
    x = np.divide(2 * rest, base + root, out=np.zeros_like(rest), where=(base + root) > 0)
    return np.asarray(np.rint((time[piece] + x) * 1e9), dtype=np.int64)


def closed_clients(points: Sequence[tuple[int, float]]) -> tuple[Ints, Ints]:
    """(start, stop) in ns of each client for a curve of (ns, clients) points, by place and time."""
    (begin, at_first), (end, at_last) = points[0], points[-1]
    takes = [_held(at_first, begin)]
    leaves: list[Ints] = []
    for left, right in pairwise(points):
        if right[1] > left[1]:
            takes.append(_crossings(left, right))
        elif right[1] < left[1]:
            leaves.append(_crossings(left, right))
    leaves.append(_held(at_last, end))
    return _by_place(takes), _by_place(leaves)


def _held(level: float, at_ns: int) -> Ints:
    """(place, ns) of all the places that a level holds."""
    places = np.arange(1, floor(level) + 1)
    return np.stack([places, np.full(len(places), at_ns)])


def _crossings(left: tuple[int, float], right: tuple[int, float]) -> Ints:
    """(place, ns) of every place that a piece takes on its way up, or leaves on its way down."""
    (t, a), (u, b) = left, right
    places = np.arange(floor(min(a, b)) + 1, floor(max(a, b)) + 1)
    passed = t + (places - a) / (b - a) * (u - t)
    return np.stack([places, passed.astype(np.int64)])


def _by_place(pairs: list[Ints]) -> Ints:
    """Times in the order of their places, and within one of time."""
    places, times = np.concatenate(pairs, axis=1)
    return np.asarray(times[np.lexsort((times, places))], dtype=np.int64)
