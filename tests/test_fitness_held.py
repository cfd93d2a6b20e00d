"""Memory while the most connections are open: which time counts, and what is told of it."""

import pytest

from probe.check.fitness_held import longest
from probe.check.judge import judge
from probe.check.view import views
from probe.history.records import Kind
from tests.histories import LOAD, Story, ns

MIB = 2**20


def story_of(lasts_ms, n=60):
    """Clients that come within six seconds, and stay as long."""
    story = Story({"users": {**LOAD, "expect": {"success": {"rate": "80%"}}}})
    story.stage(end=400_000).fit()
    for k in range(n):
        story.client(k * 100, "good", took=2, lasts=lasts_ms)
    return story


def figures_of(story):
    return judge(story.history(), story.resolved).fitness.figures


def memory(story, *mib, process=0, since=0):
    for k, each in enumerate(mib):
        story.row(since + k * 1000, Kind.CPU, op=process, a=10, b=round(each * MIB))
    return story


def stretch(story):
    history = story.history()
    return longest(views(history, story.resolved))


def test_the_time_counts_in_which_nearly_all_are_open():
    found = stretch(story_of(60_000))
    assert found.connections == 60
    assert found.begin == pytest.approx(ns(59 * 100 + 2.1), abs=1e5)  # of 60, 99 % are all
    assert found.end == pytest.approx(ns(60_002.1), abs=1e5)


def test_of_many_a_hundredth_may_be_missing():
    found = stretch(story_of(60_000, n=200))
    assert found.begin == pytest.approx(ns(197 * 100 + 2.1), abs=1e5)  # the 198th has come
    assert found.end == pytest.approx(ns(60_002.1 + 200), abs=1e5)  # the third has gone


def test_the_longest_of_several_is_taken():
    story = story_of(1_000, n=1)
    for at, lasts in ((10_000, 5_000), (20_000, 31_000), (60_000, 7_000)):
        story.client(at, "good", took=2, lasts=lasts)
    found = stretch(story)
    assert found.connections == 1
    assert found.end - found.begin == pytest.approx(31_000 * 1e6, abs=1e5)


def test_who_has_no_end_was_open_until_the_stage_was_over():
    story = story_of(60_000, n=1)
    story.rows = [row for row in story.rows if row[3] != Kind.END]
    assert stretch(story).end == ns(400_000)


def test_where_nobody_got_ready_there_is_nothing_to_tell():
    story = Story({"users": {**LOAD}}).stage().fit()
    story.client(100, "refused")
    assert stretch(story) is None
    assert "held_s" not in figures_of(story)


def test_memory_that_grows_is_told_by_its_thirds():
    story = memory(story_of(96_000), *[100] * 38, *[110] * 25, *[130] * 40)
    figures = figures_of(story)
    assert figures["held_connections"] == 60
    assert figures["held_s"] == pytest.approx(90.1, abs=0.1)
    assert figures["held_memory_first_third_mib"] == 100
    assert figures["held_memory_last_third_mib"] == 130
    assert figures["held_memory_growth_percent"] == 30


def test_the_worst_process_is_told_and_the_lab_is_none_of_them():
    story = story_of(96_000)
    memory(story, *[100] * 100)
    memory(story, *range(10, 110), process=1)  # the lab's
    memory(story, *[100] * 50, *[105] * 50, process=2)
    memory(story, *[100] * 100, process=3)
    figures = figures_of(story)
    assert figures["held_memory_growth_percent"] == 5
    assert figures["held_memory_last_third_mib"] == 305


def test_a_short_time_tells_nothing():
    assert "held_s" not in figures_of(memory(story_of(35_000), *[100] * 40))
    assert "held_s" in figures_of(memory(story_of(36_500), *[100] * 40))
