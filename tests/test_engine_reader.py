"""From bytes to (type, run): the fast reading agrees with a plain one, and never raises."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.engine.reader import message_reader
from probe.model.dialect import Dialect

EVENTS = ["started", "done"]


def dialect(kind="type", run="run_id", **more):
    return Dialect.model_validate(
        {
            "title": "d",
            "present": {"default": {}},
            "ready": {"event": "hello"},
            "run": {"start": "{run}", "events": EVENTS},
            "paths": {"type": kind, "run": run},
        }
        | more
    )


FLAT = message_reader(dialect())
NESTED = message_reader(dialect("head.type", "body.run.id"))
MIXED = message_reader(dialect("type", "payload.run_id"))
SAME = message_reader(dialect("x.y", "x.y"))
DOTTED = message_reader(dialect("meta.type", "meta.run"))


@pytest.mark.parametrize(
    ("read", "message", "expected"),
    [
        (FLAT, {"type": "hello"}, (1, None)),
        (FLAT, {"type": "done", "run_id": "r", "more": [1, {"type": "x"}]}, (3, "r")),
        (FLAT, {"type": "error", "run_id": "r"}, (4, "r")),
        (FLAT, {"type": "nobody knows", "run_id": "r"}, (0, "r")),
        (FLAT, {"type": 7, "run_id": 7}, (0, None)),
        (FLAT, {"type": "started", "run_id": None}, (2, None)),
        (FLAT, {"type": ["started"], "run_id": {"a": 1}}, (0, None)),
        (FLAT, {"payload": {"type": "started"}}, (0, None)),
        (FLAT, [], (0, None)),
        (FLAT, "started", (0, None)),
        (NESTED, {"head": {"type": "started"}, "body": {"run": {"id": "r"}}}, (2, "r")),
        (NESTED, {"head": {"type": "started"}, "body": None}, (2, None)),
        (NESTED, {"head": {"type": "started"}, "body": {"run": "r"}}, (2, None)),
        (NESTED, {"head": "started", "body": {"run": {"id": "r"}}}, (0, "r")),
        (NESTED, {}, (0, None)),
        (MIXED, {"type": "hello", "payload": "text"}, (1, None)),
        (MIXED, {"type": "hello", "payload": [1]}, (1, None)),
        (MIXED, {"type": "started", "payload": {"run_id": "r"}}, (2, "r")),
        (SAME, {"x": {"y": "done"}}, (3, "done")),
        (DOTTED, {"meta": {"run": "r", "type": "done"}}, (3, "r")),
    ],
)
def test_type_and_run(read, message, expected):
    assert read(json.dumps(message).encode()) == expected


@pytest.mark.parametrize("read", [FLAT, NESTED, MIXED])
@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"not json",
        b'{"type":"hello"}{"type":"hello"}',
        b'{"type":"\xff"}',
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"type":"hello","a":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"type":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    ],
)
def test_what_is_no_message_is_of_no_type(read, payload):
    assert read(payload) == (0, None)


def test_nothing_is_read_where_nothing_is_named():
    bare = Dialect.model_validate({"title": "d", "present": {"default": {}}, "errors": []})
    assert message_reader(bare) is None


LEAVES = st.none() | st.booleans() | st.integers() | st.sampled_from(["hello", *EVENTS, "r", ""])
KEYS = st.sampled_from(["type", "run_id", "payload", "head", "f0", "x", "y"])
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
PATHS = st.lists(KEYS, min_size=1, max_size=3).map(".".join)


def at(message, path):
    for key in path.split("."):
        message = message.get(key) if isinstance(message, dict) else None
    return message


@settings(deadline=None, max_examples=400)
@given(PATHS, PATHS, VALUES)
def test_any_message_is_read_as_a_plain_reader_would(kind, run, message):
    spoken = dialect(kind, run)
    read = message_reader(spoken)
    assert read is not None
    found, run_id = at(message, kind), at(message, run)
    number = spoken.types.index(found) + 1 if found in spoken.types else 0
    expected = (number, run_id if isinstance(run_id, str) else None)
    assert read(json.dumps(message).encode()) == expected
