"""What rows of trials say about a race window: found, where, how wide, how much, confirmed.

The rule: a function of the rows alone. The search that chose the offsets, and the judge that
reads them years later, call the same `fit` and get the same answer.

Which rows speak to what: the posterior takes sweep and localise rows (where to look was chosen
from the rows before, which a likelihood does not mind). The exposure takes sweep rows alone,
whose offsets were fixed beforehand. The test takes confirm and control rows alone, which had no
part in finding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np
from scipy import special

from probe.stats.rates import clopper_pearson
from probe.stats.trials import CONFIRM_MIN, confirm_n, confirmed, difference
from probe.stats.window import HITS_MIN, LN_BF_FOUND, Confirmation, Fit, Span
from probe.stats.window_grid import Grid, Pairs, coarse, rate_ends
from probe.stats.window_zoom import UNLIKELY, Local, Rows, hull, likely, zoom

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from probe.stats.window import Space, Stage

STRETCH: Final = 1.25  # of an interval, where the anomaly does not always happen
STRETCH_ALWAYS: Final = {"window": 0.85, "step": 1.0}
INSIDE_MIN: Final = 0.97  # of the coarse posterior within the box: else it may be elsewhere
WIDTH_OVER_JITTER: Final = 2.0  # the width's lower bound, or no width is told
BINS: Final = 200
FAR: Final = 6.0  # jitters outside both intervals: no hit of this window


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """The coarse grid over all, the fine one where there is a place for it, and the evidence."""

    coarse: Grid
    local: Local | None
    ln_bf: float
    inside: float


def fit(offsets_ns: ArrayLike, anomalies: ArrayLike, stages: Sequence[Stage], space: Space) -> Fit:
    """What the rows say: measured offsets int64[n] ns, anomalies bool[n], n stages, in any order.

    Raises ValueError if the three are not of one length.
    """
    columns = Columns.of(offsets_ns, anomalies, stages)
    rows = columns.searched()
    return told(columns, rows, posterior(space, rows), space)


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """All rows, column by column."""

    x: NDArray[np.float64]
    hit: NDArray[np.bool_]
    stage: NDArray[np.str_]

    @classmethod
    def of(cls, offsets_ns: ArrayLike, anomalies: ArrayLike, stages: Sequence[Stage]) -> Self:
        """Columns of one length, or a ValueError."""
        x, hit = np.asarray(offsets_ns, dtype=np.float64), np.asarray(anomalies, dtype=np.bool_)
        stage = np.asarray(stages, dtype=np.str_)
        if not (x.ndim == 1 and x.shape == hit.shape == stage.shape):
            raise ValueError("offsets, anomalies and stages are rows of one length")
        return cls(x, hit, stage)

    def searched(self) -> Rows:
        """The rows that the posterior rests on, ordered."""
        searched = (self.stage == "sweep") | (self.stage == "localise")
        return Rows(self.x[searched], self.hit[searched]).ordered()


def posterior(space: Space, rows: Rows) -> Posterior:
    """The posterior over windows. `rows` are ordered."""
    grid = Grid(coarse(space), Pairs.of(space))
    for x, hit in zip(rows.x.tolist(), rows.hit.tolist(), strict=True):
        grid.tell(x, hit)
    return narrowed(space, rows, grid)


def narrowed(space: Space, rows: Rows, grid: Grid) -> Posterior:
    """The same from a coarse grid that all rows have been told."""
    mass, evidence = grid.mass()
    ln_bf = evidence - grid.log_null()
    box = hull(grid, space) if np.any(rows.hit) else None
    if box is None:
        return Posterior(grid, None, ln_bf, 0.0)
    local = zoom(space, box, rows, likely(grid, UNLIKELY))
    _, fine = local.grid.mass()
    # A coarse cell speaks for as much as its smear around it.
    centre, reach = grid.cells.centre, 2 * grid.cells.smear_a
    right = box.a_high if space.kind == "step" else box.b_high
    inside = float(mass[(centre >= box.a_low - reach) & (centre <= right + reach)].sum())
    return Posterior(grid, local, max(ln_bf, fine - grid.log_null()), inside)


def centre_of(grid: Grid, space: Space) -> Span:
    """The centre with its calibrated 95 % interval, ns.

    An interval that a search stops on is too narrow where the window is weak, and too wide where
    the anomaly always happens, since it hedges against lower rates. It is stretched by as much
    as a simulation asked for, according to how likely "always" is (docs/windows.md,
    "Calibration").
    """
    own = central(grid)
    stretch = STRETCH + (STRETCH_ALWAYS[space.kind] - STRETCH) * grid.always()
    middle = own.value
    return Span(
        middle, middle - stretch * (middle - own.low), middle + stretch * (own.high - middle)
    )


def central(grid: Grid) -> Span:
    """The posterior's own 95 % of the centre, ns; never finer than the grid."""
    mass, _ = grid.mass()
    return _resolved(grid.cells.centre, mass, float(mass @ grid.cells.pitch))


