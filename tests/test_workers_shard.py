"""Shards: a partition of the plan, evenly dealt, and what is left whole with its reason."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.engine.shard import CLIENTS_OF_ONE, ceilings_of, dealt, shard, wanted, whole
from probe.model.dialect import Dialect
from probe.model.plan import make_plan, peak
from probe.model.scenario import Scenario
from probe.model.target import Target

DIALECT = {
    "title": "d",
    "present": {"default": {}},
    "ready": {"event": "hello"},
    "run": {"start": "{run}", "events": ["a", "b"]},
    "refresh": {"send": "{token}", "answer": "refreshed"},
}
SHAPES = {
    "users": {"shape": {"rate": "40/s", "lasts": "3s"}, "users": 7},
    "even": {"shape": {"rate": "20/s", "lasts": "3s", "arrivals": "even"}},
    "crowd": {"shape": {"clients_curve": [["0", 0], ["1s", 9], ["2s", 0]]}},
}


def dialect(**more):
    return Dialect.model_validate(DIALECT | more)


def target(**more):
    return Target.model_validate(
        {"title": "t", "endpoints": {"a": {"url": "ws://127.0.0.1:1/a"}}, **more}
    )


def plan_of(populations=SHAPES, seed=5, auth=None, **stage):
    stages = {"load": {"populations": populations, "trials": 3, **stage}}
    scenario = Scenario.model_validate({"title": "s", "stages": stages})
    more = {"auth": auth} if auth else {}
    return make_plan(scenario, target(**more), dialect(), seed)


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 9),
    seed=st.integers(0, 2**32),
    chosen=st.sets(st.sampled_from(sorted(SHAPES)), min_size=1),
)
def test_shards_are_a_partition_of_the_plan_in_its_order(count, seed, chosen):
    plan = plan_of({name: SHAPES[name] for name in sorted(chosen)}, seed)
    shards = [shard(plan, index, count) for index in range(count)]
    for number, stage in enumerate(plan.stages):
        parts = [each.stages[number].clients for each in shards]
        rows = np.concatenate(parts)
        assert (rows[np.argsort(rows["session"])] == stage.clients).all()
        for part in parts:
            assert (np.diff(part["session"].astype(np.int64)) > 0).all()
        for trial in range(stage.trials):
            for population in range(len(plan.groups)):
                here = [
                    int(((p["trial"] == trial) & (p["population"] == population)).sum())
                    for p in parts
                ]
                assert max(here) - min(here) <= 1, "each has its part of every population"
    assert all(each.groups == plan.groups and each.seed == plan.seed for each in shards)


def test_one_shard_of_one_is_the_plan():
    plan = plan_of()
    assert shard(plan, 0, 1).digest == plan.digest


def test_clients_of_one_token_are_divided_too():
    plan = plan_of(auth={"source": "env", "token": "a-token"})
    assert set(plan.stages[0].clients["identity"].tolist()) == {0}
    assert set(dealt(plan.stages[0].clients, 4).tolist()) == {0, 1, 2, 3}


def test_small_populations_do_not_all_meet_in_one_process():
    lone = {f"p{k}": {"shape": {"clients": 1}} for k in range(4)}
    assert sorted(dealt(plan_of(lone, trials=1).stages[0].clients, 4).tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize("count", [2, 3, 7])
def test_ceilings_together_are_the_targets_and_no_shard_is_refused_its_own_plan(count):
    plan = plan_of()
    most = sum(
        peak(s, plan.groups).clients for k in range(count) for s in shard(plan, k, count).stages
    )
    for more in (0, 1, 5, 100):
        found = ceilings_of(plan, most + more, count, ["load"])
        assert found is not None
        assert sum(found) == most + more
        for index, ceiling in enumerate(found):
            (stage,) = shard(plan, index, count).stages
            assert ceiling >= peak(stage, plan.groups).clients
    assert ceilings_of(plan, most - 1, count, ["load"]) is None


def test_one_process_while_that_suffices():
    assert wanted(plan_of(), ["load"], 64) == 1
    rate = {"users": {"shape": {"rate": "2500/s", "lasts": "1s"}}}
    assert wanted(plan_of(rate, trials=1), ["load"], 64) == 3
    assert wanted(plan_of(rate, trials=1), ["load"], 2) == 2
    assert wanted(plan_of(rate, trials=1), [], 64) == 1
    clients = {"users": {"shape": {"clients_curve": [["0", 0], ["60s", 2 * CLIENTS_OF_ONE]]}}}
    assert wanted(plan_of(clients, trials=1), ["load"], 64) == 2


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ({"activity": "preflight"}, "a preflight"),
        ({"anchor": "restart", "populations": SHAPES}, "settled"),
        ({"populations": {"u": {"shape": {"clients": 2}, "script": [
            {"do": "connect"}, {"do": "refresh"}]}}}, "new tokens"),
        ({"populations": {"u": {"shape": {"clients": 2}, "script": [
            {"do": "connect"}], "finally": [{"do": "token", "case": "fresh"}]}}}, "new tokens"),
        ({"populations": SHAPES}, ""),
    ],
)  # fmt: skip
def test_what_cannot_be_divided_is_left_whole_with_its_reason(stage, words):
    restart = {"restart": {"by": "command", "command": ["true"]}} if "anchor" in stage else {}
    services = {"services": {"s": {"url": "http://127.0.0.1:1/health"}}}
    auth = {"auth": {"source": "mint", "algorithm": "HS256", "key": "k" * 32}}
    scenario = Scenario.model_validate({"title": "s", "stages": {"one": stage}})
    plan = make_plan(scenario, target(**restart, **services, **auth), dialect(), 1)
    found = whole(plan, dialect())
    assert set(found) == ({"one"} if words else set())
    assert words in found.get("one", "")


def test_where_the_service_names_the_runs_one_process_knows_them():
    named = dialect(run={"start": "go", "events": ["a"], "within": "1s"})
    assert "names the runs" in whole(plan_of(), named)["load"]


def test_a_script_in_python_leaves_all_of_the_scenario_whole():
    plan = plan_of()
    population = SimpleNamespace(script=lambda session: None)
    group = SimpleNamespace(stage="other", name="p", population=population)
    changed = SimpleNamespace(groups=(*plan.groups, group), stages=plan.stages)
    assert "Python" in whole(changed, dialect())["load"]  # type: ignore[arg-type]
