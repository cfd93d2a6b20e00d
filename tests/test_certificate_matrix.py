"""The matrix on made-up results: whatever differs from the table is told, and nothing else."""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from probe.certificate import pages
from probe.certificate.case import HEALTHY, Case, Count, Dose, Sound, orders
from probe.certificate.matrix import Share, matrix
from probe.certificate.result import Result
from probe.certificate.screen import tables
from probe.certificate.sight import Sight, sight

EQUAL = Count(1.0, 1.0, "each is one")
DROP = Case(
    "drop_event", "golden_path", ("delivery.lost",), Dose("1", "all"), Dose("0.02", "some"),
    EQUAL, beside=("session.failed",),
)  # fmt: skip
SWITCH = Case(
    "slow_dependency", "smoke", ("health.degraded",), Dose("1s", "one"), Dose("10ms", "one"),
    Count(None, None, "a switch"), drawn=False,
)  # fmt: skip
GOLDEN = Sound("golden_path", repeats=2)
PLANNED = orders((DROP, SWITCH), (GOLDEN,), levels=("full", "least", "healthy"), repeats=2)


def good(order):
    """The result that the table expects of an order."""
    if order.level == HEALTHY:
        return result(order, "PASS")
    if order.case == "drop_event":
        return result(order, "FAIL", codes={"delivery.lost": 7}, hits={"drop_event": 7})
    return result(order, "FAIL", codes={"health.degraded": 1})


def result(order, verdict, **more):
    return Result("v1", order.case, order.level, order.seed, order.command, verdict=verdict, **more)


def folded(*, change=None, name="", planned=PLANNED):
    """The matrix of good results, but for those of orders named `name`, which `change` alters."""
    results = [good(order) for order in planned]
    if change is not None:
        results = [change(each) if each.name == name else each for each in results]
    return matrix((DROP, SWITCH), (GOLDEN,), planned, [r for r in results if r], "v1")


def changed(name, **fields):
    return folded(change=lambda each: replace(each, **fields), name=name)


def texts(whole):
    out = io.StringIO()
    console = Console(file=out, width=160)
    for table in tables(whole):
        console.print(table)
    return out.getvalue(), pages.markdown(whole, "2026-01-01"), pages.as_json(whole, "2026-01-01")


def row(whole, defect="drop_event", level="full"):
    return next(each for each in whole.rows if (each.defect, each.level) == (defect, level))


def test_all_as_expected():
    whole = folded()
    assert (whole.wrong, whole.open_, whole.missing) == ((), (), 0)
    assert whole.seen == whole.least_seen == Share(4, 4)
    assert whole.alarms == Share(0, 2)
    assert whole.agrees == Share(4, 4), "the switch has nothing to compare"
    screen, page, data = texts(whole)
    assert "2 of 2" in screen
    assert "14 / 14" in screen
    assert "| `drop_event` | `1` | golden_path | `delivery.lost` | 2 of 2 | 15.8 to 100 % |" in page
    assert "| golden_path | 0 of 2 | 0 to 84.2 % | 2 of 2 |" in page
    assert "| `drop_event` | **2** |  | 2 |" in page
    assert "| *none* |  |  | 2 |" in page
    assert "ot as expected" not in page
    assert data["complete"]
    assert data["seen"] == {"k": 4, "n": 4, "low": 0.397635, "high": 1.0}
    assert json.loads(json.dumps(data)) == data


def test_a_miss_is_told():
    whole = changed("drop_event-full-2", verdict="PASS", codes={}, why="all kept")
    assert row(whole).seen == Share(1, 2)
    assert whole.seen == Share(3, 4)
    assert len(whole.wrong) == 1
    assert "drop_event: missed: done 7 times; PASS, all kept" in whole.wrong[0]
    assert "probe run golden_path --target lab --seed 2" in whole.wrong[0]
    screen, page, data = texts(whole)
    assert "1 of 2" in screen
    assert "| 1 of 2 | 1.2 to 98.8 % |" in page
    assert "## Not as expected" in page
    assert data["wrong"] == list(whole.wrong)


def test_a_finding_that_does_not_fail_the_run_is_a_miss():
    whole = changed("drop_event-full-1", verdict="PASS")
    assert row(whole).seen == Share(1, 2)
    assert "missed: done 7 times; PASS, delivery.lost 7" in whole.wrong[0]


def test_a_miss_of_a_switch_is_told_too():
    whole = changed("slow_dependency-full-1", verdict="PASS", codes={})
    assert whole.wrong
    assert "slow_dependency: missed: switched on" in whole.wrong[0]


def test_another_code_than_the_expected_one_is_a_miss_and_a_stray():
    whole = changed("drop_event-full-1", codes={"run.hung": 7})
    assert row(whole).seen == Share(1, 2)
    assert any("missed" in words for words in whole.wrong)
    assert any("also found: run.hung 7" in words for words in whole.wrong)


def test_a_stray_beside_the_expected_one_is_told():
    whole = changed("drop_event-full-1", codes={"delivery.lost": 7, "delivery.late": 2})
    assert row(whole).seen == Share(2, 2)
    assert whole.wrong
    assert "also found: delivery.late 2" in whole.wrong[0]
    screen, page, _ = texts(whole)
    assert "delivery.late 1" in screen
    assert "`delivery.late`" in page


def test_what_may_stand_beside_is_shown_and_no_fault():
    whole = changed("drop_event-full-1", codes={"delivery.lost": 7, "session.failed": 2})
    assert whole.wrong == ()
    assert row(whole).codes == {"delivery.lost": 2, "session.failed": 1}


