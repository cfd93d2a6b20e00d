"""compare, check with a baseline, history and prune, over runs that were written by hand."""

import json
import os
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from probe.cli.baseline import baseline_of
from probe.cli.judging import judge_run
from tests.stored_runs import report, store, story


def run(probe, number, *, slower=1.0, judged=True, day=1, unfit=False, **meta):
    started = datetime(2026, 11, day, 12, 0, number, tzinfo=UTC)
    folder = probe.results / f"{started:%Y%m%d-%H%M%S}-hand-{number:04x}"
    made = story(number, slower=slower, unfit=unfit)
    store(made, folder, started_at=started.isoformat(), **meta)
    return report(folder, judge_run(folder)) if judged else folder


def baseline(folder, *before, fail_on=None):
    whole = {
        "schema": 1,
        "before": [os.path.relpath(each, folder) for each in before],
        "known": [],
        "small": 0.05,
        "fail_on": fail_on,
    }
    (folder / "baseline.json").write_text(json.dumps(whole))


def names(probe):
    return sorted(path.parent.name for path in probe.runs())


def test_a_run_with_itself_is_the_same_run(probe):
    run(probe, 1)
    done = probe.inside("compare", "latest", "latest")
    assert done.code == 0
    assert "the same run" in done.out


def test_two_directories_of_runs_are_compared(probe):
    for arm, slower in (("old", 1.0), ("new", 1.4)):
        for k in range(8):
            folder = run(probe, k + 10 * (arm == "new"), slower=slower)
            (probe.cwd / arm).mkdir(exist_ok=True)
            folder.rename(probe.cwd / arm / folder.name)
    done = probe.inside("compare", "old", "new")
    assert done.code == 1, done.told
    assert "WORSE" in done.out
    told = json.loads(probe.inside("compare", "old", "new", "--json").out)
    assert told["said"] == "worse"
    assert {row["how"] for row in told["rows"] if row["unit"] == "s"} >= {"ranks"}
    assert probe.inside("compare", "new", "old").code == 0
    written = probe.inside("compare", "old", "new", "--markdown").out
    assert "| load.connect p50 |" in written


def test_single_runs_are_compared_with_what_the_runs_before_differed_by(probe):
    folders = [run(probe, k) for k in range(6)]
    slow = run(probe, 6, slower=1.5)
    done = probe.inside("compare", folders[-1].name, slow.name)
    assert done.code == 1, done.told
    assert "runs of the same thing are known from 6 runs" in done.out


def test_undecided_ends_with_3_where_it_is_asked_for(probe):
    first, last = run(probe, 1), run(probe, 2)
    assert probe.inside("compare", first.name, last.name).code == 0
    assert probe.inside("compare", first.name, last.name, "--fail-on", "undecided").code == 3


def test_nothing_that_could_be_compared_ends_with_3(probe):
    first, last = run(probe, 1), run(probe, 2, unfit=True)
    done = probe.inside("compare", first.name, last.name)
    assert done.code == 3
    assert "nothing was compared" in done.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere", "latest"), "no run of that name"),
        (("latest", "latest", "--margin", "0%"), "--margin"),
        (("latest", "latest", "--margin", "lots"), "--margin"),
    ],
)
def test_what_cannot_be_compared_is_a_mistake_of_the_call(probe, words, said):
    run(probe, 1)
    done = probe.inside("compare", *words)
    assert done.code == 2
    assert said in done.err


def test_a_run_on_both_sides_is_refused(probe):
    folders = [run(probe, k) for k in range(3)]
    done = probe.inside("compare", "results", folders[0].name)
    assert done.code == 2
    assert "stands on both sides" in done.err


def test_a_run_judged_again_is_compared_again_and_says_the_same(probe):
    old, new = run(probe, 1), run(probe, 2, slower=5.0, judged=False)
    baseline(new, old, fail_on="worse")
    report(new, judge_run(new))
    verdict = json.loads((new / "verdict.json").read_text())
    assert verdict["verdict"] == "FAIL"
    assert verdict["reasons"][0].startswith("run.compared: against")
    assert "## Compared: worse" in (new / "report.md").read_text()
    first = (new / "comparison.json").read_bytes()
    done = probe.inside("check", new.name)
    assert done.code == 1
    assert "compared: worse" in done.out
    probe.inside("report", new.name, "--write")
    assert (new / "comparison.json").read_bytes() == first


