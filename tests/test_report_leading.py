"""The figures that lead: what is said of restarts, and what is not."""

import math
from dataclasses import replace

import pytest

from probe.check.verdict import Check, Fitness, Judgement, Outcome
from probe.report.facts import facts_of
from probe.report.markdown import markdown
from probe.report.views import leading, why


def said(**summary):
    return leading(Judgement(Outcome.PASS, {"complete": True}, (), (), Fitness(), {}, summary))


def test_a_bound_stands_beside_the_count():
    restarts = [{"first_good_session_s": 1.0 + i} for i in range(20)]
    assert said(restarts=restarts) == [
        "20 of 20 restarts recovered; at least 86 % at 95 % confidence",
        "first good session after a restart: median 10 s, from 1 s to 20 s",
    ]


def test_a_bound_that_a_check_tells_is_not_told_twice():
    check = Check("cold.recovery", "cold", True, Outcome.PASS, "bound", 12, "12 of 12 recovered")
    rows = [{"stage": name, "first_good_session_s": 1.0} for name in ("cold", "warm")]
    judgement = Judgement(
        Outcome.PASS, {"complete": True}, (check,), (), Fitness(), {}, {"restarts": rows}
    )
    assert [line for line in leading(judgement) if "recovered" in line] == [
        "cold: 1 of 1 restarts recovered",
        "warm: 1 of 1 restarts recovered; at least 5 % at 95 % confidence",
    ]


@pytest.mark.parametrize("missing", [None, math.nan, math.inf])
def test_what_was_not_seen_is_the_slowest(missing):
    restarts = [{"first_good_session_s": 1.0}, {"first_good_session_s": missing}]
    assert said(restarts=restarts) == [
        "1 of 2 restarts recovered; at least 2.5 % at 95 % confidence",
        "first good session after a restart: median 1 s, from 1 s to not seen",
    ]


def test_nothing_is_said_of_what_was_not_measured():
    assert said() == said(restarts=[]) == said(counts={}) == []
    assert said(restarts=[{"attempts": 3}]) == []
    nobody = {"everybody_in_s": None, "retrying_clients": 0}
    assert said(restarts=[nobody]) == []
    assert said(restarts=[nobody | {"retrying_clients": 2}]) == [
        "everybody in after a restart: not seen in any of 1"
    ]


def test_restarts_of_different_stages_are_told_apart():
    lines = said(
        restarts=[{"stage": s, "first_good_session_s": 1.0} for s in ("cold", "warm", "warm")]
    )
    assert [line.split(" restarts")[0] for line in lines[::2]] == ["cold: 1 of 1", "warm: 2 of 2"]


def test_restarts_that_failed_are_counted():
    recovery = {"cold": {"n": 3, "failed_restarts": 2}, "warm": {"n": 1, "failed_restarts": 1}}
    assert said(recovery=recovery) == ["restarts that were asked for and did not take place: 3"]
    assert said(recovery={"cold": {"n": 3, "failed_restarts": 0}}) == []


def test_counts_are_one_line():
    ways = {f"way {i}": 1 for i in range(8)}
    counts = {"clients": 1400, "outcomes": {"normal": 2, "not_http": 1}, "attempts": 3, "x": 1}
    assert said(counts=counts) == ["1,400 clients; 3 attempts (normal 2, not http 1)"]
    (line,) = said(counts=counts | {"ways": ways, "runs": 2})
    assert line.endswith("way 4 1, way 5 1, 2 more ways); 2 runs")


def test_reasons_are_not_told_twice_and_cuts_are():
    check = Check("a.b", "a", True, Outcome.ERROR, "bound", 1, "no history")
    reasons = ("a.b: no history", "lag")
    judgement = Judgement(Outcome.ERROR, {}, (check,), (), Fitness(), {}, reasons=reasons)
    assert why(judgement) == ("lag", "the run is incomplete: its files do not say that it ended")
    assert "interrupted" in why(replace(judgement, interrupted=True))[1]


@pytest.mark.parametrize(
    ("run", "again"),
    [
        ({}, ""),
        ({"scenario": "my file.toml", "target": "a;b", "seed": 0},
         "probe run 'my file.toml' --target 'a;b' --seed 0"),
        ({"scenario": {"name": "s"}, "target": {"name": "t"}}, "probe run s --target t"),
        ({"scenario": "s", "again": "probe run s --defect x"}, "probe run s --defect x"),
        ({"scenario": "s", "again": ["probe", "run", "a b"]}, "probe run 'a b'"),
    ],
)  # fmt: skip
def test_the_way_back_is_what_a_shell_reads(run, again):
    assert facts_of(Judgement(Outcome.PASS, run, (), (), Fitness(), {})).again == again


def test_facts_are_read_in_both_spellings():
    stages = [{"name": "boot", "state": "skipped", "duration_s": None}]
    run = {"scenario": {"name": "s", "title": "T"}, "target": {"name": "t"}, "embedded": True,
           "started_at": "2025", "stages": stages}  # fmt: skip
    judgement = Judgement(Outcome.PASS, run, (), (), Fitness(), {})
    facts = facts_of(judgement)
    assert (facts.scenario, facts.title, facts.marked_target) == ("s", "T", "t (embedded)")
    assert (facts.started, facts.complete) == ("2025", False)
    assert "| boot | skipped | - |" in markdown(judgement)


def test_every_part_of_the_summary_is_in_the_report():
    quantile = {
        "text": "12 ms", "enough": True, "needed": 72, "estimate_s": 0.012, "low_s": 0.01,
        "high_s": None, "high": "more than 5 s", "note": "lag-1 autocorrelation",
        "block_low_s": 0.009, "block_high_s": 0.02,
    }  # fmt: skip
    short = {"text": "not known (needs 368, has 75)", "enough": False, "estimate_s": None,
             "low_s": None, "high_s": None, "high": "unknown"}  # fmt: skip
    summary = {
        "latency": {"boot": {"connect": {"n": 75, "p95": quantile, "p99": short}}},
        "everybody_in": {"boot": {"clients": 2, "by_attempt": {"1": {"clients": 2}}}},
        "new_part": {"boot": {"x": {"n": 1}}},
    }
    text = markdown(Judgement(Outcome.PASS, {}, (), (), Fitness(), {}, summary))
    row = next(line for line in text.split("\n") if line.startswith("| boot | connect"))
    assert "12 ms [10 ms, more than 5 s] too narrow" in row
    assert "from blocks [9 ms, 20 ms]" in row
    assert "not known (needs 368, has 75)" in row
    assert "| boot | 2 | 1 (clients 2) |" in text
    assert "## New part" in text
