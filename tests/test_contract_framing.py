"""From the bytes of a message to its objects, in each framing."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.contract.framing import split_of
from probe.contract.reading import NOTHING, Said, reader_of
from probe.history.records import Odd
from probe.model.dialect import Dialect


def dialect(framing, **more):
    return Dialect.model_validate(
        {
            "title": "d",
            "present": {"default": {}},
            "run": {"start": "{run}", "events": ["started", "done"]},
            "framing": framing,
        }
        | more
    )


def split(framing, **more):
    found = split_of(dialect(framing, **more))
    assert found is not None
    return found


JSON = split("json")
SEVERAL = split("several")
SOCKET_IO = split("prefixed", prefix="42")
STOMP = split("headers")
A, B = {"a": 1}, {"b": [2]}


def test_opaque_messages_are_not_taken_apart():
    assert split_of(dialect("opaque")) is None


def test_json_is_one_object():
    assert JSON(b' {"a": 1}\n') == ([A], "")
    assert JSON(b"[{}]") == ([], "array, not an object")


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a":1}{"b":[2]}',
        b'{"a":1} \t{"b":[2]} ',
        b'{"a":1}\n{"b":[2]}\n',
        b'\r\n{"a":1}\r\n\r\n{"b":[2]}',
        b'{"a":1}\x1e{"b":[2]}\x1e',
        b'[{"a":1},{"b":[2]}]',
        b'[{"a":1}]\n[{"b":[2]}]',
    ],
)
def test_several_objects_one_behind_the_other(payload):
    assert SEVERAL(payload) == ([A, B], "")


def test_several_can_be_one_or_none():
    assert SEVERAL(b'{"a":1}') == ([A], "")
    assert SEVERAL(b"[]") == ([], "")


@pytest.mark.parametrize(
    ("payload", "found", "why"),
    [
        (b'{"a":1}{"b":', [A], "not JSON"),
        (b'{"a":1},{"b":[2]}', [A], "not JSON"),
        (b'[{"a":1},7,{"b":[2]}]', [A, B], "integer, not an object"),
        (b'{"a":1} true', [A], "boolean, not an object"),
        (b"null", [], "null, not an object"),
        (b"", [], "empty"),
        (b"\x1e \n", [], "empty"),
        (b"\xff", [], "not UTF-8"),
        (b'{"a":1}' + b"[" * 200_000, [A], "too deeply"),
        (b'{"a":1}{"b":1' + b"0" * 5000 + b"}", [A], "a number too long"),
    ],
)
def test_of_several_what_can_be_read_is_read_and_the_rest_is_told_once(payload, found, why):
    objects, words = SEVERAL(payload)
    assert objects == found
    assert why in words
    read = reader_of(dialect("several"))
    assert read is not None
    said = read(payload)
    assert len(said) == len(found) + 1
    assert said[-1] == Said(0, breach=(Odd.MALFORMED, words))


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        (b'42["done",{"run_id":"r"}]', {"type": "done", "run_id": "r"}),
        (b'42["done",{"type":"x","run_id":"r"}]', {"type": "done", "run_id": "r"}),
        (b'42["done"]', {"type": "done"}),
        (b'42["done","text",{"a":1},{"b":2}]', {"type": "done", "a": 1}),
        (b'4217["done",{"a":1}]', {"type": "done", "a": 1}),
        (b'42/chat,["done",{"a":1}]', {"type": "done", "a": 1}),
        (b'42/chat,17["done",{"a":1}]', {"type": "done", "a": 1}),
        (b'42{"a":1}', A),
    ],
)
def test_an_event_of_socket_io_is_an_object_with_its_name_as_type(payload, found):
    assert SOCKET_IO(payload) == ([found], "")


@pytest.mark.parametrize(
    "payload", [b"2", b"3", b"40", b'0{"sid":"x"}', b"41", b"", b"451-[]", b"probe"]
)
def test_other_packets_are_of_no_type_and_not_malformed(payload):
    assert SOCKET_IO(payload) == ([None], "")
    read = reader_of(dialect("prefixed", prefix="42", contract={"closed": True}))
    assert read is not None
    assert read(payload) == (NOTHING,)


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"42", "behind the prefix"),
        (b"42x[]", "behind the prefix"),
        (b"42[]", "does not begin with a name"),
        (b'42[{"a":1}]', "does not begin with a name"),
        (b'42["done"', "not JSON"),
        (b"42" + b"[" * 200_000, "too deeply"),
    ],
)
def test_a_packet_that_cannot_be_read_is_malformed(payload, why):
    objects, words = SOCKET_IO(payload)
    assert objects == []
    assert why in words


def test_the_name_stands_where_the_dialect_looks_for_the_type():
    nested = split("prefixed", prefix="42", paths={"type": "head.type", "run": "run_id"})
    expected = {"head": {"type": "done", "n": 1}, "a": 2}
    assert nested(b'42["done",{"head":{"n":1},"a":2}]') == ([expected], "")
    assert nested(b'42["done",{"head":7}]') == ([{"head": {"type": "done"}}], "")


FRAME = b'MESSAGE\ndestination:/a\nmessage-id:7\n\n{"type":"done","run_id":"r"}\0'
FIELDS = {
    "command": "MESSAGE", "destination": "/a", "message-id": "7", "type": "done", "run_id": "r",
}  # fmt: skip


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        (FRAME, [FIELDS]),
        (FRAME.replace(b"\n", b"\r\n"), [FIELDS]),
        (b"\n\n" + FRAME + b"\n\r\n", [FIELDS]),
        (FRAME + b"\n" + FRAME, [FIELDS, FIELDS]),
        (b"RECEIPT\nreceipt-id:1\n\n\0", [{"command": "RECEIPT", "receipt-id": "1"}]),
        (b"A\n\nplain text\0", [{"command": "A", "body": "plain text"}]),
        (b"A\n\n[1]\0", [{"command": "A", "body": "[1]"}]),
        (b"A\n\n\xff\0", [{"command": "A", "body": "\\xff"}]),
        (b"A\ncontent-length:3\n\na\0b\0",
         [{"command": "A", "content-length": "3", "body": "a\0b"}]),
        (b"A\nk:first\nk:second\n\n\0", [{"command": "A", "k": "first"}]),
        (b"A\nk\\c1:a\\nb\\\\c\\r:d\n\n\0", [{"command": "A", "k:1": "a\nb\\c\r:d"}]),
        (b"CONNECTED\nversion:1.2\nk:a\\b\n\n\0",
         [{"command": "CONNECTED", "version": "1.2", "k": "a\\b"}]),
        (b'A\n\n{"command":"B"}\0', [{"command": "A"}]),
        (b"\n", [None]),
        (b"\r\n", [None]),
    ],
)  # fmt: skip
def test_frames_of_stomp(payload, found):
    assert STOMP(payload) == (found, "")


@pytest.mark.parametrize(
    ("payload", "found", "why"),
    [
        (b"", [], "no empty line"),
        (b"\n\n", [], "no empty line"),
        (b"A\n", [], "no empty line"),
        (b"A\nk:v\n\nbody", [], "no NUL"),
        (b"A\ncontent-length:9\n\nbody\0", [], "no NUL"),
        (b"A\ncontent-length:-1\n\nbody\0", [], "no NUL"),
        (b"A\nno colon\n\n\0", [], "without a colon"),
        (b"A\nk:a\\tb\n\n\0", [], "an escape"),
        (b"A\nk:a\\\n\n\0", [], "an escape"),
        (b"\xff\n\n\0", [], "not UTF-8"),
        (FRAME + b"A\n", [FIELDS], "no empty line"),
    ],
)
def test_what_is_no_frame_is_told(payload, found, why):
    objects, words = STOMP(payload)
    assert objects == found
    assert why in words


OBJECTS = st.lists(
    st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=5), max_size=3),
    min_size=1,
    max_size=5,
)


@settings(deadline=None)
@given(OBJECTS, st.sampled_from(["", " ", "\n", "\r\n", "\x1e"]))
def test_objects_are_found_again_whatever_separates_them(objects, between):
    payload = between.join(map(json.dumps, objects)).encode()
    assert SEVERAL(payload) == (objects, "")
    assert SEVERAL(json.dumps(objects).encode()) == (objects, "")
    assert JSON(json.dumps(objects[0]).encode()) == (objects[:1], "")


HEADERS = st.dictionaries(
    st.text(min_size=1, max_size=8).filter(lambda name: name != "content-length"),
    st.text(max_size=8),
    max_size=4,
)


def escaped(text):
    for char, escape in (("\\", "\\\\"), ("\r", "\\r"), ("\n", "\\n"), (":", "\\c")):
        text = text.replace(char, escape)
    return text


@settings(deadline=None)
@given(HEADERS)
def test_headers_are_found_again_whatever_is_in_them(headers):
    lines = "".join(f"{escaped(name)}:{escaped(value)}\n" for name, value in headers.items())
    assert STOMP(f"A\n{lines}\n\0".encode()) == ([{**headers, "command": "A"}], "")
