"""The judgement as a whole: the fold, what is never a PASS, and that nothing moves it."""

import itertools
import json
from dataclasses import asdict

import pytest

from probe.check.catalogue import CATALOGUE
from probe.check.judge import corrected, expected, judge
from probe.check.verdict import Check, Fitness, Outcome, fold, taint
from probe.check.view import views
from probe.report.document import document
from tests.histories import HERD, LOAD, RESTART, Story


def check(verdict=Outcome.PASS, *, required=True, n=1, **more):
    return Check("s.x", "s", required, verdict, "bound", n, "words", **more)


def ids(judgement):
    return {each.id: each.verdict for each in judgement.checks}


def codes(judgement):
    return {each.code: each for each in judgement.findings}


def busy_story():
    """Restarts with good and bad clients, preflight and matrix, several of each."""
    stages = {
        "preflight": {"activity": "preflight", "expect": {"health": True, "connects": True}},
        "offers": {"activity": "matrix", "expect": {"offers": True}},
        "boots": {
            **RESTART,
            "trials": 6,
            "expect": {
                "recovery": {"within": "5s", "rate": "50%"},
                "readiness_gap": {"within": "100ms", "rate": "50%"},
                "everybody_in": {"within": "6s", "rate": "50%"},
                "runs": {"rate": "90%"},
                "definite": True,
                "success": {"rate": "10%"},
                "latency": [{"phase": "connect", "quantile": "p50", "within": "1s"}],
            },
        },
    }
    story = Story(stages)
    story.stage(0, 0, 100).stage(1, 100, 300).stage(2, 300, 40_000).fit()
    story.health(5)
    for k in range(3):
        story.client(10 + k, "good", lasts=20, population=0)
        story.client(110 + k, "good", lasts=20, population=1)
    runs = (("started", "tool", "completed"),)
    for trial in range(6):
        zero = 1000 + trial * 5000
        story.trial(trial, zero, zero + 4000)
        for k in range(40):
            story.health(zero + k * 10, 0 if k < 20 else 1)
        for k in range(12):
            way = "closed" if k < 6 else "good"
            story.client(
                zero + k * 50, way, population=2, trial=trial,
                runs=runs if way == "good" else (),
            )  # fmt: skip
        story.client(zero + 1, "refused", "status", "good", population=3, trial=trial)
    return story


def test_the_same_files_give_the_same_judgement_in_whatever_order_shards_were_merged():
    story = busy_story()
    first = document(judge(story.history(), story.resolved))
    assert document(judge(story.history(), story.resolved)) == first
    for seed in range(3):
        again = judge(story.history(seed=seed), story.resolved)
        assert json.dumps(document(again), sort_keys=True) == json.dumps(first, sort_keys=True)
    assert first["verdict"] == "FAIL"
    assert len(first["checks"]) == len({each["id"] for each in first["checks"]}) >= 12


def test_a_history_cut_anywhere_is_judged_and_never_passes():
    story = busy_story()
    story.meta |= {"complete": False, "ended": None}
    total = len(story.rows)
    for upto in (*range(0, 60, 3), *range(60, total, 97)):
        judgement = judge(story.history(upto=upto), story.resolved)
        assert judgement.verdict is not Outcome.PASS
        assert ids(judgement)["run.complete"] is Outcome.INCONCLUSIVE
        assert judgement.run["complete"] is False


def passing():
    story = Story({"users": {**LOAD, "expect": {"success": {"rate": "90%"}}}}).stage().fit()
    for k in range(60):
        story.client(100 + k * 10, "good")
    return story


def test_a_whole_run_that_keeps_its_limits_passes():
    story = passing()
    judgement = judge(story.history(), story.resolved)
    assert (judgement.verdict, judgement.reasons) == (Outcome.PASS, ())
    assert judgement.run["complete"] is True
    assert judgement.findings == ()
    assert judgement.exit_code == 0


def test_an_empty_history_is_inconclusive():
    story = Story({"users": {**LOAD, "expect": {"success": {"rate": "90%"}}}})
    judgement = judge(story.history(), story.resolved)
    assert judgement.verdict is Outcome.INCONCLUSIVE
    assert ids(judgement) == {"users.success": Outcome.SKIPPED}
    begun = Story({"users": {**LOAD, "expect": {"success": {"rate": "90%"}}}}).stage().fit()
    judgement = judge(begun.history(), begun.resolved)
    assert ids(judgement) == {"users.success": Outcome.INCONCLUSIVE}
    assert judgement.checks[0].n == 0
    assert "nothing was measured" in judgement.checks[0].message