def _resolved(values: NDArray[np.float64], mass: NDArray[np.float64], pitch: float) -> Span:
    """Median and 95 % interval of values that each stand for all within `pitch`."""
    low, middle, high = quantiles(values, mass, (0.025, 0.5, 0.975))
    return Span(middle, min(low, middle - pitch), max(high, middle + pitch))


def quantiles(
    values: NDArray[np.float64], mass: NDArray[np.float64], at: tuple[float, ...]
) -> list[float]:
    """Quantiles of weighted values, between which the mass is taken as spread evenly."""
    order = np.argsort(values, kind="stable")
    summed = np.cumsum(mass[order])
    return [float(q) for q in np.interp(at, (summed - mass[order] / 2) / summed[-1], values[order])]


def told(columns: Columns, rows: Rows, known: Posterior, space: Space) -> Fit:
    """The fit, from a posterior that the searched `rows` among the columns led to."""
    hit, stage = columns.hit, columns.stage
    hits = int(np.count_nonzero(rows.hit))
    swept = stage == "sweep"
    sweep_n, sweep_hits = int(np.count_nonzero(swept)), int(np.count_nonzero(hit[swept]))
    found = known.ln_bf > LN_BF_FOUND
    centre = width = p1 = p0 = rate = rising = None
    grid_ns = density = np.empty(0)
    localised, strays = False, 0
    if found:
        grid = known.local.grid if known.local else known.coarse
        centre = centre_of(grid, space)
        grid_ns, density = _density(grid)
        p1, p0, rate, rising = _rates(grid, space)
        spread = _width(grid) if space.kind == "window" else None
        localised = (
            known.local is not None
            and known.inside >= INSIDE_MIN
            and hits >= HITS_MIN
            and centre.half <= space.goal_ns
        )
        if localised and spread is not None:
            strays = _strays(rows, centre, spread, space)
            if spread.low > WIDTH_OVER_JITTER * space.jitter_ns:
                width = spread
    test = _confirmation(hit[stage == "confirm"], hit[stage == "control"], p0, rate)
    exposure = None
    if space.kind == "window" and sweep_n:
        exposure = _exposure(sweep_hits, sweep_n, test, space)
    most = None
    if space.kind == "window" and sweep_n:
        most = space.range_ns * clopper_pearson(sweep_hits, sweep_n, side="upper").high
    return Fit(
        n=len(rows.x), hits=hits, sweep_n=sweep_n, sweep_hits=sweep_hits,
        ln_bf=known.ln_bf, found=found, localised=localised,
        centre_ns=centre, width_ns=width, p1=p1, p0=p0, rate=rate, rising=rising,
        exposure_ns=exposure, exposure_most_ns=most, strays=strays,
        grid_ns=grid_ns, density=density, confirm=test,
    )  # fmt: skip


