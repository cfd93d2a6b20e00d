"""Plots: every rate with its interval, nothing where nothing was tried, and text that fits."""

from xml.etree import ElementTree as ET

import pytest

from probe.history.records import Sought
from probe.report.markdown import markdown
from probe.report.picture import svg, ticks
from probe.report.plots import BAR, STRIP, Plot, Point, Told, plots_of, strip, text_lines
from probe.report.race_rows import race_rows
from probe.report.races import TRIAL_COLUMNS, race_lines, trials_csv, windows
from probe.report.writer import write_reports
from tests.test_check_race import found, judged, raced, swept, trial


@pytest.fixture(scope="module")
def judgement():
    return judged(found())[1]


def test_the_text_has_a_line_for_each_bin_with_trials_and_fits(judgement):
    (plot,) = plots_of(judgement.summary)
    lines = text_lines(plot)
    tried = [row for row in judgement.summary["races"]["pair"]["curve"] if row["n"]]
    assert len(lines) == 2 + len(tried) + 2 + 1  # title, heading, bins, fresh trials, posterior
    assert all(len(line) <= 96 and line.isascii() for line in lines)
    for line, row in zip(lines[2:], tried, strict=False):
        bar = line.partition("  |")[2].removesuffix("|")
        assert len(bar) == BAR
        assert bar.index("#") == round(row["rate"] * (BAR - 1))


def test_the_strip_shows_where_it_goes_wrong_and_where_nobody_looked(judgement):
    (plot,) = plots_of(judgement.summary)
    signs = strip(plot).partition("|")[2].partition("|")[0]
    assert len(signs) == STRIP
    assert set(signs[11:14]) == {"#"}  # 110 to 140 ms of 400
    assert set(signs[20:]) <= {".", " "}
    first, second = race_lines(judgement.summary)
    assert first.startswith("pair: 77 of 180 trials went wrong; by offset, in tenths")
    assert second == f"  {strip(plot)}"
    assert max(map(len, (first, second))) <= 80


def test_a_race_without_anomalies_is_one_line_and_signs_are_explained_once():
    race = {"trials": 3, "anomalies": 0, "range_s": [0.0, 1.0], "curve": [
        {"from_s": 0.0, "to_s": 0.1, "n": 3, "rate": 0.0, "low": 0.0, "high": 0.6}
    ]}  # fmt: skip
    bad = race | {"anomalies": 1}
    lines = race_lines({"races": {"good": race, "one": bad, "other": bad}})
    assert lines[0] == "good: 0 of 3 trials went wrong"
    assert [line.count("tenths") for line in lines] == [0, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("rate", "sign"), [(0.0, "."), (0.02, "1"), (0.31, "4"), (0.99, "9"), (1.0, "#")]
)
def test_a_sign_of_the_strip_never_says_none_or_all_falsely(rate, sign):
    plot = Plot("r", "", "offset", 0.0, 1.0, (Point(0.0, 0.02, 9, rate, 0.0, 1.0),))
    assert strip(plot).partition("|")[2][0] == sign


def test_the_picture_is_well_formed_and_holds_every_point(judgement):
    (plot,) = plots_of(judgement.summary)
    root = ET.fromstring(svg(plot))
    name = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f".//{name}circle")) == len(plot.points) + len(plot.marks)
    assert len(plot.marks) == 2
    assert "20 of 20" in svg(plot).decode()


def number(element, name):
    """One of its attributes."""
    return float(element.get(name))


def drawn(plot):
    """What the picture has: (left, right) of each band, strokes above, strokes below."""
    root = ET.fromstring(svg(plot))
    name = "{http://www.w3.org/2000/svg}"
    bands = [
        (number(each, "x"), number(each, "x") + number(each, "width"))
        for each in root.findall(f"{name}rect")
        if number(each, "height") > 100 and each.get("x")
    ]
    wrong = [each for each in root.findall(f"{name}line") if number(each, "y2") < 98]
    held = [e for e in root.findall(f"{name}line") if e.get("stroke") == "#7d93a8"]
    return bands, len(wrong), len(held)


