"""Shapes and schemas: what is odd is told as itself, and nothing else is."""

import json
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from probe.cli.files import load_dialect
from probe.contract.reading import Said, reader_of
from probe.contract.usual import usual_of
from probe.errors import ConfigError
from probe.history.records import Odd
from probe.model.dialect import Dialect

ROOT = Path(__file__).parent.parent
AGENT = load_dialect(str(ROOT / "scenarios" / "dialects" / "agent_events.toml"))[0]
READ = reader_of(AGENT)
IDS = {
    "timestamp": "2026-01-01T00:00:00+00:00", "run_id": "r", "thread_id": "t", "user_id": "u",
    "sequence": 4, "cursor": 9,
}  # fmt: skip
OWN = {"tool_name": "search", "results": {"hits": 1}, "duration": 0.1}
TOOL = {"type": "tool_completed", **IDS, **OWN}
GOOD = Said(5, "r", 4, "t", "u", 9)


def said(message, read=READ):
    (found,) = read(json.dumps(message).encode())
    return found


def nested(message, key):
    top = {name: message[name] for name in ("type", "timestamp") if name in message}
    return {**top, key: {name: message[name] for name in message if name not in top}}


def without(message, *names):
    return {name: value for name, value in message.items() if name not in names}


def dialect(contract, **more):
    return Dialect.model_validate(
        {
            "title": "d",
            "present": {"default": {}},
            "ready": {"event": "hello"},
            "run": {"start": "{run}", "events": ["started", "done"]},
            "contract": contract,
        }
        | more
    )


def reader(contract, **more):
    read = reader_of(dialect(contract, **more))
    assert read is not None
    return read


# --- the schema ---


def test_a_message_that_keeps_the_contract():
    assert said(TOOL) == GOOD
    assert said({**TOOL, "more": [1]}) == GOOD


@pytest.mark.parametrize(
    ("message", "breach"),
    [
        (without(TOOL, "results"), (Odd.MISSING, "tool_completed.results: missing")),
        (without(TOOL, "user_id"), (Odd.MISSING, "tool_completed.user_id: missing")),
        (
            {**TOOL, "duration": "0.1"},
            (Odd.TYPE, 'tool_completed.duration: string, not number: "0.1"'),
        ),
        ({**TOOL, "timestamp": 7}, (Odd.TYPE, "tool_completed.timestamp: integer, not string: 7")),
        (
            {**TOOL, "duration": -1},
            (Odd.VALUE, "tool_completed.duration: -1 is less than the minimum of 0"),
        ),
        # What is missing is told first, then what is of another type, then the rest.
        (
            {**without(TOOL, "results"), "duration": "x", "sequence": 0},
            (Odd.MISSING, "tool_completed.results: missing"),
        ),
        (
            {**TOOL, "duration": None, "sequence": 0},
            (Odd.TYPE, "tool_completed.duration: null, not number: null"),
        ),
    ],
)
def test_a_breach_is_told_with_its_place(message, breach):
    assert said(message).breach == breach
    assert said(message)[:2] == GOOD[:2]
    assert said(message).shape == ""


def test_messages_that_are_no_events_are_not_held_to_what_events_need():
    assert said({"type": "connection_ready", "user_id": "u"}) == Said(1, user="u")
    assert said({"type": "pong", "id": "3"}).mark == "3"
    assert said({"type": "nobody knows"}) == Said(0)


def test_a_breach_shows_no_more_than_the_beginning_of_a_value():
    words = said({**TOOL, "duration": "x" * 5000}).breach[1]
    assert words.startswith('tool_completed.duration: string, not number: "xxx')
    assert len(words) < 140
    read = reader({"schemas": {"done": {"properties": {"a": {"enum": ["b"]}}}}})
    what, words = said({"type": "done", "a": ["y" * 5000]}, read).breach
    assert what is Odd.VALUE
    assert "yyy" in words
    assert len(words) < 140
    read = reader({"schemas": {"done": {"additionalProperties": False}}})
    assert len(said({"type": "done", "z" * 5000: 1}, read).breach[1]) <= 240


