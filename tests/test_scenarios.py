"""The files that are shipped: all valid, all fitting together, all read back as they are."""

from pathlib import Path

import pytest

from probe.cli.files import load_scenario
from probe.model.dialect import Dialect
from probe.model.plan import ceilings, make_plan
from probe.model.reading import build, parse
from probe.model.resolved import Resolved, target_facts
from probe.model.scenario import Scenario
from probe.model.target import Target

ROOT = Path(__file__).parent.parent / "scenarios"
SCENARIOS = sorted((*ROOT.glob("*.toml"), *ROOT.glob("*.py")))
TARGETS = sorted((ROOT / "targets").glob("*.toml"))
DIALECTS = sorted((ROOT / "dialects").glob("*.toml"))
SECRET = "k" * 20 + "-0123456789-" + "s" * 20
VARIABLES = {
    "PROBE_WS_URL": "ws://127.0.0.1:8000/ws?key=" + SECRET,
    "PROBE_HEALTH_URL": "http://127.0.0.1:8000/health",
    "PROBE_TOKEN_URL": "http://127.0.0.1:8000/token",
    "PROBE_PASSWORD": SECRET,
    "PROBE_RESTART": "./restart",
    "PROBE_JWT_KEY": SECRET,
    "PROBE_LAB_SECRET": SECRET,
    "PROBE_TOKEN": SECRET,
}


def load(model, path):
    if model is Scenario:
        return load_scenario(str(path), [])[1]
    variables = VARIABLES if model is Target else None
    return build(model, parse(path.read_text(encoding="utf-8"), str(path)), str(path), variables)


def name(path):
    return path.stem


def test_there_are_some_of_each():
    assert {"smoke", "cold_start"} <= {path.stem for path in SCENARIOS}
    assert {"lab", "local", "staging"} <= {path.stem for path in TARGETS}
    assert {"agent_events", "plain"} <= {path.stem for path in DIALECTS}


@pytest.mark.parametrize("path", TARGETS, ids=name)
def test_a_target_names_a_dialect_that_is_there(path):
    target = load(Target, path)
    assert (ROOT / "dialects" / f"{target.dialect}.toml") in DIALECTS
    assert target.embedded == (path.stem == "lab")


@pytest.mark.parametrize("scenario_path", SCENARIOS, ids=name)
@pytest.mark.parametrize("target_path", TARGETS, ids=name)
def test_every_scenario_plans_within_every_target(scenario_path, target_path):
    scenario, target = load(Scenario, scenario_path), load(Target, target_path)
    restarts = any(stage.anchor == "restart" for stage in scenario.stages.values())
    if restarts and target.restart.by == "none":
        pytest.skip("this target cannot be restarted, and says so")
    dialect = load(Dialect, ROOT / "dialects" / f"{target.dialect}.toml")
    plan = make_plan(scenario, target, dialect, 7)
    levels = [len(s.level(s.stage.capacity.begin, 0, 7)) for s in plan.stages if s.stage.capacity]
    assert plan.clients or levels
    assert all(levels)
    assert all(len(stage.clients) for stage in plan.stages if not stage.stage.capacity)
    ceilings(plan, target)


@pytest.mark.parametrize("scenario_path", SCENARIOS, ids=name)
@pytest.mark.parametrize("target_path", TARGETS, ids=name)
@pytest.mark.parametrize("dialect_path", DIALECTS, ids=name)
def test_what_is_stored_reads_back_and_holds_no_secret(scenario_path, target_path, dialect_path):
    target = load(Target, target_path)
    facts = target_facts(target_path.stem, target)
    resolved = Resolved(
        scenario_path.stem, load(Scenario, scenario_path), load(Dialect, dialect_path), facts
    )
    text = resolved.to_toml()
    again = Resolved.from_toml(text, "f")
    assert again.to_toml() == text
    if scenario_path.suffix == ".toml":  # a Python script is stored by name alone
        assert again == resolved
    assert SECRET not in text
    assert SECRET[20:32] not in text
