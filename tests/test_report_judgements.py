"""Judgements made by hand, and what holds for every report of each of them."""

import json
import math
import re
import unicodedata
import xml.etree.ElementTree as ET
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from probe.check.verdict import (
    Check,
    Finding,
    Fitness,
    Judgement,
    Outcome,
    Step,
    Witness,
    fold,
    taint,
)
from probe.report import document, junit, markdown, schema, terminal, writer

HOSTILE = (
    "a|b `c` ```\n````text\n# d <script>alert(1)</script> <!-- &amp; [x](javascript:1) ![y](z)"
    "\r\x1b[31m"
    "\x00\x07\x9b\u202e\u2066\u200b\ufeff\ud800\udcff\ufffe [bold red]m[/] ]]> *e* _f_ ~g~ $h$"
)
RUN = {
    "run_id": "20250911T101500-7f3a",
    "scenario": "cold_start",
    "title": "Clients that connect while a container boots",
    "target": "lab",
    "embedded": True,
    "seed": 7,
    "plan": "5f1c0d",
    "started": "2025-09-11T10:15:00Z",
    "duration_s": 46.213,
    "complete": True,
    "interrupted": False,
    "stages": ["preflight", "boot"],
}
SUMMARY = {
    "counts": {"clients": 400, "attempts": 1220, "outcomes": {"normal": 400, "refused": 820}},
    "latency": {
        "boot": {
            "upgrade": {
                "n": 400,
                "censored": 0,
                "failed": 3,
                "p50": {"estimate_s": 0.0021, "low_s": 0.0019, "high_s": 0.0024},
                "p99": {"missing": "needs 368, has 75"},
            }
        }
    },
    "restarts": [
        {
            "stage": "boot",
            "gap_s": (0.1, 0.12),
            "first_good_session_s": 1.0 + i / 10,
            "attempts": 61,
        }
        for i in range(20)
    ],
    "recovery": {"boot": {"n": 20, "failed_restarts": 2, "median_s": 1.9}},
    "success_since_restart": [
        {"from_s": 0.0, "n": 3, "k": 3, "rate": 1.0, "low": 0.29, "high": 1.0}
    ],
}
PASSED = Check(
    "boot.recovery",
    "boot",
    required=True,
    verdict=Outcome.PASS,
    evidence="bound",
    n=20,
    message="20 of 20 restarts recovered within 5 s",
    estimate=1.0,
    interval=(0.8609, 1.0),
    limit=0.8,
    unit="rate",
    load_sensitive=True,
)


def judged(
    *checks: Check,
    findings: tuple[Finding, ...] = (),
    fitness: Fitness | None = None,
    run: dict[str, Any] | None = None,
    **more: Any,
) -> Judgement:
    fitness = fitness or Fitness(figures={"lag_p99_s": 0.0012})
    checks = taint(checks, fitness)
    verdict, reasons = fold(checks, fitness)
    fields: dict[str, Any] = {
        "authenticity": {"peer": {"address": "127.0.0.1:4123"}},
        "summary": SUMMARY,
    } | more
    return Judgement(
        verdict, RUN if run is None else run, checks, findings, fitness, reasons=reasons, **fields
    )


def witness(text: str, steps: int = 4) -> Witness:
    lines = [Step(0.0, "probe", "GET /ws HTTP/1.1")]
    lines += [Step(0.002 * i, "server", text) for i in range(1, steps)]
    return Witness(3, 0, "boot", text, "2025-09-11T10:15:04Z", tuple(lines))


def finding(
    text: str,
    severity: Literal["critical", "minor"] = "critical",
    check: str = "boot.definite",
) -> Finding:
    return Finding(
        "boot.accepted_then_closed", severity, "witness", 17, text, text,
        (witness(text), witness(text, 30)), f"probe run {text}", check,
    )  # fmt: skip


def failing(text: str) -> Judgement:
    failed = Check(
        "boot.definite", "boot", True, Outcome.FAIL, "absence", 1220, text,
        0.014, (0.008, math.nan), 0.0, "rate", smallest=text, control=text,
    )  # fmt: skip
    return judged(
        PASSED,
        failed,
        replace(failed, id=text, stage=text, message="short"),
        findings=(finding("minor", "minor"), finding(text), finding(text, check="elsewhere")),
        run=RUN | {"title": text, "scenario": text, "target": text, "stages": [text]},
        authenticity={text: text, "peers": [{"server": text}]},
        summary=SUMMARY | {"counts": {text: {text: 1}}, "restarts": [{"stage": text, "why": text}]},
    )


