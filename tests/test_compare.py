"""Two arms of runs compared: what is judged, what is refused, and what is said of both."""

import itertools
from dataclasses import replace

import pytest
from rich.console import Console

from probe.check.comparing.comparison import compare
from probe.check.comparing.rows import UNKNOWN
from probe.check.comparing.taken import take
from probe.check.judge import judge
from probe.check.verdict import Acceptance, Finding, Outcome
from probe.report.comparison import comparison_document, finding_lines, headline, remarks
from probe.report.comparison_views import comparison_markdown, screen
from probe.report.page.compared import comparison_blocks
from tests.stored_runs import story

NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
def _the_same_numbers_for_each_test():
    global NUMBERS  # noqa: PLW0603 -- what a test draws must not hang on which ran before it
    NUMBERS = itertools.count()


def one(made=None, *, name="", meta=None, **how):
    """A run of its own as a comparison takes it."""
    made = made or story(next(NUMBERS), **how)
    number = next(NUMBERS)
    run_id = name or f"run-{number:04}"
    started = f"2026-11-01T00:{number // 60 % 60:02}:{number % 60:02}+00:00"
    history = made.history(run_id=run_id, started_at=started, **(meta or {}))
    return take(history, made.resolved, judge(history, made.resolved))


def some(count, **how):
    return [one(**how) for _ in range(count)]


def row(comparison, name):
    return next(each for each in comparison.rows if each.name == name)


def said(comparison):
    return {each.name: each.said for each in comparison.rows if each.judged}


def test_a_run_with_itself_is_the_same_run():
    run = one()
    found = compare([run], [run])
    assert found.said == "the same run"
    assert not found.rows
    several = some(3)
    assert compare(several, several[::-1]).said == "the same run"


def test_eight_runs_of_the_same_thing_are_the_same():
    found = compare(some(8), some(8))
    assert found.said in ("same", "undecided")
    assert row(found, "connect p50").said == "same"
    assert row(found, "connect p50").how == "ranks"
    assert not set(said(found).values()) & {"worse", "better"}


@pytest.mark.parametrize(("slower", "word"), [(1.3, "worse"), (0.5, "better")])
def test_eight_slower_runs_are_worse_and_eight_faster_ones_better(slower, word):
    found = compare(some(8), some(8, slower=slower))
    assert found.said == word
    assert row(found, "connect p50").said == word
    assert row(found, "connect p50").change == pytest.approx((1 + slower) / 2 - 1, abs=0.03)


def test_ten_per_cent_slower_is_never_the_same():
    # Connects take 10 ms and another 10, of which 20 % more are 10 % more in all.
    found = compare(some(8), some(8, slower=1.2))
    assert row(found, "connect p50").said in ("worse", "undecided")


def test_of_single_runs_nothing_known_no_timing_is_the_same_and_a_small_change_is_none():
    found = compare([one()], [one(slower=1.3)])
    assert found.said == "undecided"
    assert row(found, "connect p50").how == "blocks"
    assert row(found, "connect p50").margin == UNKNOWN
    assert compare([one()], [one()]).said == "undecided"
    assert compare([one()], [one(slower=4.0)]).said == "worse"


def test_of_single_runs_the_course_before_tells_how_much_runs_differ():
    course = some(8)
    found = compare(course[-1:], [one(slower=1.3)], course=course)
    assert row(found, "connect p50").how == "spread"
    assert row(found, "connect p50").noise < 0.05
    assert found.said == "worse"
    again = compare(course[-1:], [one()], course=course)
    assert row(again, "connect p50").said in ("same", "undecided")


def test_what_stands_below_a_head_is_judged_where_the_head_differs():
    alike = compare(some(8), some(8))
    assert row(alike, "upgrade p50").why == "connect was not found to differ"
    slower = compare(some(8), some(8, slower=2.0))
    assert row(slower, "upgrade p50").judged


def test_pairs_are_compared_by_their_differences():
    before = [one(slower=1 + k) for k in range(12)]  # hours that differ by far
    now = [one(slower=1.5 + k * 1.25) for k in range(12)]
    found = compare(before, now, paired=True)
    assert row(found, "connect p50").how == "pairs"
    assert row(found, "connect p50").said == "worse"


def test_a_tail_that_no_run_reaches_alone_is_that_of_all_their_samples():
    found = compare(some(8, clients=200), some(8, clients=200, slower=2.0))
    assert row(found, "connect p99").how == "pooled"
    assert row(found, "connect p99").said == "worse"
    few = compare(some(3), some(3))
    assert row(few, "connect p99").why == "too few runs, or too little in each"


def test_a_pair_counts_whole_or_not_at_all():
    before, now = some(4), some(4, slower=1.3)
    before[1] = one(unfit=True)
    found = compare(before, now, paired=True)
    assert row(found, "connect p50").said in ("worse", "undecided")
    three = [k for k in range(4) if k != 1]
    alone = compare([before[k] for k in three], [now[k] for k in three], paired=True)
    assert row(found, "connect p50").interval == row(alone, "connect p50").interval


def test_failures_are_worse_however_fast_the_rest_is():
    found = compare(some(8), some(8, failing=12))
    assert row(found, "success").said == "worse"
    assert row(found, "success").now == pytest.approx(68 / 80)
    assert found.said == "worse"


def test_an_unfit_run_is_not_compared_and_never_the_same():
    found = compare([one()], [one(unfit=True)])
    assert found.said == "nothing compared"
    assert all(not each.judged for each in found.rows)
    assert "left out" in found.notes[-1]
    assert "heartbeat lag" in found.notes[-1]


