"""Every finding about strain from a few rows: what it quotes, and what it is not."""

import pytest

from probe.check.catalogue import CATALOGUE
from probe.check.entries_pressure import PRESSURE
from probe.check.judge import judge
from probe.check.strain import strained as expected
from probe.check.verdict import Outcome
from probe.check.view import views
from tests.pressure_histories import (
    BARE,
    KIB,
    STORIES,
    asked,
    drifting,
    enlarged,
    flooded,
    heavier,
    outage,
    pinged,
    side_by_side,
    squeezed,
    stayed,
    strained,
)

CLEAN = {
    "stays": stayed(),
    "pings": pinged(1, 2, 3),
    "pressure": squeezed(95, 150),
    "rate_limit": flooded(),
    "large": enlarged((32 * KIB, "taken"), (64 * KIB, "taken"), (65 * KIB, "closed")),
    "modes": side_by_side(),
    "health": asked(parts={"postgres": "ok", "redis": "ok"}),
    "drift": heavier(),
    "service": outage("good"),
}


def judged(story, **how):
    return judge(story.history(**how), story.resolved)


@pytest.mark.parametrize("code", sorted(PRESSURE))
def test_each_code_is_made_by_its_story_and_by_it_alone(code):
    story, words = STORIES[code]
    judgement = judged(story)
    found = {each.code: each for each in judgement.findings}
    # An outage is no success either, and that stands below it.
    assert set(found) - {"session.failed", "latency.over_limit"} == {code}, [
        (c.id, c.verdict, c.message) for c in judgement.checks
    ]
    one = found[code]
    assert judgement.findings[0].code == code
    assert words in one.message, one.message
    assert one.severity == CATALOGUE[code].severity
    assert one.cause in CATALOGUE[code].causes.values()
    assert one.count > 0
    assert bool(one.witness) == (code not in BARE)
    assert all(step.what.isprintable() for each in one.witness for step in each.steps)
    check = {c.id: c for c in judgement.checks}[one.check]
    assert check.verdict is Outcome.FAIL
    assert judgement.verdict is Outcome.FAIL


@pytest.mark.parametrize("name", sorted(CLEAN))
def test_a_good_service_passes_without_a_finding(name):
    judgement = judged(CLEAN[name])
    assert not judgement.findings, [f.message for f in judgement.findings]
    assert judgement.verdict is Outcome.PASS, judgement.reasons
    assert all(check.n > 0 for check in judgement.checks if check.required)


@pytest.mark.parametrize("name", sorted(CLEAN))
def test_the_order_of_rows_says_nothing(name):
    for story in (CLEAN[name], *[s for c, (s, _) in STORIES.items() if c.startswith(name)]):
        first = judged(story)
        for seed in (1, 2):
            again = judged(story, seed=seed)
            assert again.checks == first.checks
            assert [f.message for f in again.findings] == [f.message for f in first.findings]


@pytest.mark.parametrize("name", sorted(CLEAN))
def test_a_stage_is_held_to_the_checks_that_it_makes(name):
    story = CLEAN[name]
    history = story.history()
    (view,) = views(history, story.resolved)
    made = {check.id.partition(".")[2] for check in judge(history, story.resolved).checks}
    assert {what for what, _ in expected(view)} <= made
    nothing = type(story)({"users": {**STAGE, "expect": {}}})
    (view,) = views(nothing.history(), nothing.resolved)
    assert expected(view) == []


STAGE = {"populations": {"users": {"shape": {"clients": 3}}}}


@pytest.mark.parametrize(
    "expect",
    ["stays", "pings", "pressure", "rate_limit", "large", "modes"],
)
def test_nothing_seen_is_never_a_pass(expect):
    story = strained({expect: True})
    judgement = judged(story)
    assert judgement.verdict is Outcome.INCONCLUSIVE
    story.client(100, "refused")
    assert judged(story).verdict is not Outcome.PASS


def test_drift_of_nothing_is_never_a_pass():
    story = drifting(n=3)
    judgement = judged(story)
    assert judgement.verdict is Outcome.INCONCLUSIVE