def test_a_run_without_expectations_judges_nothing():
    story = Story({"users": LOAD}).stage().fit()
    story.client(100, "good")
    judgement = judge(story.history(), story.resolved)
    assert judgement.verdict is Outcome.INCONCLUSIVE
    assert "nothing was judged" in judgement.reasons[0]


@pytest.mark.parametrize(
    ("meta", "verdict", "word"),
    [
        ({"complete": False, "ended": None}, Outcome.INCONCLUSIVE, "incomplete"),
        ({"complete": False}, Outcome.INCONCLUSIVE, "not closed"),
        ({"ended": "interrupted"}, Outcome.INCONCLUSIVE, "interrupted"),
        ({"ended": "crashed", "error": "KeyError: 3"}, Outcome.ERROR, "KeyError: 3"),
        ({"ended": "aborted", "fault": "lab", "error": "it died"}, Outcome.ERROR, "it died"),
        ({"ended": "aborted", "fault": "auth", "error": "no token"}, Outcome.FAIL, "no token"),
        ({"ended": "aborted", "fault": "restart", "error": "exit 1"}, Outcome.FAIL, "exit 1"),
    ],
)
def test_a_run_that_did_not_end_as_planned_is_told_and_never_passes(meta, verdict, word):
    story = passing()
    judgement = judge(story.history(**meta), story.resolved)
    assert judgement.verdict is verdict
    assert ids(judgement)["run.complete"] is verdict
    assert word in next(c.message for c in judgement.checks if c.id == "run.complete")
    assert judgement.interrupted == (meta.get("ended") == "interrupted")


def test_a_planned_stage_that_did_not_run_leaves_its_checks_skipped():
    expect = {"success": {"rate": "90%"}, "definite": True}
    story = Story({"first": {**LOAD, "expect": expect}, "second": {**LOAD, "expect": expect}})
    story.stage(0).fit()
    for k in range(60):
        story.client(100 + k * 10, "good")
    judgement = judge(story.history(), story.resolved)
    assert judgement.verdict is Outcome.INCONCLUSIVE
    found = ids(judgement)
    assert found["first.success"] is Outcome.PASS
    assert found["second.success"] is Outcome.SKIPPED
    assert found["second.definite.silence"] is Outcome.SKIPPED
    states = [each["state"] for each in judgement.run["stages"]]
    assert states == ["ran", "skipped"]


def test_skipped_checks_bear_the_ids_that_the_same_stage_has_when_it_runs():
    story = busy_story()
    judgement = judge(story.history(), story.resolved)
    for view in views(story.history(), story.resolved):
        ran = {c.id for c in judgement.checks if c.stage == view.name}
        assert ran == {f"{view.name}.{what}" for what, _ in expected(view)}


def test_one_stage_can_be_judged_while_the_run_goes_on():
    story = busy_story()
    story.meta |= {"complete": False, "ended": None}
    judgement = judge(story.history(), story.resolved, only_stage="preflight")
    assert {c.stage for c in judgement.checks} == {"preflight"}
    assert judgement.verdict is Outcome.PASS
    with pytest.raises(ValueError, match="no stage 'nowhere'"):
        judge(story.history(), story.resolved, only_stage="nowhere")


def test_the_veto_spares_witnesses_and_takes_timings():
    unfit = Fitness(taints=("slow",))
    soft, hard = check(load_sensitive=True), check(Outcome.FAIL)
    judged = taint((soft, hard), unfit)
    assert [c.verdict for c in judged] == [Outcome.INCONCLUSIVE, Outcome.FAIL]
    assert taint((soft, hard), Fitness()) == (soft, hard)


def test_the_fold_is_what_its_table_says_for_every_pair_of_checks():
    singles = [
        check(verdict, required=required, n=n)
        for verdict in Outcome
        if verdict is not Outcome.INVALID
        for required in (True, False)
        for n in (0, 5)
    ]
    for pair in itertools.product(singles, repeat=2):
        for fit in (Fitness(), Fitness(taints=("t",)), Fitness(invalid=("i",))):
            verdict, reasons = fold(pair, fit)
            required = [c for c in pair if c.required]
            if any(c.verdict is Outcome.FAIL for c in pair):
                wanted = Outcome.FAIL
            elif any(c.verdict is Outcome.ERROR for c in required):
                wanted = Outcome.ERROR
            elif fit.invalid:
                wanted = Outcome.INVALID
            elif required and all(c.verdict is Outcome.PASS and c.n for c in required):
                wanted = Outcome.PASS
            else:
                wanted = Outcome.INCONCLUSIVE
            assert verdict is wanted
            assert bool(reasons) == (wanted is not Outcome.PASS)


