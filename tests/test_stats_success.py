"""Success over time: empty bins say nothing, success lasts from after the last failure."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.stats import rates, success

observations = st.lists(st.tuples(st.integers(-20, 120), st.booleans()), max_size=60)


def columns(rows: list[tuple[int, bool]]) -> tuple[list[int], list[bool]]:
    return [t for t, _ in rows], [ok for _, ok in rows]


def test_curve_by_hand():
    curve = success.success_curve(
        [0, 5, 9, 10, 30, 39, 40, -1], [0, 1, 1, 1, 1, 0, 1, 1], [0, 10, 20, 30, 40]
    )
    assert curve.n.tolist() == [3, 1, 0, 2]
    assert curve.k.tolist() == [2, 1, 0, 1]
    assert curve.outside == 2
    np.testing.assert_allclose(curve.rate, [2 / 3, 1, np.nan, 0.5])
    assert np.isnan(curve.low[2])
    assert np.isnan(curve.high[2])
    expected = rates.clopper_pearson(2, 3)
    assert (curve.low[0], curve.high[0]) == pytest.approx((expected.low, expected.high))


def test_curve_of_nothing():
    curve = success.success_curve([], [], [0, 1, 2])
    assert curve.n.tolist() == [0, 0]
    assert np.all(np.isnan([curve.rate, curve.low, curve.high]))


@given(observations, st.lists(st.integers(-10, 110), min_size=2, max_size=8, unique=True))
def test_curve_counts_each_observation_once(rows, edges):
    t, ok = columns(rows)
    edges = sorted(edges)
    curve = success.success_curve(t, ok, edges)
    assert curve.n.sum() + curve.outside == len(rows)
    for i, (start, end) in enumerate(pairwise(edges)):
        inside = [good for at, good in rows if start <= at < end]
        assert (curve.n[i], curve.k[i]) == (len(inside), sum(inside))
        if inside:
            assert curve.low[i] <= curve.rate[i] <= curve.high[i]
        else:
            assert np.isnan([curve.rate[i], curve.low[i], curve.high[i]]).all()


@pytest.mark.parametrize("edges", [[], [1], [1, 1], [2, 1], [[1, 2]]])
def test_curve_refuses_edges(edges):
    with pytest.raises(ValueError, match="edges"):
        success.success_curve([1], [True], edges)


@pytest.mark.parametrize(
    "call", [lambda t, ok: success.success_curve(t, ok, [0, 1]), success.first_sustained]
)
def test_shapes_are_checked(call):
    with pytest.raises(ValueError, match="one length"):
        call([1, 2], [True])


@pytest.mark.parametrize(
    ("t", "ok", "expected"),
    [
        ([], [], None),
        ([1, 2], [True, False], None),
        ([1, 2], [False, True], success.Sustained(2, 1, 1)),
        ([1, 2, 3, 4, 5], [True, False, True, False, True], success.Sustained(5, 4, 1)),
        ([3, 1, 2], [True, False, True], success.Sustained(2, 1, 2)),
        ([1, 2], [True, True], success.Sustained(1, None, 2)),
        ([1, 2, 2], [False, False, True], None),
    ],
)
def test_first_sustained(t, ok, expected):
    assert success.first_sustained(t, ok) == expected


@given(observations)
def test_nothing_fails_from_the_sustained_moment_on(rows):
    found = success.first_sustained(*columns(rows))
    if found is None:
        assert not rows or not all(ok for t, ok in rows if t == max(t for t, _ in rows))
    else:
        tail = [ok for t, ok in rows if t >= found.at_ns]
        assert all(tail)
        assert len(tail) == found.n
        assert (found.last_failure_ns is None) == all(ok for _, ok in rows)
