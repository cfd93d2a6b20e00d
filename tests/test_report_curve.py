"""The curve of a climb: what its text and its picture show, and what they do not."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from rich.console import Console

from probe.check.judge import judge
from probe.report.curve import capacity_rows, curve_lines, curve_name, curves_of, log_ticks, shown
from probe.report.curve_picture import curve_svg
from probe.report.markdown import markdown
from probe.report.terminal import screen
from probe.report.writer import write_reports
from tests.test_check_capacity import climbed, story

SVG = "{http://www.w3.org/2000/svg}"
LEFT, RIGHT = 70.0, 732.0


def row(level: float, status: str, p99: float | None, **more: Any) -> dict[str, Any]:
    """One level as a judgement tells it."""
    return {
        "level": level, "rate_per_s": level, "status": status, "broken": "", "repeats": 3,
        "unfit": 0, "n": 500, "median_s": None if p99 is None else p99 / 5, "quantile_s": p99,
        "quantile_low_s": None if p99 is None else p99 * 0.8,
        "quantile_high_s": None if p99 is None else p99 * 1.3, "goodput_rate": 1.0,
    } | more  # fmt: skip


ROWS = (
    row(50, "within", 0.095),
    row(75, "within", 0.097),
    row(112.5, "within", 0.102),
    row(168.8, "within", 0.15),
    row(177, "open", 0.21),
    row(185.6, "beyond", 0.34, broken="latency", quantile_high_s=None),
    row(253.1, "beyond", 3.1, broken="latency, goodput", goodput_rate=0.6),
    row(379, "beyond", None, broken="errors, goodput", goodput_rate=0.2),
    row(569, "open", None, unfit=3, n=0, goodput_rate=None),
)


def told(rows: tuple[dict[str, Any], ...] = ROWS, **more: Any) -> dict[str, Any]:
    capacity = {
        "state": "found", "low": 168.8, "high": 185.6, "most": 5000, "unit": "/s",
        "held_to": "p99 of connect is within 200 ms", "within_s": 0.2, "quantile": 0.99,
        "goodput_min": 0.98, "why": "resolved", "first_limit": ["latency"],
    } | more  # fmt: skip
    return {"capacity": {"climb": capacity}, "levels": {"climb": list(rows)}}


def curve(*rows: dict[str, Any], **more: Any) -> Any:
    (found,) = curves_of(told(rows or ROWS, **more))
    return found


def test_each_level_is_a_line_and_those_that_enclose_the_knee_are_marked():
    head, axis, *lines, legend = curve_lines(curve())
    assert legend == ("  # p99, = its 95 % bounds, . p50, | the limit, * where the knee may be")
    assert head == ("climb: the knee (*) is between 168.8/s and 185.6/s; the limit (|) is 200 ms")
    assert axis.split()[:5] == ["rate", "is", "p50", "p99", "served"]
    assert len(lines) == len(ROWS)
    assert [line.split()[1] for line in lines if line.startswith("*")] == [
        "168.8/s", "177/s", "185.6/s",
    ]  # fmt: skip
    assert all(len(line) <= 80 for line in (head, axis, *lines, legend))
    assert all(line.isascii() for line in (head, axis, *lines, legend))


def test_a_bar_has_the_limit_between_what_keeps_it_and_what_breaks_it():
    _, _, *lines = curve_lines(curve())
    within, beyond = lines[0], lines[6]
    assert within.index("#") < within.index("|")
    assert beyond.index("|") < beyond.index("#")
    assert within.index(".", 45) < within.index("#")
    assert lines[5].endswith("=")  # no upper bound: it may be anything above


def test_where_the_probe_gave_out_there_is_no_figure_and_a_failure_is_none():
    _, _, *lines, _ = curve_lines(curve())
    assert " ".join(lines[-1].split()) == "569/s open - - - the probe gave out here"
    assert "failed" in lines[-2]
    assert "#" not in lines[-2]


def test_where_there_is_no_room_the_levels_about_the_knee_stay():
    lines = curve_lines(curve(), 4)
    shown_ = [line.strip("* ").split()[0] for line in lines[2:-2]]
    assert shown_ == ["50/s", "168.8/s", "177/s", "185.6/s"]
    assert lines[-1] == "  5 more levels are in report.md"


@pytest.mark.parametrize(
    ("low", "high", "words", "marked"),
    [
        (75, None, "the knee (*) is at 75/s or above", 8),
        (None, 185.6, "the knee (*) is below 185.6/s", 6),
        (None, None, "no level is proven within or beyond", 0),
    ],
)
def test_of_half_a_knee_or_none_no_more_is_said(low, high, words, marked):
    found = curve(low=low, high=high)
    lines = curve_lines(found)
    assert words in lines[0]
    assert sum(line.startswith("*") for line in lines) == marked


def test_nothing_but_an_unfit_probe_is_a_curve_without_an_axis():
    only = curve(ROWS[-1], low=None, high=None, within_s=None)
    assert only.seen_s is None
    assert "the probe gave out here" in curve_lines(only)[-1]
    ET.fromstring(curve_svg(only))


def test_a_level_of_messages_and_of_connections_has_its_unit():
    assert shown(1_200, "connections") == "1,200 connections"
    assert shown(15_000, "connections") == "15,000 connections"
    assert shown(75, "/s") == "75/s"
    lines = curve_lines(curve(unit="connections", low=1_200, high=None))
    assert "1,200 connections or above" in lines[0]
    assert lines[1].split()[0] == "level"


def number(element: ET.Element, name: str) -> float:
    return float(element.get(name, "nan"))


def place(element: ET.Element) -> float:
    return number(element, "x") + number(element, "width") / 2


def test_the_picture_shades_the_knee_and_signs_levels_by_their_state():
    root = ET.fromstring(curve_svg(curve()))
    bands = [each for each in root.iter(f"{SVG}rect") if each.get("fill") == "#f8ebcc"]
    latency, goodput = bands[1], bands[2]  # the first is the legend's
    assert latency.get("x") == goodput.get("x")
    assert LEFT < number(latency, "x") < RIGHT
    squares = [each for each in root.iter(f"{SVG}rect") if each.get("fill") == "#b03a2e"]
    # A legend, three levels beyond in each panel.
    assert len(squares) == 7
    high = number(latency, "x") + number(latency, "width")
    assert min(place(each) for each in squares[1:]) == pytest.approx(high, abs=0.2)
    rings = [each for each in root.iter(f"{SVG}circle") if each.get("fill") == "#ffffff"]
    assert number(latency, "x") < number(rings[1], "cx") < high
    words = [each.text for each in root.iter(f"{SVG}text")]
    assert "limit 200 ms" in words
    assert "failed" in words
    assert "the probe gave out" in words
    titles = [each.text for each in root.iter(f"{SVG}title")]
    assert "185.6/s: 340 ms, beyond" in titles
    assert not any("569" in (title or "") for title in titles)


def test_without_an_upper_end_the_rest_is_shaded_and_without_a_limit_none_is_drawn():
    root = ET.fromstring(curve_svg(curve(*ROWS[:4], low=168.8, high=None, within_s=None)))
    bands = [each for each in root.iter(f"{SVG}rect") if each.get("fill") == "#f8ebcc"]
    assert number(bands[1], "x") + number(bands[1], "width") == pytest.approx(RIGHT, abs=0.1)
    assert not any("limit" in (each.text or "") for each in root.iter(f"{SVG}text"))


def test_what_stands_in_a_name_cannot_leave_it():
    summary = told()
    summary = {key: {"<a&b>": value["climb"]} for key, value in summary.items()}
    (found,) = curves_of(summary)
    assert b"<a&b>" not in curve_svg(found)
    ET.fromstring(curve_svg(found))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (40, 700, [50, 100, 200, 500]),
        (0.001, 0.004, [0.001, 0.002]),
        (1e-5, 1e4, [1e-4, 1e-2, 1, 1e2]),
    ],
)
def test_ticks_are_round_and_few(low, high, expected):
    found = log_ticks(low, high)
    assert len(found) <= 8
    assert set(expected) <= set(found) or found == sorted(found)
    assert all(low <= value <= high for value in found)


def test_a_climb_is_in_every_report(tmp_path):
    told_ = story()
    climbed(told_)
    judgement = judge(told_.history(), told_.resolved)
    text = markdown(judgement)
    assert "## Capacity" in text
    assert "the knee (*) is between" in text
    assert "`capacity-climb.svg`" in text
    assert "| within up to |" in text
    lines = [line.plain for line in screen(judgement, Console(file=io.StringIO(), width=80))]
    assert any("the knee (*) is between" in line for line in lines)
    assert len(lines) <= 30
    assert all(len(line) <= 80 for line in lines)
    (found,) = curves_of(judgement.summary)
    assert found.quantile == "p99"
    paths = write_reports(judgement, tmp_path)
    assert tmp_path / curve_name(found) in paths
    assert dict(capacity_rows(judgement.summary["capacity"]["climb"]))["why"] == "resolved"


def test_a_run_without_a_climb_has_no_curve():
    assert curves_of({}) == []
    assert curves_of(told(())) == []
