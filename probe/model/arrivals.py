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
    starts, stops = np.zeros(most, dtype=np.int64), np.zeros(most, dtype=np.int64)
    for client in range(most):
        reached = np.flatnonzero(level >= client + 1)
        starts[client] = _crossing(time, level, int(reached[0]) - 1, client + 1)
        stops[client] = _crossing(time, level, int(reached[-1]), client + 1)
    return starts, stops


def _crossing(time: NDArray[np.float64], level: NDArray[np.float64], i: int, value: int) -> int:
    """When the piece from point i to i+1 passes `value`; the ends of the curve stand in."""
    if i < 0:
        return int(time[0])
    if i + 1 >= len(time):
        return int(time[-1])
    low, high = level[i], level[i + 1]
    share = (value - low) / (high - low) if high != low else 0.0
    return int(time[i] + share * (time[i + 1] - time[i]))
