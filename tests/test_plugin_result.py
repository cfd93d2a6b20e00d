"""What a test is given of a run: true for a PASS alone, and safe to print."""

from dataclasses import replace
from pathlib import Path

import pytest

from probe.check.verdict import Acceptance, Finding, Fitness, Outcome
from probe.plugin.result import STEPS_MAX, ProbeRun
from probe.plugin.store import words_of
from probe.report.document import document
from tests.test_report_judgements import HOSTILE, PASSED, finding, judged, witness

FAILED = replace(PASSED, id="boot.definite", verdict=Outcome.FAIL, message="3 of 20")


def run_of(*checks, **more):
    return ProbeRun(Path("results/x"), document(judged(*checks, **more)))


@pytest.mark.parametrize("verdict", list(Outcome))
@pytest.mark.parametrize("n", [0, 20])
def test_a_check_is_true_for_a_pass_alone(verdict, n):
    run = run_of(replace(PASSED, verdict=verdict, n=n)) if verdict != "INVALID" else run_of(
        PASSED, fitness=Fitness(invalid=("cpu 99 %",))
    )  # fmt: skip
    passed = verdict is Outcome.PASS and n > 0
    assert bool(run.check("recovery")) is passed
    assert bool(run) is run.passed is passed
    assert (run.exit_code == 0) is passed


def test_an_accepted_finding_leaves_the_run_true_and_its_check_not():
    found = Finding(
        "connect.dropped", "critical", "witness", 3, "m", "c", check=FAILED.id,
        accepted=Acceptance("Ada", "2026-12-31", "#1234"),
    )  # fmt: skip
    run = run_of(PASSED, replace(FAILED, accepted=True), findings=(found,))
    assert run
    assert not run.check("definite")
    assert run.check("definite").accepted
    assert "accepted until 2026-12-31, owner Ada: #1234" in str(run.check("definite"))


def test_a_check_is_found_by_its_id_or_the_end_of_it():
    twice = replace(PASSED, id="again.recovery", stage="again")
    run = run_of(PASSED, twice, FAILED)
    assert run.check("boot.recovery").id == "boot.recovery"
    assert run.check("definite").verdict == "FAIL"
    with pytest.raises(LookupError, match="several checks end in 'recovery'"):
        run.check("recovery")
    with pytest.raises(LookupError, match="no check is called 'overy'"):
        run.check("overy")


def test_whether_anybody_has_looked_is_known():
    for look in ("verdict", "headline", "exit_code", "passed", "checks"):
        run = run_of(PASSED)
        assert not run.looked_at
        getattr(run, look)
        assert run.looked_at, look
    assert not run_of(PASSED).looked_at
    run = run_of(PASSED)
    assert "delivery.lost" not in run.codes
    assert run.findings == []
    assert not run.looked_at  # a run that saw nothing has no findings either
    str(run)
    repr(run)
    assert not run.looked_at  # to print it is to leave the judging to a reader


def test_what_a_server_said_is_shown_and_can_do_nothing():
    hostile = replace(finding(HOSTILE), check=FAILED.id, cause=HOSTILE, reproduce=HOSTILE)
    run = run_of(replace(FAILED, message=HOSTILE), findings=(hostile,))
    for text in (str(run), str(run.check(FAILED.id)), repr(run), repr(run.findings)):
        assert all(line.isprintable() for line in text.split("\n"))


def test_of_a_long_case_that_is_shown_which_it_is_about():
    long = witness("said", steps=40)
    steps = tuple(
        replace(step, what="the point", point=True) if k == 30 else step
        for k, step in enumerate(long.steps)
    )
    found = replace(finding("m"), check=FAILED.id, witness=(replace(long, steps=steps),))
    lines = str(run_of(FAILED, findings=(found,)).findings[0]).splitlines()
    shown = [line for line in lines if " ms " in line]
    assert len(shown) == STEPS_MAX
    assert any("the point" in line for line in shown)
    assert any(f"{STEPS_MAX} of {len(steps)} steps" in line for line in lines)


def test_words_are_those_of_the_command():
    sets = {"stages.users.trials": 5, "dialect.title": "x y", "a.b": [1, True], "c.d": False}
    assert words_of("smoke", "staging", sets, ["--seed", "7"]) == (
        "smoke", "--target", "staging", "--set", "stages.users.trials=5", "--set",
        "dialect.title=x y", "--set", "a.b=[1, true]", "--set", "c.d=false", "--seed", "7",
    )  # fmt: skip
    assert words_of("smoke", None, ["a=b"]) == ("smoke", "--set", "a=b")
