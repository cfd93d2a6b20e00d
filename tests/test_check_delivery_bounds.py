"""Completeness below 100 %: bounds that know that events of one session share its fate."""

import numpy as np
import pytest

from probe.check.judge import judge
from probe.check.verdict import Outcome
from probe.history.records import Run
from probe.stats.clusters import TELLING_MIN, clustered
from probe.stats.rates import clopper_pearson, zero_bound
from tests.delivery_histories import story_of


def ints(*values):
    return np.array(values, dtype=np.int64)


def test_of_nothing_nothing_is_known():
    none = clustered(ints(), ints())
    assert (none.low, none.high, none.rate) == (0.0, 1.0, 0.0)
    assert none.p_at_least(0.9) == 1.0
    with pytest.raises(ValueError, match="fit"):
        clustered(ints(2), ints(1))


def test_clusters_of_one_event_are_a_plain_rate():
    hits = np.ones(100, dtype=np.int64)
    hits[:10] = 0
    found = clustered(hits, np.ones(100, dtype=np.int64))
    plain = clopper_pearson(90, 100, side="lower")
    assert found.n_eff == pytest.approx(99, abs=1)
    assert found.low == pytest.approx(plain.low, abs=1e-3)
    assert found.high == pytest.approx(clopper_pearson(90, 100, side="upper").high, abs=1e-3)


def test_without_a_loss_a_session_counts_once():
    found = clustered(np.full(60, 100), np.full(60, 100))
    assert found.high == 1.0
    assert found.low == pytest.approx(1 - zero_bound(60))
    few = clustered(np.append(np.full(59, 100), 99), np.full(60, 100))
    assert few.low < found.low  # one loss more never proves more


def test_losses_that_come_together_bound_less_than_the_same_number_apart():
    trials = np.full(100, 20)
    apart, together = trials.copy(), trials.copy()
    apart[:40] -= 1
    together[: 2 * TELLING_MIN] -= 4
    a, b = clustered(apart, trials), clustered(together, trials)
    assert a.rate == b.rate == 0.98
    assert a.low > b.low
    assert a.p_at_least(0.99) < b.p_at_least(0.99)


@pytest.mark.parametrize(("share", "spread"), [(0.97, 400.0), (0.97, 10.0), (0.9, 5.0)])
def test_the_lower_bound_covers_as_often_as_it_says(share, spread):
    rng = np.random.default_rng(3)
    trials = np.full(60, 15)
    covered = 0
    for _ in range(400):
        rate = rng.beta(share * spread, (1 - share) * spread, len(trials))
        covered += clustered(rng.binomial(trials, rate), trials).low <= share
    assert covered / 400 > 0.93


def sessions(lost, *, n=100, completeness="95%", unknown=0, allowed="1%"):
    """`n` sessions, of which the first ones lose their tool event and the last ones are cut."""
    expect = {"delivery": {"completeness": completeness, "unknown": allowed}}
    story = story_of(expect)
    for k in range(n):
        client = story.open(100 + 20 * k)
        events = ["started:1", "thinking:2", "tool:3", "completed:4"]
        events = events[:2] + events[3:] if k < lost else events
        cut = k >= n - unknown
        story.run(
            client, 110 + 20 * k, *(events[:1] if cut else events),
            end=Run.CUT_OFF if cut else Run.ENDED, every=0.5,
        )  # fmt: skip
        story.settle(client, 3000 + k)
        story.close(client, 5000 + k)
    judgement = judge(story.history(), story.resolved)
    (check,) = [c for c in judgement.checks if c.id == "users.delivery.complete"]
    return judgement, check


@pytest.mark.parametrize(
    ("lost", "completeness", "verdict"),
    [
        (0, "95%", Outcome.PASS),
        (0, "99%", Outcome.INCONCLUSIVE),
        (0, "100%", Outcome.PASS),
        (1, "100%", Outcome.FAIL),
        (3, "95%", Outcome.INCONCLUSIVE),
        (20, "95%", Outcome.FAIL),
        (20, "70%", Outcome.PASS),
    ],
)
def test_completeness_is_gated_by_its_worst_type(lost, completeness, verdict):
    judgement, check = sessions(lost, completeness=completeness)
    assert check.verdict is verdict, check.message
    assert check.n == 100
    if lost:
        assert "worst: tool, of which " in check.message
        assert check.estimate == pytest.approx(1 - lost / 100)
        low, high = check.interval
        assert low <= check.estimate <= high
    codes = [f.code for f in judgement.findings]
    assert codes == (["delivery.lost"] if lost and verdict is not Outcome.PASS else [])
    if verdict is Outcome.INCONCLUSIVE and lost:
        assert judgement.findings[0].severity == "minor"


def test_too_much_that_is_unknown_leaves_it_open_but_proves_no_less_of_a_loss():
    _, check = sessions(0, completeness="100%", unknown=3)
    assert check.verdict is Outcome.INCONCLUSIVE
    assert "3 % of one event type stayed unknown, more than 1 %" in check.message
    _, check = sessions(0, completeness="100%", unknown=3, allowed="5%")
    assert check.verdict is Outcome.PASS
    _, check = sessions(1, completeness="100%", unknown=3)
    assert check.verdict is Outcome.FAIL
