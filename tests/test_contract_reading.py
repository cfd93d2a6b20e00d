"""From bytes to what they say: every lane agrees with a plain reading, and none ever raises."""

import json
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.contract.reading import NOTHING, SEQUENCE_MAX, Said, reader_of
from probe.history.records import Odd
from probe.model.dialect import Dialect

EVENTS = ["started", "done"]
PATHS = {
    "thread": "thread_id", "user": "user_id", "sequence": "sequence", "cursor": "cursor",
}  # fmt: skip
NO_SEQUENCES: list[Any] = [0, -1, SEQUENCE_MAX + 1, 10**30, 1.5, "1", True, [], {}]
NO_CURSORS: list[Any] = [2**63, -(2**63), 1.5, True, [], {}]
SENTINEL = {"send": "{n}", "event": "pong", "path": "id"}


def dialect(**more):
    return Dialect.model_validate(
        {
            "title": "d",
            "present": {"default": {}},
            "ready": {"event": "hello"},
            "run": {"start": "{run}", "events": EVENTS},
        }
        | more
    )


def reader(**more):
    read = reader_of(dialect(**more))
    assert read is not None
    return read


def packed(message):
    return json.dumps(message).encode()


def paths(kind, run):
    return {"paths": {"type": kind, "run": run}}


FLAT = reader()
NESTED = reader(**paths("head.type", "body.run.id"))
MIXED = reader(**paths("type", "payload.run_id"))
SAME = reader(**paths("x.y", "x.y"))
ONE = reader(**paths("type", "type"))
DOTTED = reader(**paths("meta.type", "meta.run"))
CHECKED = reader(contract={"every": {"type": "object"}})
FULL = {"paths": PATHS, "sentinel": SENTINEL}
ANY_TYPE = reader(**FULL)
BY_TYPE = reader(**FULL, contract={"every": {"type": "object"}})
with mock.patch("probe.contract.reading.usual_of", return_value=None):
    LONG_WAY = reader(**FULL)
ALL_WAYS = [ANY_TYPE, BY_TYPE, LONG_WAY]


@pytest.mark.parametrize(
    ("read", "message", "expected"),
    [
        (FLAT, {"type": "hello"}, (1, None)),
        (FLAT, {"type": "done", "run_id": "r", "more": [1, {"type": "x"}]}, (3, "r")),
        (FLAT, {"type": "error", "run_id": "r"}, (4, "r")),
        (FLAT, {"type": "nobody knows", "run_id": "r"}, (0, "r")),
        (FLAT, {"type": 7, "run_id": 7}, (0, "7")),
        (FLAT, {"type": "started", "run_id": None}, (2, None)),
        (FLAT, {"type": "started", "run_id": True}, (2, None)),
        (FLAT, {"type": "started", "run_id": -(10**4000)}, (2, str(-(10**4000)))),
        (FLAT, {"type": ["started"], "run_id": {"a": 1}}, (0, None)),
        (FLAT, {"payload": {"type": "started"}}, (0, None)),
        (NESTED, {"head": {"type": "started"}, "body": {"run": {"id": "r"}}}, (2, "r")),
        (NESTED, {"head": {"type": "started"}, "body": None}, (2, None)),
        (NESTED, {"head": {"type": "started"}, "body": {"run": "r"}}, (2, None)),
        (NESTED, {"head": "started", "body": {"run": {"id": "r"}}}, (0, "r")),
        (NESTED, {}, (0, None)),
        (MIXED, {"type": "hello", "payload": "text"}, (1, None)),
        (MIXED, {"type": "hello", "payload": [1]}, (1, None)),
        (MIXED, {"type": "started", "payload": {"run_id": "r"}}, (2, "r")),
        (SAME, {"x": {"y": "done"}}, (3, "done")),
        (ONE, {"type": "done"}, (3, "done")),
        (DOTTED, {"meta": {"run": "r", "type": "done"}}, (3, "r")),
        (CHECKED, {"type": "done", "run_id": "r"}, (3, "r")),
    ],
)
def test_type_and_run(read, message, expected):
    assert read(packed(message)) == (Said(*expected),)


