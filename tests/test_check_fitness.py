"""Fitness: each limit from below and from above, and what INVALID is kept for."""

import pytest

from probe.check.judge import judge
from probe.check.verdict import Outcome
from probe.history.records import Kind
from tests.histories import LOAD, RESTART, Story, ns


def story_of(expect=None, n=60, **more):
    story = Story({"users": {**LOAD, "expect": expect or {"success": {"rate": "80%"}}}}, **more)
    story.stage()
    for k in range(n):
        story.client(100 + k * 20, "good")
    return story


def fit_of(story, **meta):
    return judge(story.history(**meta), story.resolved).fitness


def test_a_fit_probe_is_fit_and_its_figures_carry_units():
    fitness = fit_of(story_of().fit(0.5))
    assert fitness.fit
    assert fitness.figures["heartbeat_lag_p99_ms"] == 0.5
    assert fitness.figures["clients_launched"] == fitness.figures["clients_planned"] == 60


def test_no_heartbeat_cannot_vouch_for_anything():
    judgement = judge(story_of().history(), story_of().resolved)
    assert judgement.fitness.taints == ("no heartbeat was recorded",)
    assert judgement.verdict is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("lag", "kind"), [(9.9, "fit"), (10.1, "taint"), (99, "taint"), (101, "invalid")]
)
def test_heartbeat(lag, kind):
    judgement = judge((story := story_of().fit(lag)).history(), story.resolved)
    fitness = judgement.fitness
    found = "invalid" if fitness.invalid else "taint" if fitness.taints else "fit"
    assert found == kind
    wanted = {"fit": Outcome.PASS, "taint": Outcome.INCONCLUSIVE, "invalid": Outcome.INVALID}
    assert judgement.verdict is wanted[kind]


def test_a_tight_limit_tightens_the_heartbeat():
    expect = {"latency": [{"phase": "connect", "quantile": "p50", "within": "50ms"}]}
    assert fit_of(story_of(expect).fit(4.9)).fit
    (taint,) = fit_of(story_of(expect).fit(5.1)).taints
    assert "10 % of the limit 50 ms" in taint


@pytest.mark.parametrize(
    ("permille", "samples", "kind"),
    [
        (810, 5, "taint"),  # a sample a second, each speaks of the second before it
        (810, 4, "fit"),
        (790, 8, "fit"),
        (960, 5, "invalid"),
        (960, 4, "fit"),
    ],
)
def test_processor(permille, samples, kind):
    story = story_of().fit()
    for k in range(12):
        story.row(k * 1000, Kind.CPU, a=permille if 3 <= k < 3 + samples else 100, b=2**20)
        story.row(k * 1000, Kind.CPU, op=1, a=1000, b=2**30)  # the lab's own
    fitness = fit_of(story)
    found = "invalid" if fitness.invalid else "taint" if fitness.taints else "fit"
    assert found == kind
    assert fitness.figures["memory_peak_mib"] == 1


@pytest.mark.parametrize(
    ("kind", "row", "fit"),
    [
        (Kind.STEAL, {"a": 20}, True),
        (Kind.STEAL, {"a": 21}, False),
        (Kind.GC, {"b": 10_000_000}, True),
        (Kind.GC, {"b": 10_000_001}, False),
        (Kind.GAP, {"a": 1}, False),
    ],
)
def test_steal_pauses_and_losses(kind, row, fit):
    story = story_of().fit()
    story.row(500, kind, **row)
    assert fit_of(story).fit == fit


def timed(within="250ms"):
    limit = {"phase": "connect", "quantile": "p50", "within": within}
    return {"success": {"rate": "80%"}, "latency": [limit]}


def herd(each_ms, n=50, stall=0.0, expect=None):
    story = Story({"users": {**LOAD, "expect": expect or timed()}}).stage().fit()
    for _ in range(n):
        story.client(100, "good")
    order: dict[int, int] = {}
    rows = []
    for row in story.rows:
        t, session, op, kind, *rest = row
        if kind not in (Kind.INTENDED, Kind.LAG, Kind.STAGE):
            place = order.setdefault(session, len(order))
            t += round((place * each_ms + stall) * 1e6)
        rows.append((t, session, op, kind, *rest))
    story.rows = rows
    return story


def test_a_herd_has_a_launch_spread_by_nature_and_a_stall_is_not_part_of_it():
    assert fit_of(herd(0.2)).fit  # the last of 50 is 10 ms late, since they go one by one
    assert fit_of(herd(0.2)).figures["launch_each_us_in_users"] == 200
    assert not fit_of(herd(0.2, stall=6)).fit
    assert not fit_of(herd(1.0)).fit  # slower than four times what is known elsewhere


def test_lateness_counts_by_the_shortest_time_that_is_judged():
    assert fit_of(herd(0.2, stall=6, expect=timed("2s"))).fit
    assert not fit_of(herd(0.2, stall=21, expect=timed("2s"))).fit
    untimed = {"success": {"rate": "80%"}}
    assert fit_of(herd(0.2, stall=40, expect=untimed)).fit  # ready within 5 s
    assert not fit_of(herd(0.2, stall=60, expect=untimed)).fit


def test_open_arrivals_that_pile_up_are_the_probes_fault():
    story = Story({"users": {**LOAD, "expect": timed()}}).stage().fit()
    for k in range(100):
        session = story.client(100 + k, "good")
        story.rows = [
            (r[0] + k * 200_000, *r[1:]) if r[1] == session and r[3] != Kind.INTENDED else r
            for r in story.rows
        ]
    (taint,) = fit_of(story).taints
    assert "dialled late" in taint


def test_nobody_can_be_dialled_before_the_restart_call_has_returned():
    story = Story({"boots": {**RESTART, "trials": 1, "expect": {"success": {"rate": "1%"}}}})
    story.stage(0, 0, 20_000).fit()
    story.row(1050, Kind.ANCHOR, a=0, b=ns(1000))
    for k in range(20):
        session = story.client(1000 + k, "good")
        story.rows = [
            (r[0] + (50 - k) * 1_000_000, *r[1:])
            if r[1] == session and r[3] != Kind.INTENDED
            else r
            for r in story.rows
        ]
    assert fit_of(story).fit


def test_clients_that_were_not_launched_invalidate_a_whole_run_only():
    story = story_of(n=50).fit()
    for k in range(5):
        story.client(2000 + k, done=2)
    (reason,) = fit_of(story).invalid
    assert "only 50 of 55" in reason
    assert fit_of(story, ended="interrupted").fit
    failed = story_of(n=50).fit()
    for k in range(5):
        failed.client(2000 + k, done=1, why="no token")
    assert fit_of(failed).fit


def test_latencies_that_are_all_alike_are_invalid():
    story = Story({"users": {**LOAD, "expect": {"success": {"rate": "80%"}}}}).stage().fit()
    for k in range(20):
        story.client(100 + k * 20, "good", took=2)
    judgement = judge(story.history(), story.resolved)
    assert judgement.verdict is Outcome.INVALID
    assert "took the same 2 ms" in judgement.reasons[0]


def test_success_without_a_byte_read_is_invalid():
    story = Story({"users": {**LOAD, "expect": {"success": {"rate": "80%"}}}}).stage().fit()
    for k in range(20):
        story.client(100 + k * 20, "good", read=False)
    judgement = judge(story.history(), story.resolved)
    assert judgement.verdict is Outcome.INVALID
    assert len(judgement.reasons) == 2
