"""Where a course of runs changed: few values in time order, one per run.

E-divisive with means (Matteson and James, JASA 109 (2014)), as MongoDB uses it for its own
performance tests (Daly et al., ICPE 2020): the split that parts a stretch into the two that
differ most in their distribution, by the energy statistic

    Q = n m / (n + m) (2 E|X - Y| - E|X - X'| - E|Y - Y'|),

judged by permuting the stretch, and then the same within both parts. It asks for no shape of
the noise. The rule: no claim from few runs. A course below `RUNS_MIN` is not looked at, no part
is below `PART_MIN`, and a split is told only where at most `ALPHA` of the permutations part as
well: one course in a hundred that never changed shows one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

RUNS_MIN: Final = 12
PART_MIN: Final = 4
ALPHA: Final = 0.01
PERMUTATIONS: Final = 499
RUNS_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class Shift:
    """From run `at` on (its place in the course) it was different; medians of both parts."""

    at: int
    before: float
    after: float
    p_value: float


def change_points(values: NDArray[np.float64], *, seed: int = 1) -> list[Shift] | None:
    """The changes of float64[n], finite, in time order; None where there are too few runs.

    Of more than `RUNS_MAX` the last are looked at, and places still count from the first. The
    same values and seed give the same answer.
    """
    skipped = max(0, len(values) - RUNS_MAX)
    course = values[skipped:]
    if len(course) < RUNS_MIN:
        return None
    rng = np.random.Generator(np.random.PCG64(seed))
    found: dict[int, float] = {}
    stretches = [(0, len(course))]
    while stretches:
        low, high = stretches.pop()
        split = _split(course[low:high], rng)
        if split is not None:
            at, p_value = split
            found[low + at] = p_value
            stretches += [(low, low + at), (low + at, high)]
    ends = [0, *sorted(found), len(course)]
    return [
        Shift(
            skipped + at,
            float(np.median(course[before:at])),
            float(np.median(course[at:after])),
            found[at],
        )
        for before, at, after in zip(ends, ends[1:], ends[2:], strict=False)
    ]


def _split(part: NDArray[np.float64], rng: np.random.Generator) -> tuple[int, float] | None:
    if len(part) < 2 * PART_MIN:
        return None
    apart = np.abs(part[:, None] - part[None, :])
    if not apart.any():
        return None
    at, most = _most(apart)
    # A tie counts against the split, but for what rounding alone makes of the same sums.
    least = most * (1 - 1e-9)
    reached = 0
    for _ in range(PERMUTATIONS):
        order = rng.permutation(len(part))
        reached += _most(apart[np.ix_(order, order)])[1] >= least
    p_value = (1 + reached) / (1 + PERMUTATIONS)
    return (at, p_value) if p_value <= ALPHA else None


def _most(apart: NDArray[np.float64]) -> tuple[int, float]:
    """The place of the largest Q, and Q; `apart` float64[n, n] is |x_i - x_j|."""
    n = len(apart)
    sums = np.zeros((n + 1, n + 1))
    sums[1:, 1:] = apart.cumsum(axis=0).cumsum(axis=1)
    at = np.arange(PART_MIN, n - PART_MIN + 1)
    left, right = at.astype(np.float64), (n - at).astype(np.float64)
    within_left = sums[at, at]
    between = sums[at, n] - within_left
    within_right = sums[n, n] - 2 * sums[at, n] + within_left
    energy = (
        2 * between / (left * right)
        - within_left / np.maximum(left * (left - 1), 1)
        - within_right / np.maximum(right * (right - 1), 1)
    )
    q = left * right / n * energy
    best = int(np.argmax(q))
    return int(at[best]), float(q[best])
