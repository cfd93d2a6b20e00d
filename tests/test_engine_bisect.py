"""Which size a squeeze tries next: deterministic, ends, and finds the step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.stats.bisect import CLOSE, next_size, step_of


def search(upto, repeats, loses):
    """All repeats of one search; `loses(size, number of the repeat)`."""
    seen: list[tuple[int, bool]] = []
    while (size := next_size(seen, upto, repeats)) is not None:
        seen.append((size, loses(size, [each for each, _ in seen].count(size))))
        assert len(seen) < 40 * repeats, "it does not end"
    return seen


def test_a_service_that_keeps_the_largest_is_not_searched():
    seen = search(5000, 3, lambda *_: False)
    assert seen == [(5000, False)] * 3
    assert step_of(seen) == (5000, 0)


@given(st.integers(2, 100_000), st.integers(1, 100_000), st.integers(1, 4))
def test_the_step_is_found_within_ten_percent(upto, queue, repeats):
    seen = search(upto, repeats, lambda size, _: size > queue)
    low, high = step_of(seen)
    if queue >= upto:
        assert (low, high) == (upto, 0)
    else:
        assert low <= queue < high
        assert high - low == 1 or high <= CLOSE * low
    assert all(1 <= size <= upto for size, _ in seen)
    assert all(count == repeats for count in [[s for s, _ in seen].count(s) for s, _ in seen])


def test_a_size_that_loses_once_is_dirty_and_tried_to_the_last_repeat():
    seen = search(100, 3, lambda size, repeat: size == 100 and repeat == 2)
    assert seen[:3] == [(100, False), (100, False), (100, True)]
    assert step_of(seen)[1] == 100
    assert next_size([(100, True)], 100, 3) == 100


@given(st.lists(st.booleans(), min_size=400, max_size=400), st.integers(2, 3000))
def test_losses_at_random_neither_keep_it_going_nor_put_the_step_upside_down(draws, upto):
    draw = iter(draws * 4)
    seen = search(upto, 2, lambda *_: next(draw))
    low, high = step_of(seen)
    assert not high or low < high


@pytest.mark.parametrize(("upto", "first"), [(2, 1), (3, 1), (10_000, 100)])
def test_a_service_that_loses_everything_is_searched_down_to_one(upto, first):
    seen = search(upto, 1, lambda *_: True)
    assert [size for size, _ in seen][:2] == [upto, first]
    assert step_of(seen) == (0, 1)
