"""The scalability law: what it was made from is found again, and no peak is told that is none."""

from __future__ import annotations

import numpy as np
import pytest

from probe.stats import usl
from probe.stats.queueing import Station

LEVELS = np.array([1.0, 2, 4, 8, 16, 32, 64])


def fit_usl(*points, **more):
    """The fit, without its types: every field may be None."""
    return usl.fit_usl(*points, **more)


def rng(seed=1):
    return np.random.default_rng(seed)


def law(n, single, sigma, kappa):
    return single * n / (1 + sigma * (n - 1) + kappa * n * (n - 1))


def repeats(levels, x, noise, seed=1, count=3):
    """Level, N and X of so many noisy repeats of each level."""
    level = np.repeat(np.arange(len(levels)), count)
    factor = 1 + noise * rng(seed).standard_normal(len(level))
    return level, np.repeat(levels, count), np.repeat(x, count) * factor


def test_exact_points_give_their_law_back():
    fit = fit_usl(*repeats(LEVELS, law(LEVELS, 100, 0.05, 0.002), 0), rng())
    assert (fit.levels, fit.points, fit.n_max) == (7, 21, 64)
    assert fit.single_per_s.value == pytest.approx(100)
    assert fit.sigma.value == pytest.approx(0.05)
    assert fit.kappa.value == pytest.approx(0.002)
    assert fit.peak == "seen"
    assert fit.at_n.value == pytest.approx((0.95 / 0.002) ** 0.5)
    assert fit.most_per_s.value == pytest.approx(law(fit.at_n.value, 100, 0.05, 0.002))
    assert fit.error < 1e-9
    assert fit.throughput(LEVELS) == pytest.approx(law(LEVELS, 100, 0.05, 0.002))


def test_the_intervals_hold_what_the_points_were_made_from():
    held = []
    for seed in range(100):
        points = repeats(LEVELS, law(LEVELS, 100, 0.05, 0.002), 0.03, seed, count=6)
        fit = fit_usl(*points, rng(seed), resamples=199)
        assert fit.peak == "seen"
        held.append(
            [
                span.low <= truth <= span.high
                for span, truth in (
                    (fit.sigma, 0.05),
                    (fit.kappa, 0.002),
                    (fit.at_n, (0.95 / 0.002) ** 0.5),
                )
            ]
        )
    assert np.mean(held, axis=0) == pytest.approx(0.95, abs=0.08)


def test_without_coherence_no_peak_is_seen():
    told = [
        fit_usl(*repeats(LEVELS, law(LEVELS, 100, 0.05, 0.0), 0.03, seed), rng(seed), resamples=199)
        for seed in range(100)
    ]
    assert sum(fit.peak == "none seen" for fit in told) >= 92
    for fit in told:
        if fit.peak == "none seen":
            assert (fit.kappa.low, fit.at_n, fit.most_per_s) == (0, None, None)


def test_a_peak_further_up_than_was_measured_is_not_told():
    fit = fit_usl(*repeats(LEVELS, law(LEVELS, 100, 0.01, 0.0001), 0.001), rng())
    assert (0.99 / 0.0001) ** 0.5 > 64
    assert fit.kappa.low > 0
    assert (fit.peak, fit.at_n, fit.most_per_s) == ("not reached", None, None)


def test_one_server_with_a_queue_fits_exactly_and_has_no_peak():
    """M/M/1: N = rho / (1 - rho) and W = 1 / (mu - lambda), so N / X = (1 + N) / mu."""
    station = Station(1, 10_000_000)
    x = np.array([55.0, 60, 70, 80, 90, 95])
    responses_s = np.array([(station.wait_mean_ns(rate) + station.service_ns) / 1e9 for rate in x])
    n = x * responses_s
    fit = fit_usl(np.arange(6), n, x, rng())
    assert fit.error < 1e-9
    assert fit.kappa.value == pytest.approx(0, abs=1e-12)
    assert fit.sigma.value == pytest.approx(0.5)
    assert fit.peak == "none seen"


def test_servers_that_are_never_slowed_have_no_peak_however_the_fit_bends():
    """M/M/4, exact but for a little noise: kappa is above 0, for the law is not theirs."""
    station = Station(4, 20_000_000)
    x = np.array([20.0, 40, 80, 120, 150, 170, 180])
    responses_s = np.array([(station.wait_mean_ns(rate) + station.service_ns) / 1e9 for rate in x])
    level, n, noisy = repeats(x * responses_s, x, 0.02)
    fit = fit_usl(level, n, noisy, rng())
    assert fit.kappa.low > 0
    assert fit.n_max > (0.88 / 0.009) ** 0.5  # the fitted peak lies where it was measured
    assert (fit.peak, fit.at_n, fit.most_per_s) == ("not reached", None, None)
    assert 0.02 < fit.error < 0.2


def test_with_contention_alone_the_best_is_one_at_a_time():
    """Sigma above 1: every request more makes it slower from the first."""
    fit = fit_usl(*repeats(LEVELS, law(LEVELS, 100, 1.5, 0.01), 0), rng())
    assert (fit.peak, fit.at_n.value) == ("seen", 1)
    assert fit.most_per_s.value == pytest.approx(100)


def test_coefficients_are_never_negative():
    """Throughput that grows faster than the load would ask for a negative sigma."""
    fit = fit_usl(*repeats(LEVELS, 100 * LEVELS**1.2, 0), rng())
    assert (fit.sigma.value, fit.kappa.value) == (0, 0)
    assert fit.peak == "none seen"
    assert fit.error > 0.2


def test_too_few_levels_are_no_curve():
    points = repeats(LEVELS[:5], law(LEVELS[:5], 100, 0.05, 0.002), 0, count=9)
    assert fit_usl(*points, rng()) is None
    same = np.ones(9)
    assert fit_usl(np.arange(9), same, same, rng()) is None


def test_levels_without_repeats_are_resampled_whole():
    fit = fit_usl(np.arange(7), LEVELS, law(LEVELS, 100, 0.05, 0.002), rng())
    assert fit.peak == "seen"
    assert fit.kappa.low == pytest.approx(0.002)


def test_the_same_seed_says_the_same():
    points = repeats(LEVELS, law(LEVELS, 100, 0.05, 0.002), 0.05)
    assert fit_usl(*points, rng(3)) == fit_usl(*points, rng(3)) != fit_usl(*points, rng(4))


def test_where_requests_never_meet_nothing_is_said_of_contention():
    n = np.array([0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    assert fit_usl(np.arange(6), n, 50 * n, rng()) is None


@pytest.mark.parametrize(
    ("n", "x"),
    [([1, 2], [1, 2, 3]), ([0, 1], [1, 1]), ([1, 1], [1, np.inf]), ([1, np.nan], [1, 1])],
)
def test_what_is_no_level_is_refused(n, x):
    with pytest.raises(ValueError, match=r"rows of one length|positive"):
        fit_usl([0, 1], n, x, rng())