def test_a_place_within_lists_and_objects_is_a_path():
    items = {"properties": {"a": {"items": {"required": ["b"]}}}}
    read = reader({"schemas": {"done": items}})
    assert said({"type": "done", "a": [{"b": 1}, {}]}, read).breach == (
        Odd.MISSING, "done.a.1.b: missing",
    )  # fmt: skip


def test_definitions_of_both_schemas_stand_beside_each_other():
    def schema(field):
        return {"$ref": "#/$defs/x", "$defs": {"x": {"required": [field]}}}

    read = reader({"every": schema("a"), "schemas": {"done": schema("b")}})
    assert said({"type": "done", "a": 1, "b": 1}, read).breach is None
    assert said({"type": "done", "b": 1}, read).breach == (Odd.MISSING, "done.a: missing")
    assert said({"type": "done", "a": 1}, read).breach == (Odd.MISSING, "done.b: missing")
    assert said({"type": "started", "a": 1}, read).breach is None


def test_what_the_validator_cannot_check_is_no_crash():
    deep: Any = 1
    for _ in range(400):
        deep = [deep]
    read = reader({"schemas": {"done": {"properties": {"a": {"enum": [[1]]}}}}})
    assert said({"type": "done", "a": deep}, read).breach == (
        Odd.VALUE, "done: nested too deeply to be checked",
    )  # fmt: skip


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nothing"},
        {"required": "a"},
        {"properties": {"a": {"pattern": "("}}},
        {"$ref": "#/$defs/none"},
        {"$ref": "http://127.0.0.1:1/schema"},
    ],
)
def test_what_is_no_schema_is_a_mistake_of_the_file(schema):
    contract = {"every": schema, "schemas": {"done": schema, "hello": {}}}
    with pytest.raises(ConfigError) as caught:
        reader_of(dialect(contract))
    assert [problem.path for problem in caught.value.problems] == [
        "contract.every", "contract.schemas.done",
    ]  # fmt: skip
    with pytest.raises(ConfigError):
        reader_of(dialect({"every": schema}, run=None))


# --- shapes, the canonical one flat ---


@pytest.mark.parametrize(("key", "shape"), [("payload", "nested"), ("data", "data")])
def test_a_nested_message_that_holds_all_breaks_only_the_shape(key, shape):
    assert said(nested(TOOL, key)) == GOOD._replace(shape=shape)
    # The ids at the top, only the own fields below.
    assert said({"type": "tool_completed", **IDS, key: OWN}) == GOOD._replace(shape=shape)
    # The type below as well.
    assert said({key: TOOL}) == GOOD._replace(shape=shape)
    broken = said(nested(without(TOOL, "results"), key))
    assert broken.shape == shape
    assert broken.breach == (Odd.MISSING, "tool_completed.results: missing")


def test_what_stands_at_the_top_wins_over_the_container():
    message = {**TOOL, "payload": {"run_id": "other", "duration": "x"}}
    assert said(message) == GOOD._replace(shape="nested")


def test_a_container_is_an_object():
    for value in (None, "text", 7, [TOOL]):
        assert said({**TOOL, "payload": value}) == GOOD


def test_a_message_is_not_called_odd_for_a_field_that_the_contract_knows():
    shapes = {"flat": "", "nested": "payload"}
    for schema in (
        {"properties": {"payload": {"type": "object"}}},
        {"required": ["payload"]},
        {"anyOf": [{"$ref": "#/$defs/x"}], "$defs": {"x": {"required": ["payload"]}}},
    ):
        read = reader({"shapes": shapes, "schemas": {"done": schema}})
        assert said({"type": "done", "payload": {"run_id": "r"}}, read) == Said(3)
        assert said({"type": "started", "payload": {"run_id": "r"}}, read).shape == "nested"