def test_a_run_that_did_not_end_is_not_compared():
    found = compare([one()], [one(meta={"complete": False})])
    assert found.said == "nothing compared"
    assert found.notes == ("1 of 1 now left out: the run did not come to its end",)


def different(**how):
    made = story(1)
    return replace(one(made), **how)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"target": {"name": "other"}},
            "the targets differ: target.name was hand and is other",
        ),
        (
            {"dialect": {"title": "x"}},
            "the dialects differ: dialect.title was by hand and is x",
        ),
        (
            {"played_by": {"workers": 4}},
            "one was played by 1 process(es), the other by 4",
        ),
        (
            {"stages": {"load": {"activity": "load", "patience": 1}}},
            "stages.load.",
        ),
        ({"stages": {"other": {}}}, "there is no stage load now"),
    ],
)
def test_what_was_played_differently_is_refused_by_name(change, words):
    run = one()
    if "played_by" in change:
        change = {"played_by": {**run.played_by, **change["played_by"]}}
    if "target" in change:
        change = {"target": {**run.target, **change["target"]}}
    found = compare([run], [replace(run, run_id="another", **change)])
    assert found.said == "nothing compared"
    assert found.refused[0].startswith(words)
    assert not found.rows


def test_targets_that_differ_on_purpose_are_compared():
    run = one()
    other = replace(one(), target={**run.target, "name": "other"})
    assert compare([run], [other], across=True).rows


def test_expectations_and_seeds_may_differ():
    made = story(5, stages={"load": {"populations": {"users": {"shape": {"clients": 3}}}}})
    found = compare([one()], [one(made, meta={"seed": 99})])
    assert not found.refused
    assert found.rows


def test_other_machines_and_defects_are_told():
    run = one()
    by = {**run.played_by, "platform": "elsewhere", "defects": ["slow_boot"]}
    notes = compare([run], [replace(one(), played_by=by)]).notes
    assert any("played from different machines" in note for note in notes)
    assert "defects of the lab: none before, slow_boot now" in notes


def finding(code="delivery.lost", evidence="witness", severity="critical", **more):
    return Finding(code, severity, evidence, 1, "an event was lost", "", check="load.x", **more)


def test_findings_are_new_still_there_not_seen_or_not_looked_for():
    clean, broken = one(), replace(one(), findings=(finding(),))
    new = compare([clean], [broken])
    assert [(each.code, each.state) for each in new.findings] == [("delivery.lost", "new")]
    assert new.said == "worse"
    still = compare([broken], [replace(broken, run_id="b")])
    assert still.findings[0].state == "still there"
    assert still.said == "undecided"
    passed = replace(clean, checks={"load.x": Outcome.PASS})
    unseen = compare([broken], [passed])
    assert unseen.findings[0].state == "not seen now"
    told = comparison_document(compare([broken], [replace(passed, why_not="it was unfit")]))
    assert headline(told) == "no figure could be compared: findings: 1 not seen now"
    assert finding_lines(told) == ["not seen now: delivery.lost (critical)"]
    unlooked = compare([broken], [clean])
    assert unlooked.findings[0].state == "not looked for now"


@pytest.mark.parametrize(
    "new",
    [
        finding(evidence="bound"),
        finding(severity="minor"),
        finding(accepted=Acceptance("ann", "2030-01-01", "known")),
    ],
)
def test_a_limit_just_broken_a_trifle_and_what_was_accepted_make_nothing_worse(new):
    found = compare([one()], [replace(one(), findings=(new,))])
    assert found.findings[0].state == "new"
    assert found.said == "undecided"


def lines(told, width):
    console = Console(width=width, force_terminal=False, color_system=None)
    return [str(line) for line in screen(told, console)]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_screen_fits_and_shows_every_row_with_its_interval(width):
    told = comparison_document(compare(some(8), some(8, slower=1.3)))
    shown = lines(told, width)
    assert all(len(line) <= width for line in shown)
    assert shown[0].startswith("compared: worse: ")
    (place,) = [k for k, line in enumerate(shown) if line.startswith("    connect p50")]
    assert "WORSE" in shown[place]
    assert " +1" in shown[place] + shown[place + 1]
    assert "[+1" in shown[place] + shown[place + 1]


def test_every_view_says_the_same_and_none_lets_a_server_speak():
    hostile = finding(severity="critical")
    hostile = replace(hostile, message="\x1b[31m| <b>x</b> `y`\n# z")
    now = replace(one(slower=4.0), findings=(hostile,))
    told = comparison_document(compare([one()], [now]))
    text = "\n".join(lines(told, 100))
    assert "\x1b" not in text
    assert headline(told) in text.replace("\n", " ")
    written = comparison_markdown(told)
    assert "<b>" not in written
    assert "\n# z" not in written
    assert written.startswith("## Compared: worse")
    kinds = [block["kind"] for block in comparison_blocks(told)]
    assert kinds[:3] == ["words", "words", "table"]
    assert comparison_markdown(None) == ""
    assert comparison_blocks(None) == []


def test_what_is_missing_is_said_beside_the_table():
    told = comparison_document(compare([one(clients=20)], [one(clients=20)]))
    assert told["said"] == "undecided"  # success alone is left
    assert not [row for row in told["rows"] if row["name"].startswith("connect")]
    single = comparison_document(compare([one()], [one()]))
    assert any("none of it is called the same" in each for each in remarks(single))
