"""What a witness points at: the wrong events, and a line of its own where one never came."""

import pytest

from probe.check.judge import judge
from probe.check.witness import STEPS_MAX
from probe.history.records import Run
from tests.delivery_histories import BARE, CLASSES, UNTIL, WHOLE, gap, one, story_of


def told(story):
    """The witness of the only finding: its lines, and those that are marked."""
    (only,) = judge(story.history(), story.resolved).findings
    (case,) = only.witness
    lines = [step.what.replace(", of run 0", "") for step in case.steps]
    return lines, [text for text, step in zip(lines, case.steps, strict=True) if step.point]


def around(lines, text, n=1):
    """A line with the `n` on either side of it."""
    place = lines.index(text)
    return lines[place - n : place + n + 1]


def test_a_gap_has_its_number_its_name_and_a_neighbour_on_either_side():
    lines, points = told(one("started:1", "thinking:2", "completed:4"))
    gap = ["thinking, sequence 2", "sequence 3 (tool) never came", "completed, sequence 4"]
    assert points == gap
    assert around(lines, gap[1]) == gap


def test_without_numbers_a_gap_has_its_name():
    lines, points = told(one("started", "thinking", "completed", dialect=BARE))
    assert points == ["thinking", "tool never came", "completed"]
    assert around(lines, "tool never came") == points


def test_a_gap_that_the_numbers_do_not_show_has_its_name():
    points = told(one("started:1", "thinking:2", "completed:3"))[1]
    assert points == ["thinking, sequence 2", "tool never came", "completed, sequence 3"]


def test_a_first_event_that_never_came_stands_before_what_did():
    lines, points = told(one("thinking", "tool", "completed", dialect=BARE))
    assert points == ["started never came", "thinking"]
    place = lines.index("started never came")
    assert lines[place - 1].startswith("start of run 0")
    assert lines[place + 1] == "thinking"


def test_an_end_that_never_came_stands_behind_what_did():
    story = one(*WHOLE[:-1], end=Run.GIVEN_UP, until=UNTIL)
    lines, points = told(story)
    assert points == ["tool, sequence 3", "completed never came"]
    place = lines.index("completed never came")
    assert lines[place - 1] == "tool, sequence 3"
    assert lines[place + 1].startswith("run 0 is given up")


def test_several_gaps_have_a_line_each_and_name_no_type_that_is_not_sure():
    events = ("started:1", "thinking:2", "thinking:5", "thinking:6", "thinking:8", "tool:9",
              "completed:10")  # fmt: skip
    lines, points = told(one(*events, size=6))
    assert [text for text in points if "never" in text] == [
        "sequence 3 to 4 never came",
        "sequence 7 never came",
    ]
    assert around(lines, "sequence 7 never came") == [
        "thinking, sequence 6",
        "sequence 7 never came",
        "thinking, sequence 8",
    ]


def test_a_hung_run_says_behind_what_nothing_came():
    lines, points = told(CLASSES["run.hung"][0]())
    assert points == ["thinking, sequence 2", "nothing more came of it"]
    assert lines.index(points[1]) == lines.index(points[0]) + 1


def test_a_run_that_hung_from_its_start_says_so_behind_its_start():
    lines, points = told(one(end=Run.GIVEN_UP, until=UNTIL))
    assert points == ["nothing more came of it"]
    assert lines[lines.index(points[0]) - 1].startswith("start of run 0")


@pytest.mark.parametrize(
    ("code", "points"),
    [
        ("delivery.duplicated", ["thinking, sequence 2"]),
        ("delivery.reordered", ["thinking, sequence 2"]),
        ("delivery.numbers", ["tool, sequence 2"]),
        ("delivery.late", ["completed, sequence 4"]),
        ("delivery.unexpected", ["thinking, sequence 5"]),
        ("delivery.phantom", ["started, sequence 1"]),
    ],
)
def test_what_is_wrong_with_a_run_is_marked_and_nothing_else(code, points):
    assert told(CLASSES[code][0]())[1] == points


def test_what_was_replayed_later_is_no_gap():
    """Number 3 comes on the next connection; only 4 never does."""
    story = gap("thinking:3", "tool:5", "completed:6", before=("started:1", "thinking:2"))
    found = {f.code: f for f in judge(story.history(), story.resolved).findings}
    (case,) = found["replay.lost"].witness
    points = [step.what.replace(", of run 0", "") for step in case.steps if step.point]
    assert points == [
        "thinking, sequence 3",
        "sequence 4 (thinking) never came",
        "tool, sequence 5",
    ]


def test_a_long_case_keeps_its_gap_and_counts_what_it_leaves_out():
    story = story_of()
    client = story.open(100)
    events = ["started:1", *(f"thinking:{2 * k}" for k in range(1, 60))]
    # Every second number is taken by a message of another type, so that no two lines are one.
    key = story.run(client, 200, end=0, size=3)
    for k, event in enumerate(events):
        name, _, number = event.partition(":")
        story.got(client, 201 + k, name, key, int(number))
        if int(number) not in {1, 60}:
            story.got(client, 201.5 + k, "pong", key, int(number) + 1)
    story.got(client, 300, "tool", key, 120)
    story.got(client, 301, "completed", key, 121)
    story.over(client, 301, key)
    story.settle(client, 400)
    story.close(client, 500)
    lines, points = told(story)
    assert len(lines) <= STEPS_MAX + 1
    assert points[0].startswith("thinking, sequence 60")
    assert points[1].startswith("sequence 61 ")
    assert lines[0].startswith("dial ")
    assert sum("more line" in text for text in lines) == 2
