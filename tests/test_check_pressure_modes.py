"""Endpoints side by side, drift over time, and what services say of their health."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.check.drift import _medians
from probe.check.judge import judge
from probe.check.verdict import Outcome
from probe.history.records import Kind, Run
from probe.stats.tables import fisher
from tests.histories import Story
from tests.pressure_histories import (
    DIALECT,
    asked,
    drifting,
    heavier,
    run,
    side_by_side,
    strained,
    told,
)


def judged(story, what, stage="users"):
    judgement = judge(story.history(), story.resolved)
    checks = {c.id: c for c in judgement.checks}
    return checks[f"{stage}.{what}"], {f.code: f for f in judgement.findings}, judgement


# Endpoints.


@pytest.mark.parametrize(
    ("story", "words"),
    [
        (side_by_side(*range(30), more=1), "30 of 30 runs had thinking 2 times; elsewhere 0 of 60"),
        (side_by_side(*range(12), more=1), "12 of 30 runs had thinking 2 times; elsewhere 0 of 60"),
        (
            side_by_side(*range(30), more=2, size=3),
            "30 of 30 runs had thinking 5 times; elsewhere 0 of 60",
        ),
        (
            side_by_side(*range(30), chosen="other"),
            "30 of 30 connections had the subprotocol other chosen; elsewhere 0 of 60",
        ),
        (
            side_by_side(*range(30), chosen=None),
            "30 of 30 connections had no subprotocol chosen; elsewhere 0 of 60",
        ),
        (
            side_by_side(*range(15), way="status"),
            "15 of 30 attempts ended as: status 503; elsewhere 0 of 60",
        ),
        (
            side_by_side(*range(30), more=1, endpoints=("a", "b")),
            "b (/b): 30 of 30 runs had thinking 2 times; elsewhere 0 of 30",
        ),
    ],
)
def test_the_endpoint_that_differs_is_named_with_its_numbers(story, words):
    check, found, _ = judged(story, "modes")
    assert check.verdict is Outcome.FAIL
    assert words in found["modes.differ"].message
    assert set(found) == {"modes.differ"}
    assert found["modes.differ"].message.count("elsewhere") == 1


def test_a_few_odd_runs_are_no_difference():
    check, found, _ = judged(side_by_side(0, 1, more=1), "modes")
    assert (check.verdict, found) == (Outcome.PASS, {})
    assert "of the 30 clients of one endpoint met, and nobody elsewhere, would have" in (
        check.message
    )


def test_one_client_counts_once_however_many_runs_it_had():
    story = strained({"modes": True}, endpoints=("a", "b"))
    for k in range(30):
        for index in range(2):
            session = story.client(100 + k * 20 + index, "good", endpoint=index, lasts=5000)
            for number in range(10):
                more = int(index == 1 and k == 0)
                run(story, session, 200 + k * 20 + number * 30, number=number, more=more)
    check, found, _ = judged(story, "modes")
    assert (check.verdict, found) == (Outcome.PASS, {})
    assert check.n == 60


def test_what_is_never_mixed_needs_no_test():
    """Two clients at each endpoint are too few for any test; twelve runs are not."""
    for runs, verdict in ((6, Outcome.FAIL), (4, Outcome.INCONCLUSIVE)):
        story = strained({"modes": True}, endpoints=("a", "b"))
        for k in range(4):
            session = story.client(100 + k * 20, "good", endpoint=k % 2, lasts=5000)
            for number in range(runs):
                run(story, session, 200 + k + number * 30, number=number, more=k % 2)
        check, _, _ = judged(story, "modes")
        assert check.verdict is verdict


def test_what_the_client_did_itself_is_no_difference_of_the_endpoint():
    story = side_by_side()
    for k in range(30):
        session = story.client(3000 + k * 10, "good", endpoint=2, lasts=5000)
        if k % 2:
            run(story, session, 3100 + k * 10, lost=2, how=Run.CUT_OFF)
        else:
            story.row(3099 + k * 10, Kind.STALL, session, 0, 0)
            run(story, session, 3100 + k * 10, lost=2, how=Run.GIVEN_UP)
    assert judged(story, "modes")[0].verdict is Outcome.PASS


def test_clients_that_do_something_else_are_not_compared():
    stages = {
        "users": {
            "populations": {
                "a": {"shape": {"clients": 3}, "endpoints": ["one"]},
                "b": {
                    "shape": {"clients": 3},
                    "endpoints": ["two"],
                    "script": [{"do": "connect"}, {"do": "run", "size": 5}],
                },
            },
            "expect": {"modes": True},
        }
    }
    story = Story(stages, dialect=DIALECT, endpoints=("one", "two")).stage().fit()
    for k in range(30):
        for index in range(2):
            session = story.client(100 + k * 20, "good", endpoint=index, population=index)
            run(story, session, 150 + k * 20, size=1 + index * 4)
    check, found, _ = judged(story, "modes")
    assert (check.verdict, found) == (Outcome.INCONCLUSIVE, {})
    assert "seen: one, two" in check.message


@pytest.mark.parametrize(
    "story", [side_by_side(endpoints=("only",)), side_by_side(n=2), side_by_side(n=0)]
)
def test_too_few_to_compare_is_left_open(story):
    check, found, _ = judged(story, "modes")
    assert (check.verdict, found) == (Outcome.INCONCLUSIVE, {})


def test_endpoints_that_differ_are_told_each():
    story = strained({"modes": True}, endpoints=("a", "b", "c", "d"))
    for k in range(40):
        for index in range(4):
            session = story.client(100 + k * 40 + index, "good", endpoint=index)
            run(story, session, 120 + k * 40 + index, more=max(index - 1, 0))
    _, found, _ = judged(story, "modes")
    assert "c (/c): 40 of 40 runs had thinking 2 times" in found["modes.differ"].message
    assert "d (/d): 40 of 40 runs had thinking 3 times" in found["modes.differ"].message
    assert "a (/a)" not in found["modes.differ"].message


@given(*[st.integers(0, 12)] * 4)
def test_fisher_sums_the_tables_that_are_no_more_likely(a, b, c, d):
    n, row, column = a + b + c + d, a + b, a + c

    def ways(k):
        return math.comb(row, k) * math.comb(n - row, column - k)

    reach = range(max(0, column - (n - row)), min(row, column) + 1)
    every = sum(ways(k) for k in reach)
    expected = sum(ways(k) for k in reach if ways(k) <= ways(a)) / every
    assert fisher(a, b, c, d) == pytest.approx(expected)
    assert fisher(a, b, c, d) == pytest.approx(fisher(d, c, b, a))


def test_fisher_of_a_known_table():
    assert fisher(3, 1, 1, 3) == pytest.approx(34 / 70)  # the lady tasting tea, two-sided
    assert fisher(30, 0, 0, 90) < 1e-20
    with pytest.raises(ValueError, match="0 or more"):
        fisher(-1, 0, 0, 0)


# Drift.


@pytest.mark.parametrize(
    ("last", "verdict"),
    [(1.0, Outcome.PASS), (1.3, Outcome.PASS), (1.5, Outcome.INCONCLUSIVE), (3.0, Outcome.FAIL)],
)
def test_the_last_third_against_the_first(last, verdict):
    check, found, judgement = judged(drifting(last=last), "drift.latency")
    assert check.verdict is verdict, check.message
    assert ("drift.slower" in found) == (verdict is Outcome.FAIL)
    run_row = judgement.summary["drift"]["users"]["run"]
    assert run_row["growth"] == pytest.approx(last - 1, abs=0.02)
    assert run_row["low"] <= run_row["growth"] <= run_row["high"]


def test_less_than_ten_milliseconds_is_no_drift():
    story = strained({"drift": {}})
    for k in range(90):
        session = story.client(100 + k * 300, "good", lasts=1500)
        run(story, session, 200 + k * 300, took=2 if k < 60 else 8)
    assert judged(story, "drift.latency")[0].verdict is Outcome.PASS


def test_a_client_counts_once_in_each_third():
    story = strained({"drift": {}})
    for k in range(5):
        session = story.client(100 + k, "good", lasts=50_000)
        for number in range(90):
            run(story, session, 200 + number * 300 + k, number=number, took=50)
    check, _, _ = judged(story, "drift.latency")
    assert check.verdict is Outcome.INCONCLUSIVE
    assert "too few to compare thirds (5; it takes 10 in each)" in check.message


def test_runs_that_never_ended_are_no_durations():
    clean = judged(drifting(), "drift.latency")[2].summary["drift"]["users"]["run"]
    story = drifting()
    for k in range(30):
        session = story.client(20_000 + k * 100, "good", lasts=1500)
        run(story, session, 20_100 + k * 100, lost=1, took=9000, how=Run.GIVEN_UP)
    assert judged(story, "drift.latency")[2].summary["drift"]["users"]["run"] == clean


def test_a_load_that_is_not_flat_is_not_judged():
    curve = {"rate_curve": [["0s", "1/s"], ["10s", "20/s"]]}
    stages = {"users": {"populations": {"users": {"shape": curve}}, "expect": {"drift": {}}}}
    story = Story(stages, dialect=DIALECT).stage().fit()
    for k in range(90):
        run(story, story.client(100 + k * 300, "good"), 200 + k * 300, took=50 * (1 + k))
    check, found, judgement = judged(story, "drift.latency")
    assert (check.verdict, found) == (Outcome.INCONCLUSIVE, {})
    assert judgement.verdict is Outcome.INCONCLUSIVE


def test_memory_is_judged_only_where_it_is_told():
    check, _, judgement = judged(drifting(), "drift.memory")
    assert (check.verdict, check.required) == (Outcome.INCONCLUSIVE, False)
    assert judgement.verdict is Outcome.PASS
    check, found, _ = judged(heavier(last=2), "drift.memory")
    assert check.verdict is Outcome.FAIL
    assert "+100 %" in found["drift.larger"].message
    story = drifting()
    for k in range(60):  # it holds until something else is told
        story.health(100 + k * 400)
    told(story, 50, memory_bytes=10 << 20)
    told(story, 16_000, memory_bytes=30 << 20)
    assert judged(story, "drift.memory")[0].estimate == 2
    story = drifting()
    for k in range(60):  # of another kind than wanted
        story.health(100 + k * 100)
        told(story, 100 + k * 100, memory_bytes="much")
        story.row(100 + k * 100, Kind.TOLD, b=story.text("[1]"))
    assert judged(story, "drift.memory")[0].required is False


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 99)), max_size=40))
def test_medians_by_client(pairs):
    who = np.array([w for w, _ in pairs], dtype=np.int64)
    value = np.array([v for _, v in pairs], dtype=np.int64)
    expected = [
        sorted(v for w, v in pairs if w == one)[(sum(w == one for w, _ in pairs) - 1) // 2]
        for one in sorted({w for w, _ in pairs})
    ]
    assert _medians(who, value).tolist() == expected


# Health.


@pytest.mark.parametrize(
    ("story", "codes", "words"),
    [
        (asked(), set(), "1 service last said healthy"),
        (asked(parts={"postgres": "ok"}), set(), "1 service last said healthy"),
        (
            asked(parts={"auth": "http://auth:8081", "cache": "disabled"}),
            set(),
            "1 service last said healthy",
        ),
        (
            asked(flag=2, parts={"postgres": "degraded", "redis": "ok"}),
            {"health.degraded"},
            "says degraded (HTTP status 200): postgres degraded",
        ),
        (
            asked(parts={"redis": "unreachable"}),
            {"health.degraded"},
            "says healthy, though a part of it is not (HTTP status 200): redis unreachable",
        ),
        (
            asked(flag=2, took=5000, parts={"postgres": "degraded"}),
            {"health.degraded"},
            "(HTTP status 200, after 5 s)",
        ),
        (
            asked(flag=0, status=503, parts={"redis": "unreachable"}),
            {"health.unhealthy"},
            "last said unhealthy (HTTP status 503): redis unreachable",
        ),
        (asked(flag=0, status=0, took=2000), {"health.unhealthy"}, "gave no answer when asked"),
        (asked(took=2100), {"health.slow"}, "took 2.1 s to say"),
    ],
)
def test_health_by_its_parts(story, codes, words):
    check, found, judgement = judged(story, "health", "pre")
    assert set(found) == codes
    assert words in check.message
    assert judgement.verdict is (Outcome.FAIL if codes else Outcome.PASS)


def test_what_was_told_before_another_answer_is_not_what_it_says_now():
    story = asked(flag=2, parts={"postgres": "degraded"})
    story.health(200, 0, status=503)
    _, found, _ = judged(story, "health", "pre")
    assert set(found) == {"health.unhealthy"}
    assert "postgres" not in found["health.unhealthy"].message


def test_the_matrix_of_services_endpoints_and_tokens():
    story = asked(parts={"postgres": "ok"})
    story.row(20, Kind.TOKEN, flag=1, a=5, b=3_000_000)
    story.row(30, Kind.TOKEN, flag=0, a=0, b=9_000_000)
    _, _, judgement = judged(story, "health", "pre")
    table = judgement.summary["health"]["pre"]
    (service,), (endpoint,), (tokens,) = table["services"], table["endpoints"], table["tokens"]
    assert (service["state"], service["parts"], service["ill"]) == (
        "healthy",
        {"postgres": "ok"},
        {},
    )
    assert service["took_s"] == 0.005
    assert (endpoint["attempts"], endpoint["good"], endpoint["outcomes"]) == (3, 3, {"good": 3})
    assert 0 < endpoint["connect_s"] < 0.01
    assert (tokens["requests"], tokens["refused"], tokens["tokens"]) == (2, 1, 5)
    assert (tokens["median_s"], tokens["longest_s"]) == (0.006, 0.009)
