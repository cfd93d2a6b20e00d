"""What a step needs of the dialect is told before the first socket; and the lab's settings."""

from typing import Any

import pytest

from probe.engine.lab import LabProcess
from probe.errors import ConfigError
from probe.model.groups import check_fit, groups_of
from probe.model.scenario import Scenario
from probe.model.target import Lab, Target
from tests.engine_sites import RUN, spoken

TARGET = Target.model_validate({"title": "t", "endpoints": {"main": {"url": "ws://x"}}})
SIZED = RUN | {"start": '{"go":"{run}","of":{size},"pad":{pad}}'}


def problems(script, *, expect=None, **more):
    scenario = Scenario.model_validate(
        {
            "title": "s",
            "stages": {
                "one": {
                    "populations": {"p": {"shape": {"clients": 1}, "script": script}},
                    "expect": expect or {},
                }
            },
        }
    )
    dialect = spoken(**more)
    try:
        check_fit(scenario, TARGET, dialect, groups_of(scenario, dialect))
    except ConfigError as error:
        return [
            (each.path.partition("one.")[2] or each.path, each.message) for each in error.problems
        ]
    return []


@pytest.mark.parametrize(
    ("steps", "more", "where", "word"),
    [
        ([{"do": "run"}], {"run": None}, "script.0", "no runs"),
        ([{"do": "finish"}], {"run": None}, "script.0", "no runs"),
        ([{"do": "squeeze", "upto": 9}], {"run": None}, "script.0", "no runs"),
        ([{"do": "flood", "count": 9}], {"sentinel": None}, "script.0", "no [sentinel]"),
        ([{"do": "run", "size": 2}], {"run": RUN | {"start": "{run}"}}, "script.0.size", "{size}"),
        ([{"do": "run", "pad": 2}], {}, "script.0.pad", "{pad}"),
        (
            [{"do": "squeeze", "upto": 9, "pad": 0}], {"run": RUN | {"start": "{run}"}}, "script.0",
                "{size}",
        ),
        (
            [{"do": "squeeze", "upto": 9}], {"run": SIZED | {"events": ["a", "c"]}}, "run.events",
            "repeated",
        ),
    ],
)  # fmt: skip
def test_a_step_that_cannot_be_played_is_told_with_its_place(steps, more, where, word):
    ((path, message),) = problems(steps, **more)
    assert path.endswith(where)
    assert word in message


def test_a_climb_in_messages_needs_one_that_has_an_answer():
    climb = {"of": "messages", "begin": "50/s", "most": "60/s"}
    stages = {"climb": {"activity": "capacity", "capacity": climb}}
    scenario = Scenario.model_validate({"title": "s", "stages": stages})
    dialect = spoken(sentinel=None)
    with pytest.raises(ConfigError, match="none of which has an answer of its own"):
        check_fit(scenario, TARGET, dialect, groups_of(scenario, dialect))
    dialect = spoken(sentinel=None, echo=True)
    check_fit(scenario, TARGET, dialect, groups_of(scenario, dialect))


def test_replay_is_expected_only_where_it_can_be_asked_for():
    ((path, message),) = problems("visit", expect={"replay": True})
    assert path == "expect.replay"
    assert "no [replay]" in message
    asked = {"request": '{"after":{cursor}}'}
    assert problems("visit", expect={"replay": True}, replay=asked) == []


def test_all_steps_fit_a_dialect_that_has_all():
    steps: list[dict[str, Any]] = [
        {"do": "connect"}, {"do": "run", "size": 3, "pad": 9}, {"do": "finish"}, {"do": "settle"},
        {"do": "vanish"}, {"do": "stall", "lasts": "1s"}, {"do": "squeeze", "upto": 9},
        {"do": "flood", "count": 9}, {"do": "large", "size": "1KiB"},
        {"do": "hold", "lasts": "1s", "ping_every": "1s"},
    ]  # fmt: skip
    assert problems(steps, run=SIZED) == []
    plain = [step for step in steps if step["do"] not in ("run", "finish", "squeeze", "flood")]
    assert problems(plain, run=None, sentinel=None) == []


def test_the_lab_gets_its_limit_and_its_idle_time():
    settings = Lab.model_validate({"limit": "20.5/40", "idle": "90s", "pace": "0"})
    words = LabProcess("secret", settings)._arguments()
    assert words[words.index("--limit") + 1] == "20.5/40"
    assert words[words.index("--idle") + 1] == "90s"
    assert not {"--limit", "--idle"} & {*LabProcess("secret", Lab())._arguments()}


@pytest.mark.parametrize("limit", ["", "20", "20/s", "-1/4", "20/0", "20/4.5", "x/y", "20/4\n"])
def test_a_limit_of_the_lab_is_a_rate_and_a_burst(limit):
    with pytest.raises(ValueError, match="limit"):
        Lab.model_validate({"limit": limit})