def test_without_fail_on_a_comparison_is_told_and_no_part_of_the_verdict(probe):
    old, new = run(probe, 1), run(probe, 2, slower=5.0, judged=False)
    baseline(new, old)
    report(new, judge_run(new))
    verdict = json.loads((new / "verdict.json").read_text())
    assert verdict["verdict"] == "PASS"
    assert all(check["id"] != "run.compared" for check in verdict["checks"])
    assert json.loads((new / "comparison.json").read_text())["said"] == "worse"


@pytest.mark.parametrize(
    ("fail_on", "unfit", "verdict"),
    [("worse", False, "PASS"), ("undecided", False, "INCONCLUSIVE")],
)
def test_what_is_not_decided_fails_nothing_unless_it_was_asked_for(probe, fail_on, unfit, verdict):
    old, new = run(probe, 1), run(probe, 2, unfit=unfit, judged=False)
    baseline(new, old, fail_on=fail_on)
    assert judge_run(new).verdict == verdict


def test_a_baseline_that_was_unfit_leaves_the_gate_open(probe):
    old, new = run(probe, 1, unfit=True), run(probe, 2, judged=False)
    baseline(new, old, fail_on="worse")
    judgement = judge_run(new)
    assert judgement.verdict == "INCONCLUSIVE"
    assert "nothing was compared" in judgement.reasons[0]


def test_where_the_baseline_is_gone_the_comparison_stands_as_it_was(probe):
    old, new = run(probe, 1), run(probe, 2, slower=5.0, judged=False)
    baseline(new, old, fail_on="worse")
    report(new, judge_run(new))
    old.rename(probe.cwd / "elsewhere")
    judgement = judge_run(new)
    assert judgement.verdict == "FAIL"
    assert judgement.summary["comparison"]["notes"][-1].startswith("as it was compared when")
    (new / "comparison.json").unlink()
    done = probe.inside("check", new.name)
    assert done.code == 2
    assert "is gone" in done.err


def test_runs_of_another_version_are_no_baseline_and_tell_nothing(probe):
    folders = [run(probe, k) for k in range(6)]
    meta = folders[3] / "history" / "meta.json"
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "schema": 1}))
    done = probe.inside("compare", folders[4].name, folders[5].name)
    assert done.code == 0, done.told
    assert "known from 4 runs" in done.out
    assert probe.inside("compare", folders[3].name, "latest").code == 2


def test_history_lists_the_newest_first_and_takes_no_times_from_an_unfit_run(probe):
    for k in range(3):
        run(probe, k, unfit=k == 2)
    done = probe.inside("history", env={"COLUMNS": "120"})
    listed = [line.split()[1] for line in done.out.splitlines()]
    assert listed == sorted(listed, reverse=True)
    assert "connect p95" not in done.out.splitlines()[0]
    assert "unfit" in done.out.splitlines()[0]
    assert "connect p95 2" in done.out.splitlines()[1]
    narrow = probe.inside("history", env={"COLUMNS": "60"}).out
    assert all(len(line) <= 60 for line in narrow.splitlines())
    assert "no run" in probe.inside("history", "--scenario", "other").out
    assert "no run" in probe.inside("history", "other").out
    name = json.loads(probe.inside("history", "--json").out)["runs"][0]["scenario"]
    assert probe.inside("history", name, env={"COLUMNS": "120"}).out == done.out
    assert probe.inside("history", name, "--scenario", "other").code == 2
    told = json.loads(probe.inside("history", "--json", "-n", "2").out)
    assert len(told["runs"]) == 2
    assert told["runs"][0]["main"][0]["unit"] in ("s", "rate")