def test_what_was_found_is_shaded_where_it_lies_and_each_trial_has_a_stroke(judgement):
    (plot,) = plots_of(judgement.summary)
    bands, wrong, held = drawn(plot)
    race = judgement.summary["races"]["pair"]
    assert (wrong, held) == (race["anomalies"], race["trials"] - race["anomalies"])

    def at(x):
        return (x - 64) / (760 - 64 - 24) * 0.4

    found_, window = sorted(bands, key=lambda ends: ends[1] - ends[0])
    assert at(window[0]) == pytest.approx(0.100, abs=0.004)
    assert at(window[1]) == pytest.approx(0.150, abs=0.004)
    assert at(sum(found_) / 2) == pytest.approx(race["centre"]["value_s"], abs=0.002)


def test_an_interval_that_is_too_narrow_to_see_and_at_the_edge_is_seen_within_the_plot():
    plot = Plot("r", "", "offset", 0.0, 1.0, (), told=Told(1.0, 0.99999, 1.0))
    (ends,) = drawn(plot)[0]
    assert ends[1] - ends[0] == pytest.approx(3.0)
    assert ends[1] <= 760 - 24


def test_without_an_interval_nothing_is_shaded():
    story = raced()
    swept(story)
    (plot,) = plots_of(judged(story)[1].summary)
    assert drawn(plot)[:2] == ([], 0)


@pytest.mark.parametrize(
    ("low", "high", "first", "last", "step"),
    [
        (0, 400, 0, 400, 100), (20, 2500, 500, 2500, 500), (-100, 100, -100, 100, 50),
        (0, 1, 0, 1, 0.2), (-0.4, 2.1, 0, 2, 0.5), (199.3, 199.9, 199.3, 199.9, 0.1),
    ],
)  # fmt: skip
def test_ticks_are_round_and_within(low, high, first, last, step):
    found_ = ticks(low, high)
    assert 3 <= len(found_) <= 8
    assert found_[0] == pytest.approx(first)
    assert found_[-1] == pytest.approx(last)
    assert found_[1] - found_[0] == pytest.approx(step)


def test_few_trials_are_faint_and_many_are_large():
    few, many = Point(0.1, 0.2, 4, 0.5, 0.1, 0.9), Point(0.3, 0.4, 50, 0.5, 0.4, 0.6)
    plot = Plot("r", "", "offset", 0.0, 1.0, (few, many))
    groups = ET.fromstring(svg(plot)).findall("{http://www.w3.org/2000/svg}g")
    assert [group.get("opacity") for group in groups] == ["0.2", None]
    sizes = [number(group[1], "r") for group in groups]
    assert sizes[0] < sizes[1]


def test_a_long_title_is_cut_and_keeps_its_article():
    plot = plots_of({"races": {"r": {
        "range_s": [0.0, 1.0], "noun": "open session", "anomaly": "x " * 200,
        "curve": [{"from_s": 0.0, "to_s": 0.1, "n": 3, "rate": 0.0, "low": 0.0, "high": 0.6}],
    }}})[0]  # fmt: skip
    assert plot.title.startswith("r: how often an open session x")
    lines = [
        each.text or ""
        for each in ET.fromstring(svg(plot)).findall("{http://www.w3.org/2000/svg}text")
        if each.get("font-size") == "14"
    ]
    assert len(lines) == 2
    assert all(len(line) <= 96 for line in lines)
    assert lines[1].endswith("…")


def test_every_trial_is_a_line_of_the_csv(judgement):
    ((name, text),) = trials_csv(judgement.summary).items()
    assert name == "trials-pair.csv"
    head, *rows = (line.split(",") for line in text.splitlines())
    assert tuple(head) == TRIAL_COLUMNS
    assert len(rows) == 180
    assert {row[3] for row in rows} == {"fine", "anomaly"}
    assert {row[4] for row in rows} == {"sweep", "localise", "confirm", "control"}
    assert [int(row[0]) for row in rows] == list(range(180))
    assert float(rows[7][2]) == pytest.approx((0.31 + 0.618034 * 7) % 1 * 400, abs=1e-3)


