"""JUnit: which mark each outcome gets, and what stands in it."""

import xml.etree.ElementTree as ET

import pytest

from probe.check.verdict import Check, Finding, Fitness, Judgement, Outcome, Step, Witness, fold
from probe.report.junit import junit_xml

RUN = {"scenario": "cold_start", "target": "lab", "complete": True, "duration_s": 1.5}


def cases_of(*checks: Check, findings: tuple[Finding, ...] = ()) -> dict[str, ET.Element]:
    verdict, reasons = fold(checks, Fitness())
    judgement = Judgement(verdict, RUN, checks, findings, Fitness(), {}, reasons=reasons)
    cases = ET.fromstring(junit_xml(judgement)).iter("testcase")
    return {case.attrib["name"]: case for case in cases}


def check(verdict: Outcome, *, required: bool = True) -> Check:
    return Check("boot.x", "boot", required, verdict, "bound", 20, "3 of 20")


@pytest.mark.parametrize(
    ("verdict", "required", "tag"),
    [
        (Outcome.PASS, True, "system-out"),
        (Outcome.PASS, False, "system-out"),
        (Outcome.FAIL, True, "failure"),
        (Outcome.FAIL, False, "failure"),
        (Outcome.ERROR, True, "error"),
        (Outcome.ERROR, False, "skipped"),
        (Outcome.INCONCLUSIVE, True, "failure"),
        (Outcome.INCONCLUSIVE, False, "skipped"),
        (Outcome.SKIPPED, True, "failure"),
        (Outcome.SKIPPED, False, "skipped"),
    ],
)
def test_one_mark_for_each_outcome(verdict, required, tag):
    case = cases_of(check(verdict, required=required))["boot.x"]
    (mark,) = case
    assert mark.tag == tag
    assert case.get("classname") == "cold_start.boot"
    if tag in {"failure", "error"}:
        assert mark.get("type") == verdict
        assert mark.get("message") == "3 of 20 (bound, n 20)"
    if tag == "skipped":
        assert verdict in mark.attrib["message"]


def test_a_failure_tells_its_findings_and_no_others():
    witness = Witness(3, 0, "boot", "/ws", "now", (Step(0.0021, "server", "close 1011"),))
    mine = Finding("a.mine", "major", "witness", 2, "m", "c", (witness,), "probe run x", "boot.x")
    other = Finding("a.other", "major", "witness", 2, "m", "c", check="boot.y")
    cases = cases_of(check(Outcome.FAIL), findings=(mine, other))
    text = cases["boot.x"].findtext("failure") or ""
    assert "a.mine (major, 2 seen): m" in text
    assert "+2.1 ms server close 1011" in text
    assert "again: probe run x" in text
    assert "a.other" not in text
    assert "a.other" in (cases["run.finding.1.a.other"].findtext("system-out") or "")
