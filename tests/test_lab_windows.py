"""The pure part of the windows: how they are written, what is inside, what is drawn."""

from __future__ import annotations

from statistics import fmean, stdev

import pytest

from probe.lab.defects import DefectError, Defects
from probe.lab.table import TABLE
from probe.lab.windows import FIRSTS_MAX, Firsts, Second, Span, format_span, parse_span

MS = 1_000_000
NAME = "double_run_mixup"


def window(text, seed=5):
    found = Defects(seed, 1, [(NAME, text)]).window(NAME)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("50ms", Span(50 * MS)),
        ("100ms+50ms~1ms/0.3", Span(50 * MS, 100 * MS, MS, 0.3)),
        ("0s+1ms", Span(MS)),
        ("60s+60s~60s/0", Span(60_000 * MS, 60_000 * MS, 60_000 * MS, 0.0)),
        (" 2ms ~ 5us / 1 ", Span(2 * MS, 0, 5_000)),
        ("1.5s/1e-3", Span(1_500 * MS, chance=0.001)),
    ],
)
def test_a_window_is_read_and_comes_back(text, span):
    assert parse_span(text) == span
    assert parse_span(format_span(span)) == span


@pytest.mark.parametrize(
    "text",
    [
        "", "50", "999us", "61s", "61s+5ms", "5ms~61s", "5ms/1.1", "5ms/nan", "5ms/-0.1", "5ms/x",
        "5ms~", "5ms/", "+5ms", "5ms+", "5ms/1/1", "5ms~1ms~1ms", "1ms+1ms+1ms", "5ms/0.5~1ms",
        "-5ms", "5ms@agent_started",
    ],
)  # fmt: skip
def test_what_is_no_window_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        parse_span(text)
    with pytest.raises(DefectError, match=r"takes a window \[DELAY\+\]WIDTH"):
        Defects(0, 1, [(NAME, text)])


@pytest.mark.parametrize("value", [50, 0.5, True])
def test_a_number_is_no_window(value):
    with pytest.raises(DefectError, match="takes a window"):
        Defects(0, 1, []).change({NAME: value})


def test_a_window_is_set_changed_and_unset():
    defects = Defects(0, 1, [(NAME, None)])
    assert defects.as_json() == {NAME: TABLE[NAME].default}
    defects.change({NAME: "10ms+1s~2ms/0.25"})
    assert defects.as_json() == {NAME: "10ms+1s~2ms/0.25"}
    defects.change({NAME: None})
    assert defects.window(NAME) is None


def test_inside_is_from_the_opening_to_before_the_end():
    opened = window("100ms+50ms").opened()
    assert (opened.opens_ns, opened.ends_ns) == (100 * MS, 150 * MS)
    inside = [ns for ns in range(99 * MS, 152 * MS, MS) if opened.hits(ns)]
    assert inside == list(range(100 * MS, 150 * MS, MS))
    assert not opened.hits(150 * MS)
    assert opened.hits(150 * MS - 1)
    assert not opened.hits(100 * MS - 1)


def test_a_timer_for_the_end_is_never_early():
    opened = window("100ms+50ms").opened()
    assert opened.left_s(0) > 0.15
    assert opened.left_s(150 * MS - 1) > 0
    assert opened.left_s(150 * MS) == opened.left_s(200 * MS) == 0


def test_the_jitter_shifts_both_edges_and_is_drawn_for_each_first_action():
    drawn = [window("100ms+50ms~3ms").opened(str(index)) for index in range(2_000)]
    assert {one.ends_ns - one.opens_ns for one in drawn} == {50 * MS}
    opens_ms = [one.opens_ns / MS for one in drawn]
    # Fixed by the hash, so no noise: 3 standard errors of a fair draw.
    assert abs(fmean(opens_ms) - 100) < 3 * 3 / 2_000**0.5
    assert abs(stdev(opens_ms) - 3) < 3 * 3 / 4_000**0.5


