"""`runs` on a probe that was unfit: what is shown stands, what only time tells does not."""

import pytest

from probe.check.judge import judge
from probe.check.verdict import Outcome
from probe.history.records import Run
from tests.delivery_histories import story_of, whole

INNER = ("started:1", "completed:4")


def verdict(events, *, broken, rate="99%", lag_ms=50, end=Run.ENDED):
    story = story_of({"runs": {"rate": rate}})
    story.fit(lag_ms)
    for k in range(200):
        client = story.open(100 + k)
        if k < broken:
            story.run(client, 150 + k, *events, end=end)
        else:
            whole(story, client, 150 + k)
        story.settle(client, 25_000)
        story.close(client, 30_000)
    judged = judge(story.history(), story.resolved)
    (check,) = [each for each in judged.checks if each.id == "users.runs"]
    assert bool(judged.fitness.taints) == (lag_ms > 10)
    return check


@pytest.mark.parametrize("rate", ["99%", "100%"])
@pytest.mark.parametrize("lag_ms", [0.1, 50])
def test_runs_that_went_on_without_an_event_stand_whatever_the_machine_did(rate, lag_ms):
    check = verdict(INNER, broken=20, rate=rate, lag_ms=lag_ms)
    assert check.verdict is Outcome.FAIL, check.message
    assert not check.load_sensitive


@pytest.mark.parametrize("lag_ms", [0.1, 50])
def test_runs_that_only_hang_are_the_probes_own_perhaps(lag_ms):
    check = verdict(("started:1",), broken=20, lag_ms=lag_ms, end=Run.GIVEN_UP)
    assert check.load_sensitive
    assert check.verdict is (Outcome.FAIL if lag_ms < 1 else Outcome.INCONCLUSIVE)
