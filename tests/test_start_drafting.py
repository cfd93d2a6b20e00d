"""What sessions say of a dialect: framings, types, ready, runs, echo; and what they do not say."""

import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.contract.reading import reader_of
from probe.model.dialect import Dialect
from probe.model.reading import build
from probe.redact import Redactor
from probe.start import toml
from probe.start.drafting import draft
from probe.start.files import Showing, Speech, dialect_text
from probe.start.inferring import with_places
from probe.start.leaves import leaves, type_field
from probe.start.saying import learned, spoken
from probe.start.seen import Message, Session, filled

START = '{"type":"go","id":"{run}"}'


def got(message, opcode=1):
    payload = message if isinstance(message, bytes) else json.dumps(message).encode()
    return Message(sent=False, payload=payload, opcode=opcode)


def asked(run="r", template=START):
    text, places = filled(template, {"run": run, "n": run, "thread": "t"})
    return Message(sent=True, payload=text.encode(), template=template, places=places)


def said(message, *, opening=False):
    """As in an archive: sent, and nothing is known of a template."""
    return Message(sent=True, payload=json.dumps(message).encode(), opening=opening)


def a_run(run, kinds, **more):
    return [asked(run), *(got({"type": kind, "id": run, **more}) for kind in kinds)]


def written(drafted, **more):
    """The dialect of a draft, by the reader of every dialect."""
    text = dialect_text(Speech("t", Showing(), drafted, **more))
    dialect = build(Dialect, tomllib.loads(text), "the draft")
    reader_of(dialect)
    return dialect


def test_the_events_of_a_run_are_those_that_carry_the_clients_id():
    drafted = draft([
        Session((got({"type": "hello"}), *a_run("a", ["begun", "part", "part", "done"]))),
        Session((got({"type": "hello"}), *a_run("b", ["begun", "part", "done"]),
                 got({"type": "news"}))),
    ])  # fmt: skip
    dialect = written(drafted)
    assert dialect.ready.event == "hello"
    assert dialect.run is not None
    assert [(step.type, step.times) for step in dialect.run.steps] == [
        ("begun", "1"), ("part", "1..*"), ("done", "1"),
    ]  # fmt: skip
    assert dialect.run.start == START
    assert (dialect.paths.type, dialect.paths.run, dialect.run.last) == ("type", "id", "done")
    assert "'id' holds the client's id in 7 messages of 2 runs" in " ".join(learned(drafted))


def test_an_order_that_changes_is_no_order_and_what_comes_behind_the_end_is_left_out():
    drafted = draft([
        Session((*a_run("a", ["x", "y", "done", "late"]),)),
        Session((*a_run("b", ["y", "x", "done"]),)),
        Session((*a_run("c", ["y", "x", "late", "done"]),)),
    ])  # fmt: skip
    dialect = written(drafted)
    assert dialect.run is not None
    steps = {step.type: step for step in dialect.run.steps}
    assert set(steps) == {"x", "y", "done"}
    assert {steps["x"].after, steps["y"].after} == {()}
    assert set(steps["done"].after or ()) == {"x", "y"}
    assert "they also came after done: late" in drafted.left[0]


@pytest.mark.parametrize(
    ("kinds", "times"),
    [(["a", "z"], "0..1"), (["a", "a", "z"], "0..*")],
)
def test_what_some_runs_have_and_others_have_not_is_optional(kinds, times):
    drafted = draft([Session((*a_run("a", kinds), *a_run("b", ["z"])))])
    dialect = written(drafted)
    assert dialect.run is not None
    assert [(step.type, step.times) for step in dialect.run.steps] == [("a", times), ("z", "1")]


def test_a_run_that_nothing_ends_is_no_run():
    drafted = draft([Session((*a_run("a", ["tick", "tick"]), *a_run("b", ["tick", "tick"])))])
    assert drafted.run is None
    assert drafted.answer == "tick"


def test_an_id_of_the_service_is_one_within_a_run_and_another_in_the_next():
    def run(number):
        return [
            asked("-", '{"type":"go"}'),
            got({"type": "begun", "request_id": number, "user_id": "u"}),
            got({"type": "done", "request_id": number, "user_id": "u"}),
        ]

    drafted = draft([Session((*run("q1"), *run("q2"))), Session((*run("q3"), *run("q4")))])
    dialect = written(drafted)
    assert dialect.run is not None
    assert (dialect.paths.run, dialect.run.start) == ("request_id", '{"type":"go"}')
    text = dialect_text(Speech("t", Showing(), drafted)).replace("\n# ", " ")
    assert "an id that the service gave" in text


def test_without_an_id_the_answer_says_ready():
    session = Session((asked("-", '{"type":"ping"}'), got({"type": "pong"})))
    drafted = draft([session, session])
    assert (drafted.run, drafted.answer) == (None, "pong")
    dialect = written(drafted)
    assert dialect.ready.event == "pong"
    assert dialect.present["default"].first_message == '{"type":"ping"}'


def test_where_a_first_message_is_needed_the_answer_is_not_judged():
    session = Session((asked("-", '{"type":"ping"}'), got({"type": "pong"})))
    speech = Speech("t", Showing(first_message="hi"), draft([session]))
    assert speech.unjudged
    assert build(Dialect, tomllib.loads(dialect_text(speech)), "").ready.event is None


def test_an_error_that_answers_is_no_event():
    drafted = draft([Session((asked("a"), got({"type": "some_error", "id": "a"})))])
    assert (drafted.run, drafted.answer, drafted.refused) == (None, "", "some_error")
    assert written(drafted).errors == ("some_error",)


