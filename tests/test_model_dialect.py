"""Dialects: the order of a run's events, shapes, and what hangs together."""

import pytest
from pydantic import ValidationError

from probe.model.dialect import Dialect, RunRule

BASE = {"title": "d", "present": {"default": {}}}


def run(*events, **more):
    return RunRule.model_validate({"start": "{run}", "events": events, **more})


def test_a_plain_list_is_a_chain_of_events_that_come_once():
    steps = run("a", "b", "c").steps
    assert [(step.type, step.times, step.after) for step in steps] == [
        ("a", "1", ()),
        ("b", "1", ("a",)),
        ("c", "1", ("b",)),
    ]


def test_events_can_be_optional_repeated_and_partly_ordered():
    rule = run("a", {"type": "b", "times": "0..*", "after": ["a"]}, {"type": "c", "after": ["a"]})
    assert [step.after for step in rule.steps] == [(), ("a",), ("a",)]
    assert rule.types == ("a", "b", "c")
    assert rule.last == "c"
    assert run("a", {"type": "b", "after": []}, ends="a").last == "a"


@pytest.mark.parametrize(
    ("events", "more", "why"),
    [
        (("a", "a"), {}, "twice"),
        (("a", "b"), {"ends": "x"}, "none of the events"),
        (("a", "b"), {"ends": "a"}, "which ends the run"),
        (({"type": "a", "after": ["b"]}, "b"), {}, "not listed before"),
    ],
)
def test_runs_that_do_not_hang_together_are_refused(events, more, why):
    with pytest.raises(ValidationError, match=why):
        run(*events, **more)


def test_a_misspelt_place_is_told_before_it_is_sent():
    with pytest.raises(ValidationError, match=r"\{rn\}; did you mean \{run\}"):
        RunRule.model_validate({"start": '{"id":"{rn}"}', "events": ["a"]})
    for extra in ({"replay": {"request": "{curser}"}}, {"sentinel": {"send": "x", "event": "y"}}):
        with pytest.raises(ValidationError, match=r"\{cursor\}|\{n\}"):
            Dialect.model_validate(BASE | extra)
    RunRule.model_validate({"start": '{"query":"{ticks}{run}"}', "events": ["a"]})


def test_types_number_every_message_that_the_dialect_knows():
    dialect = Dialect.model_validate(
        BASE
        | {
            "ready": {"event": "hello"},
            "run": {"start": "{run}", "events": ["a", {"type": "b", "times": "1..*"}]},
            "replay": {"request": "{cursor}", "answer": "resumed"},
            "sentinel": {"send": "{n}", "event": "pong"},
            "limited": "slow_down",
            "dropped": "lost_some",
        }
    )
    assert dialect.types == (
        "hello", "a", "b", "error", "resumed", "pong", "slow_down", "lost_some",
    )  # fmt: skip


def test_shapes_have_a_canonical_one_and_schemas_name_known_types():
    dialect = Dialect.model_validate(
        BASE | {"contract": {"shapes": {"flat": "", "nested": "payload"}}}
    )
    assert dialect.contract.right == "flat"
    with pytest.raises(ValidationError, match="canonical is no shape"):
        Dialect.model_validate(BASE | {"contract": {"shapes": {"flat": ""}, "canonical": "x"}})
    with pytest.raises(ValidationError, match="names no type"):
        Dialect.model_validate(BASE | {"contract": {"schemas": {"a": {}}}})
