"""How a service scales: the Universal Scalability Law, fitted to measured levels.

With X the throughput at concurrency N (how many requests are in the service on average;
under open load N = lambda W):

    N / X = c0 + c1 (N - 1) + c2 N (N - 1),    sigma = c1 / c0, kappa = c2 / c0

sigma is contention (what is done one after another), kappa coherence (what each owes to
all others). With kappa above 0 the throughput has a peak, at N* = sqrt((1 - sigma) / kappa),
and falls beyond it (Gunther, Guerrilla Capacity Planning (2007), chapters 4 to 6). The
coefficients are not negative by their meaning, so the fit is least squares under that
constraint: of three columns there are eight sets that may be positive, and all are tried
(Lawson and Hanson, Solving Least Squares Problems, chapter 23).

Intervals: a wild bootstrap, in which each point keeps its own error, raised by its leverage
(over 1 - h), under a sign of its own (Davidson and Flachaire, Journal of Econometrics 146
(2008)), and all by Student's t over z, with the degrees of freedom that kappa's spread has
(Satterthwaite, Biometrics Bulletin 2 (1946)). So levels may have one repeat or many, and be
noisier the higher they are.

A single server with a queue (M/M/1) fits exactly, with kappa 0. Several servers (M/M/c) do
not: the fit takes their bend for a little coherence, though more load never slows them. So
the rule: a peak is *seen* only where kappa's interval stays above 0 and the throughput was
measured to fall beyond the peak; otherwise the curve was not followed that far, and no peak
is told. `error` says how far the fit is off. All this speaks of contention, and not of the
rate at which a limit is broken: see `knee`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from scipy import special

from probe.stats.binomial import ALPHA

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Peak = Literal["none seen", "not reached", "seen"]

LEVELS_MIN: Final = 6
RESAMPLES: Final = 999
FALLEN: Final = 0.95  # of the highest throughput, at a higher concurrency
_COLUMNS: Final = 3
_FREE_MIN: Final = 0.05  # of a point that the curve has to go through
_SETS: Final = tuple(
    list(chosen)
    for size in range(1, _COLUMNS + 1)
    for chosen in itertools.combinations(range(_COLUMNS), size)
)


@dataclass(frozen=True, slots=True)
class Span:
    """A value with its two-sided interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Usl:
    """The fit over `levels` levels and `points` repeats.

    `single_per_s` is the throughput of one request at a time (1 / c0). `at_n` (N*) and
    `most_per_s` (X there) are told only where `peak` is "seen"; it is "none seen" where kappa
    may be 0, "not reached" where the throughput was not measured to fall. `error` is the largest
    |fitted X / X - 1| of a level, `n_max` the highest concurrency that was measured.
    """

    levels: int
    points: int
    single_per_s: Span
    sigma: Span
    kappa: Span
    peak: Peak
    at_n: Span | None
    most_per_s: Span | None
    error: float
    n_max: float

    def throughput(self, concurrency: ArrayLike) -> NDArray[np.float64]:
        """Fitted X, per second, at these N; float of the same shape."""
        n = np.asarray(concurrency, dtype=np.float64)
        return self.single_per_s.value * n / _slowing(n, self.sigma.value, self.kappa.value)


def fit_usl(
    level: ArrayLike,
    concurrency: ArrayLike,
    throughput_per_s: ArrayLike,
    rng: np.random.Generator,
    *,
    alpha: float = ALPHA,
    resamples: int = RESAMPLES,
) -> Usl | None:
    """Fit repeats: int[n] which level each is of, float[n] its N and its X.

    None for under 6 levels of different concurrency: three coefficients of fewer points have
    no interval to speak of; None where no repeat has more than one request at a time, since
    nothing could contend; and None where the fit says that one request takes no time at
    all. Raises ValueError for lengths that differ or a number that is not positive.
    """
    which = np.asarray(level)
    n = np.asarray(concurrency, dtype=np.float64)
    x = np.asarray(throughput_per_s, dtype=np.float64)
    if not which.shape == n.shape == x.shape or n.ndim != 1:
        raise ValueError("levels, concurrencies and throughputs are rows of one length")
    if not np.all(np.isfinite(n) & np.isfinite(x) & (n > 0) & (x > 0)):
        raise ValueError("a concurrency and a throughput are positive numbers")
    groups = [np.flatnonzero(which == each) for each in np.unique(which)]
    if len({float(n[group].mean()) for group in groups}) < LEVELS_MIN or n.max() <= 1:
        return None
    took = n / x
    fitted = _coefficients(n, took[np.newaxis])[0]
    if fitted[0] <= 0:
        return None
    drawn = _drawn(n, took, fitted, rng, alpha, resamples)
    drawn = drawn[drawn[:, 0] > 0]
    if len(drawn) < resamples / 2:
        return None
    ratios, ratio = drawn[:, 1:] / drawn[:, :1], fitted[1:] / fitted[0]
    single = _span(1 / fitted[0], 1 / drawn[:, 0], alpha)
    sigma, kappa = (_span(ratio[j], ratios[:, j], alpha) for j in (0, 1))
    means = np.array([(n[group].mean(), x[group].mean()) for group in groups])
    peak, at_n, most = _peak(fitted, drawn, kappa, means, alpha)
    curve = single.value * means[:, 0] / _slowing(means[:, 0], ratio[0], ratio[1])
    return Usl(
        levels=len(groups),
        points=len(n),
        single_per_s=single,
        sigma=sigma,
        kappa=kappa,
        peak=peak,
        at_n=at_n,
        most_per_s=most,
        error=float(np.abs(curve / means[:, 1] - 1).max()),
        n_max=float(means[:, 0].max()),
    )