def test_a_false_alarm_is_told():
    whole = changed("golden_path-healthy-1", verdict="FAIL", codes={"delivery.lost": 1})
    assert whole.alarms == Share(1, 2)
    assert "a false alarm: delivery.lost 1" in whole.wrong[0]
    _, page, _ = texts(whole)
    assert "| golden_path | 1 of 2 | 1.2 to 98.8 % | 1 of 2 | `delivery.lost` 1 |" in page
    assert "| *none* | 1 |  | 2 |" in page


def test_a_code_that_only_the_healthy_lab_brings_has_its_column():
    whole = changed("golden_path-healthy-1", verdict="FAIL", codes={"run.hung": 1})
    assert "| *none* |  |  | 1 | 2 |" in texts(whole)[1]


def test_a_healthy_run_that_fails_without_a_finding_is_a_false_alarm():
    whole = changed("golden_path-healthy-1", verdict="FAIL", why="users.delivery")
    assert whole.alarms == Share(1, 2)
    assert "a false alarm: users.delivery (" in whole.wrong[0]


@pytest.mark.parametrize("count", [6, 8])
def test_a_ledger_that_disagrees_is_told(count):
    whole = changed("drop_event-least-1", codes={"delivery.lost": count})
    assert row(whole, level="least").agrees == Share(1, 2)
    assert f"the probe counts {count}, the ledger 7; expected equal" in whole.wrong[0]
    screen, _, _ = texts(whole)
    assert f"{count + 7} / 14" in screen


def test_a_run_that_was_not_hit_counts_neither_way():
    whole = changed("drop_event-least-1", verdict="PASS", codes={}, hits={})
    assert row(whole, level="least").seen == Share(1, 1)
    assert whole.wrong == ()
    assert "1 idle" in texts(whole)[1]


def test_at_full_dose_the_ledger_has_to_have_a_hit():
    whole = changed("drop_event-full-1", verdict="PASS", codes={}, hits={})
    assert "the ledger says that nothing was done" in whole.wrong[0]


def test_a_dose_of_which_nothing_was_shown_is_open():
    def nothing(each):
        return replace(each, verdict="PASS", codes={}, hits={})

    planned = orders((DROP,), (), levels=("least",), repeats=1)
    whole = folded(change=nothing, name="drop_event-least-1", planned=planned)
    assert "none of 1 runs shows anything" in whole.open_[0]


@pytest.mark.parametrize("code", ["delivery.lost", "session.failed", "run.hung"])
def test_whatever_is_found_without_a_hit_is_a_false_alarm(code):
    whole = changed("drop_event-least-1", hits={}, codes={code: 3})
    assert "the ledger says that nothing was done, and found was " + code in whole.wrong[0]
    assert row(whole, level="least").seen == Share(1, 1)
    assert "1 alarm" in texts(whole)[1]


def test_a_busy_machine_leaves_open_and_a_witness_stands():
    why = ("heartbeat lag p99 12 ms",)
    whole = changed("drop_event-full-1", verdict="INCONCLUSIVE", codes={}, unfit=why)
    assert row(whole).seen == Share(1, 1)
    assert whole.wrong == ()
    assert "the machine was not fit: heartbeat lag p99 12 ms" in whole.open_[0]
    assert "1 unfit" in texts(whole)[1]
    # Found, but what it rests on was not to be judged.
    doubtful = changed("drop_event-full-1", verdict="INCONCLUSIVE", unfit=why)
    assert row(doubtful).seen == Share(1, 1)
    assert doubtful.open_
    stands = changed("drop_event-full-1", unfit=why)
    assert row(stands).seen == Share(2, 2)
    assert stands.open_ == ()


@pytest.mark.parametrize(
    ("fields", "seen"),
    [
        ({"verdict": "PASS"}, Sight.QUIET),
        ({"verdict": "PASS", "unfit": ("lag",)}, Sight.QUIET),
        ({"verdict": "INCONCLUSIVE"}, Sight.QUIET),
        ({"verdict": "INCONCLUSIVE", "unfit": ("lag",)}, Sight.UNFIT),
        ({"verdict": "INVALID", "unfit": ("lag",)}, Sight.UNFIT),
        ({"verdict": "FAIL", "unfit": ("lag",)}, Sight.ALARM),
        ({"verdict": "PASS", "notes": {"delivery.unknown": 1}}, Sight.QUIET),
        ({"verdict": "ERROR"}, Sight.BROKEN),
        ({"verdict": ""}, Sight.BROKEN),
        ({"verdict": "PASS", "error": "no end within 120 s"}, Sight.BROKEN),
    ],
)
def test_what_a_healthy_run_comes_to(fields, seen):
    assert sight(None, Result("v1", "smoke", HEALTHY, 1, "probe run", **fields)) is seen


def test_a_run_without_a_verdict_is_told_and_counts_for_nothing():
    whole = changed("drop_event-full-1", verdict="", error="exit 5 without a verdict: oh")
    assert "no verdict: exit 5 without a verdict: oh" in whole.wrong[0]
    assert row(whole).seen == Share(1, 1)


def test_what_is_missing_is_counted():
    whole = folded(change=lambda _: None, name="golden_path-healthy-2")
    assert whole.missing == 1
    assert "**not complete**: 1 runs" in texts(whole)[1]
    assert not texts(whole)[2]["complete"]


def test_results_of_other_commands_are_not_looked_at():
    stranger = Result("v1", "drop_event", "full", 1, "probe run other", verdict="PASS")
    results = [*(good(order) for order in PLANNED), stranger]
    whole = matrix((DROP, SWITCH), (GOLDEN,), PLANNED, results, "v1")
    assert row(whole).runs == 2
    assert whole.wrong == ()


def test_no_interval_claims_more_than_it_has():
    assert pages.percent(Share(0, 0)) == "-"
    assert pages.percent(Share(10, 10)) == "69.1 to 100 %"
    assert pages.percent(Share(0, 10)) == "0 to 30.9 %"