@pytest.mark.parametrize("read", ALL_WAYS)
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"sequence": 1}, {"sequence": 1}),
        ({"sequence": SEQUENCE_MAX}, {"sequence": SEQUENCE_MAX}),
        ({"sequence": 4.0}, {"sequence": 4}),
        ({"sequence": None}, {}),
        *(({"sequence": odd}, {"sequence": -1}) for odd in NO_SEQUENCES),
        ({"thread_id": "t", "user_id": "u"}, {"thread": "t", "user": "u"}),
        ({"thread_id": 12, "user_id": -3}, {"thread": "12", "user": "-3"}),
        ({"thread_id": [], "user_id": False}, {}),
        ({"cursor": 0}, {"cursor": 0}),
        ({"cursor": "c-7"}, {"cursor": "c-7"}),
        ({"cursor": 7.0}, {"cursor": 7}),
        ({"cursor": 2**63 - 1}, {"cursor": 2**63 - 1}),
        ({"cursor": -(2**63) + 1}, {"cursor": -(2**63) + 1}),
        *(({"cursor": odd}, {}) for odd in NO_CURSORS),
        ({"id": "7"}, {}),  # this is no answer of the sentinel
    ],
)
def test_every_field_is_told_as_what_it_is(read, fields, expected):
    for message in ({"type": "done", **fields}, {**fields, "run_id": "r", "type": "done"}):
        run = message.get("run_id")
        assert read(packed(message)) == (Said(3, run)._replace(**expected),)


@pytest.mark.parametrize("read", ALL_WAYS)
@pytest.mark.parametrize(("value", "mark"), [("7", "7"), (7, 7), (None, None), ([7], None)])
def test_the_sentinels_answer_carries_its_mark(read, value, mark):
    (said,) = read(packed({"type": "pong", "id": value}))
    assert said == Said(5, mark=mark)


@pytest.mark.parametrize("read", [FLAT, NESTED, MIXED, CHECKED])
@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"{", "not JSON"),
        (b"not json", "not JSON"),
        (b'{"type":"hello"}{"type":"hello"}', "Extra data"),
        (b'{"type":"\xff"}', "not UTF-8"),
        (b'{"type":NaN}', "NaN"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"[]", "array, not an object"),
        (b'"started"', "string, not an object"),
        (b"1", "integer, not an object"),
        (b"null", "null, not an object"),
        (b"[" * 200_000, "too deeply"),
        (b'{"a":' * 200_000, "too deeply"),
        (b'{"type":"hello","a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", "too deeply"),
        (b'{"type":' + b"[" * 200_000 + b"]" * 200_000 + b"}", "too deeply"),
    ],
)
def test_what_is_no_message_is_malformed_and_says_why(read, payload, why):
    ((*nothing, breach),) = read(payload)
    assert tuple(nothing) == NOTHING[:-1]
    assert breach is not None
    assert breach[0] is Odd.MALFORMED
    assert why in breach[1], breach[1]
    assert len(breach[1]) < 100


@pytest.mark.parametrize("read", [FLAT, CHECKED])
@pytest.mark.parametrize(
    "field",
    [b'"a":1e400', b'"a":' + b"1" * 4000, b'"a":"\\ud800"', b'"a":"\\udc00\\ud800\\\\ud800"'],
)
def test_json_that_the_fast_decoder_does_not_take_is_json_all_the_same(read, field):
    assert read(b'{"type":"done","run_id":"r",' + field + b"}") == (Said(3, "r"),)


def test_a_lone_surrogate_becomes_what_a_text_can_hold():
    (said,) = FLAT(rb'{"type":"done","run_id":"\ud83d\ude00 \ud83d \\ud83d"}')
    assert said.run == "\U0001f600 \ufffd \\ud83d"
    assert said.run.encode()


def test_nothing_is_read_where_nothing_is_named_or_looked_into():
    bare = {"title": "d", "present": {"default": {}}}
    assert reader_of(Dialect.model_validate(bare | {"errors": []})) is None
    assert reader_of(Dialect.model_validate(bare | {"framing": "opaque"})) is None
    assert reader_of(Dialect.model_validate(bare)) is not None
    closed = reader_of(Dialect.model_validate(bare | {"errors": [], "contract": {"closed": True}}))
    assert closed is not None
    assert closed(b'{"type":"a"}') == (Said(0, breach=(Odd.UNKNOWN, 'type: "a"')),)


