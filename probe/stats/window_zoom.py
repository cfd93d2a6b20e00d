"""From the coarse grid to a box of fine cells around the mass of the posterior.

The box is cut again until it is neither much wider than the mass nor cuts any of it off. All of
this is a function of the rows alone, in any order: rows are sorted first, so that even the
rounding is the same for whoever asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from probe.stats.window_grid import AXIS, REACH, STEP_CELLS, Box, Grid, Pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from probe.stats.window import Space

HULL_MASS: Final = 0.95  # of the coarse posterior, to begin with
COMPACT: Final = 10.0  # widths and jitters: mass more scattered than that is no place yet
TAIL: Final = 2e-3  # of the mass, beyond each side of a box
MARGIN: Final = 2.5  # cells kept beyond it
SHRUNK: Final = 0.6
ZOOMS_MAX: Final = 12
UNLIKELY: Final = 1e-6  # what the coarse grid says of rates is rough
UNLIKELY_FINE: Final = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Measured offsets in ns, float64[n], and whether the anomaly was seen, bool[n]."""

    x: NDArray[np.float64]
    hit: NDArray[np.bool_]

    def ordered(self) -> Rows:
        """The same rows in an order that depends on nothing but them."""
        order = np.lexsort((self.hit, self.x))
        return Rows(self.x[order], self.hit[order])


@dataclass(frozen=True, slots=True, eq=False)
class Local:
    """A filled grid over a box."""

    box: Box
    grid: Grid


def hull(grid: Grid, space: Space) -> Box | None:
    """The box around most of the coarse posterior; None while it lies scattered."""
    cells = grid.cells
    mass, _ = grid.mass()
    order = np.argsort(-mass, kind="stable")
    keep = order[: int(np.searchsorted(np.cumsum(mass[order]), HULL_MASS)) + 1]
    a, b, smear = cells.a[keep], cells.b[keep], cells.smear_a[keep]
    # Twice the smear reaches beyond the neighbours that each cell stands for.
    box = Box(
        float((a - 2 * smear).min()),
        float((a + 2 * smear).max()),
        float((b - 2 * smear).min()),
        float((b + 2 * smear).max()),
    )
    if space.kind == "step":
        return Box(max(box.a_low, space.lo_ns), min(box.a_high, space.hi_ns), np.inf, np.inf)
    log_width = float(np.average(np.log(b - a), weights=mass[keep]))
    if box.a_high - box.a_low > COMPACT * (np.exp(log_width) + 2 * space.jitter_ns):
        return None
    return box


def filled(space: Space, box: Box, pairs: Pairs, rows: Rows) -> Grid:
    """A grid over the box, with all rows told."""
    cells = box.cells(space)
    grid = Grid(cells, pairs)
    near = (rows.x > (cells.a - REACH * cells.smear_a).min()) & (
        rows.x < (cells.b + REACH * cells.smear_b).max()
    )
    grid.count(int(np.count_nonzero(~near)), int(np.count_nonzero(rows.hit[~near])))
    for x, hit in zip(rows.x[near].tolist(), rows.hit[near].tolist(), strict=True):
        grid.tell(x, hit)
    return grid


def likely(grid: Grid, least: float) -> Pairs:
    """The pairs that hold more than `least` of the posterior: the others only cost time."""
    return grid.pairs.only(grid.joint().sum(axis=0) > least)


def zoom(space: Space, start: Box, rows: Rows, pairs: Pairs) -> Local:
    """Cut boxes until one fits the mass. `rows` are ordered."""
    box = start
    for _ in range(ZOOMS_MAX):
        grid = filled(space, box, pairs, rows)
        fitting = around(space, box, grid)
        if fitting is None:
            break
        box = fitting
        pairs = likely(grid, UNLIKELY_FINE)
    return Local(box, grid)


def around(space: Space, box: Box, grid: Grid) -> Box | None:
    """The box that would fit the mass of `grid` better than its own `box`; None if none does."""
    mass, _ = grid.mass()
    a = _side(grid.cells.a, mass, box.a_low, box.a_high, space)
    if space.kind == "step":
        return None if a is None else Box(a[0], a[1], box.b_low, box.b_high)
    order = np.argsort(grid.cells.b, kind="stable")
    b = _side(grid.cells.b[order], mass[order], box.b_low, box.b_high, space)
    if a is None and b is None:
        return None
    a = a or (box.a_low, box.a_high)
    b = b or (box.b_low, box.b_high)
    return Box(a[0], a[1], b[0], b[1])


def _side(
    edge: NDArray[np.float64], mass: NDArray[np.float64], low: float, high: float, space: Space
) -> tuple[float, float] | None:
    """A better range for one edge (sorted, with its mass) than low to high; None if it is good."""
    summed = np.cumsum(mass)
    at = np.minimum(np.searchsorted(summed, [TAIL, 1 - TAIL]), len(edge) - 1)
    first, last = float(edge[at[0]]), float(edge[at[1]])
    step = (high - low) / (STEP_CELLS if space.kind == "step" else AXIS)
    # A window may reach beyond the range, but a step outside it is none.
    reach = space.range_ns / 2 if space.kind == "window" else 0
    least, most = space.lo_ns - reach, space.hi_ns + reach
    cut_low = first - low < step and low > least
    cut_high = high - last < step and high < most
    if cut_low or cut_high:
        grown = (high - low) / 2
        return max(low - grown * cut_low, least), min(high + grown * cut_high, most)
    first, last = max(first - MARGIN * step, least), min(last + MARGIN * step, most)
    if last - first < SHRUNK * (high - low) and high - low > space.goal_ns / 2:
        return first, last
    return None