def test_a_service_that_sends_everything_back_is_an_echo():
    sent = Message(sent=True, payload=b"hello", template="hello")
    drafted = draft([Session((sent, got(b"hello"), sent, got(b"hello")))])
    assert drafted.echo
    assert written(drafted).echo
    assert not draft([Session((sent, got(b"hello"), sent))]).echo


@pytest.mark.parametrize(
    ("payloads", "framing", "prefix"),
    [
        ([b'{"type":"a"}'], "json", ""),
        ([b'{"type":"a"}\n{"type":"b"}', b'[{"type":"a"}]'], "several", ""),
        ([b'0{"sid":"x"}', b"40", b'42["a",{"id":1}]', b'42["b",{}]'], "prefixed", "42"),
        ([b'a{"type":"x"}', b'a{"type":"y"}'], "prefixed", "a"),
        ([b"CONNECTED\nversion:1.2\n\n\0"], "headers", ""),
        ([b"PONG", b"PONG"], "opaque", ""),
    ],
)
def test_the_framing_is_the_one_that_reads_what_came(payloads, framing, prefix):
    drafted = draft([Session(tuple(map(got, payloads)))])
    assert drafted.framing is not None
    assert (drafted.framing.name, drafted.prefix) == (framing, prefix)
    dialect = written(drafted)
    assert (dialect.framing, dialect.prefix) == (framing, prefix)


def test_binary_messages_are_not_looked_into():
    drafted = draft([Session((got(b"\x10\x02", 2), got(b"\x20\x02", 2)))])
    assert "2 binary" in drafted.left[0]


@pytest.mark.parametrize(
    ("messages", "sent", "path"),
    [
        ([{"type": "a", "kind": "b"}], [], "type"),
        ([{"header": {"msg_type": "a", "msg_id": "1"}, "x": "y"}], [], "header.msg_type"),
        ([{"commit": "abc", "janus": "pong"}], [{"janus": "ping"}], "janus"),
        ([{"jsonrpc": "2.0", "id": "1"}], [], "jsonrpc"),
        ([{"when": "2026-11-22T01:02:03"}], [], None),
        ([{"text": "one two"}, {"text": "three four"}], [], None),
        ([{"a.b": "c"}], [], None),
        ([{"n": 1}], [], None),
        ([{"id": 1, "result": {"product": "Thing"}}], [], None),
        ([{"id": 1, "said": "Thing"}], [], "said"),
    ],
)
def test_the_field_that_names_the_type(messages, sent, path):
    found = type_field(messages, sent)
    assert (found.path if found else None) == path


def test_a_walk_ends_however_deep_and_wide_a_message_is():
    deep: dict[str, object] = {}
    for _ in range(5000):
        deep = {"a": deep}
    assert leaves(deep) == {}
    assert len(leaves({f"k{n}": n for n in range(10_000)})) == 300


def test_a_number_that_rises_is_the_sequence():
    run = [
        asked("a"),
        *(got({"type": t, "id": "a", "at": n, "size": 5}) for n, t in enumerate("xyz", 1)),
    ]
    drafted = draft([Session(tuple(run))])
    assert drafted.run is not None
    assert (drafted.run.sequence, drafted.run.counts) == ("at", True)


def test_in_an_archive_the_id_that_comes_back_starts_a_run():
    messages = [said({"op": "login", "password": "a-long-password", "token": "a-long-token"})]
    for run in ("one-1", "two-2"):
        messages += [
            said({"op": "ask", "ref": run, "text": "same"}),
            got({"op": "answer", "ref": run, "echo": "same"}),
        ]
    sessions, note = with_places([Session(tuple(messages))])
    assert [m.template for m in sessions[0].messages if m.sent and not m.opening] == [
        '{"op": "ask", "ref": "{run}", "text": "same"}'
    ] * 2
    assert sessions[0].messages[0].template == (
        '{"op": "login", "password": "LEFT-OUT", "token": "{token}"}'
    )
    assert "LEFT-OUT" in note
    dialect = written(draft(sessions))
    assert dialect.run is not None
    assert dialect.paths.run == "ref"


def test_an_id_that_is_a_number_is_told_and_not_guessed():
    messages = [m for n in (1, 2) for m in (said({"id": n, "method": "m"}), got({"id": n}))]
    sessions, note = with_places([Session(tuple(messages))])
    assert "the id at id of a message comes back and is a number" in note
    assert draft(sessions).run is None


def test_what_is_shown_is_cut_redacted_and_visible():
    token = "a-token-that-nobody-may-see"
    session = Session((got(b"\x1b[31m" + token.encode() + b" " + b"x" * 500),))
    (line,) = spoken(session, Redactor(token), 80)
    assert token not in line
    assert "\x1b" not in line
    assert len(line) <= 80


@given(st.text(st.characters(exclude_categories=()), max_size=60))
def test_any_text_is_a_string_of_toml_and_no_comment_ends_early(text):
    comment = toml.comment(text)
    read = tomllib.loads(f"{comment}\nvalue = {toml.quoted(text)}\n{comment}")
    assert read == {"value": "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)}
    assert all(line.startswith("#") for line in comment.split("\n"))


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_a_type_from_the_wire_comes_out_of_the_file_as_it_was(kind):
    session = Session((asked("-", '{"type":"q"}'), got({"type": kind}), got({"type": kind})))
    drafted = draft([session])
    if drafted.types is not None:
        assert written(drafted).ready.event in {None, kind}