def test_an_echo_promises_no_framing():
    read = reader(echo=True)
    assert read(b"probe 1") == (NOTHING,)
    assert read(b'{"type":"error"}') == (Said(4),)


def test_an_unknown_type_breaks_only_a_closed_contract():
    read = reader(contract={"closed": True})
    assert read(b'{"type":"done"}') == (Said(3),)
    ((*_, breach),) = read(packed({"type": "x" * 500, "run_id": "r"}))
    assert breach is not None
    assert breach[0] is Odd.UNKNOWN
    assert len(breach[1]) < 100
    assert read(b"{}") == (Said(0, breach=(Odd.UNKNOWN, "type: null")),)


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["hello", *EVENTS, "r", "pong", ""]) | st.text(max_size=3)
)  # fmt: skip
KEYS = st.sampled_from(
    [
        "type",
        "run_id",
        "payload",
        "head",
        "f0",
        "unset",
        "x",
        "id",
        "",
        "\0",
        '"',
        "\\",
        *PATHS.values(),
    ]
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=12,
)
A_PATH = st.lists(KEYS.filter(bool), min_size=1, max_size=3).map(".".join)


def at(message, path):
    for key in path.split("."):
        message = message.get(key) if isinstance(message, dict) else None
    return message


def id_of(value):
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return str(value)
    return value if isinstance(value, str) else None


@settings(deadline=None, max_examples=400)
@given(A_PATH, A_PATH, st.dictionaries(KEYS, VALUES, max_size=6))
def test_any_message_is_read_as_a_plain_reader_would(kind, run, message):
    spoken = dialect(**paths(kind, run))
    read = reader_of(spoken)
    assert read is not None
    found, run_id = at(message, kind), at(message, run)
    number = spoken.types.index(found) + 1 if found in spoken.types else 0
    assert read(packed(message)) == (Said(number, id_of(run_id)),)


@settings(deadline=None, max_examples=400)
@given(st.dictionaries(KEYS, VALUES, max_size=8))
def test_all_ways_read_alike(message):
    assert ANY_TYPE(packed(message)) == BY_TYPE(packed(message)) == LONG_WAY(packed(message))


def test_a_type_of_another_value_is_read_by_the_long_way_and_the_same():
    message = {"type": "done", "run_id": 5, "sequence": 2, "thread_id": "t", "cursor": "c"}
    for read in ALL_WAYS:
        assert read(packed(message)) == (Said(3, "5", 2, "t", None, "c"),)


@pytest.mark.parametrize("read", ALL_WAYS)
def test_of_a_name_that_stands_twice_the_last_counts(read):
    payload = b'{"type":"started","run_id":"a","type":"done","run_id":"b"}'
    assert read(payload) == (Said(3, "b"),)
    assert read(b'{"type":"new","type":"done"}') == (Said(3),)
    assert read(b'{"type":"done","type":"new"}') == (Said(0),)
    assert read(b'{"type":"done","type":7}') == (Said(0),)


ANY = [
    reader(framing=framing, prefix="42", **more)
    for framing in ("json", "several", "prefixed", "headers")
    for more in (
        FULL,
        {"contract": {"every": {"required": ["a"]}, "closed": True}},
        {"contract": {"shapes": {"flat": "", "nested": "payload"}, "canonical": "nested"}},
        {"contract": {"shapes": {"flat": "", "nested": "payload", "data": "data"}}},
        paths("head.type", "payload.run_id"),
    )
]
PIECES = st.sampled_from(
    [b"{", b"}", b"[", b"]", b'"', b"42", b"/a,", b"1", b":", b",", b"\\", b"\n", b"\r\n", b"\0",
     b'{"type":"done"}', b'"payload":{', b'["done",', b"MESSAGE\n", b"content-length:", b"\\ud800",
     b"\x1e", b"\xff", b"null", b"1e999", b"a:b\n"]
)  # fmt: skip
MESS = st.binary(max_size=40) | st.lists(PIECES, max_size=12).map(b"".join)


@settings(deadline=None, max_examples=500)
@given(MESS)
def test_no_bytes_make_a_reader_raise(payload):
    for read in ANY:
        for said in read(payload):
            assert type(said) is Said
            assert said.breach is None or len(said.breach[1]) <= 240
            for text in (said.run, said.thread, said.user):
                assert text is None or text.encode() is not None