def test_one_offset_alone_has_two_points_and_its_figures():
    story = raced(at="120ms", confirm=20)
    for number in range(20):
        why = Sought.CONTROL if number % 2 else Sought.CONFIRM
        bad = why is Sought.CONFIRM and number < 16
        trial(story, number, 400.0 if number % 2 else 120.0, bad, why=why)
    judgement = judged(story)[1]
    (plot,) = plots_of(judgement.summary)
    assert [(point.n, point.rate) for point in plot.marks] == [(10, 0.8), (10, 0.0)]
    assert plot.from_s < 0.12
    assert plot.to_s > 0.4
    assert drawn(plot)[1:] == (8, 12)
    rows = dict(race_rows(judgement.summary["races"]["pair"]))
    assert rows["fresh trials, +120 ms"].startswith("8 of 10, 80 % (95 %: [44.3 %, 97.5 %])")
    assert rows["Fisher, one-sided"].endswith(", confirmed")


def test_figures_are_rounded_as_the_finding_and_say_what_they_are(judgement):
    race = judgement.summary["races"]["pair"]
    rows = dict(race_rows(race))
    (one,) = judgement.findings
    assert rows["the centre"] in one.message
    assert rows["the width"] in one.message
    assert any(name.startswith("release spread: earliest to latest") for name in rows)
    assert not any("{" in value or value == "n 1" for value in rows.values())


def test_what_stands_in_a_title_cannot_leave_it():
    story = raced(noun='<script>"&', anomaly="</text>")
    swept(story)
    (plot,) = plots_of(judged(story)[1].summary)
    root = ET.fromstring(svg(plot))
    assert not root.findall(".//{http://www.w3.org/2000/svg}script")


def test_windows_are_kept_with_what_is_needed_to_try_again(judgement, tmp_path):
    kept = windows(judgement.summary)["pair"]
    assert kept["localised"]
    assert kept["confirmation"]["hits"] == 20
    assert kept["tried"]["at_s"] == pytest.approx(0.125)
    assert not {"curve", "posterior", "made"} & kept.keys()
    names = {path.name for path in write_reports(judgement, tmp_path)}
    assert {"windows.json", "window-pair.svg", "trials-pair.csv", "verdict.json"} <= names
    report = markdown(judgement)
    assert "## Windows" in report
    assert "`window-pair.svg`" in report
    assert all(isinstance(value, str) for _, value in race_rows(judgement.summary["races"]["pair"]))


def test_a_run_without_races_or_restarts_has_none(tmp_path):
    assert plots_of({}) == []
    assert windows({}) == {}
    assert race_lines({"races": None}) == []


def test_restarts_show_how_often_clients_were_turned_away():
    rows = [
        {"from_s": 0.0, "to_s": 0.1, "n": 10, "good": 0, "rate": 0.0, "low": 0.0, "high": 0.3},
        {"from_s": 0.1, "to_s": 0.2, "n": 10, "good": 10, "rate": 1.0, "low": 0.7, "high": 1.0},
    ]
    (plot,) = plots_of({"success_since_restart": {"boots": rows}})
    first, last = plot.points
    assert (first.rate, first.low, first.high) == (1.0, 0.7, 1.0)
    assert (last.rate, last.low) == (0.0, 0.0)
    assert last.high == pytest.approx(0.3)


def test_a_trial_that_told_nothing_is_no_stroke_that_held():
    race = {"trials": 2, "anomalies": 1, "range_s": [0.0, 1.0], "curve": [
        {"from_s": 0.0, "to_s": 0.1, "n": 2, "rate": 0.5, "low": 0.0, "high": 1.0}
    ]}  # fmt: skip
    made = {
        "measured_ms": [10.0, 20.0, 30.0, None],
        "outcome": ["fine", "anomaly", "void", "unplaced"],
    }
    (plot,) = plots_of({"races": {"r": race | {"made": made}}})
    assert plot.trials == ((0.01, False), (0.02, True))