def test_of_other_types_nothing_is_said():
    assert said({"type": "error", "code": "x", "data": {"user_id": "u"}}) == Said(7, user="u")
    assert said({"type": "nobody knows", "data": {"run_id": "r"}}) == Said(0)


EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(AGENT.types)},
    optional={
        "timestamp": st.text(max_size=3) | st.integers(),
        "run_id": st.text(max_size=3) | st.none(),
        "thread_id": st.text(max_size=3) | st.integers(),
        "user_id": st.text(max_size=3),
        "sequence": st.integers(-1, 5) | st.floats(allow_nan=False, allow_infinity=False),
        "cursor": st.integers(0, 5),
        "id": st.text(max_size=3),
        "tool_name": st.text(max_size=3) | st.booleans(),
        "results": st.lists(st.integers(), max_size=2),
        "duration": st.floats(-1, 1) | st.text(max_size=2),
        "thought": st.text(max_size=3),
        "result": st.none(),
    },
)


@settings(deadline=None, max_examples=300)
@given(EVENTS, st.sampled_from([("payload", "nested"), ("data", "data")]))
def test_nested_is_read_as_flat_but_for_its_shape(message, container):
    key, shape = container
    flat = said(message)
    assert flat.shape == ""
    inside = said(nested(message, key))
    assert AGENT.run is not None
    event = message["type"] in AGENT.run.types
    assert inside == flat._replace(shape=shape if event else "")


# --- the short way, which decodes and checks in one go ---


def long_way(spoken):
    with mock.patch("probe.contract.reading.usual_of", return_value=None):
        return reader_of(spoken)


LONG = long_way(AGENT)
WILD = (
    st.none() | st.booleans() | st.integers() | st.integers(-2, 3) | st.text(max_size=4)
    | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([2.0, -0.0, 2**31, 2**64])
    | st.lists(st.integers(), max_size=2) | st.dictionaries(st.text(max_size=2), st.integers())
)  # fmt: skip
FIELDS = st.sampled_from([*TOOL, "thought", "parameters", "result", "id", "payload", "data", ""])


@settings(deadline=None, max_examples=400)
@given(st.sampled_from([*AGENT.types, "?"]), st.dictionaries(FIELDS, WILD, max_size=4),
       st.sets(FIELDS, max_size=2))  # fmt: skip
def test_the_short_way_reads_as_the_long_way_does(kind, changes, gone):
    whole = {**TOOL, "thought": "t", "parameters": {}, "result": 1, "id": "7", "type": kind}
    message = without({**whole, **changes}, *gone)
    assert said(message) == said(message, LONG)


def simple(kinds):
    bounds = st.dictionaries(
        st.sampled_from(["minimum", "maximum", "minLength", "maxLength", "pattern", "enum"]),
        st.integers(0, 3), max_size=2,
    )  # fmt: skip

    def schema(kind, limits):
        found = {**limits, **({"type": kind} if kind else {})}
        found |= {"pattern": "a"} if "pattern" in limits else {}
        return found | ({"enum": [1, "a", None]} if "enum" in limits else {})

    return st.builds(schema, kinds, bounds)


KINDS = st.sampled_from([None, "string", "integer", "number", "boolean", "null", "object", "array"])
NAMES = st.sampled_from(["a", "b", "run_id", "sequence", "cursor", "payload", "", '"'])
SCHEMAS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.just("object"),
        "title": st.just("a title"),
        "properties": st.dictionaries(NAMES, simple(KINDS), max_size=3),
        "required": st.lists(NAMES, unique=True, max_size=2),
        "additionalProperties": st.booleans(),
    },
)


@settings(deadline=None, max_examples=300)
@given(SCHEMAS, SCHEMAS, st.lists(st.dictionaries(NAMES, WILD, max_size=5), max_size=5))
def test_whatever_the_schemas_say_both_ways_agree(every, own, messages):
    contract = {"every": every, "schemas": {"done": own}, "shapes": {"a": "", "b": "payload"}}
    spoken = dialect(contract, paths={"sequence": "sequence", "cursor": "cursor"})
    short, long = reader_of(spoken), long_way(spoken)
    for message in messages:
        for kind in ("started", "done", "hello"):
            whole = {**message, "type": kind}
            assert said(whole, short) == said(whole, long)


