"""Plots: every rate with its interval, nothing where nothing was tried, and text that fits."""

from xml.etree import ElementTree as ET

import pytest

from probe.report.markdown import markdown
from probe.report.plots import BAR, plots_of, strip, svg, text_lines
from probe.report.races import race_lines, race_rows, windows
from probe.report.writer import write_reports
from tests.test_check_race import found, judged, raced, swept


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
    assert len(signs) == BAR
    assert set(signs[11:14]) == {"#"}  # 110 to 140 ms of 400
    assert set(signs[20:]) <= {".", " "}
    assert race_lines(judgement.summary)[0].startswith("pair: ")


def test_the_picture_is_well_formed_and_holds_every_point(judgement):
    (plot,) = plots_of(judgement.summary)
    root = ET.fromstring(svg(plot))
    name = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f"{name}circle")) == len(plot.points) + len(plot.marks)
    assert len(root.findall(f"{name}polygon")) == 1
    assert len(plot.marks) == 2


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
    assert not {"curve", "posterior"} & kept.keys()
    names = {path.name for path in write_reports(judgement, tmp_path)}
    assert {"windows.json", "window-pair.svg", "verdict.json"} <= names
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
