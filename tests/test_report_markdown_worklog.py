"""report.md as a worklog: its order, what was asked, who answered, and what to do next."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from probe.check.verdict import Acceptance, Outcome, Step, Witness
from probe.report.markdown import markdown
from probe.report.worklog import asked_rows, next_step, peer_rows
from tests.test_report_judgements import (
    JUDGEMENTS,
    PASSED,
    RUN,
    finding,
    judged,
    outside_fences,
)

STAGES = [
    {"name": "preflight", "activity": "preflight", "clients_planned": 12},
    {"name": "boot", "activity": "load", "anchor": "restart", "trials_planned": 20,
     "clients_planned": 400},
    {"name": "extra", "activity": "load", "clients_planned": 3},
]  # fmt: skip
HEALTH = {"boot": {"services": [{"service": "backend", "state": "healthy"}]}}
POINT = Witness(
    3, 0, "boot", "main", "2025-09-11T10:15:04+00:00",
    (Step(0.0, "probe", "GET"), Step(1.25, "server", "close 1011", point=True)),
)  # fmt: skip


MOMENT = "2025-09-11T10:15:05.250+00:00"
MEND = "mend what caused it, then run just this again"


def test_the_report_is_in_the_order_of_a_worklog():
    told = judged(
        PASSED,
        findings=(finding("it closed"),),
        run=RUN | {"stages": STAGES},
        summary={"health": HEALTH, "counts": {"clients": 1}, "odd": [{"a": 1}]},
    )
    headings = re.findall(r"^## (.*)$", outside_fences(markdown(told)), re.MULTILINE)
    assert headings == [
        "What was asked", "What ran", "Health", "Results against their limits", "Findings", "Odd",
        "Fitness of the probe", "Run it again",
    ]  # fmt: skip


def test_what_was_asked_is_what_was_judged():
    optional = replace(PASSED, id="boot.success", required=False, limit=None)
    told = judged(PASSED, optional, run=RUN | {"stages": STAGES})
    assert asked_rows(told) == [
        ["preflight", "preflight", "12", "nothing: it is not judged"],
        ["boot", "load, after each of 20 restarts", "400",
         "recovery 80 %; success (not required)"],
        ["extra", "load", "3", "nothing: it is not judged"],
    ]  # fmt: skip
    many = [replace(PASSED, id=f"boot.c{k}") for k in range(30)]
    assert asked_rows(judged(*many, run=RUN | {"stages": STAGES}))[1][3].endswith("; and 18 more")


def test_who_answered_is_a_table_without_empty_columns():
    header, rows = peer_rows([
        {"kind": "endpoint", "name": "main", "port": 443, "tls": "", "revision": "abc"},
        {"kind": "service", "name": "backend", "odd": 1},
        "nonsense",
    ])  # fmt: skip
    assert header == ["kind", "name", "port", "revision"]
    assert rows == [["endpoint", "main", "443", "abc"], ["service", "backend", "-", "-"]]
    assert peer_rows(None) == ([], [])


@pytest.mark.parametrize(
    ("change", "verdict", "words"),
    [
        ({}, Outcome.FAIL,
         f"look into the service's log, endpoint main, about {MOMENT}; {MEND}"),
        ({"witness": ()}, None, "mend what caused it, then run just this again"),
        ({"severity": "info"}, Outcome.PASS, "none is needed"),
        ({"evidence": "bound", "witness": ()}, Outcome.INCONCLUSIVE,
         "it is not proven: run it again, with more of the same"),
        ({"evidence": "bound", "witness": ()}, Outcome.FAIL,
         "mend what caused it, then run just this again"),
        ({"accepted": Acceptance("ann", "2026-01-01", "known")}, Outcome.FAIL,
         "somebody lives with it: ann, until 2026-01-01"),
        ({"witness": (), "accepted": Acceptance("ann", "2026-01-01", "known", ended=True)},
         Outcome.FAIL, "mend what caused it, then run just this again"),
    ],
)  # fmt: skip
def test_each_finding_has_a_next_step(change, verdict, words):
    each = replace(finding("closed"), **({"witness": (POINT,)} | change))
    assert next_step(each, verdict) == words


def test_a_step_of_a_race_counts_from_the_action_and_the_case_from_the_dial():
    dial, *rest = (Step(-0.25, "probe", "dial 127.0.0.1:1"), Step(1.0, "server", "x", point=True))
    each = replace(finding("late"), witness=(replace(POINT, steps=(dial, *rest)),))
    assert MOMENT in next_step(each, Outcome.FAIL)


def test_a_moment_that_is_none_is_shown_as_it_came():
    each = replace(finding("closed"), witness=(replace(POINT, began="yesterday"),))
    assert "about yesterday; mend" in next_step(each, Outcome.FAIL)


def test_why_the_probe_was_unfit_is_not_told_in_every_row():
    text = markdown(JUDGEMENTS["tainted"])
    assert text.count("steal 3 %, allowed 2 %") == 2  # why, and fitness
    assert "(unfit probe)" in text


def test_a_hostile_log_line_leads_nowhere():
    text = markdown(JUDGEMENTS["hostile"])
    told = [each for each in text.splitlines() if each.startswith("Next step: look")]
    assert any("a\\|b \\`c\\`" in line for line in told)
    assert not any("`c`" in line for line in told)
