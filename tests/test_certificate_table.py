"""The table of cases is whole, and every run that it plans can be made."""

from collections import Counter
from pathlib import Path

import pytest

from probe.certificate.case import HEALTHY, REPEATS, TARGET, Count, Level, Order, orders
from probe.certificate.cases import CASES
from probe.certificate.sound import SOUND
from probe.check.catalogue import CATALOGUE
from probe.cli.again import only
from probe.cli.files import load
from probe.engine.lab import SECRET_VARIABLE
from probe.lab.defects import parse_value
from probe.lab.table import TABLE
from probe.model.plan import make_plan

SCENARIOS = Path(__file__).parent.parent / "scenarios"
SECRET = {SECRET_VARIABLE: "s" * 40}
LEVELS: tuple[Level, ...] = ("full", "least", "healthy")
EACH = orders(CASES, SOUND, levels=LEVELS, repeats=1)


def test_every_defect_of_the_lab_has_one_case_and_no_other_has():
    assert sorted(case.defect for case in CASES) == sorted(TABLE)


def test_every_scenario_is_run_on_the_healthy_lab():
    files = {path.stem for path in (*SCENARIOS.glob("*.toml"), *SCENARIOS.glob("*.py"))}
    assert {each.scenario for each in SOUND} == files
    assert len(SOUND) == len(files)
    assert {case.scenario for case in CASES} <= files


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.defect)
def test_a_case_says_what_it_expects_and_why(case):
    assert case.codes
    assert case.allowed <= set(CATALOGUE)
    assert not set(case.codes) & set(case.beside)
    assert case.count.why
    for dose in (case.full, case.least):
        if dose is not None:
            assert dose.sees
            parse_value(TABLE[case.defect], dose.value)
    assert case.least is None or (case.least.value, case.least.sets) != (case.full.value, ())
    if not case.drawn:
        assert not case.count.compared, "without lines in the ledger there is nothing to compare"


def test_a_code_tells_which_defect_it_was():
    """In one stage no two defects are seen as the same; two that lose events are."""
    places = Counter((case.scenario, case.stage, code) for case in CASES for code in case.codes)
    assert [place for place, n in places.items() if n > 1] == [("golden_path", "", "delivery.lost")]


@pytest.mark.parametrize("order", EACH, ids=lambda order: order.name)
def test_every_run_can_be_planned(order, monkeypatch):
    monkeypatch.chdir(SCENARIOS.parent)
    loaded = load(order.scenario, TARGET, list(order.sets), SECRET)
    assert loaded.target.embedded
    scenario = loaded.scenario
    if order.stage:
        loaded = only(loaded, [order.stage], None, None)
        scenario = loaded.scenario
        assert list(scenario.stages) == [order.stage]
    if order.restarts is not None:
        assert any(stage.anchor == "restart" for stage in scenario.stages.values())
        scenario = scenario.with_trials(order.restarts)
    plan = make_plan(scenario, loaded.target, loaded.dialect, order.seed)
    assert plan.clients or any(stage.climbers for stage in plan.stages)


def test_names_and_commands_of_runs_are_all_different():
    whole = orders(CASES, SOUND, levels=LEVELS, repeats=None)
    assert len({order.name for order in whole}) == len(whole)
    assert len({order.command for order in whole}) == len(whole)
    doses = sum(1 if case.least is None else 2 for case in CASES)
    assert len(whole) == doses * REPEATS + sum(each.repeats for each in SOUND)
    assert [order.seed for order in whole] == sorted(order.seed for order in whole)


def test_more_repeats_and_more_levels_hold_all_that_fewer_had():
    quick = orders(CASES, SOUND, levels=("full", "healthy"), repeats=1)
    assert len(quick) == len(CASES) + len(SOUND)
    assert {order.level for order in quick} == {"full", "healthy"}
    whole = orders(CASES, SOUND, levels=LEVELS, repeats=None)
    assert {order.command for order in quick} <= {order.command for order in whole}


def test_an_order_is_the_command_that_a_person_types():
    order = Order("drop_event", "full", "golden_path", 3, "drop_event=1", ('a.b=["x"]',), 2)
    assert order.name == "drop_event-full-3"
    assert order.command == (
        "probe run golden_path --target lab --seed 3 --set 'a.b=[\"x\"]' --restarts 2 "
        "--defect drop_event=1"
    )
    alone = Order("refresh_race", "full", "session_races", 1, stage="refresh")
    assert alone.command == "probe run session_races --target lab --seed 1 --stage refresh"
    healthy = Order("smoke", HEALTHY, "smoke", 1)
    assert healthy.command == "probe run smoke --target lab --seed 1"


@pytest.mark.parametrize(
    ("count", "word", "fits", "not_"),
    [
        (Count(1.0, 1.0, "x"), "equal", [3], [0, 2, 4]),
        (Count(1.0, None, "x"), "at least", [3, 9], [0, 2]),
        (Count(None, 1.0, "x"), "at most", [0, 3], [4]),
        (Count(5.0, 5.0, "x"), "5 times", [15], [14, 16]),
        (Count(1.0, 4.0, "x"), "1 to 4 times", [3, 12], [2, 13]),
        (Count(None, None, "x"), "not compared", [0, 3, 99], []),
    ],
)
def test_counts_compare_with_three_hits(count, word, fits, not_):
    assert count.word == word
    assert all(count.holds(number, 3) for number in fits)
    assert not any(count.holds(number, 3) for number in not_)
