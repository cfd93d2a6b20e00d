"""After a spike: what clients of a written history met before, during and after it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from probe.check.judge import judge
from probe.check.verdict import Outcome
from probe.history.records import NOBODY, Kind
from probe.model.scenario import Scenario
from tests.histories import Story, ns

ZERO = 1_000
SHAPE: dict[str, Any] = {
    "spike": {"base": "40/s", "peak": "200/s", "at": "5s", "hold": "2s"}, "lasts": "20s",
}  # fmt: skip
RULE: dict[str, Any] = {"within": "500ms", "least": "12s"}
BEGAN, ENDED, UNTIL = 5_000, 7_000, 20_000


def stage(rule: dict[str, Any] = RULE, shape: dict[str, Any] = SHAPE, **more: Any) -> Any:
    part = {"clients": {"shape": shape, "script": [{"do": "connect"}], "retry": True}}
    return {"expect": {"after_spike": rule}, "populations": part} | more


def played(
    bad_until: float, *, rule: dict[str, Any] = RULE, storm: int = 1, until: float = UNTIL,
    stop: float | None = None, lost: bool = False, fit: bool = True,
) -> Any:  # fmt: skip
    """A service that serves nobody from the spike until `bad_until` (ms of the stage)."""
    told = Story({"spike": stage(rule)}).stage(end=ZERO + (stop or until) + 2_000)
    told.trial(0, ZERO, ZERO + (stop or until) + 1_500, why="all clients are done")
    told.fit(0.1 if fit else 80.0)
    at = 0.0
    while at < until:
        bad = BEGAN <= at < bad_until
        if stop is not None and at >= stop:
            session = told.client(ZERO + at, done=-1)
            told.row(ZERO + at, Kind.DONE, session, 0, 2, 0, told.text("ceiling"))
        elif bad and lost:
            told.client(ZERO + at, "no_answer", took=400, done=1, why="no answer")
        elif bad:
            # It is in in the end, and too late for whoever waited.
            told.client(ZERO + at, *["status"] * storm, "good", pause=600, lasts=5)
        else:
            told.client(ZERO + at, "good", lasts=5)
        at += 5 if BEGAN <= at < ENDED else 25
    return told


def judged(told: Any) -> tuple[Any, Any]:
    judgement = judge(told.history(), told.resolved)
    (check,) = [each for each in judgement.checks if each.id == "spike.after_spike"]
    return judgement, check


def test_a_service_that_comes_back_passes_with_the_time_it_took():
    judgement, check = judged(played(10_000))
    assert check.verdict is Outcome.PASS
    assert check.interval == (3.0, 4.0)
    assert check.limit == 12.0
    assert "4 s after the spike it was back to 90 % of the goodput before it" in check.message
    assert (
        "ready within 500 ms and not failed: 100 % before, 0 % during, 75 % after" in check.message
    )
    assert "from then on at least 98.5 % (95 %) are served, 90 % needed" in check.message
    assert judgement.findings == ()
    before, during, after = judgement.summary["after_spike"]["spike"]
    assert (before["phase"], before["clients"], before["in_time"]) == ("before", 200, 200)
    assert (during["clients"], during["goodput_rate"]) == (400, 0)
    assert (after["from_s"], after["to_s"]) == (7, 19)
    assert judgement.verdict is Outcome.PASS


def test_one_that_stays_broken_under_the_load_it_bore_is_metastable():
    judgement, check = judged(played(30_000, storm=4))
    assert check.verdict is Outcome.FAIL
    assert check.message.startswith("metastable: 12 s after the spike it was not back to 90 %")
    assert "100 % before, 0 % during, 0 % after" in check.message
    (found,) = judgement.findings
    assert found.code == "spike.metastable"
    assert found.check == "spike.after_spike"
    assert found.count == 520  # of all that came after it
    assert "come again" in found.cause
    assert found.witness
    assert any("503" in step.what for step in found.witness[0].steps)
    amplified = [row["amplification"] for row in judgement.summary["after_spike"]["spike"]]
    assert amplified[0] == 1
    assert amplified[2] > 3
    assert "6.84 after" in check.message


def test_where_no_storm_keeps_it_down_another_cause_is_told():
    judgement, _ = judged(played(30_000, lost=True))
    codes = {found.code: found for found in judgement.findings}
    assert "used up and not given back" in codes["spike.metastable"].cause


def test_a_watch_that_the_run_cut_short_is_no_verdict():
    judgement, check = judged(played(30_000, stop=15_000))
    assert check.verdict is Outcome.INCONCLUSIVE
    assert "watched for only 8 s of 12 s after the spike (ceiling)" in check.message
    assert "spike.metastable" not in {found.code for found in judgement.findings}
    _, early = judged(played(30_000, stop=6_000))
    assert early.verdict is Outcome.INCONCLUSIVE
    assert early.n == 0
    assert "the watch ended 6 s after the stage began: ceiling" in early.message


def test_a_share_too_near_to_what_is_enough_is_not_proven_either_way():
    """Of the last stretches nine tenths less one are met: not back, and not surely below."""
    told = Story({"spike": stage()}).stage(end=ZERO + UNTIL + 2_000).fit()
    told.trial(0, ZERO, ZERO + UNTIL + 1_500)
    for k in range(40 * 20):
        bad = k >= 200 and k % 40 in {3, 11, 19, 27, 35}
        told.client(ZERO + k * 25, *(["status"] if bad else []), "good", pause=900, lasts=5)
    _, check = judged(told)
    assert check.verdict is Outcome.INCONCLUSIVE
    assert "which is not proven: at the end at most" in check.message


def test_a_share_that_only_looks_like_enough_is_not_proven():
    """Of the clients after the spike just nine tenths are met, for as long as it was watched."""
    told = Story({"spike": stage()}).stage(end=ZERO + UNTIL + 2_000).fit()
    told.trial(0, ZERO, ZERO + UNTIL + 1_500)
    for k in range(40 * 20):
        bad = k >= 200 and k % 10 == 3
        told.client(ZERO + k * 25, *(["status"] if bad else []), "good", pause=900, lasts=5)
    judgement, check = judged(told)
    assert (check.verdict, check.interval) == (Outcome.INCONCLUSIVE, None)
    assert "it looked back to 90 % of the goodput before it, which is not proven" in check.message
    assert "(95 %) are served, 90 % needed; ready within" in check.message
    assert "spike.metastable" not in {found.code for found in judgement.findings}


def test_a_client_that_was_ready_and_failed_later_is_not_met():
    told = Story({"spike": stage()}).stage(end=ZERO + UNTIL + 2_000).fit()
    told.trial(0, ZERO, ZERO + UNTIL + 1_500)
    for k in range(40 * 20):
        told.client(ZERO + k * 25, "good", lasts=5, done=1 if k >= 200 else 0)
    _, check = judged(told)
    assert check.verdict is Outcome.FAIL
    assert (
        "ready within 500 ms and not failed: 100 % before, 0 % during, 0 % after" in check.message
    )


def test_a_watch_cut_short_while_it_looks_back_says_so():
    """Some five seconds of just enough were seen, of twelve."""
    told = Story({"spike": stage()}).stage(end=ZERO + UNTIL + 2_000).fit()
    told.trial(0, ZERO, ZERO + UNTIL + 1_500)
    for k in range(40 * 20):
        if k >= 480:
            session = told.client(ZERO + k * 25, done=-1)
            told.row(ZERO + k * 25, Kind.DONE, session, 0, 2, 0, told.text("ceiling"))
            continue
        bad = k >= 200 and k % 10 == 3
        told.client(ZERO + k * 25, *(["status"] if bad else []), "good", pause=900, lasts=5)
    _, check = judged(told)
    assert check.verdict is Outcome.INCONCLUSIVE
    assert "needed, and watched for only 5 s of 12 s after the spike (ceiling)" in check.message


def test_an_unfit_probe_says_nothing_of_it():
    _, check = judged(played(30_000, fit=False))
    assert check.verdict is Outcome.INCONCLUSIVE
    assert check.message.startswith("metastable")


def test_without_an_anchor_nothing_was_measured():
    told = Story({"spike": stage()}).stage().fit()
    told.row(5, Kind.LAG, NOBODY, b=ns(0))
    _, check = judged(told)
    assert (check.verdict, check.n) == (Outcome.INCONCLUSIVE, 0)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"shape": {"rate": "5/s", "lasts": "9s"}}, "one population with shape.spike; found none"),
        ({"shape": SHAPE | {"lasts": "18s"}}, "populations.clients.shape.lasts is at least 19s"),
        ({"rule": RULE | {"least": "1m"}}, "at least 67s"),
        ({"rule": RULE | {"spikes": 9}}, "the way back may take 18s"),
        ({"budget": "15s"}, "the stage's budget is at least 19s"),
        ({"patience": "100ms"}, "raise `patience`"),
        ({"trials": 2}, "that nothing restarts"),
        ({"shape": SHAPE | {"spike": SHAPE["spike"] | {"at": "0"}}}, "begins at once"),
        ({"shape": SHAPE | {"spike": SHAPE["spike"] | {"peak": "20/s"}}}, "peak above it"),
        (
            {"shape": SHAPE | {"spike": {"base": 2, "peak": 9, "at": "5s", "hold": "2s"}}},
            "counts arrivals",
        ),
    ],
)
def test_a_stage_that_could_not_tell_is_refused(more, words):
    with pytest.raises(ValidationError, match=words):
        Scenario.model_validate({"title": "x", "stages": {"spike": stage(**more)}})


def test_a_share_that_no_count_can_prove_is_refused_with_what_to_ask_for():
    with pytest.raises(ValidationError, match='such as "99%"'):
        Scenario.model_validate(
            {"title": "x", "stages": {"spike": stage(RULE | {"goodput": "100%"})}}
        )
    assert Scenario.model_validate(
        {"title": "x", "stages": {"spike": stage(RULE | {"goodput": "99%"})}}
    )
