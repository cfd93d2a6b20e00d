"""Races as data: what hangs together, the clients of a plan, and what a trial tells."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.engine.race import spaced
from probe.errors import ConfigError
from probe.model.dialect import Dialect
from probe.model.plan import CLIENT, ceilings, make_plan, peak
from probe.model.race import Actor, Played, Race, told_by
from probe.model.reading import build
from probe.model.releases import identities_of_one, race_clients
from probe.model.resolved import Resolved
from probe.model.scenario import Scenario
from probe.model.target import Target
from tests.engine_sites import SPOKEN

MS = 1_000_000
GATE = {"do": "gate"}
SWEPT = {"do": "gate", "offset": "swept"}
CONNECT = {"do": "connect"}
PAIR = {"one": {"script": [GATE, CONNECT]}, "two": {"script": [SWEPT, CONNECT]}}
RANGE = ["0ms", "400ms"]


def race(actors=PAIR, **more):
    return Race.model_validate({"actors": actors, "range": RANGE} | more)


def planned(stage, *, endpoints=("a", "b"), seed=1, **target):
    scenario = Scenario.model_validate({"title": "t", "stages": {"r": stage}})
    aims = {name: {"url": f"ws://127.0.0.1:1/{name}"} for name in endpoints}
    where = Target.model_validate({"title": "t", "endpoints": aims} | target)
    return make_plan(scenario, where, Dialect.model_validate(SPOKEN), seed), where


def staged(**more):
    body = {"actors": PAIR, "range": RANGE} | more
    return {"activity": "race", "race": body, "expect": {"race": True}}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"range": ["2s", "1s"]}, "smaller offset to the larger"),
        ({"goal": "30ms"}, "20 times the goal"),
        ({"actors": {"one": {"script": [CONNECT]}}}, "exactly one gate"),
        ({"actors": PAIR | {"three": {"script": [SWEPT, CONNECT]}}}, "exactly one gate"),
        ({"actors": PAIR | {"three": {"script": [CONNECT]}}}, "three has no gate"),
        ({"actors": {"one": {"script": [SWEPT, CONNECT]}}}, "a gate with a fixed offset"),
        ({"actors": PAIR | {"x": {"script": [CONNECT, GATE]}}}, "gate 1 lets nothing go"),
        ({"actors": PAIR | {"calibration": {"script": [GATE, CONNECT]}}}, "measure the jitter"),
        ({"control": "3ms"}, "goes with `at`"),
    ],
)
def test_what_does_not_hang_together_is_refused(more, words):
    with pytest.raises(ValueError, match=words):
        race(**more)


def test_the_reference_is_the_first_fixed_gate_in_the_order_of_the_file():
    two = {"script": [GATE, CONNECT, SWEPT, {"do": "settle"}]}
    found = race({"two": two, "one": {"script": [GATE, CONNECT]}})
    assert found.reference() == ("two", 0)
    assert (found.swept, found.swept_gate()) == ("two", 1)
    assert found.against == "the connect of two"
    assert race(since="the start").against == "the start"


def test_the_control_is_the_end_of_the_range_that_is_farther():
    assert race(at="10ms").kept_against == 400 * MS
    assert race(at="390ms").kept_against == 0
    assert race(at="390ms", control="-5s").kept_against == -5_000 * MS


def test_a_comb_of_whole_trials_has_all_actors_for_each_with_users_of_its_own():
    labelled = {name: each | {"user": "same"} for name, each in PAIR.items()}
    made = race(labelled, comb=3, trials=6, confirm=0, jitter="1ms")
    rows = race_clients(made, ["a", "b"], CLIENT)
    assert made.sessions == 6
    assert len(rows) == made.releases * 6
    for trial in range(made.releases * 3):
        mine = rows[rows["trial"] == trial]
        assert sorted(mine["population"]) == [0, 1]
        assert len(set(mine["identity"].tolist())) == 1  # the same user
        assert len(set(mine["endpoint"].tolist())) == 1
    assert len(set(rows["identity"].tolist())) == made.releases * 3
    assert identities_of_one(made) == 3


def test_a_comb_of_the_swept_one_has_the_others_once():
    labelled = {name: each | {"user": "same"} for name, each in PAIR.items()}
    made = race(labelled, comb=4, comb_of="swept", trials=8, confirm=0, jitter="1ms")
    rows = race_clients(made, ["a"], CLIENT)
    assert made.sessions == 5
    first = rows[rows["trial"] < 4]
    assert first["population"].tolist().count(0) == 1
    assert first["trial"][first["population"] == 1].tolist() == [0, 1, 2, 3]
    assert len(set(first["identity"].tolist())) == 1
    alone = race(comb=4, comb_of="swept", trials=8, confirm=0)
    assert identities_of_one(alone) == 5


def test_clients_that_measure_the_jitter_come_last_unless_it_is_told():
    told = race_clients(race(jitter="1ms"), ["a"], CLIENT)
    measured = race_clients(race(), ["a"], CLIENT)
    assert len(measured) == len(told) + 2
    assert measured["population"][-2:].tolist() == [2, 2]
    assert measured["trial"][-1] == measured["trial"].max() > told["trial"].max()


def test_a_plan_numbers_the_clients_of_a_race_behind_those_before():
    plan, _ = planned(staged(trials=10, confirm=10, comb=5))
    (stage,) = plan.stages
    assert stage.clients["session"].tolist() == list(range(len(stage.clients)))
    assert [group.name for group in plan.groups] == ["one", "two", "calibration"]
    assert plan.digest == planned(staged(trials=10, confirm=10, comb=5))[0].digest
    assert peak(stage, plan.groups).clients == 10
    assert not np.any(stage.clients["stop_ns"] != -1)


def test_the_targets_ceiling_holds_for_one_release():
    safety = {"clients_max": 9}
    plan, target = planned(staged(comb=5), safety=safety)
    with pytest.raises(ConfigError, match=r"plans 10, and this target allows 9"):
        ceilings(plan, target)
    ceilings(planned(staged(comb=4))[0], target)


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        (staged() | {"expect": {}}, "would be run and not judged"),
        (
            {"populations": {"x": {"shape": {"clients": 1}, "script": [GATE, CONNECT]}}},
            "a gate is where the actors of a race meet",
        ),
        (
            {"populations": {"x": {"shape": {"clients": 1}}}, "expect": {"race": True}},
            "there is no race in this stage",
        ),
        (
            staged(actors=PAIR | {"x": {"script": [GATE, {"do": "await", "event": "nope"}]}}),
            r"race\.actors\.x\.script\.1\.event",
        ),
    ],
)
def test_what_does_not_fit_the_rest_is_refused_at_planning(stage, words):
    with pytest.raises(ConfigError, match=words):
        planned(stage)


def test_one_token_for_all_is_no_race_of_two_users():
    auth = {"source": "env", "token": "a-token-that-is-secret"}
    with pytest.raises(ConfigError, match="needs 2 different users"):
        planned(staged(), auth=auth)
    same = {name: each | {"user": "same"} for name, each in PAIR.items()}
    planned(staged(actors=same), auth=auth)


def test_what_a_trial_tells():
    fine, failed = Played(reached=True, finished=True), Played(reached=True, finished=False)
    early, stopped = Played(reached=False, finished=False), Played(reached=True, finished=None)
    odd = Played(reached=True, finished=True, odd=True)
    assert told_by([fine, fine], placed=True) == "fine"
    assert told_by([fine, failed], placed=True) == "anomaly"
    assert told_by([fine, odd], placed=True) == "anomaly"
    assert told_by([fine, failed], placed=False) == "unplaced"
    assert told_by([fine, fine], placed=False) == "void"
    assert told_by([failed, early], placed=True) == "void"
    assert told_by([failed, stopped], placed=True) == "void"


async def play(session):
    await session.gate()
    await session.connect()


PYTHON = {"script": play, "gates": ["0ms", "swept", "2s"]}


def refused(actors):
    """The one mistake in a scenario with these actors."""
    data = {"title": "t", "stages": {"r": staged(actors=PAIR | actors)}}
    with pytest.raises(ConfigError) as caught:
        build(Scenario, data, "f")
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("actor", "place", "words"),
    [
        ({"script": play}, "script", 'such as gates = ["0ms", "swept"]'),
        ({"script": "python:m:play"}, "script", "its gates are not declared"),
        ({"script": "visit", "gates": ["0ms"]}, "script", "an actor has no named script"),
        ({"script": [GATE, CONNECT], "gates": ["0ms"]}, "script", "and drop `gates`"),
        ({"script": play, "gates": ["soon"]}, "gates.0", ""),
        ({"script": [], "gates": []}, "script", ""),
        ({"script": [GATE, SWEPT, CONNECT]}, "script", "gate 1 lets nothing go: put an action"),
        (
            {"script": [GATE, CONNECT, GATE, {"do": "token", "case": "fresh"}]},
            "script",
            "gate 2 lets nothing go",
        ),
        ({"script": [GATE, CONNECT], "finally": [GATE]}, "finally", "drop the gate"),
    ],
)
def test_gates_that_are_wrongly_declared_are_told_with_place_and_remedy(actor, place, words):
    problem = refused({"x": actor})
    path = f"stages.r.race.actors.x.{place}"
    assert problem.path == path or problem.path.startswith(f"{path}.")
    assert words in problem.message


def test_an_actor_in_python_has_the_gates_that_it_declares():
    found = race({"one": PYTHON})
    actor = found.actors["one"]
    assert [gate.offset for gate in actor.gates] == [0, "swept", 2_000 * MS]
    assert (actor.script.play, actor.script.gates) == (play, (0, "swept", 2_000 * MS))
    assert actor.steps == ()
    assert (found.reference(), found.swept, found.swept_gate()) == (("one", 0), "one", 1)
    assert found.against == "gate 1 of one"
    alone = {"script": play, "gates": ["5ms"]}
    assert race({"x": alone, "two": PAIR["two"]}).against == "the gate of x"
    assert Actor(script=play, gates=["5ms", "swept"]).gates == actor.model_copy(
        update={"declared": (5 * MS, "swept")}
    ).gates  # fmt: skip


def test_an_actor_in_python_is_planned_as_any_other():
    mixed = PAIR | {"three": {"script": play, "gates": ["5ms"]}}
    plan, _ = planned(staged(actors=mixed, comb=2))
    group = next(each for each in plan.groups if each.name == "three")
    assert group.population.script.gates == (5 * MS,)
    assert peak(plan.stages[0], plan.groups).clients == 6


def test_an_actor_in_python_is_stored_by_name_with_its_gates_and_planned_no_more():
    stage = staged(actors={"one": PYTHON})
    scenario = Scenario.model_validate({"title": "t", "stages": {"r": stage}})
    text = Resolved("n", scenario, Dialect.model_validate(SPOKEN), {"name": "t"}).to_toml()
    again = Resolved.from_toml(text, "f")
    before, after = (each.stages["r"].race for each in (scenario, again.scenario))
    assert before is not None
    assert after is not None
    actor = after.actors["one"]
    assert actor.script == f"python:{__name__}:play"
    assert actor.gates == before.actors["one"].gates
    assert again.to_toml() == text
    # Who puts the name into a file has no function to play.
    actors = {"one": {"script": actor.script, "gates": ["0ms", "swept"]}}
    with pytest.raises(ConfigError, match="belongs into a Python scenario"):
        planned(staged(actors=actors))


def test_editors_are_told_nothing_of_what_no_file_can_say():
    schema = Scenario.model_json_schema()["$defs"]["Actor"]["properties"]
    assert "gates" not in schema
    assert "script" in schema


def test_a_gate_behind_the_other_one_of_its_script_cannot_be_before_it():
    behind = {"client": {"script": [GATE, CONNECT, SWEPT, {"do": "settle"}]}}
    before = {"client": {"script": [SWEPT, CONNECT, GATE, {"do": "settle"}]}}
    assert race(behind).range[0] == 0
    assert race(before, range=["-400ms", "0ms"]).range[1] == 0
    with pytest.raises(ValueError, match="none can be negative"):
        race(behind, range=["-1ms", "400ms"])
    with pytest.raises(ValueError, match="none can be positive"):
        race(before, range=["-400ms", "1ms"])


def test_an_offset_to_try_lies_within_the_range():
    assert race(at="12ms").at == 12 * MS
    with pytest.raises(ValueError, match="outside of the range"):
        race(at="401ms")


def test_a_label_that_one_actor_alone_has_joins_nobody():
    one, two = ({**PAIR[name], "user": name} for name in PAIR)
    with pytest.raises(ValueError, match=r"actors.one.user: no other actor is 'one'; others"):
        race({"one": one, "two": two})
    race({"one": {**one, "user": "same"}, "two": {**two, "user": "same"}})
    race({"one": PAIR["one"], "two": two}, comb=4, comb_of="swept")  # it is there four times


def test_spacing_goes_with_a_comb_of_the_swept_actor_and_fits_the_range():
    assert race(comb=4, comb_of="swept", spacing="100ms").spacing == 100 * MS
    with pytest.raises(ValueError, match="goes with comb_of"):
        race(comb=4, spacing="100ms")
    with pytest.raises(ValueError, match="do not fit into the range"):
        race(comb=6, comb_of="swept", spacing="100ms")


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=10), st.integers(0, 100))
def test_what_is_spaced_stays_in_the_range_in_order_and_far_enough_apart(offsets, spacing):
    offsets.sort()
    moved = spaced(offsets, spacing, 0, 1000)
    assert 0 <= moved[0] <= moved[-1] <= 1000
    assert all(b - a >= spacing for a, b in pairwise(moved))
    if all(b - a >= spacing for a, b in pairwise(offsets)):
        assert moved == offsets
