"""The page as bytes: what may stand in it, what it must say, and how large it may get."""

import json
import re
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest

from probe.check.comparing.comparison import compare
from probe.check.comparing.taken import take
from probe.check.judge import judge
from probe.check.verdict import (
    Acceptance,
    Check,
    Finding,
    Fitness,
    Judgement,
    Outcome,
    Step,
    Witness,
)
from probe.report.breakdowns import health_tables
from probe.report.comparison import comparison_document
from probe.report.page import timeline
from probe.report.page.document import block, page
from probe.report.page.found import kept
from probe.report.page.recorded import Recorded
from probe.report.writer import write_reports
from tests import delivery_histories as stories
from tests.histories import LOAD, RESTART, Story
from tests.test_check_judge import busy_story
from tests.test_check_race import found, judged

Severity = Literal["critical", "major", "minor", "info"]
NASTY = (
    "</script><script>window.pwned=1</script>",
    '<img src=x onerror="window.pwned=1">',
    "<!--<script>",
    "]]><svg onload=window.pwned=1>",
    "&lt;b&gt;&amp;",
    "javascript:window.pwned=1",
    "\u2028\u2029\u202e\x00\x1b[31m\ud800",
    "'\"`${window.pwned=1}",
)
HOSTILE = " ".join(NASTY)
RUN = {"run_id": "r-1", "scenario": HOSTILE, "target": HOSTILE, "title": HOSTILE, "seed": 7,
       "complete": True, "defects": [HOSTILE], "again": HOSTILE,
       "stages": [{"name": HOSTILE, "why": HOSTILE}]}  # fmt: skip


def hostile() -> Judgement:
    """Everywhere where a server's words may come to stand."""
    checks = (
        Check(f"s.{HOSTILE}", "s", True, Outcome.FAIL, "witness", 3, HOSTILE, control=HOSTILE),
        Check("s.held", "s", True, Outcome.PASS, "bound", 9, HOSTILE, smallest=HOSTILE),
    )
    steps = (
        Step(0.0, "probe", "GET /ws HTTP/1.1"),
        Step(0.001, "server", HOSTILE, point=True),
        Step(0.001, "server", '{"type":"' + HOSTILE),
        Step(0.002, "note", HOSTILE),
    )
    case = Witness(3, 0, HOSTILE, HOSTILE, "2026-01-01T00:00:00Z", steps)
    found_ = Finding("s.broken", "critical", "witness", 3, HOSTILE, HOSTILE, (case,), HOSTILE, "s")
    row = {"delivered": 1, "lost": 2, "runs": 3}
    summary = {
        "counts": {"clients": 3, "attempts": 3, "ways": {HOSTILE: 3}},
        "health": {HOSTILE: {"services": [{"service": HOSTILE, "state": HOSTILE}]}},
        "delivery": {HOSTILE: {"runs": 3, "totals": row, "types": {HOSTILE: row}}},
        "success_since_restart": {
            HOSTILE: [{"from_s": 0.0, "to_s": 1.0, "n": 3, "rate": 0.5, "low": 0.1, "high": 0.9}]
        },
        "levels": {HOSTILE: [{"rate_per_s": 10.0, "quantile_s": 0.1, "status": HOSTILE}]},
        "capacity": {HOSTILE: {"low_per_s": 9.0, "held_to": HOSTILE}},
    }
    fitness = Fitness(taints=(HOSTILE,), figures={HOSTILE: HOSTILE})
    return Judgement(Outcome.FAIL, RUN, checks, (found_,), fitness, {HOSTILE: HOSTILE}, summary,
                     (HOSTILE,))  # fmt: skip


def recorded(story: Story) -> tuple[Judgement, Recorded]:
    history = story.history()
    return judge(history, story.resolved), Recorded(history, story.resolved, "title = 'by hand'\n")


def booted() -> Story:
    """Four restarts with clients that are turned away first."""
    story = Story({"boots": {**RESTART, "trials": 4, "expect": {"definite": True}}})
    story.stage(0, 0, 24_000).fit()
    for trial in range(4):
        zero = 1000 + trial * 5000
        story.trial(trial, zero, zero + 4000)
        for k in range(20):
            way = "refused" if k < 8 else "good"
            story.client(zero + 20 + k * 100, way, trial=trial, lasts=300)
    return story


def data_of(raw: bytes) -> dict[str, Any]:
    """The data block, as a browser would find it: up to the first end of a script."""
    text = raw.decode()
    begin = text.index('id="run">') + len('id="run">')
    data: dict[str, Any] = json.loads(text[begin : text.index("</script", begin)])
    return data