def _rates(grid: Grid, space: Space) -> tuple[Span, Span, Span, bool | None]:
    """(p1, p0, the rate at the centre, the direction of a step)."""
    joint, pairs, cells = grid.joint(), grid.pairs, grid.cells
    of_pair = joint.sum(axis=0)
    # A listed rate stands for all up to half-way to its neighbours: intervals end there.
    lower, upper = rate_ends(pairs.top)
    base_lower, base_upper = rate_ends(pairs.base)
    base = _spread(pairs.base, base_lower, base_upper, of_pair)
    if space.kind == "step":
        up = pairs.top > pairs.base
        top = _spread(
            np.where(up, pairs.top, pairs.base),
            np.where(up, lower, base_lower),
            np.where(up, upper, base_upper),
            of_pair,
        )
        base = _spread(
            np.where(up, pairs.base, pairs.top),
            np.where(up, base_lower, lower),
            np.where(up, base_upper, upper),
            of_pair,
        )
        zero = Span(0.0, 0.0, 0.0) if space.p0_zero else base
        return top, zero, top, bool(of_pair[up].sum() > 1 / 2)
    half = (cells.b - cells.a) / 2
    peak = special.ndtr(half / cells.smear_a) - special.ndtr(-half / cells.smear_b)
    at_centre = [
        (pairs.base + np.multiply.outer(peak, top - pairs.base)).ravel()
        for top in (pairs.top, lower, upper)
    ]
    rate = _spread(at_centre[0], at_centre[1], at_centre[2], joint.ravel())
    top = _spread(pairs.top, lower, upper, of_pair)
    return top, Span(0.0, 0.0, 0.0) if space.p0_zero else base, rate, None


def _spread(
    values: NDArray[np.float64],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    mass: NDArray[np.float64],
) -> Span:
    """Median of `values`, and the 95 % interval from their lower and upper ends."""
    return Span(
        quantiles(values, mass, (0.5,))[0],
        quantiles(lower, mass, (0.025,))[0],
        quantiles(upper, mass, (0.975,))[0],
    )


def _width(grid: Grid) -> Span:
    mass, _ = grid.mass()
    # A width is off by as much as both edges together, a centre by half of that.
    return _resolved(grid.cells.b - grid.cells.a, mass, 2 * float(mass @ grid.cells.pitch))


def _density(grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The posterior of the centre for a plot: middles of 200 bins in ns, and density per ns."""
    mass, _ = grid.mass()
    density, edges = np.histogram(grid.cells.centre, bins=BINS, weights=mass, density=True)
    return (edges[1:] + edges[:-1]) / 2, density


def _strays(rows: Rows, centre: Span, width: Span, space: Space) -> int:
    """Hits further from the centre than the widest window and its jitter reach."""
    reach = width.high / 2 + centre.half + FAR * space.jitter_ns
    return int(np.count_nonzero(np.abs(rows.x[rows.hit] - centre.value) > reach))


def _exposure(k: int, n: int, test: Confirmation | None, space: Space) -> Span | None:
    """R (k/N - p0): p0 known to be 0, or from the control rows; None where it is not known."""
    length = space.range_ns
    if space.p0_zero:
        sure = clopper_pearson(k, n)
        return Span(length * k / n, length * sure.low, length * sure.high)
    if test is None or not test.n0:
        return None
    low, high = difference(k, n, test.k0, test.n0)
    return Span(length * (k / n - test.k0 / test.n0), length * low, length * high)


def _confirmation(
    inside: NDArray[np.bool_],
    outside: NDArray[np.bool_],
    p0: Span | None,
    rate: Span | None,
) -> Confirmation | None:
    if not len(inside) and not len(outside):
        return None
    k1, n1 = int(np.count_nonzero(inside)), len(inside)
    k0, n0 = int(np.count_nonzero(outside)), len(outside)
    yes, p_value = confirmed(k1, n1, k0, n0)
    return Confirmation(k1, n1, k0, n0, p_value, yes, planned(p0, rate))


def planned(p0: Span | None, rate: Span | None) -> int | None:
    """Trials at each offset for 90 % power; None if nothing was fitted.

    From half-way between the fitted rate and its lower bound, since a search stops when a window
    looks its best.
    """
    if p0 is None or rate is None:
        return None
    inside = (rate.value + rate.low) / 2
    if inside <= p0.value:
        return None
    return max(CONFIRM_MIN, confirm_n(round(inside, 3), round(min(p0.value, inside / 2), 3)))
