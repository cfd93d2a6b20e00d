"""The posterior over race windows, on cells.

A cell is one window, from a to b (b is infinite for a step), with a prior; a pair is one
(p0, p1). `Grid` holds for each pair and cell how much better it explains the trials so far than
the constant rate p0 does; a trial then touches only the cells that reach its offset. Two grids
answer for all sizes of window:

- `coarse`: the whole range. Widths double from R/400 on, each with centres a quarter of its
  width apart; steps are R/400 apart. It finds.
- `box`: a small rectangle of (a, b), 40 x 40 cells, zoomed in on the mass. It measures.

A cell stands for all windows between it and its neighbours, so its edges are smeared by the
spacing beside the jitter. The prior is uniform over the centre, over the logarithm of the width
(flat below R/400) and of the rate inside, the same in both grids, so that their evidence is on
one scale. "Known to be zero" is taken as one in a million.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from probe.stats.window import Space

TEMPLATES: Final = 400  # R over this is the narrowest template: narrower ones take too long to hit
DOUBLINGS: Final = 8
STEPS_PER_WIDTH: Final = 4
AXIS: Final = 40  # cells of a box along each edge
STEP_CELLS: Final = 800
REACH: Final = 6.0  # standard deviations after which a smeared edge is over
ZERO: Final = 1e-6
RESCALE_EVERY: Final = 8
LARGE: Final = 1e60
TINY: Final = 1e-200

P0: Final = (0.0005, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
P1: Final = (0.02, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.75, 0.9, 0.97, 0.999)
ALWAYS: Final = 0.1  # prior of the last of these: what always goes wrong is a kind of its own
TOP_OVER_BASE: Final = 1.5
NULL_RATES: Final = 64


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Rates outside (`base`) and inside (`top`) with their log prior; and the null's rates."""

    base: NDArray[np.float64]
    top: NDArray[np.float64]
    log_prior: NDArray[np.float64]
    null: NDArray[np.float64]

    @classmethod
    def of(cls, space: Space) -> Self:
        """All pairs that `space` leaves possible."""
        low = (ZERO,) if space.p0_zero else P0
        found = [(p0, p1) for p0 in low for p1 in P1 if p1 > TOP_OVER_BASE * p0]
        # Finer than the pairs, so that no window is needed to mend a constant between two rates.
        null = np.geomspace(min(low), max(low), 1 if space.p0_zero else NULL_RATES)
        if space.kind == "step":
            found += [(p1, p0) for p0, p1 in found]
            null = np.geomspace(min(low), max(P1), NULL_RATES)
        pairs = np.array(found)
        # Uniform over the logarithm of the rate inside: weak windows are taken for likely, since
        # to take a weak and wide one for a strong and narrow one is the error to fear. But a
        # list gives its last rate next to nothing, though many races go wrong each time.
        rate = pairs.max(axis=1)
        lower, upper = rate_ends(rate)
        prior = (upper - lower) / rate
        always = rate == P1[-1]
        prior[always] *= ALWAYS / prior[always].sum()
        prior[~always] *= (1 - ALWAYS) / prior[~always].sum()
        return cls(pairs[:, 0], pairs[:, 1], np.log(prior), null)

    def only(self, keep: NDArray[np.bool_]) -> Pairs:
        """The pairs marked, with the prior they had."""
        return Pairs(self.base[keep], self.top[keep], self.log_prior[keep], self.null)


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Windows from `a` to `b`, their edges smeared by `smear_a`, `smear_b`; ns, float[m].

    `pitch` is how far from a cell's centre the centres lie that it stands for.
    """

    a: NDArray[np.float64]
    b: NDArray[np.float64]
    smear_a: NDArray[np.float64]
    smear_b: NDArray[np.float64]
    pitch: NDArray[np.float64]
    prior: NDArray[np.float64]

    @property
    def centre(self) -> NDArray[np.float64]:
        """The centre of each window; the edge of each step."""
        return np.where(np.isinf(self.b), self.a, (self.a + self.b) / 2)


class Grid:
    """Cells x pairs, and the trials told so far."""

    def __init__(self, cells: Cells, pairs: Pairs) -> None:
        self.cells = cells
        self.pairs = pairs
        self.n = 0
        self.hits = 0
        self._weight = np.ones((len(cells.a), len(pairs.base)))
        self._log_scale = np.zeros(len(pairs.base))
        self._told = 0
        self._mass: tuple[NDArray[np.float64], float] | None = None
        self._from = cells.a - REACH * cells.smear_a
        self._to = cells.b + REACH * cells.smear_b
        rise = pairs.top - pairs.base
        self._of_hit, self._of_miss = rise / pairs.base, -rise / (1 - pairs.base)

    def count(self, n: int, hits: int) -> None:
        """Add trials that no cell reaches."""
        self.n += n
        self.hits += hits
        self._mass = None

    def tell(self, x_ns: float, anomaly: bool) -> None:
        """Add one trial at the measured offset `x_ns`."""
        self.count(1, int(anomaly))
        reached = np.flatnonzero((self._from < x_ns) & (x_ns < self._to))
        if not len(reached):
            return
        # A slice of all is faster than a list of most.
        near = slice(None) if 2 * len(reached) > len(self._from) else reached
        cells = self.cells
        inside = special.ndtr((x_ns - cells.a[near]) / cells.smear_a[near])
        inside -= special.ndtr((x_ns - cells.b[near]) / cells.smear_b[near])
        inside = np.maximum(inside, 0.0)  # two smears that differ can cross
        # How much better than the constant p0 each pair and cell foretold this outcome.
        ratio = np.multiply.outer(inside, self._of_hit if anomaly else self._of_miss)
        ratio += 1
        self._weight[near] *= ratio
        self._told += 1
        if self._told % RESCALE_EVERY == 0:
            self._rescale()

    def _rescale(self) -> None:
        """Keep the weights far from both ends of what a float holds, each pair by itself."""
        # Before they become subnormal numbers, which are slow.
        self._weight[self._weight < TINY] = 0.0
        most = self._weight.max(axis=0)
        far = (most < 1 / LARGE) | (most > LARGE)
        self._weight[:, far] /= most[far]
        self._log_scale[far] += np.log(most[far])

    def _pair_logs(self) -> NDArray[np.float64]:
        constant = _constant(self.pairs.base, self.n, self.hits)
        return self.pairs.log_prior + constant + self._log_scale

    def mass(self) -> tuple[NDArray[np.float64], float]:
        """Posterior mass of each cell, float[m], summing to 1; and the log of the evidence."""
        if self._mass is None:
            logs = self._pair_logs()
            most = float(logs.max())
            mass = (self._weight @ np.exp(logs - most)) * self.cells.prior
            total = float(mass.sum())
            self._mass = mass / total, float(np.log(total)) + most
        return self._mass

    def log_null(self) -> float:
        """The log of the evidence for one constant rate."""
        logs = _constant(self.pairs.null, self.n, self.hits)
        most = float(logs.max())
        return float(np.log(np.exp(logs - most).mean())) + most

    def joint(self) -> NDArray[np.float64]:
        """Posterior mass of each cell and pair, float[m, j], summing to 1."""
        logs = self._pair_logs()
        joint = self._weight * np.exp(logs - logs.max()) * self.cells.prior[:, None]
        return np.asarray(joint / joint.sum(), dtype=np.float64)

    def always(self) -> float:
        """Posterior probability that the anomaly always happens inside (the last rate listed)."""
        logs = self._pair_logs()
        of_pair = (self.cells.prior @ self._weight) * np.exp(logs - logs.max())
        sure = np.maximum(self.pairs.base, self.pairs.top) == P1[-1]
        return float(of_pair[sure].sum() / of_pair.sum())

    def draw(self, rng: np.random.Generator, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices (pair, cell) of `n` draws from the posterior."""
        summed = np.cumsum(self.joint())
        at = np.searchsorted(summed, rng.random(n) * summed[-1], side="right")
        cell, pair = np.divmod(np.minimum(at, len(summed) - 1), len(self.pairs.base))
        return pair, cell