def test_a_fail_among_many_limits_has_to_survive_holm():
    lone = (check(Outcome.FAIL, p_value=0.03),)
    assert corrected(lone)[0].verdict is Outcome.FAIL
    many = (*lone, *(check(p_value=0.9) for _ in range(9)))
    judged = corrected(many)
    assert judged[0].verdict is Outcome.INCONCLUSIVE
    assert "Holm" in judged[0].message
    assert [c.verdict for c in judged[1:]] == [Outcome.PASS] * 9


def test_an_unfit_probe_makes_a_rate_inconclusive_and_leaves_a_witness():
    story = Story({"users": {**LOAD, "expect": {"success": {"rate": "50%"}, "definite": True}}})
    story.stage().fit(lag_ms=20)
    for k in range(60):
        story.client(100 + k * 10, "good" if k else "closed")
    judgement = judge(story.history(), story.resolved)
    found = ids(judgement)
    assert found["users.success"] is Outcome.INCONCLUSIVE
    assert found["users.definite.accepted_then_closed"] is Outcome.FAIL
    assert found["users.definite.silence"] is Outcome.INCONCLUSIVE
    assert judgement.verdict is Outcome.FAIL


def test_findings_of_a_limit_that_is_kept_are_not_told_and_of_an_open_one_are_minor():
    def judged(bad, n):
        story = Story({"users": {**LOAD, "expect": {"success": {"rate": "80%"}}}}).stage().fit()
        for k in range(n):
            way = "status" if k < bad else "good"
            story.client(100 + k * 10, way, why="status 503" if way == "status" else "")
        return judge(story.history(), story.resolved)

    assert codes(judged(1, 60)) == {}
    assert codes(judged(2, 8))["session.failed"].severity == "minor"
    failed = codes(judged(30, 60))["session.failed"]
    assert failed.severity == "major"
    assert "30 of 60 clients failed" in failed.message
    assert "step 1 (connect): status 503" in failed.message
    assert failed.reproduce == "probe run hand --seed 7"


def test_clients_that_we_stopped_ourselves_are_unknown_and_not_left_out():
    story = Story({"users": {**LOAD, "expect": {"success": {"rate": "90%"}}}}).stage().fit()
    for k in range(60):
        story.client(100 + k * 10, "good", done=2 if k < 10 else 0)
    judged = judge(story.history(), story.resolved).checks[0]
    assert (judged.verdict, judged.n) == (Outcome.INCONCLUSIVE, 60)
    assert "of 10 clients it is not known" in judged.message


def test_counts_and_authenticity_are_sums_over_the_rows():
    story = busy_story()
    story.peer(name="main", url="ws://127.0.0.1:9999/ws", address="127.0.0.1", port=9999)
    judgement = judge(story.history(), story.resolved)
    counts = judgement.summary["counts"]
    assert counts["clients"] == story.sessions
    assert counts["attempts"] == sum(counts["outcomes"].values()) == 6 + 72 + 18
    assert counts["outcomes"]["refused"] == 6
    assert counts["ways"]["accepted, then closed 1011"] == 36
    evidence = judgement.authenticity
    assert evidence["statuses"] == {"101": 6 + 72 + 6, "503": 6}
    assert evidence["servers"] == ["hand/1"]
    assert evidence["peers"][0]["port"] == 9999
    assert evidence["accept_keys_verified"] == 84
    assert evidence["events"]["completed"] == 36


def test_a_judgement_is_data_that_every_report_can_take():
    story = busy_story()
    judgement = judge(story.history(), story.resolved)
    text = json.dumps(asdict(judgement), allow_nan=False)
    assert "hand-1" in text


def test_every_code_of_the_catalogue_has_its_cause_control_and_source():
    for code, entry in CATALOGUE.items():
        assert "" in entry.causes, code
        assert all(entry.causes.values()), code
        assert entry.source, code
        assert entry.control, code


def test_the_herd_is_the_population_that_retries():
    story = Story({"boots": RESTART})
    (view,) = views(story.history(), story.resolved)
    assert view.groups[HERD].population.retry


def test_holm_takes_the_p_values_that_the_gates_found():
    limits = [{"phase": "connect", "quantile": f"p{q}", "within": "5s"} for q in range(50, 60)]
    for more, verdict in (([], Outcome.FAIL), (limits, Outcome.INCONCLUSIVE)):
        expect = {"success": {"rate": "95%"}, "latency": more}
        story = Story({"users": {**LOAD, "expect": expect}}).stage().fit()
        for k in range(10):
            story.client(100 + k * 10, "good", done=1 if k < 3 else 0)  # p = 0.0115
        judgement = judge(story.history(), story.resolved)
        assert ids(judgement)["users.success"] is verdict
