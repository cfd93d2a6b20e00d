"""Workflow commands: one line is one command, whatever a server has said; and a step's summary."""

import re
from dataclasses import replace

import pytest

from probe.check.verdict import Acceptance, Finding, Fitness, Outcome
from probe.report.annotations import (
    OF_A_KIND_MAX,
    SUMMARY_BYTES_MAX,
    Place,
    summary_of,
    workflow_commands,
)
from tests.test_report_judgements import HOSTILE, PASSED, finding, judged

FAILED = replace(PASSED, id="boot.definite", verdict=Outcome.FAIL, message="3 of 20")
COMMAND = re.compile(
    r"::(error|warning|notice) (?:file=[^,:]*,line=\d+,)?title=[^,:\r\n]*::[^\r\n]*"
)


def nowhere(_stage):
    return None


def lines_of(*checks, place=nowhere, **more):
    text = workflow_commands(judged(*checks, **more), place)
    assert text.endswith("\n")
    return text.splitlines()


def of(kind, lines):
    return [line for line in lines if line.startswith(f"::{kind} ")]


def mine(message="a message", check=FAILED.id, **more):
    return Finding("connect.dropped", "critical", "witness", 3, message, "c", check=check, **more)


def test_a_pass_is_a_notice_and_no_more():
    assert lines_of(PASSED) == [
        "::notice title=PASS (embedded lab)%3A cold_start -> lab::every required check passed"
    ]


def test_a_finding_stands_at_its_stage():
    def place(stage):
        return Place("scenarios/a,b:c.toml", 7 if stage == "boot" else 1)

    first, second = lines_of(PASSED, FAILED, findings=(mine(reproduce="probe run x"),), place=place)
    assert first.startswith("::error file=scenarios/a%2Cb%3Ac.toml,line=1,title=FAIL (embedded")
    assert second == (
        "::error file=scenarios/a%2Cb%3Ac.toml,line=7,title=connect.dropped at boot.definite"
        "::a message%0Alikely cause: c%0Aagain: probe run x"
    )


@pytest.mark.parametrize(
    "text",
    [HOSTILE, "::error::gotcha", "a\r\n::set-env name=X::y", "100%0A::add-mask::x", "##[error]x"],
)
def test_a_server_can_start_no_command_and_end_none(text):
    hostile = replace(finding(text), check=FAILED.id, cause=text, reproduce=text)
    failed = replace(FAILED, id=f"boot.{text}", message=text)
    lines = lines_of(FAILED, failed, findings=(hostile,))
    assert len(lines) == 3
    for line in lines:
        assert COMMAND.fullmatch(line), line
        assert line.isprintable()
    # The runner's own reading of it gives back what was said, visible.
    assert "%0A::add-mask" not in "".join(lines)


@pytest.mark.parametrize(
    ("checks", "more", "kinds"),
    [
        ((FAILED,), {}, ["error", "error"]),
        ((PASSED, replace(PASSED, id="b.x", verdict=Outcome.INCONCLUSIVE)), {},
         ["error", "warning"]),
        ((PASSED, replace(PASSED, id="b.x", verdict=Outcome.INCONCLUSIVE, required=False)), {},
         ["notice"]),
        ((PASSED,), {"fitness": Fitness(invalid=("cpu 99 %",))}, ["error", "warning"]),
        ((replace(PASSED, load_sensitive=False),), {"fitness": Fitness(taints=("steal 3 %",))},
         ["notice", "warning"]),
    ],
)  # fmt: skip
def test_one_kind_for_each_outcome(checks, more, kinds):
    assert [re.findall(r"\w+", line)[0] for line in lines_of(*checks, **more)] == kinds


def test_what_is_accepted_is_a_notice():
    accepted = replace(mine(), accepted=Acceptance("Ada", "2026-12-31", "#1234"))
    lines = lines_of(PASSED, replace(FAILED, accepted=True), findings=(accepted,))
    assert len(of("error", lines)) == 0
    assert "PASS (embedded lab) but for 1 finding accepted until 2026-12-31" in lines[0]
    assert "accepted until 2026-12-31, owner Ada: #1234" in lines[1]
    ended = replace(mine(), accepted=Acceptance("Ada", "2026-01-31", "#1234", ended=True))
    assert len(of("error", lines_of(PASSED, FAILED, findings=(ended,)))) == 2


def test_more_than_a_step_may_show_is_counted():
    many = tuple(mine(f"number {k}") for k in range(25))
    errors = of("error", lines_of(FAILED, findings=many))
    assert len(errors) == OF_A_KIND_MAX
    assert "number 7" in errors[8]
    assert errors[9].endswith("::17 more like these stand in report.md of the run")


def test_a_summary_never_outgrows_its_step():
    section = b"\n\n## Part\n\n" + b"x" * 1000
    report = b"# PASS" + section * 2000
    cut = summary_of(report)
    assert len(cut) <= SUMMARY_BYTES_MAX
    assert cut.endswith(b"x\n\nThe rest stands in report.md of the run.\n")
    assert cut.startswith(b"# PASS\n\n## Part")
    assert summary_of(report[:5000]) == report[:5000]
    assert summary_of(report, already=SUMMARY_BYTES_MAX - 10) == b""
    assert len(summary_of(report, already=SUMMARY_BYTES_MAX - 5000)) <= 5000
