"""Series: autocorrelation by hand, and coverage where samples depend on each other."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.stats import quantiles, series


def autoregressive(rng: np.random.Generator, n: int, phi: float) -> np.ndarray:
    noise = rng.normal(size=n)
    x = np.empty(n)
    x[0] = noise[0] / math.sqrt(1 - phi * phi)
    for i in range(1, n):
        x[i] = phi * x[i - 1] + noise[i]
    return x


def test_lag1_by_hand():
    # 1, 2, 3, 4: deviations -1.5, -0.5, 0.5, 1.5; products 0.75 - 0.25 + 0.75 over 5.
    assert series.lag1_autocorrelation([1, 2, 3, 4]) == pytest.approx(0.25)
    assert series.lag1_autocorrelation([1, -1] * 50) == pytest.approx(-0.99)
    assert series.lag1_autocorrelation([1e-200, 2e-200, 3e-200, 4e-200]) == pytest.approx(0.25)


@pytest.mark.parametrize("x", [[], [1.0], [1.0, 2.0], [5.0] * 10])
def test_lag1_is_undefined_where_nothing_varies(x):
    assert math.isnan(series.lag1_autocorrelation(x))


@pytest.mark.parametrize("x", [[1, math.inf, 2], [1, math.nan, 2], [[1, 2, 3]]])
def test_lag1_refuses_what_is_not_finite(x):
    with pytest.raises(ValueError, match="finite"):
        series.lag1_autocorrelation(x)


@given(st.lists(st.floats(-1e200, 1e200), max_size=50))
def test_lag1_is_bounded(x):
    found = series.lag1_autocorrelation(x)
    assert math.isnan(found) or -1 <= found <= 1


@given(st.lists(st.integers(-1000, 1000), min_size=3, max_size=50), st.integers(1, 9))
def test_lag1_has_no_unit(x, scale):
    moved = series.lag1_autocorrelation([scale * v + 7 for v in x])
    assert moved == pytest.approx(series.lag1_autocorrelation(x), abs=1e-9, nan_ok=True)


def test_lag1_finds_what_made_the_series():
    x = autoregressive(np.random.default_rng(4), 20_000, 0.6)
    assert series.lag1_autocorrelation(x) == pytest.approx(0.6, abs=0.03)


def test_limit():
    assert series.lag1_limit(400) == pytest.approx(0.2)
    assert series.lag1_limit(0) == math.inf


def test_independent_samples_are_seldom_suspected():
    rng = np.random.default_rng(5)
    suspected = [series.dependence(rng.lognormal(size=400), 0.95).too_high for _ in range(400)]
    assert np.mean(suspected) <= 0.05


def test_dependent_samples_are_found():
    rng = np.random.default_rng(6)
    found = [series.dependence(autoregressive(rng, 400, 0.6), 0.95).too_high for _ in range(50)]
    assert np.mean(found) == 1.0


def test_clustered_losses_are_found_though_the_values_are_independent():
    rng = np.random.default_rng(7)
    x = rng.normal(100, 1, 1000)
    x[500:540] = math.inf
    clustered = series.dependence(x, 0.97)
    assert clustered.exceedance > 0.9
    assert clustered.too_high
    found = series.block_bootstrap_quantile(x, 0.97, rng, resamples=9)
    assert found.block == series.block_length(1000, clustered.exceedance) > 10
    scattered = series.dependence(rng.permutation(x), 0.97)
    assert not scattered.too_high


def test_dependence_of_nothing():
    empty = series.dependence([], 0.5)
    assert math.isnan(empty.values)
    assert not empty.too_high
    lost = series.dependence([math.inf] * 5, 0.5)
    assert math.isnan(lost.exceedance)
    assert not lost.too_high


def test_block_length():
    assert series.block_length(1000, 0.0) == series.block_length(1000, math.nan) == 10
    # (sqrt(6) 0.5 / 0.75)^(2/3) * 10 = 13.9
    assert series.block_length(1000, 0.5) == 14
    assert series.block_length(1, 0.9) == 1
    assert series.block_length(30, 0.999) == 10


def test_bootstrap_is_the_same_for_the_same_seed():
    x = np.random.default_rng(8).normal(size=200)
    one, two = (series.block_bootstrap_quantile(x, 0.5, np.random.default_rng(9)) for _ in range(2))
    assert one == two
    assert one.low_ns is not None
    assert one.high_ns is not None
    assert one.low_ns < float(np.median(x)) < one.high_ns


def test_bootstrap_bounds_among_the_losses_are_unknown():
    x = np.concatenate([np.arange(95.0), [math.inf] * 5])
    rng = np.random.default_rng(10)
    found = series.block_bootstrap_quantile(rng.permutation(x), 0.95, rng, block=1)
    assert found.high_ns is None
    assert found.low_ns is not None
    assert 80 < found.low_ns < 95
    beyond = series.block_bootstrap_quantile(x, 0.5, rng, block=100)
    assert (beyond.low_ns, beyond.high_ns) == (49.0, 49.0)  # one block is the series itself
    lost = series.block_bootstrap_quantile([math.inf] * 9, 0.5, rng, block=3)
    assert (lost.low_ns, lost.high_ns) == (None, None)


@pytest.mark.parametrize(
    ("x", "block", "why"),
    [([], None, "nothing"), ([1.0], 2, "does not fit"), ([math.nan], None, "series")],
)
def test_bootstrap_refuses(x, block, why):
    with pytest.raises(ValueError, match=why):
        series.block_bootstrap_quantile(x, 0.5, np.random.default_rng(0), block=block)


def test_blocks_cover_where_order_statistics_do_not():
    rng = np.random.default_rng(11)
    runs, n, phi, q = 150, 400, 0.7, 0.75
    truth = 0.6744897501960817 / math.sqrt(1 - phi * phi)
    plain = blocks = 0
    low, high = quantiles.interval_ranks(n, q)
    assert low is not None
    assert high is not None
    for _ in range(runs):
        x = autoregressive(rng, n, phi)
        ordered = np.sort(x)
        plain += ordered[low - 1] <= truth <= ordered[high - 1]
        found = series.block_bootstrap_quantile(x, q, rng, resamples=199)
        assert found.low_ns is not None
        assert found.high_ns is not None
        blocks += found.low_ns <= truth <= found.high_ns
    assert plain / runs < 0.8
    assert blocks / runs > 0.85
