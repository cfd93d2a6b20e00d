"""What counts as silence after a 101, and what was merely slow."""

import pytest

from probe.check.judge import judge
from probe.history.records import Kind
from tests.histories import LOAD, Story, ns


@pytest.mark.parametrize(("answered_ms", "silent"), [(1, True), (2_499, True), (4_993, False)])
def test_a_101_that_came_late_is_slow_and_not_followed_by_silence(answered_ms, silent):
    story = Story({"users": {**LOAD, "expect": {"definite": True}}}).stage().fit()
    for k in range(60):
        story.client(100 + k * 20, "good")
    hung = story.client(100, "hung")
    rows = [(k, row) for k, row in enumerate(story.rows) if row[1] == hung and row[3] == Kind.HEAD]
    ((at, row),) = rows
    story.rows[at] = (ns(100.1 + answered_ms), *row[1:])
    judgement = judge(story.history(), story.resolved)
    codes = {finding.code for finding in judgement.findings}
    assert codes == ({"connect.accepted_then_silent"} if silent else set())
