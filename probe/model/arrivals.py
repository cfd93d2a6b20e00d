"""Intended times from a piecewise-linear curve: pacing as arithmetic, before any socket.

Open load inverts the cumulative rate: arrival k comes where the integral of the curve
reaches u_k, with u_k the sums of unit exponentials (Poisson) or k + 1/2 (even). Closed
load starts client i where the curve first reaches i + 1 and stops it where the curve last
falls below that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def open_arrivals(points: list[tuple[int, float]], *, even: bool, rng: np.random.Generator) -> Ints:
    """Arrival times (ns, ascending) for a rate curve of (ns, per second) points."""
    time = np.array([point[0] for point in points], dtype=np.float64) / 1e9
    rate = np.array([point[1] for point in points], dtype=np.float64)
    widths = np.diff(time)
    mass = np.concatenate([[0.0], np.cumsum(widths * (rate[:-1] + rate[1:]) / 2)])
    total = mass[-1]
    if even:
        targets = np.arange(0.5, total, 1.0)
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


def closed_clients(points: list[tuple[int, float]]) -> tuple[Ints, Ints]:
    """(start, stop) in ns of each client for a curve of (ns, clients) points."""
    time = np.array([point[0] for point in points], dtype=np.float64)
    level = np.array([point[1] for point in points], dtype=np.float64)
    most = int(level.max())
    values = np.arange(1, most + 1)
    first = np.searchsorted(np.maximum.accumulate(level), values)
    last = len(level) - 1 - np.searchsorted(np.maximum.accumulate(level[::-1]), values)
    return _crossings(time, level, first - 1, values), _crossings(time, level, last, values)


def _crossings(
    time: NDArray[np.float64], level: NDArray[np.float64], at: Ints, value: Ints
) -> Ints:
    """When the pieces from points `at` to `at`+1 pass `value`; the curve's ends stand in."""
    i = np.clip(at, 0, len(time) - 2)
    rise = level[i + 1] - level[i]
    share = np.divide(value - level[i], rise, out=np.zeros(len(i)), where=rise != 0)
    crossed = time[i] + share * (time[i + 1] - time[i])
    crossed = np.where(at < 0, time[0], np.where(at + 1 >= len(time), time[-1], crossed))
    return np.asarray(crossed, dtype=np.int64)
