"""A search over whole numbers, such as of connections: it ends, and its bounds are whole."""

from __future__ import annotations

import numpy as np
import pytest

from probe.stats.knee import Course, Search
from probe.stats.levels import Limits, Measured

MS = 1_000_000


def searched(holds, first=8, most=5000, **course):
    """The levels that were played, and the knee, of a service that holds so many."""
    search = Search(Limits(100 * MS), Course(first, most, whole=True, repeats_min=1, **course))
    levels = []
    while (level := search.next()) is not None:
        took = np.full(2000, (10 if level <= holds else 300) * MS) + np.arange(2000) % 17
        search.tell(Measured(level, took))
        levels.append(level)
        assert len(levels) < 60, "it does not end"
    return levels, search.knee()


@pytest.mark.parametrize("holds", [1, 2, 3, 7, 8, 11, 100, 1033, 4999])
@pytest.mark.parametrize("closeness", [1.01, 1.1, 2])
def test_the_knee_is_between_two_whole_numbers(holds, closeness):
    levels, knee = searched(holds, closeness=closeness)
    assert all(level == int(level) >= 1 for level in levels)
    assert knee.state == "found"
    assert knee.why == "resolved"
    assert knee.low_per_s <= holds < knee.high_per_s
    assert knee.high_per_s / knee.low_per_s <= closeness or knee.high_per_s - knee.low_per_s == 1


def test_a_service_that_holds_none_is_told_and_so_is_one_that_holds_all():
    _, knee = searched(0)
    assert (knee.state, knee.high_per_s, knee.why) == ("at_most", 1, "floor")
    levels, knee = searched(9000, first=1)
    assert (knee.state, knee.low_per_s, knee.why) == ("at_least", 5000, "ceiling")
    assert sorted(set(levels))[:4] == [1, 2, 3, 4]