@pytest.mark.parametrize("kind", AGENT.types)
def test_the_usual_message_goes_the_short_way(kind):
    usual = usual_of(AGENT)
    assert usual is not None
    whole = {**TOOL, "thought": "t", "parameters": {}, "result": 1, "id": "7", "type": kind}
    assert usual(json.dumps(whole).encode()) == said(whole, LONG)
    with pytest.raises(msgspec.ValidationError):
        usual(json.dumps(nested(whole, "payload")).encode())


# --- shapes, the canonical one nested ---

SHAPES = {"flat": "", "nested": "payload", "data": "data"}
PATHS = {"type": "type", "run": "payload.run_id", "sequence": "payload.sequence"}
INNER = {"required": ["run_id"], "properties": {"n": {"type": "integer"}}}
UNDER = {"required": ["payload"], "properties": {"payload": INNER}}


@pytest.mark.parametrize(
    "read",
    [
        # The contract as the canonical message is written, and as its view is.
        reader({"shapes": SHAPES, "canonical": "nested", "every": UNDER}, paths=PATHS),
        reader({"shapes": SHAPES, "canonical": "nested", "schemas": {"done": INNER}},
               paths={"sequence": "sequence"}),
    ],
)  # fmt: skip
def test_where_nested_is_right_flat_is_odd(read):
    good = Said(3, "r", 2)
    fields = {"run_id": "r", "sequence": 2, "n": 1}
    assert said({"type": "done", "payload": fields}, read) == good
    assert said({"type": "done", **fields}, read) == good._replace(shape="flat")
    assert said({"type": "done", "data": fields}, read) == good._replace(shape="data")
    assert said({"data": {"type": "done", **fields}}, read) == good._replace(shape="data")
    assert said({"payload": {"type": "done", **fields}}, read) == good
    broken = said({"type": "done", "payload": {**fields, "n": "x"}}, read)
    assert broken.shape == ""
    assert broken.breach[0] is Odd.TYPE
    # It has no field that belongs into the container.
    assert said({"type": "hello", "version": 1}, read) == Said(1)
    assert said({"type": "done"}, read).shape == ""


def test_without_a_flat_shape_a_missing_container_is_no_shape():
    read = reader({"shapes": {"nested": "payload", "data": "data"}, "every": UNDER}, paths=PATHS)
    found = said({"type": "done", "run_id": "r"}, read)
    assert found.shape == ""
    assert found.breach == (Odd.MISSING, "done.payload: missing")


# --- the files that come with the package ---


def test_the_graphql_dialect_knows_what_the_protocol_sends():
    path = ROOT / "scenarios" / "dialects" / "graphql_transport_ws.toml"
    graphql = load_dialect(str(path))[0]
    assert graphql.close_codes["4403"] == "forbidden"
    read = reader_of(graphql)
    for message, expected in (
        ({"type": "connection_ack"}, Said(1)),
        ({"type": "next", "id": "r", "payload": {"data": {"ticks": 1}}}, Said(2, "r")),
        ({"type": "complete", "id": "r"}, Said(3, "r")),
        ({"type": "error", "id": "r", "payload": [{"message": "x"}]}, Said(4, "r")),
        ({"type": "ping"}, Said(0)),
    ):
        assert said(message, read) == expected
    assert said({"type": "next", "id": "r"}, read).breach == (Odd.MISSING, "next.payload: missing")


@pytest.mark.parametrize("code", ["forbidden", "999", "5000", "44030"])
def test_close_codes_are_codes(code):
    with pytest.raises(ValidationError, match="close_codes"):
        dialect({}, close_codes={code: "forbidden"})
