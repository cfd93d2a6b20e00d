"""The metrics of a run: what is written, what is withheld, and what reads it."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text_format

from probe.check.judge import judge
from probe.check.verdict import Fitness, Outcome
from probe.history.records import Kind
from probe.report.export.metrics import COMMON, FAMILIES, WAYS_MAX, metrics_of
from probe.report.export.prometheus import exposition
from probe.report.visible import visible
from tests.histories import LOAD, Story
from tests.test_report_judgements import HOSTILE, JUDGEMENTS, PASSED, judged

ROOT = Path(__file__).parent.parent
DASHBOARD = ROOT / "docs" / "grafana" / "probe.json"
PAGE = ROOT / "docs" / "outputs.md"
UNFIT = Fitness(taints=("heartbeat lag p99 50 ms",))


def by_name(judgement):
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for sample in metrics_of(judgement):
        found.setdefault(sample.family.name, []).append((sample.labels, sample.value))
    return found


def measured(**more):
    """A judgement with something of everything that can be exported."""
    story = Story({"users": {**LOAD, "expect": {
        "health": True,
        "success": {"rate": "50%"},
        "latency": [{"phase": "connect", "quantile": "p95", "within": "1s"}],
        "delivery": {},
    }}}).stage().fit()  # fmt: skip
    story.health(10)
    for ms in (0, 1000):
        story.row(ms, Kind.CPU, a=100, b=50 * 2**20)
    for k in range(80):
        client = story.open(100 + k * 20)
        key = story.begin(client, 101 + k * 20)
        for place, event in enumerate(("started", "tool", "completed")):
            story.got(client, 102 + k * 20 + place, event, key)
    found = judge(story.history(), story.resolved)
    knee = {"state": "found", "of": "connects", "low": 90.0, "high": 100.0}
    held = {"state": "at_least", "of": "connections", "low": 500.0, "high": None}
    seen = dict(found.authenticity)
    seen["ping_round_trip"] = {"n": 3, "min_s": 0.001, "median_s": 0.002, "max_s": 0.003}
    summary = {**found.summary, "capacity": {"climb": knee, "hold": held}}
    checks = (
        *found.checks,
        replace(PASSED, id="climb.capacity", unit="/s", limit=50.0, load_sensitive=False),
        replace(PASSED, id="pressure.queue", unit="count", limit=5.0, load_sensitive=False),
    )
    return replace(found, summary=summary, authenticity=seen, checks=checks, **more)


@pytest.fixture(name="judgement", params=JUDGEMENTS)
def _judgement(request):
    return JUDGEMENTS[request.param]


def plain(families):
    return [
        (sample.name, dict(sample.labels), sample.value)
        for family in families
        for sample in family.samples
    ]


def test_both_text_formats_read_the_same_samples(judgement):
    samples = metrics_of(judgement)
    text = exposition(samples).decode()
    wanted = [(s.family.name, s.labels, s.value) for s in samples]
    assert plain(text_format(text)) == wanted
    assert plain(openmetrics(text)) == wanted
    assert len({(name, tuple(labels.items())) for name, labels, _ in wanted}) == len(wanted)
    assert all(math.isfinite(value) for *_, value in wanted)
    assert all(list(labels)[: len(COMMON)] == list(COMMON) for _, labels, _ in wanted)
    assert text.endswith("\n# EOF\n")


def test_what_a_server_said_stands_in_labels_as_it_is_seen():
    (check,) = {
        labels["check"]
        for labels, _ in by_name(JUDGEMENTS["hostile"])["probe_check_n"]
        if "script" in labels["check"]
    }
    assert check == visible(HOSTILE, chars_max=200)


def test_the_verdict_is_a_state(judgement):
    states = {labels["verdict"]: value for labels, value in by_name(judgement)["probe_verdict"]}
    assert {name for name, value in states.items() if value == 1} == {judgement.verdict}
    assert set(states) == set(Outcome)


def test_a_family_says_its_unit_last_and_what_it_is():
    for family in FAMILIES.values():
        assert re.fullmatch(r"probe_[a-z0-9]+(_[a-z0-9]+)*", family.name)
        assert family.name.endswith(family.unit)
        assert family.told.endswith(".")
        # In a HELP line a quote is escaped by one of the two formats alone.
        assert not set(family.told) & {'"', "\\", "\n"}
        assert not set(family.labels) & set(COMMON)


def test_vetoed_timings_are_absent_and_the_reason_is_there():
    fit, unfit = by_name(measured()), by_name(measured(fitness=UNFIT))
    assert [value for _, value in fit["probe_fit"]] == [1]
    assert [value for _, value in unfit["probe_fit"]] == [0]
    assert "probe_unfit_reason" not in fit
    ((labels, _),) = unfit["probe_unfit_reason"]
    assert (labels["kind"], labels["reason"]) == ("tainted", "heartbeat lag p99 50 ms")
    assert {labels["figure"] for labels, _ in fit["probe_latency_seconds"]} == {
        "estimate", "low", "high",
    }  # fmt: skip
    assert {"probe_latency_seconds", "probe_ws_ping_seconds"} <= fit.keys() - unfit.keys()
    figures = {
        name: {labels["figure"] for labels, _ in found["probe_check_seconds"]}
        for name, found in (("fit", fit), ("unfit", unfit))
    }
    assert figures == {"fit": {"estimate", "low", "high", "limit"}, "unfit": {"limit"}}
    # What was counted was counted; whether an event was late is a timing.
    classes = [
        {labels["class"] for labels, _ in found["probe_delivery_events"]} for found in (fit, unfit)
    ]
    assert classes[0] - classes[1] == {"late"}
    assert fit["probe_clients"] == unfit["probe_clients"]


def test_levels_that_are_judged_one_by_one_keep_their_figures():
    by_level = Fitness(taints=("lag",), by_level=("boot",), whole=False)
    found = by_name(judged(PASSED, fitness=by_level))
    assert "estimate" in {labels["figure"] for labels, _ in found["probe_check_ratio"]}
    # Over all levels of a climb, the ones that were too much too, a quantile tells nothing.
    assert "probe_latency_seconds" not in found


def test_what_was_never_measured_is_absent_and_not_zero():
    found = by_name(JUDGEMENTS["odd numbers"])
    assert "probe_run_duration_seconds" not in found
    assert "probe_latency_seconds" not in found
    assert "probe_check_ratio" not in found
    assert "probe_ws_sessions" not in found


def test_a_crowd_of_ways_is_cut_and_the_rest_is_counted():
    ways = {f"accepted, then closed {k}": 1 for k in range(4000, 4000 + 3 * WAYS_MAX)}
    found = by_name(judged(PASSED, summary={"counts": {"ways": ways}}))["probe_attempts"]
    assert len(found) == WAYS_MAX + 1
    assert sum(value for _, value in found) == len(ways)


# -- what is told of them elsewhere ----------------------------------------------------


def written():
    """Families with their labels, of runs that have something of everything."""
    out: dict[str, set[str]] = {}
    for judgement in (measured(), measured(fitness=UNFIT), JUDGEMENTS["fail"]):
        for sample in metrics_of(judgement):
            out.setdefault(sample.family.name, set()).update(sample.labels)
    return out


def expressions(node):
    if isinstance(node, dict):
        for key, value in node.items():
            if key in {"expr", "query", "definition"} and isinstance(value, str):
                yield value
            else:
                yield from expressions(value)
    elif isinstance(node, list):
        for item in node:
            yield from expressions(item)


def test_the_dashboard_asks_for_what_is_written_and_nothing_else():
    board = json.loads(DASHBOARD.read_text())
    there, asked = written(), set()
    found = [text for text in expressions(board) if "probe_" in text]
    assert len(found) >= 10
    for text in found:
        for name, selector in re.findall(r"(probe_[a-z0-9_]+)(?:\{([^}]*)\})?", text):
            assert name in there, text
            assert set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", selector)) <= there[name], text
            asked.add(name)
        for labels in re.findall(r"(?:by|without|label_values)\s*\(([^()]*)\)", text):
            names = re.findall(r"[a-z_]+", re.sub(r"probe_[a-z0-9_]+(\{[^}]*\})?", "", labels))
            known = set().union(*there.values())
            assert set(names) <= known, text
    assert {"probe_verdict", "probe_fit", "probe_latency_seconds", "probe_findings"} <= asked
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)


def test_what_can_be_exported_is_exported():
    assert set(FAMILIES) == set(written())


def test_the_page_lists_every_family_as_the_code_has_it():
    rows = [
        f"| `{f.name}` | {f.unit.replace('_', ' ') or '-'} | "
        f"{', '.join(f'`{name}`' for name in f.labels) or '-'} | {f.told}"
        f"{f' k6: `{f.k6}`.' if f.k6 else ''} |"
        for f in FAMILIES.values()
    ]
    text = PAGE.read_text()
    assert "\n".join(rows) in text, "\n" + "\n".join(rows)