def crowd() -> Judgement:
    """More of everything than a screen holds."""
    text = "what was expected, and what was seen instead of it, at length; " * 9
    checks = [
        replace(PASSED, id=f"boot.check_{i}.{verdict.lower()}", message=text, verdict=verdict)
        for i in range(15)
        for verdict in (Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE)
    ]
    return judged(
        *checks,
        findings=tuple(finding(text) for _ in range(12)),
        fitness=Fitness(taints=(text,)),
    )


def big() -> Judgement:
    """As many rows as no page should hold."""
    return judged(PASSED, summary={"restarts": [{"attempts": i} for i in range(500)]})


UNFIT = Fitness(invalid=("heartbeat lag p99 140 ms, allowed 100 ms",))
JUDGEMENTS = {
    "pass": judged(PASSED),
    "fail": failing("17 clients were let in and then closed"),
    "hostile": failing(HOSTILE),
    "crowd": crowd(),
    "big": big(),
    "inconclusive": judged(replace(PASSED, verdict=Outcome.INCONCLUSIVE, n=3)),
    "required skipped": judged(PASSED, replace(PASSED, id="b", verdict=Outcome.SKIPPED, n=0)),
    "no samples": judged(replace(PASSED, n=0, estimate=None, interval=None)),
    "optional": judged(
        PASSED,
        replace(PASSED, id="b", required=False, verdict=Outcome.INCONCLUSIVE),
        replace(PASSED, id="c", required=False, verdict=Outcome.ERROR),
        replace(PASSED, id="d", required=False, verdict=Outcome.SKIPPED),
    ),
    "optional only": judged(replace(PASSED, required=False)),
    "optional fail": judged(PASSED, replace(PASSED, id="b", required=False, verdict=Outcome.FAIL)),
    "error": judged(PASSED, replace(PASSED, id="b", verdict=Outcome.ERROR, message="no history")),
    "invalid": judged(replace(PASSED, load_sensitive=False), fitness=UNFIT),
    "invalid and optional": judged(replace(PASSED, required=False), fitness=UNFIT),
    "tainted": judged(PASSED, fitness=Fitness(taints=("steal 3 %, allowed 2 %",))),
    "interrupted": judged(PASSED, interrupted=True),
    "told incomplete": judged(
        PASSED,
        Check("run.complete", "run", True, Outcome.INCONCLUSIVE, "absence", 1, "it was killed"),
        run=RUN | {"complete": False},
    ),
    "incomplete": judged(PASSED, run=RUN | {"complete": False}),
    "empty": judged(run={}, authenticity={}, summary={}),
    "odd numbers": judged(
        replace(PASSED, estimate=math.nan, interval=(-math.inf, math.inf), limit=math.inf),
        fitness=Fitness(figures={"lag_p99_s": math.nan, "cpu": np.float64(0.5)}),
        run=RUN | {"duration_s": math.nan},
        summary={
            "restarts": [{"first_good_session_s": math.inf, "gap_s": [math.nan, 1.0]}],
            "curve": np.array([1.0, math.nan]),
            "n": np.int64(4),
            "latency": {
                "boot": {"p50": {"estimate_s": math.nan, "low_s": None, "high_s": math.inf}}
            },
        },
    ),
}


@pytest.fixture(params=JUDGEMENTS, name="judgement")
def _judgement(request):
    return JUDGEMENTS[request.param]


def printed(judgement: Judgement, **options: Any) -> str:
    stream = StringIO()
    plain: dict[str, Any] = {"width": 80, "force_terminal": False, "no_color": True, "_environ": {}}
    console = Console(file=stream, **(plain | options))
    terminal.show(judgement, console, Path("results/20250911T101500-7f3a"))
    return stream.getvalue()


def hidden(text: str) -> set[str]:
    """Characters that do not show, line ends apart."""
    return {c for c in text if c != "\n" and unicodedata.category(c) in {"Cc", "Cf", "Cs", "Cn"}}


# -- every report of every judgement -------------------------------------------------


def test_the_cases_cover_every_verdict():
    # SKIPPED is of checks only; a run is never it.
    assert {j.verdict for j in JUDGEMENTS.values()} == set(Outcome) - {Outcome.SKIPPED}


def strict_json(data: bytes) -> Any:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(data.decode("utf-8"), parse_constant=refuse)