def test_of_a_run_without_a_finding_there_is_no_issue_and_that_is_no_mistake(probe):
    run(probe, 1)
    done = probe.inside("issue", "latest")
    assert (done.code, done.out) == (0, "")
    assert "this run (PASS) has no finding" in done.err
    assert probe.inside("issue", "latest", "delivery.lost").code == 2
    named = probe.inside("export", "latest")
    assert named.code == 2
    assert "prometheus" in named.err


def test_the_baseline_is_told_with_its_verdict(probe):
    folder = run(probe, 1)
    verdict = json.loads((folder / "verdict.json").read_text())
    verdict["headline"] = "PASS but for 1 finding accepted until 2030-01-01"
    (folder / "verdict.json").write_text(json.dumps(verdict))
    loaded: Any = SimpleNamespace(name=verdict["scenario"], target_name=verdict["target"])
    _, told = baseline_of("latest", None, probe.results, loaded)
    assert told == [f"compared with {folder.name}, which ended {verdict['headline']}"]


def test_history_plots_the_course_and_says_where_it_changed(probe):
    for k in range(16):
        run(probe, k, slower=1.0 if k < 8 else 3.0)
    out = probe.inside("history", "--plot", "--target", "hand").out
    assert "connect p95, 16 runs" in out
    assert "changed: 2" in out
    told = json.loads(probe.inside("history", "--plot", "--json").out)
    (course,) = [each for each in told["courses"] if each["name"] == "connect p95"]
    assert course["shifts"][0][0] == 8


def test_prune_tells_first_and_removes_only_when_it_is_told_to(probe):
    for k in range(4):
        run(probe, k)
    before = names(probe)
    done = probe.inside("prune", "--keep", "2")
    assert done.code == 0
    assert "2 of 4 runs would go" in done.out
    assert probe.inside("prune", "--keep", "2", "--dry-run").out == done.out
    assert probe.inside("prune", "--keep", "2", "--dry-run", "--yes").code == 2
    assert names(probe) == before
    assert "2 of 4 runs removed" in probe.inside("prune", "--keep", "2", "--yes").out
    assert names(probe) == before[2:]


def test_prune_never_removes_the_latest_the_last_good_or_a_baseline(probe):
    old = run(probe, 1)
    run(probe, 2)
    passed = run(probe, 3)
    newer = run(probe, 4, unfit=True)
    latest = run(probe, 5, unfit=True, judged=False)
    baseline(latest, old)
    report(latest, judge_run(latest))
    probe.inside("prune", "--max-size", "1B", "--yes")
    assert names(probe) == sorted([old.name, passed.name, latest.name])
    assert not newer.exists()


def test_prune_by_age_and_by_size(probe):
    day = datetime.now(UTC).replace(microsecond=0)
    for k, days in enumerate((40, 20, 1)):
        when = day - timedelta(days=days)
        folder = probe.results / f"{when:%Y%m%d-%H%M%S}-hand-{k:04x}"
        store(story(k), folder, started_at=when.isoformat())
        report(folder, judge_run(folder))
    assert "1 of 3 runs would go" in probe.inside("prune", "--older-than", "30d").out
    done = probe.inside("prune", "--max-size", "1kB")
    assert "2 of 3 runs would go" in done.out
    assert "still above --max-size" in done.out


def test_prune_leaves_alone_what_may_still_be_going_on_and_what_is_no_run(probe):
    going = run(probe, 1, judged=False)
    run(probe, 2)
    run(probe, 3)
    other = probe.results / "notes"
    other.mkdir()
    elsewhere = probe.cwd / "elsewhere"
    store(story(9), elsewhere)
    (probe.results / "20200101-000000-link-0000").symlink_to(elsewhere)
    probe.inside("prune", "--keep", "1", "--yes")
    assert going.exists()
    assert other.exists()
    assert elsewhere.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "needs to know what to keep"),
        (("--max-size", "lots"), "--max-size"),
        (("--older-than", "long"), "--older-than"),
    ],
)
def test_prune_without_a_bound_is_a_mistake_of_the_call(probe, words, said):
    done = probe.inside("prune", *words)
    assert done.code == 2
    assert said in done.err
