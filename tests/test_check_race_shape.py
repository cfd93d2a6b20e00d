"""A step that was declared: whether its rows fit a window better, and what is said then."""

import re

import numpy as np

from probe.history.records import Sought
from tests.test_check_race import judged, raced, swept, trial

BETTER = (
    r"; it was declared a step, but a window from (\S+) ms \(95 %: .*?\) to (\S+) ms \(95 %: .*?\) "
    r"explains the same trials better \(ln Bayes factor (\S+)\)"
)


def stepped(hits, edge):
    """A race declared a step, searched around `edge` ms."""
    story = raced(shape="step", finding=None)
    n = swept(story, hits)
    for offset in np.linspace(edge - 15, edge + 15, 40):
        trial(story, n, float(offset), bool(hits(offset)), why=Sought.LOCALISE)
        n += 1
    return judged(story)[0]


def test_a_declared_step_whose_rows_fit_a_window_says_so():
    check = stepped(lambda offset: 120 < offset < 210, 210)
    told = re.search(BETTER, check.message)
    assert told, check.message
    begins, ends, ln_bf = map(float, told.groups())
    assert abs(begins - 120) < 15
    assert abs(ends - 210) < 3
    assert ln_bf > 3


def test_a_step_stays_a_step():
    for check in (
        stepped(lambda offset: offset < 210, 210),
        stepped(lambda offset: offset > 210, 210),
    ):
        assert check.verdict == "FAIL"
        assert "declared a step" not in check.message
