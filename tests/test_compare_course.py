"""Where a course of runs changed: found where it did, and rarely where it did not."""

import numpy as np
import pytest

from probe.report.past import Main as Figure
from probe.report.past import Past, courses, past_of, plot, said
from probe.stats.course import RUNS_MIN, change_points


def test_too_few_runs_are_not_looked_at():
    assert change_points(np.array([1.0] * (RUNS_MIN // 2) + [2.0] * (RUNS_MIN // 2 - 1))) is None


def test_a_jump_is_found_where_it_is():
    rng = np.random.default_rng(1)
    course = np.concatenate([rng.normal(0, 0.05, 14), rng.normal(0.3, 0.05, 9)])
    (found,) = change_points(course) or []
    assert found.at == 14
    assert found.before == pytest.approx(0, abs=0.05)
    assert found.after == pytest.approx(0.3, abs=0.05)
    assert change_points(course) == [found]


def test_two_jumps_are_both_found():
    rng = np.random.default_rng(2)
    course = np.concatenate([rng.normal(m, 0.05, 15) for m in (0, 0.5, 0.1)])
    assert [each.at for each in change_points(course) or ()] == [15, 30]


def test_one_wild_run_is_no_change():
    course = np.random.default_rng(3).normal(0, 0.05, 30)
    course[11] = 5.0
    assert change_points(course) == []


def test_a_course_that_never_changes_rarely_shows_one():
    rng = np.random.default_rng(4)
    wrong = sum(bool(change_points(rng.standard_t(3, 24))) for _ in range(60))
    assert wrong <= 4


def test_values_that_are_all_alike_have_no_change():
    assert change_points(np.ones(40)) == []


def run(k, value, unit="s", name="connect p95"):
    started = f"2026-11-{1 + k // 24:02}T{k % 24:02}:00:00+00:00"
    main = (Figure(name, value, unit),)
    return Past(f"run-{k:03}", "smoke", "lab", started, "PASS", "PASS", True, main)


def test_a_course_says_from_when_and_by_how_much_it_changed():
    runs = [run(k, 0.012 + 0.0001 * (k % 3)) for k in range(10)]
    runs += [run(k, 0.018 + 0.0001 * (k % 3)) for k in range(10, 20)]
    (course,) = courses(runs[::-1])
    assert course.runs[0] == "run-000"
    assert said(course) == ["changed: 12.1 ms before, 18.1 ms since 2026-11-01 10:00"]
    lines = plot(course, 60, ascii_only=True)
    assert all(len(line) <= 60 for line in lines)
    assert sum(line.count("o") for line in lines[1:8]) == 20
    assert lines[8].index("^") - lines[1].index("|") == 11


def test_a_change_that_is_too_small_to_matter_is_not_told():
    runs = [run(k, 0.01 * (1.0 if k < 12 else 1.03)) for k in range(24)]
    assert said(courses(runs)[0]) == ["no change was found"]


def test_a_course_of_few_runs_says_so_and_one_that_is_flat_is_a_line():
    assert "too few" in said(courses([run(k, 0.01 * k + 0.01) for k in range(5)])[0])[0]
    flat = courses([run(k, 1.0, "rate", "success") for k in range(5)])[0]
    assert plot(flat, 80) == ["smoke -> lab: success, 5 runs, all 100 %"]


def test_a_long_course_shows_its_newest_runs():
    (course,) = courses([run(k, 0.01 + 0.001 * (k % 5)) for k in range(100)])
    lines = plot(course, 40, ascii_only=True)
    assert max(map(len, lines[1:])) <= 40


def test_an_unfit_run_shows_no_times_and_what_a_run_has_not_is_left_out():
    summary = {
        "counts": {"clients": 10, "clients_by_end": {"complete": 9}},
        "latency": {"load": {"connect": {"n": 10, "p95": {"estimate_s": 0.01}}}},
    }
    checks = [{"id": "load.success", "stage": "load", "n": 10, "estimate": 0.9}]
    unfit = past_of({"run_id": "a", "fitness": {"fit": False}, "checks": checks}, summary)
    assert [each.text for each in unfit.main] == ["success 90 %"]
    fit = past_of({"run_id": "a", "fitness": {"fit": True}, "checks": checks}, summary)
    assert [each.text for each in fit.main] == ["connect p95 10 ms", "success 90 %"]
    assert past_of({}, {}).main == ()


def test_success_is_that_of_the_checks_of_success_and_of_nobody_who_was_rightly_refused():
    summary = {"counts": {"clients": 135, "clients_by_end": {"complete": 123}}}
    one = {"id": "users.success", "stage": "users", "n": 75, "estimate": 1.0}
    more = {"id": "full.success", "stage": "full", "n": 25, "estimate": 0.6}
    nobody = {"id": "late.success", "stage": "late", "n": 0, "estimate": None}
    runs = {"id": "users.runs", "stage": "users", "n": 75, "estimate": 0.1}

    def main(*checks):
        return [each.text for each in past_of({"checks": checks}, summary).main]

    assert main(one, runs) == ["success 100 %"]
    assert main(one, more, nobody) == ["success 90 %"]
    assert main(runs, nobody) == []