def _peak(
    fitted: NDArray[np.float64],
    drawn: NDArray[np.float64],
    kappa: Span,
    means: NDArray[np.float64],
    alpha: float,
) -> tuple[Peak, Span | None, Span | None]:
    """Where the throughput is highest, and how high, as far as it was seen."""
    if kappa.low <= 0:
        return "none seen", None, None
    at = _peak_at(fitted[np.newaxis])[0]
    beyond = means[means[:, 0] > max(at, means[means[:, 1].argmax(), 0])]
    if not np.any(beyond[:, 1] <= FALLEN * means[:, 1].max()):
        return "not reached", None, None
    with_peak = drawn[drawn[:, 2] > 0]
    tops = _peak_at(with_peak)
    rates = [_rate(row, top) for row, top in zip(with_peak, tops, strict=True)]
    return (
        "seen",
        _span(at, tops, alpha),
        _span(_rate(fitted, at), np.array(rates), alpha),
    )


def _peak_at(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """N* of rows of coefficients; with sigma above 1 the first request is the best."""
    return np.maximum(1.0, np.sqrt(np.maximum(0.0, rows[:, 0] - rows[:, 1]) / rows[:, 2]))


def _rate(row: NDArray[np.float64], n: float) -> float:
    return float(n / (row[0] + row[1] * (n - 1) + row[2] * n * (n - 1)))


def _slowing(n: NDArray[np.float64], sigma: float, kappa: float) -> NDArray[np.float64]:
    # Below one request there is nothing to contend with.
    others = np.maximum(n - 1, 0.0)
    return 1 + sigma * others + kappa * n * others


def _drawn(
    n: NDArray[np.float64],
    took: NDArray[np.float64],
    fitted: NDArray[np.float64],
    rng: np.random.Generator,
    alpha: float,
    resamples: int,
) -> NDArray[np.float64]:
    """Coefficients of each resample: the fit, with each point's own error of either sign."""
    columns = _scaled(n)[0]
    inverse = np.linalg.pinv(columns)
    leverage = np.einsum("ij,ji->i", columns, inverse)
    expected = _columns(n) @ fitted
    # How many errors kappa's spread is estimated from, where they grow with the time.
    weight = (inverse[-1] * expected) ** 2
    freedom = max(1.0, float(weight.sum() ** 2 / (weight**2).sum()))
    scarce = float(special.stdtrit(freedom, 1 - alpha / 2) / special.ndtri(1 - alpha / 2))
    error = (took - expected) / np.maximum(1 - leverage, _FREE_MIN) * scarce
    signs = rng.choice([-1.0, 1.0], (resamples, len(n)))
    return _coefficients(n, expected + signs * error)


def _columns(n: NDArray[np.float64]) -> NDArray[np.float64]:
    # Below one request there is nothing to contend with.
    others = np.maximum(n - 1, 0.0)
    return np.stack([np.ones_like(n), others, n * others], axis=1)


def _scaled(n: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The columns with 1 as their largest, and by what they were divided; zeros stay zeros."""
    columns = _columns(n)
    scale = np.maximum(columns.max(axis=0), 1e-300)
    return columns / scale, scale


def _coefficients(n: NDArray[np.float64], took: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares for c0, c1, c2 >= 0 at float[m] N, of each row of float[r, m]; float[r, 3]."""
    columns, scale = _scaled(n)
    best, least = np.zeros((len(took), _COLUMNS)), np.full(len(took), np.inf)
    for chosen in _SETS:
        some = columns[:, chosen]
        found = took @ np.linalg.pinv(some).T
        left = ((found @ some.T - took) ** 2).sum(axis=1)
        better = np.flatnonzero(np.all(found >= 0, axis=1) & (left < least))
        least[better] = left[better]
        best[better] = 0.0
        best[better[:, np.newaxis], chosen] = found[better]
    coefficients: NDArray[np.float64] = best / scale
    return coefficients


def _span(value: float, drawn: NDArray[np.float64], alpha: float) -> Span:
    low, high = np.quantile(drawn, [alpha / 2, 1 - alpha / 2])
    return Span(float(value), float(low), float(high))