def test_document_fits_its_schema(judgement):
    data = document.json_bytes(document.document(judgement))
    value = strict_json(data)
    # The JSON Schema is derived from this struct; test_report_schema reads it by itself.
    msgspec.json.decode(data, type=schema.VerdictDocument)
    assert value["verdict"] == judgement.verdict
    assert len(value["checks"]) == len(judgement.checks)


def test_summary_is_strict_json(judgement):
    value = strict_json(document.json_bytes(document.summary(judgement)))
    assert set(value) == {"schema", "run_id", "headline"} | {
        key.encode("ascii", "replace").decode() for key in judgement.summary
    }


def test_junit_is_green_exactly_when_the_run_passed(judgement):
    root = ET.fromstring(junit.junit_xml(judgement))
    (suite,) = root
    cases = suite.findall("testcase")
    for tag, count in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        assert int(suite.attrib[count]) == sum(case.find(tag) is not None for case in cases)
        assert root.get(count) == suite.get(count)
    assert int(suite.attrib["tests"]) == len(cases) >= max(1, len(judgement.checks))
    red = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    whole = judgement.run.get("complete", False) and not judgement.interrupted
    assert (red == 0) == (judgement.verdict is Outcome.PASS and whole)
    assert not hidden("".join(root.itertext()))


def test_junit_names_are_unique(judgement):
    cases = list(ET.fromstring(junit.junit_xml(judgement)).iter("testcase"))
    assert len({(case.get("classname"), case.get("name")) for case in cases}) == len(cases)


def test_markdown_tables_keep_their_cells(judgement):
    text = markdown.markdown(judgement)
    assert not hidden(text)
    prose = outside_fences(text)
    assert not re.search(r"<|(?<!\\)(?:\\\\)*`|(?<!\\)\]\(", prose), "HTML, a code span or a link"
    tables = 0
    for block in re.split(r"\n\n+", prose):
        if not block.startswith("|"):
            continue
        tables += 1
        counts = {len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in block.strip().split("\n")}
        assert len(counts) == 1, block
    assert tables >= 1


def test_terminal_fits_and_shows_no_controls(judgement):
    for width in (80, 120, 50):
        text = printed(judgement, width=width)
        assert not hidden(text)
        assert max(cell_len(line) for line in text.splitlines()) <= width
        assert text.splitlines()[0].startswith(judgement.headline)


def test_terminal_fits_a_screen(judgement):
    lines = printed(judgement).splitlines()
    assert len(lines) <= (30 if judgement.verdict is Outcome.PASS else 40)


def test_colour_adds_nothing_but_colour(judgement):
    coloured = printed(judgement, force_terminal=True, no_color=False, color_system="standard")
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == printed(judgement)


def test_the_embedded_lab_is_named_in_every_report(judgement):
    marked = judgement.run.get("embedded", False)
    for text in (
        printed(judgement),
        markdown.markdown(judgement),
        junit.junit_xml(judgement).decode(),
        document.json_bytes(document.document(judgement)).decode(),
        document.json_bytes(document.summary(judgement)).decode(),
    ):
        assert (f"{judgement.verdict} (embedded lab)" in text) == marked


def test_reports_on_disk_are_the_same_bytes_again(judgement, tmp_path):
    first, again = tmp_path / "a", tmp_path / "b"
    for folder in (first, again):
        folder.mkdir()
        paths = writer.write_reports(judgement, folder)
        assert [path.name for path in paths] == [
            "summary.json",
            "junit.xml",
            "report.md",
            "report.html",
            "verdict.json",
        ]
        assert sorted(path.name for path in folder.iterdir()) == sorted(p.name for p in paths)
    for path in first.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()
        # The page's own scripts may speak of such numbers; its data may not.
        data = re.sub(rb"<script>.*?</script>", b"", path.read_bytes(), flags=re.DOTALL)
        assert not re.search(rb"\b(nan|inf|infinity)\b", data, re.IGNORECASE)


def outside_fences(text: str) -> str:
    """The Markdown without its fenced blocks, which must all be closed (CommonMark 4.5)."""
    kept: list[str] = []
    fence: str | None = None
    for line in text.split("\n"):
        opens = re.fullmatch(r"(`{3,})[a-z]+", line)
        if fence is None and opens:
            fence = opens[1]
        elif fence is not None and re.fullmatch(rf"`{{{len(fence)},}} *", line):
            fence = None
        elif fence is None:
            kept.append(line)
    assert fence is None
    return "\n".join(kept)
