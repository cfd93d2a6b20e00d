"""The nouns of race windows: at which offsets between two actions the anomaly happens.

The model, for a window from a to b (centre c, width w) and for a step at a:

    f(D) = p0 + (p1 - p0) [Phi((D - a)/s) - Phi((D - b)/s)]
    f(D) = p0 + (p1 - p0) Phi((D - a)/s)

D is the *measured* offset between the two actions, as the probe released them. What it cannot
measure is what happens between its own clock and the place in the service where the race is
decided: that error is taken as normal with standard deviation s, the jitter. How far a
measured offset fell from the planned one is no part of s, since the plan appears nowhere.

`window_grid` and `window_zoom` hold the posterior, `window_fit` what rows of trials say,
`window_search` which offset comes next, `trials` the test on fresh data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Kind = Literal["window", "step"]
Stage = Literal["sweep", "localise", "confirm", "control"]
State = Literal[
    "searching", "localised", "confirmed", "not_confirmed", "none_found", "not_localised"
]

HITS_MIN: Final = 8  # fewer say nothing about where
LN_BF_FOUND: Final = 3.0  # Kass and Raftery, JASA 90 (1995): "strong"
GOALS_MIN: Final = 20  # a range that is not far wider than the goal needs no search


@dataclass(frozen=True, slots=True)
class Space:
    """What is searched: offsets from `lo_ns` to `hi_ns`, and what is known beforehand.

    `jitter_ns` is s, the standard deviation between the measured offset and the one at the
    service (0: the offset is exact). A "step" may rise or fall; its direction is fitted.
    `goal_ns` is the half-width of the centre's interval that ends a search. With `p0_zero` the
    anomaly is known never to happen outside the window, so that one hit proves there is one.
    Raises ValueError for a range under 20 goals, a negative jitter, a goal that is not positive.
    """

    lo_ns: int
    hi_ns: int
    jitter_ns: int
    kind: Kind = "window"
    goal_ns: int = 3_000_000
    p0_zero: bool = False

    def __post_init__(self) -> None:
        if self.goal_ns <= 0 or self.jitter_ns < 0:
            raise ValueError("a goal is positive, and a jitter is not negative")
        if self.range_ns < GOALS_MIN * self.goal_ns:
            raise ValueError(
                f"offsets from {self.lo_ns} to {self.hi_ns} ns are under {GOALS_MIN} times "
                f"the goal of {self.goal_ns} ns: there is nothing to search"
            )

    @property
    def range_ns(self) -> int:
        """R, the length of the range."""
        return self.hi_ns - self.lo_ns


@dataclass(frozen=True, slots=True)
class Try:
    """One trial to run: the planned offset, and the stage that its row belongs to."""

    offset_ns: int
    stage: Stage


@dataclass(frozen=True, slots=True)
class Span:
    """A value with its two-sided 95 % interval, in ns or as a rate."""

    value: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half of the interval's length."""
        return (self.high - self.low) / 2


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Fresh trials: `k1` of `n1` at the window, `k0` of `n0` at the control offset.

    `p_value` is Fisher's, one-sided; `n_needed` trials at each have 90 % power at the fitted
    rates (None if nothing was fitted), so with fewer "not confirmed" says little.
    """

    k1: int
    n1: int
    k0: int
    n0: int
    p_value: float
    confirmed: bool
    n_needed: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """What rows of trials say. Times in ns; None is "not known", never zero.

    `n` and `hits` count sweep and localise rows, `sweep_n` and `sweep_hits` sweep rows alone.
    `ln_bf` weighs a window (a step) against one constant rate; `found` if it is over 3.
    `localised` if found, with at least 8 hits, and an interval of the centre within the goal.
    `centre_ns` (a step's edge) has an interval that was calibrated: docs/windows.md. `width_ns`
    is None unless localised and well above the jitter. `p1` and `p0` are the rates inside and
    outside (a step's higher and lower one) where there is no jitter; `rate` is the one at the
    centre, jitter and all. `rising` is a step's direction. `exposure_ns` is
    R (k/N - p0), where p0 is known: to be 0, or from control rows; `exposure_most_ns` is a
    one-sided 95 % upper bound of it, whatever p0 is. `strays` counts hits far outside the
    fitted window. `grid_ns` and `density` (per ns) are the posterior of the centre, float[g],
    empty unless found.
    """

    n: int
    hits: int
    sweep_n: int
    sweep_hits: int
    ln_bf: float
    found: bool
    localised: bool
    centre_ns: Span | None
    width_ns: Span | None
    p1: Span | None
    p0: Span | None
    rate: Span | None
    rising: bool | None
    exposure_ns: Span | None
    exposure_most_ns: float | None
    strays: int
    grid_ns: NDArray[np.float64]
    density: NDArray[np.float64]
    confirm: Confirmation | None

    @property
    def state(self) -> State:
        """How a search over these rows ended; "localised" if nothing was tried to confirm it."""
        if self.confirm is not None:
            return "confirmed" if self.confirm.confirmed else "not_confirmed"
        if self.localised:
            return "localised"
        return "not_localised" if self.found else "none_found"
