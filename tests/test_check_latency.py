"""Latency checks: censoring, entering a phase, settling, and what is missing."""

import pytest

from probe.check.judge import judge
from probe.check.verdict import Outcome
from tests.histories import LOAD, RESTART, Story


def stage(phase="connect", quantile="p95", within="1s", **more):
    limit = {"phase": phase, "quantile": quantile, "within": within, **more}
    return {**LOAD, "expect": {"latency": [limit]}}


def judged(story):
    judgement = judge(story.history(), story.resolved)
    return judgement.checks[0], judgement


def story_of(n, *ways, **more):
    story = Story({"users": stage(**more)}).stage().fit()
    for k in range(n):
        story.client(100 + k * 20, ways[k] if k < len(ways) else "good")
    return story


@pytest.mark.parametrize(
    ("n", "ways", "verdict"),
    [
        (59, (), Outcome.PASS),
        (58, (), Outcome.INCONCLUSIVE),
        (59, ("refused",), Outcome.INCONCLUSIVE),  # infinite
        (59, ("hung",), Outcome.INCONCLUSIVE),  # more than 5 s, which is beyond the limit
        (93, ("hung",), Outcome.PASS),
        (59, ("refused",) * 9, Outcome.FAIL),
        (59, ("hung",) * 9, Outcome.FAIL),
        (59, ("stopped",) * 9, Outcome.PASS),  # stopped after ready: the latency was seen
        (59, ("cancelled",) * 9, Outcome.INCONCLUSIVE),  # stopped before: it may be anything
    ],
)
def test_a_gate_takes_failures_as_infinite_and_timeouts_as_more_than_their_bound(n, ways, verdict):
    check, judgement = judged(story_of(n, *ways))
    assert (check.verdict, check.n) == (verdict, n), check.message
    assert (verdict is Outcome.FAIL) == any(
        f.code == "latency.over_limit" and f.severity == "major" for f in judgement.findings
    )


def test_below_the_n_of_a_quantile_no_number_is_told_but_what_is_missing():
    check, judgement = judged(story_of(75))
    assert check.verdict is Outcome.PASS
    table = judgement.summary["latency"]["users"]["connect"]
    assert table["p99"]["text"] == "not known (needs 368, has 75)"
    assert table["p99"]["estimate_s"] is None
    assert table["p95"]["enough"]
    assert table["p95"]["low_s"] <= table["p95"]["estimate_s"] <= table["p95"]["high_s"]
    # Intended to dial 0.1 ms, dial to ready 2.0 to 2.1 ms.
    assert table["p50"]["estimate_s"] == pytest.approx(0.00215, abs=0.00006)
    assert (table["n"], table["censored"], table["failed"]) == (75, 0, 0)


def test_each_phase_counts_the_attempts_that_entered_it():
    _, judgement = judged(story_of(10, "refused", "status", "no_answer"))
    table = judgement.summary["latency"]["users"]
    counts = {phase: (e["n"], e["censored"], e["failed"]) for phase, e in table.items()}
    assert counts["lag"] == (10, 0, 0)
    assert counts["tcp"] == (10, 0, 1)
    assert counts["upgrade"] == (9, 1, 0)
    assert counts["connect"] == (10, 1, 2)
    assert "tls" not in counts  # plain ws has no such phase
    assert "first_event" not in counts


def test_the_headline_counts_from_the_intended_start_and_lag_is_beside_it():
    story = Story({"users": stage(within="1s")}).stage().fit()
    for k in range(80):
        session = story.client(100 + k * 20, "good")
        # The generator was 3 s late for every one of them.
        story.rows = [
            (r[0] - 3_000_000_000, *r[1:]) if r[1] == session and r[3] == 20 else r
            for r in story.rows
        ]
    check, judgement = judged(story)
    assert judgement.summary["latency"]["users"]["ready"]["p50"]["estimate_s"] < 0.01
    assert judgement.summary["latency"]["users"]["lag"]["p50"]["estimate_s"] > 3
    assert check.verdict is Outcome.INCONCLUSIVE  # over the limit, by a probe that was late
    assert "p95 of connect is 3" in check.message
    assert "dialled late" in check.message


def test_a_population_can_be_held_to_its_own_limit():
    stages = {
        "users": {
            "populations": {
                "fast": {"shape": {"clients": 1}},
                "slow": {"shape": {"clients": 1}},
            },
            "expect": {
                "latency": [
                    {"phase": "ready", "quantile": "p50", "within": "1s", "population": name}
                    for name in ("fast", "slow")
                ]
            },
        }
    }
    story = Story(stages).stage().fit()
    for k in range(20):
        story.client(100 + k * 20, "good", population=0)
        story.client(105 + k * 20, "good", population=1, took=1500 + k)
    checks = {c.id: c.verdict for c in judge(story.history(), story.resolved).checks}
    assert checks == {
        "users.service": Outcome.PASS,
        "users.latency.ready.p50.fast": Outcome.PASS,
        "users.latency.ready.p50.slow": Outcome.FAIL,
    }


def test_in_a_cold_start_only_clients_intended_after_the_switch_are_counted():
    limit = {"phase": "connect", "quantile": "p50", "within": "1s"}
    story = Story({"boots": {**RESTART, "trials": 1, "expect": {"latency": [limit]}}})
    story.stage(0, 0, 20_000).fit().trial(0, 1000, 9000)
    for k in range(60):
        way = "refused" if k < 30 else "good"
        story.client(1000 + k * 20, way, lasts=50)
    check, judgement = judged(story)
    assert (check.verdict, check.n) == (Outcome.PASS, 29)  # the first good one made the switch
    assert judgement.summary["latency"]["boots"]["connect"]["failed"] == 0


def test_nothing_entered_is_nothing_measured():
    story = Story({"users": stage(phase="tls")}).stage().fit()
    story.client(100, "good")
    check, _ = judged(story)
    assert (check.verdict, check.n) == (Outcome.INCONCLUSIVE, 0)


def test_samples_that_depend_on_each_other_are_told_with_an_interval_from_blocks():
    story = Story({"users": stage()}).stage().fit()
    for k in range(200):
        story.client(100 + k * 20, "good", took=2 + k * 0.5)
    _, judgement = judged(story)
    entry = judgement.summary["latency"]["users"]["connect"]["p50"]
    assert "lag-1 autocorrelation" in entry["note"]
    assert entry["block_low_s"] <= entry["estimate_s"] <= entry["block_high_s"]
    assert entry["block_high_s"] - entry["block_low_s"] > entry["high_s"] - entry["low_s"]


def test_a_connection_that_is_taken_away_at_once_was_never_ready_whatever_its_stamp_says():
    story = Story({"users": stage()}).stage().fit()
    for k in range(60):
        way = "closed_late" if k < 9 else "good"
        story.client(100 + k * 20, way, lasts=5 if k < 9 else 2000)
    check, judgement = judged(story)
    assert judgement.summary["latency"]["users"]["connect"]["failed"] == 9
    assert check.verdict is Outcome.FAIL