def blocks_of(data: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    return {part["id"]: part["blocks"] for part in data["sections"]}


def figures_of(data: dict[str, Any]) -> list[dict[str, Any]]:
    return [b for part in data["sections"] for b in part["blocks"] if b["kind"] == "figure"]


@pytest.mark.parametrize("text", [*NASTY, HOSTILE])
def test_nothing_in_the_block_can_end_it_or_begin_a_tag(text):
    shown = block({"a": text, text: [text]})
    assert shown.isascii()
    assert not re.search("[<>&]", shown)
    assert json.loads(shown)  # and it still reads


def test_a_hostile_run_stays_in_its_block():
    text = page(hostile(), None).decode()
    outside = text.replace(re.findall(r'id="run">([^<]*)</script>', text)[0], "")
    assert "pwned=1" in text
    assert "<script>window.pwned" not in text
    assert "<img" not in outside
    assert len(re.findall("</script", text)) == 5  # the block and the four that are shipped


def test_the_policy_names_every_style_and_script_and_nothing_else():
    text = page(hostile(), None).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert len(rules["script-src"].split()) == len(re.findall("<script>", text)) == 4
    assert len(rules["style-src"].split()) == len(re.findall("<style>", text)) == 2
    assert "unsafe" not in policy
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", text)


@pytest.mark.parametrize(
    "story",
    [
        busy_story(), stories.clean(), stories.gap("tool:2", "completed:3"), stories.refused(),
        stories.late(), stories.broadcast(), booted(), Story({"s": LOAD}),
        Story({"s": LOAD}).stage(), stories.one("started", "tool"),
        stories.strangers("user", same=False),
    ],
    ids=["busy", "clean", "gap", "refused", "late", "broadcast", "booted",
         "never begun", "empty", "one",
         "strangers"],
)  # fmt: skip
def test_any_run_has_a_page_and_each_figure_a_table_or_nothing_measured(story):
    judgement, files = recorded(story)
    raw = page(judgement, files)
    assert raw == page(judgement, files)
    assert len(raw) < 400_000
    data = data_of(raw)
    assert data["verdict"] == judgement.verdict
    for each in figures_of(data):
        assert each["behind"]["rows"], each["title"]
        assert each["note"]
    if not len(files.history.attempts):
        told = json.dumps(data["sections"])
        assert "Nothing measured: no client was dialled" in told
        assert "Nothing measured: no connect" in told


def test_what_counts_on_the_timeline_is_what_the_history_holds():
    judgement, files = recorded(booted())
    (drawn,) = (each for each in figures_of(data_of(page(judgement, files)))
                if each["draw"] == "timeline")  # fmt: skip
    series = drawn["data"]["series"]
    attempts = files.history.attempts
    assert sum(series["dialled"]) == len(attempts)
    assert sum(series["got in"]) + sum(series["did not get in"]) == len(attempts)
    assert min(series["clients inside"]) == 0
    assert max(series["clients inside"]) > 0
    assert len(drawn["data"]["restarts"]) == 4
    assert len(series["dialled"]) <= timeline.BINS_MAX


@pytest.mark.parametrize("span", [1, 2_399_999_999, 2_400_000_000, 10**12, 10**15])
def test_bins_are_round_and_few(span):
    width = timeline.bin_width(span)
    assert str(width).strip("0") in {"1", "2", "5"}
    assert span // width < timeline.BINS_MAX
    assert width == 1_000_000 or span // (width // 2.5) >= timeline.BINS_MAX * 0.99


def test_a_lost_event_is_seen_in_the_matrix_however_many_runs_share_a_column():
    story = stories.story_of()
    for k in range(400):
        client = story.open(100 + k)
        events = [e for e in stories.EVENTS if e != "tool" or k != 200]
        story.run(client, 200 + k, *events)
        story.settle(client, 900 + k)
        story.close(client, 1000 + k)
    judgement, files = recorded(story)
    assert judgement.verdict is Outcome.FAIL
    (matrix,) = (e for e in figures_of(data_of(page(judgement, files))) if e["draw"] == "matrix")
    cells = np.array(matrix["data"]["cells"])
    lost = matrix["data"]["states"].index("lost")
    assert matrix["data"]["each"] == 3
    assert cells.sum() == 400 * len(matrix["data"]["names"])
    assert cells[:, :, lost].sum() == 1
    assert cells[matrix["data"]["names"].index("tool"), 200 // 3, lost] == 1


def test_a_race_shows_its_window_posterior_and_fresh_trials():
    judgement = judged(found())[1]
    data = data_of(page(judgement, None))
    (drawn,) = (each for each in figures_of(data) if each["draw"] == "rates")
    race = judgement.summary["races"]["pair"]
    assert drawn["data"]["told"][0] == pytest.approx(race["centre"]["value_s"])
    assert len(drawn["data"]["marks"]) == 2
    assert len(drawn["data"]["posterior"]) == len(race["posterior"])
    assert [p[2] for p in drawn["data"]["points"]] == [row["n"] for row in race["curve"]]


def test_a_curve_ends_where_failures_begin_and_where_n_is_too_small():
    story = Story({"s": LOAD}).stage().fit()
    for k in range(400):
        story.client(k * 50, "status" if k % 10 == 0 else "good", took=2 + k * 0.01, lasts=20)
    data = data_of(page(*recorded(story)))
    (drawn,) = (e for e in figures_of(data) if e["draw"] == "percentiles")
    (line,) = drawn["data"]["lines"]
    assert line["points"][-1][0] <= 1  # p90, where the failures begin
    assert all(low <= took <= high for _, took, low, high in line["points"] if high)
    assert "40 of 400 failed or timed out" in drawn["note"]
    told = {row[1]: row[2] for row in drawn["behind"]["rows"]}
    assert told["p95"] == "failed"
    assert told["p99.9"] == "not known (needs 3,688, has 400)"
    (heat,) = (e for e in figures_of(data) if e["draw"] == "heat")
    assert sum(heat["data"]["failed"]) == 40
    assert sum(cell[2] for cell in heat["data"]["cells"]) == 360


def test_a_waterfall_is_of_connects_that_took_place_and_adds_up():
    judgement, files = recorded(booted())
    (drawn,) = (e for e in figures_of(data_of(page(judgement, files)))
                if e["draw"] == "waterfall")  # fmt: skip
    attempts = files.history.attempts
    took = {(row["ready"] - row["intended"]) / 1e9 for row in attempts if row["ready"]}
    for bar in drawn["data"]["bars"]:
        whole = sum(part[2] for part in bar["parts"])
        assert min(abs(whole - each) for each in took) < 1e-9
        assert bar["parts"] == sorted(bar["parts"], key=lambda part: part[1])


@pytest.mark.parametrize("high", [183.0, None])
def test_a_capacity_shows_its_limit_with_both_ends_or_open(high):
    rows = [
        {"level": 60.0, "rate_per_s": 60.0, "status": "within", "quantile_s": 0.1,
         "quantile_low_s": 0.08, "quantile_high_s": 0.12, "goodput_rate": 1.0},
        {"level": 183.0, "rate_per_s": 183.0, "status": "open", "quantile_s": 0.2},
    ]  # fmt: skip
    told = {"state": "found", "low": 60.0, "high": high, "unit": "/s", "held_to": "p99 of connect"}
    summary = {"levels": {"climb": rows}, "capacity": {"climb": told}}
    judgement = Judgement(Outcome.PASS, {"run_id": "r"}, (), (), Fitness(), {}, summary)
    (drawn,) = figures_of(data_of(page(judgement, None)))
    assert (drawn["data"]["low"], drawn["data"]["high"]) == (60.0, high)
    assert [point[:2] for point in drawn["data"]["points"]] == [[60.0, 0.1], [183.0, 0.2]]
    data = data_of(page(judgement, None))
    knee = "at 60/s or above" if high is None else "between 60/s and 183/s"
    assert data["leading"][0] == f"climb: the knee is {knee}; held to: p99 of connect"
    assert [part["id"] for part in data["sections"]][:2] == ["checks", "capacity"]


def test_an_unfit_probe_is_told_over_every_timing_and_reasons_stand_once():
    judgement, files = recorded(booted())
    why = "heartbeat lag p99 19 ms of the probe is over 10 ms"
    vetoed = replace(judgement.checks[0], message=f"p95 was 1 s (the probe was unfit: {why})")
    judgement = replace(judgement, fitness=Fitness(taints=(why,)), checks=(vetoed,))
    data = data_of(page(judgement, files))
    parts = blocks_of(data)
    for name in ("timeline", "latency", "restarts"):
        assert parts[name][0]["tone"] == "veto"
    assert data["veto"] == [why]
    assert "(vetoed: the probe was unfit)" in json.dumps(parts["checks"])
    assert json.dumps(parts["checks"]).count(why) == 0


def test_the_page_never_says_more_than_the_verdict():
    """Without checks nothing was judged, and what was not part of the run is named."""
    judgement = Judgement(Outcome.INCONCLUSIVE, {"run_id": "r"}, (), (), Fitness(), {})
    data = data_of(page(judgement, None))
    told = json.dumps(data["sections"])
    assert "No check was executed: nothing was judged." in told
    assert "Nothing measured: Capacity, After the spike, Race windows, Since the restart" in told
    assert not figures_of(data)


def test_a_lost_event_stands_as_a_gap_among_the_first_lines_of_its_case():
    judgement, files = recorded(stories.one("started:1", "thinking:2", "completed:4"))
    data = data_of(page(judgement, files))
    (first,) = data["first"]
    (case,) = first["cases"]
    shown = [case["steps"][k] for k in case["near"]]
    gap = next(k for k, line in enumerate(shown) if "never came" in line["what"])
    assert shown[gap]["what"] == "sequence 3 (tool) never came"
    assert [line["point"] for line in shown[gap - 1 : gap + 2]] == [True] * 3
    assert case["whole"] == f"The whole case, {len(case['steps'])} lines"


def test_each_finding_stands_once_and_an_accepted_one_behind_all_others():
    def made(code: str, severity: Severity, accepted: Acceptance | None = None) -> Finding:
        return Finding(code, severity, "witness", 1, code, "", check="s.x", accepted=accepted)

    owned = Acceptance("anna", "2026-12-01", "known since spring")
    over = replace(owned, ended=True)
    found_ = (made("a", "critical", owned), made("b", "minor"), made("c", "major", over),
              made("d", "info"), made("e", "minor"))  # fmt: skip
    judgement = Judgement(Outcome.FAIL, {"run_id": "r"}, (), found_, Fitness(), {})
    data = data_of(page(judgement, None))
    assert [each["code"] for each in data["first"]] == ["c", "b"]
    assert data["first"][0]["accepted"].startswith("no longer accepted")
    rest = blocks_of(data)["findings"]
    assert [each["code"] for each in rest] == ["e", "d", "a"]
    assert rest[-1]["accepted"] == "accepted until 2026-12-01, owner anna: known since spring"
    assert data["first"][0]["head"] == "evidence: witness; seen once; check s.x"


def test_what_decided_stands_before_what_was_vetoed_and_each_says_what_its_check_came_to():
    def made(check: str, severity: Severity, verdict: Outcome) -> tuple[Finding, Check]:
        return (Finding(check, severity, "witness", 2, "m", "", check=check),
                Check(check, "s", True, verdict, "witness", 1, "m"))  # fmt: skip

    pairs = (made("s.gone", "critical", Outcome.INCONCLUSIVE), made("s.odd", "minor", Outcome.FAIL))
    findings, checks = (tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs))
    judgement = Judgement(Outcome.FAIL, {"run_id": "r"}, checks, findings, Fitness(), {})
    heads = [each["head"] for each in data_of(page(judgement, None))["first"]]
    assert heads == [
        "evidence: witness; seen 2 times; check s.odd: FAIL",
        "evidence: witness; seen 2 times; check s.gone: INCONCLUSIVE",
    ]


def test_what_came_before_a_restarted_service_let_clients_in_is_counted_apart():
    judgement, files = recorded(booted())
    (heat,) = (e for e in figures_of(data_of(page(judgement, files))) if e["draw"] == "heat")
    drawn = heat["data"]
    early = sum(drawn["early"])
    seen = sum(cell[2] for cell in drawn["cells"]) + sum(drawn["failed"])
    assert early > 0
    assert early + seen == len(files.history.attempts)
    assert f"the {early} attempts from before a restarted service let clients in" in heat["note"]
    assert heat["behind"]["header"][-1] == "before it let clients in"
    assert sum(int(row[-1]) for row in heat["behind"]["rows"]) == early


def test_connects_that_a_race_holds_back_are_no_latency():
    story = found()
    judgement = judged(story)[1]
    parts = blocks_of(data_of(page(judgement, Recorded(story.history(), story.resolved, ""))))
    (only,) = parts["latency"]
    assert only["text"] == "Connects of pair are not in here: the probe held them back at a gate."


def test_a_narrow_window_is_shown_closer():
    (drawn,) = figures_of(data_of(page(judged(found())[1], None)))
    data = drawn["data"]
    low, high = data["closer"]
    value, least, most, width = data["told"]
    assert data["from_s"] <= low < least <= value <= most < high <= data["to_s"]
    assert high - low < (data["to_s"] - data["from_s"]) / 2
    assert low < value - (width or 0) / 2


def test_reasons_that_the_probe_itself_is_to_blame_for_are_one_line():
    why = "heartbeat lag p99 19 ms of the probe is over 10 ms"
    vetoed = tuple(f"s.{k}: p95 was 1 s (the probe was unfit: {why})" for k in "ab")
    judgement = Judgement(Outcome.INCONCLUSIVE, {"run_id": "r", "complete": True}, (), (),
                          Fitness(taints=(why,)), {}, {}, ("s.c: 3 of 9", *vetoed))  # fmt: skip
    data = data_of(page(judgement, None))
    assert data["why"] == ["s.c: 3 of 9", "vetoed, since the probe was unfit: s.a, s.b"]
    assert data["veto"] == [why]


def test_a_reason_that_is_told_right_below_is_not_told_twice():
    judgement = judged(found())[1]
    (first,) = (each for each in judgement.findings if each.code.startswith("race."))
    data = data_of(page(judgement, None))
    assert f"{first.check}: {first.code}, told below" in data["why"]
    assert json.dumps(data["why"]).count(first.message) == 0


def test_what_no_service_tells_has_no_column():
    rows = [{"service": "a", "ill": [], "took_s": 0.1}, {"service": "b", "ill": [], "parts": "x"}]
    (told,) = health_tables({"s": {"services": rows}})
    assert told.header == ("service", "took", "parts")
    assert told.cells == (("a", "100 ms", "-"), ("b", "-", "x"))


def test_a_spike_has_a_table_of_before_during_and_after():
    point = {"from_s": 0.0, "to_s": 1.0, "n": 9, "rate": 1.0, "low": 0.7, "high": 1.0}
    phase = {"from_s": 0.0, "to_s": 20.0, "clients": 1200, "attempts": 1800, "in_time": 600,
             "goodput_rate": 0.5, "amplification": 1.5}  # fmt: skip
    summary = {
        "goodput_over_time": {"s": [{**point, "spike": False}]},
        "after_spike": {"s": [{**phase, "phase": "before"}]},
    }
    judgement = Judgement(Outcome.PASS, {"run_id": "r"}, (), (), Fitness(), {}, summary)
    told = blocks_of(data_of(page(judgement, None)))["spike"][-1]
    assert told["rows"] == [["before", "0 s to 20 s", "1,200", "600", "50 %", "1,800", "1.5"]]


def test_a_comparison_stands_right_behind_the_checks():
    judgement, files = recorded(stories.clean())
    taken = take(files.history, files.resolved, judgement)
    told = comparison_document(compare([taken], [taken]))
    data = data_of(
        page(replace(judgement, summary={**judgement.summary, "comparison": told}), None)
    )
    assert [part["id"] for part in data["sections"]][:2] == ["checks", "comparison"]
    assert blocks_of(data)["comparison"][0]["text"].startswith("the same run")
    assert "comparison" not in blocks_of(data_of(page(judgement, None)))


def test_few_lines_are_those_that_the_case_is_about():
    lines = [{"point": k in {30, 34}, "k": k} for k in range(60)]
    assert kept(lines, 6) == [29, 30, 31, 33, 34, 35]
    assert kept(lines[:6], 6) == list(range(6))
    plain = [{"point": False, "k": k} for k in range(60)]
    assert kept(plain, 3) == [0, 58, 59]


def test_the_size_does_not_grow_with_the_clients():
    def size(n: int) -> int:
        story = Story({"s": LOAD}).stage().fit()
        for k in range(n):
            story.client(k * 20_000 / n, "good" if k % 3 else "status", lasts=20)
        return len(page(*recorded(story)))

    assert size(4_000) < 1.5 * size(400)


def test_the_writer_brings_the_page_of_what_is_in_the_folder(tmp_path):
    judgement, _ = recorded(busy_story())
    paths = write_reports(judgement, tmp_path)
    assert [path.name for path in paths][-2:] == ["report.html", "verdict.json"]
    data = data_of((tmp_path / "report.html").read_bytes())
    assert data["verdict"] == judgement.verdict
    assert not [e for e in figures_of(data) if e["draw"] == "timeline"]  # no history is here
