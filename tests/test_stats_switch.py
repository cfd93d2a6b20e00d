"""Switching instants: the interval always holds the truth, and flapping is told, not averaged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.stats.switch import GapInterval, SwitchInterval, gap_interval, switch_interval

Look = tuple[int, int, int]

# When the server judged, and how long before and after it the client saw.
looks = st.lists(
    st.tuples(st.integers(0, 1000), st.integers(0, 50), st.integers(0, 50)), max_size=30
)


def observe(looks: list[Look], switched_at: int) -> SwitchInterval:
    before: list[tuple[int, int]] = []
    after: list[tuple[int, int]] = []
    for at, lead, trail in looks:
        (after if at >= switched_at else before).append((at - lead, at + trail))
    return switch_interval(before, after)


def test_by_hand():
    found = switch_interval([(0, 5), (10, 30)], [(20, 35), (40, 50)])
    assert found == SwitchInterval(10, 35, flapped=False, relapses=0, n_before=2, n_after=2)


def test_one_side_unseen_stays_open():
    assert switch_interval([(0, 5)], []).high_ns is None
    assert switch_interval([(0, 5)], []).low_ns == 0
    assert switch_interval([], [(0, 5)]).low_ns is None
    assert switch_interval([], []) == SwitchInterval(None, None, False, 0, 0, 0)


def test_flapping():
    found = switch_interval([(0, 5), (30, 35), (40, 45)], [(10, 20), (50, 60)])
    assert found == SwitchInterval(None, None, flapped=True, relapses=2, n_before=3, n_after=2)


def test_overlapping_windows_contradict_nothing():
    assert not switch_interval([(19, 40)], [(10, 20)]).flapped
    # False judged after 20 (or at 20, together with the True): no single switch explains it.
    assert switch_interval([(20, 40)], [(10, 20)]).flapped


@given(looks, st.integers(-10, 1010))
def test_the_interval_holds_the_truth(looks, switched_at):
    found = observe(looks, switched_at)
    assert not found.flapped
    assert found.low_ns is None or found.low_ns < switched_at
    assert found.high_ns is None or switched_at <= found.high_ns


@given(looks, looks, st.integers(0, 1000), st.integers(0, 1000))
def test_the_gap_holds_the_truth(looks_a, looks_b, a_at, b_at):
    gap = gap_interval(observe(looks_a, a_at), observe(looks_b, b_at))
    assert not gap.flapped
    assert gap.low_ns is None or gap.low_ns < b_at - a_at
    assert gap.high_ns is None or b_at - a_at < gap.high_ns


def test_gap_by_hand():
    a = switch_interval([(100, 110)], [(120, 130)])
    b = switch_interval([(900, 910)], [(950, 990)])
    assert gap_interval(a, b) == GapInterval(770, 890, flapped=False)
    never = switch_interval([(900, 910)], [])
    assert gap_interval(a, never) == GapInterval(770, None, flapped=False)
    flapping = switch_interval([(30, 35)], [(10, 20)])
    assert gap_interval(a, flapping) == GapInterval(None, None, flapped=True)
    assert gap_interval(flapping, b) == GapInterval(None, None, flapped=True)


@given(looks, st.integers(0, 1000), st.randoms())
def test_order_does_not_matter(looks, switched_at, random):
    before = observe(looks, switched_at)
    random.shuffle(looks)
    assert observe(looks, switched_at) == before


@given(looks, st.tuples(st.integers(0, 1000), st.integers(0, 50), st.integers(0, 50)))
def test_one_more_look_never_widens(looks, look):
    few, more = observe(looks, 500), observe([*looks, look], 500)
    if few.low_ns is not None:
        assert more.low_ns is not None
        assert more.low_ns >= few.low_ns
    if few.high_ns is not None:
        assert more.high_ns is not None
        assert more.high_ns <= few.high_ns


@pytest.mark.parametrize("windows", [[1, 2], [(1, 2, 3)], [(2, 1)]])
def test_windows_are_checked(windows):
    with pytest.raises(ValueError, match="window"):
        switch_interval(windows, [])