def _constant(rates: NDArray[np.float64], n: int, hits: int) -> NDArray[np.float64]:
    """Log-likelihood of `hits` in `n` trials at each constant rate."""
    return np.asarray(hits * np.log(rates) + (n - hits) * np.log1p(-rates))


def rate_ends(rates: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far down and up each listed rate stands for all: half-way to its neighbours."""
    listed = np.array(sorted({0.0, ZERO, *P0, *P1, 1.0}))
    at = np.searchsorted(listed, rates)
    return (listed[at - 1] + listed[at]) / 2, (listed[at] + listed[at + 1]) / 2


def coarse(space: Space) -> Cells:
    """The whole range: windows of doubling widths, or steps."""
    if space.kind == "step":
        edges, step = _middles(space.lo_ns, space.hi_ns, TEMPLATES)
        smear = np.full(len(edges), np.hypot(space.jitter_ns, step / 2))
        prior = np.full(len(edges), 1 / len(edges))
        pitch = np.full(len(edges), step / 2)
        return Cells(edges, np.full(len(edges), np.inf), smear, smear, pitch, prior)
    a, b, smears, pitches, priors = [], [], [], [], []
    for doubling in range(DOUBLINGS):
        width = space.range_ns / TEMPLATES * 2.0**doubling
        count = max(1, round(space.range_ns / width * STEPS_PER_WIDTH))
        centres, step = _middles(space.lo_ns, space.hi_ns, count)
        a.append(centres - width / 2)
        b.append(centres + width / 2)
        smears.append(np.full(count, np.hypot(space.jitter_ns, step / 2)))
        pitches.append(np.full(count, step / 2))
        priors.append(np.full(count, 1 / DOUBLINGS / count))
    smear = np.concatenate(smears)
    return Cells(
        np.concatenate(a),
        np.concatenate(b),
        smear,
        smear,
        np.concatenate(pitches),
        np.concatenate(priors),
    )


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of edges, ns: a from `a_low` to `a_high`, b likewise (infinite for a step)."""

    a_low: float
    a_high: float
    b_low: float
    b_high: float

    def cells(self, space: Space) -> Cells:
        """The cells that the box is cut into: 40 x 40 windows (a < b), or 800 steps."""
        if space.kind == "step":
            a, step_a = _middles(self.a_low, self.a_high, STEP_CELLS)
            smear = np.full(len(a), np.hypot(space.jitter_ns, step_a / np.sqrt(12)))
            prior = np.full(len(a), step_a / space.range_ns)
            pitch = np.full(len(a), step_a / 2)
            return Cells(a, np.full(len(a), np.inf), smear, smear, pitch, prior)
        axis_a, step_a = _middles(self.a_low, self.a_high, AXIS)
        axis_b, step_b = _middles(self.b_low, self.b_high, AXIS)
        a, b = np.repeat(axis_a, AXIS), np.tile(axis_b, AXIS)
        valid = b > a
        a, b = a[valid], b[valid]
        narrowest = space.range_ns / TEMPLATES
        log_widths = DOUBLINGS * np.log(2.0)
        prior = step_a * step_b / (space.range_ns * np.maximum(b - a, narrowest) * log_widths)
        return Cells(
            a,
            b,
            np.full(len(a), np.hypot(space.jitter_ns, step_a / np.sqrt(12))),
            np.full(len(a), np.hypot(space.jitter_ns, step_b / np.sqrt(12))),
            np.full(len(a), (step_a + step_b) / 4),
            prior,
        )


def _middles(low: float, high: float, count: int) -> tuple[NDArray[np.float64], float]:
    """The middles of `count` equal parts, and the length of a part."""
    step = (high - low) / count
    return np.asarray(low + step * (np.arange(count) + 0.5), dtype=np.float64), step