def test_the_probability_is_drawn_for_each_second_action_inside():
    asked = window("50ms/0.3")
    hits = [asked.opened().hits(MS) for _ in range(2_000)]
    assert abs(sum(hits) - 600) < 3 * (2_000 * 0.3 * 0.7) ** 0.5
    one = window("50ms/0.3").opened()
    many = [one.hits(MS) for _ in range(2_000)]
    assert abs(sum(many) - 600) < 3 * (2_000 * 0.3 * 0.7) ** 0.5
    assert not any(window("50ms/0").opened().hits(MS) for _ in range(100))


def test_draws_depend_on_seed_and_count_alone():
    def drawn(seed, others=0):
        defects = Defects(seed, 1, [(NAME, "50ms~5ms/0.5"), ("refresh_race", "50ms~5ms/0.5")])
        found = []
        for _ in range(50):
            other, own = defects.window("refresh_race"), defects.window(NAME)
            assert other is not None
            assert own is not None
            for _ in range(others):
                other.opened().hits(0)
            opened = own.opened()
            # What is outside is not drawn for, and so shifts nothing.
            assert not opened.hits(3_600_000 * MS)
            found.append((opened.opens_ns, opened.hits(25 * MS), opened.hits(25 * MS)))
        return found

    assert drawn(1) == drawn(1, others=3) != drawn(2)
    assert window("1s~5ms").opened("x").opens_ns == window("1s~5ms").opened("x").opens_ns


def test_a_second_is_one_that_follows_a_first_of_its_key():
    firsts, asked = Firsts(), window("10ms+20ms")
    assert firsts.since(asked, "a", 15 * MS) is None
    firsts.begin(asked, "a", 0, "one")
    assert firsts.since(asked, "a", 9 * MS) is None
    assert firsts.since(asked, "a", 29 * MS) == Second(29 * MS, "one")
    assert firsts.since(asked, "b", 15 * MS) is None
    firsts.begin(asked, "a", 20 * MS, "two")
    assert firsts.since(asked, "a", 29 * MS) is None
    assert firsts.since(asked, "a", 30 * MS) == Second(10 * MS, "two")


def test_the_same_first_keeps_the_window_that_was_drawn():
    firsts, asked = Firsts(), window("10ms~5ms")
    opened = firsts.begin(asked, "a", 7)
    assert firsts.begin(asked, "a", 7) is opened
    assert firsts.begin(asked, "a", 8).opens_ns != opened.opens_ns


def test_what_repeats_is_a_second_until_the_window_is_over_and_then_a_first():
    firsts, asked = Firsts(), window("10ms+20ms")
    seconds = [firsts.again(asked, "a", ms * MS, str(ms)) for ms in (0, 5, 12, 29, 30, 39, 41)]
    told = [None if one is None else (one.after_ns // MS, one.first) for one in seconds]
    assert told == [None, None, (12, "0"), (29, "0"), None, None, (11, "30")]


def test_firsts_are_bounded_and_the_oldest_goes():
    firsts, asked = Firsts(), window("60s")
    for index in range(FIRSTS_MAX):
        firsts.begin(asked, str(index), index)
    firsts.begin(asked, "0", FIRSTS_MAX)  # again, so that another is the oldest
    firsts.begin(asked, "new", FIRSTS_MAX)
    known = [key for key in ("0", "1", "2", "new") if firsts.since(asked, key, FIRSTS_MAX)]
    assert known == ["0", "2", "new"]


def test_another_setting_forgets_the_firsts_of_the_one_before():
    firsts = Firsts()
    firsts.begin(window("60s"), "a", 0)
    assert firsts.since(window("60s"), "a", MS)
    assert firsts.since(window("50s"), "a", MS) is None
    assert firsts.again(window("50s"), "a", 2 * MS, "new") is None
    assert firsts.since(window("50s"), "a", 3 * MS) == Second(MS, "new")
