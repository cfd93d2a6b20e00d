"""What is written for one received message: rows in their order, and nothing where all is well."""

import json
from typing import Any

import jwt
import pytest

from probe.engine.client import Client
from probe.engine.runs import Runs
from probe.history.records import Kind, Odd, Outcome, Phase, Run, identity_mark, run_key
from probe.wire.ends import End
from tests.engine_sites import (
    ERROR,
    HELLO,
    LIMITED,
    TOLD,
    A,
    B,
    C,
    identity,
    site_of,
    spoken,
)

NAMES = {HELLO: "hello", A: "a", B: "b", C: "c", ERROR: "error", LIMITED: "limited", TOLD: "told"}
TEXT, BINARY = 1, 2


class Heard:
    """One client in its first attempt, that has begun some runs."""

    def __init__(self, *, runs=1, session=7, user="probe-7", keep=0, **more):
        self.site, self.rows = site_of(spoken(**more), keep=keep)
        door: Any = None
        self.client = Client(self.site, session, door, identity(user))
        self.client.attempts = 1
        rule = self.site.dialect.run
        assert rule is not None
        self.runs = self.client._runs = Runs(self.site, rule, session)
        self.ids = [self.runs.begin(1, 0)[1] for _ in range(runs)]
        self.rows.clear()

    def hear(self, kind, run=None, *, t=5, opcode=TEXT, **fields):
        told = {"type": NAMES.get(kind, kind)} | ({} if run is None else {"run_id": run}) | fields
        return self.bytes(json.dumps(told).encode(), t=t, opcode=opcode)

    def bytes(self, payload, *, t=5, opcode=TEXT):
        """The rows of one message, without the stamp, session and attempt that all share."""
        before = len(self.rows)
        self.client.message(t, opcode, payload)
        new = self.rows[before:]
        assert all(row[:3] == (t, 7, 0) for row in new)
        return [row[3:] for row in new]

    def id_of(self, session, number):
        return f"{self.site.nonce}-{session}-{number}"


def test_a_message_as_it_ought_to_be_is_one_row():
    heard = Heard()
    thread = heard.ids[0] + "-t"
    fields = {"thread": thread, "user": "probe-7", "seq": 3, "cursor": 9}
    assert heard.hear(A, heard.ids[0], **fields) == [(Kind.GOT, A, 3, run_key(7, 0))]
    assert heard.hear("nobody knows") == [(Kind.GOT, 0, 0, -1)]
    assert heard.hear(HELLO) == [(Kind.GOT, HELLO, 0, -1), (Kind.READY, 0, 0, 0)]
    assert heard.hear(HELLO) == [(Kind.GOT, HELLO, 0, -1)]  # ready but once


def test_the_end_of_a_run_is_told_behind_its_event():
    heard = Heard(runs=2)
    assert heard.hear(C, heard.ids[1]) == [
        (Kind.GOT, C, 0, run_key(7, 1)), (Kind.RUN, Run.ENDED, 1, run_key(7, 1)),
    ]  # fmt: skip
    assert list(heard.runs.pending) == [run_key(7, 0)]


def test_binary_is_no_json_but_several_are_read_from_it():
    heard = Heard()
    assert heard.hear(A, heard.ids[0], opcode=BINARY) == [(Kind.GOT, 0, 0, -1)]
    heard = Heard(framing="several")
    two = [{"type": "a", "run_id": heard.ids[0]}, {"type": "b", "run_id": heard.ids[0]}]
    payload = "\n".join(map(json.dumps, two)).encode()
    for opcode in (TEXT, BINARY):
        rows = heard.bytes(payload, opcode=opcode)
        assert [row[:2] for row in rows] == [(Kind.GOT, A), (Kind.GOT, B)]
    heard = Heard(framing="opaque")
    assert heard.hear(A, heard.ids[0]) == [(Kind.GOT, 0, 0, -1)]


def test_other_sessions_and_strangers_are_told_apart_by_the_id():
    heard = Heard()
    assert heard.hear(A, heard.id_of(3, 2)) == [(Kind.GOT, A, 0, run_key(3, 2))]
    assert heard.hear(A, "0b1c") == [(Kind.GOT, A, 0, -2)]
    assert heard.hear(A, "probe-00000000-7-0") == [(Kind.GOT, A, 0, -2)]


def test_ids_of_another_session_elsewhere_in_the_bytes_are_foreign():
    heard = Heard(runs=2)
    mine, theirs = heard.ids[0], heard.id_of(3, 2)
    got = (Kind.GOT, A, 0, run_key(7, 0))
    foreign = (Kind.FOREIGN, 0, A, run_key(3, 2))
    kept = heard.hear(A, mine, note=f"also {theirs}-t and {theirs}")
    assert kept[:2] == [got, foreign]
    assert [row[0] for row in kept[2:]] == [Kind.KEPT]
    # Its own id elsewhere, other runs of its own session, or the run that it is of: none.
    assert heard.hear(A, mine, note=f"{mine}-t {heard.ids[1]}") == [got]
    assert heard.hear(A, theirs, thread=f"{theirs}-t")[1:] == []
    # No run at all, and several others.
    rows = heard.hear("x", note=f"{heard.id_of(9, 0)} {theirs}")
    assert rows[1:3] == [
        (Kind.FOREIGN, 0, 0, run_key(3, 2)), (Kind.FOREIGN, 0, 0, run_key(9, 0)),
    ]  # fmt: skip
    # A longer number is another run.
    rows = heard.hear(A, theirs, note=theirs + "1")
    assert rows[1] == (Kind.FOREIGN, 0, A, run_key(3, 21))


@pytest.mark.parametrize("run", ["probe-{}", "probe-{}-3"])
def test_a_part_of_an_id_hides_no_whole_one(run):
    heard = Heard()
    theirs = heard.id_of(3, 2)
    rows = heard.hear("x", run.format(heard.site.nonce[6:]), note=theirs)
    assert rows[:2] == [(Kind.GOT, 0, 0, -2), (Kind.FOREIGN, 0, 0, run_key(3, 2))]


def test_the_escapes_of_json_hide_no_id():
    heard = Heard()
    theirs = heard.id_of(3, 2)
    for hidden in (
        "".join(f"\\u{ord(sign):04x}" for sign in theirs),
        theirs.replace("p", "\\u0070", 1),
        theirs.replace("-", "\\u002D"),
        theirs.replace("3", "\\u0033"),
    ):
        rows = heard.bytes(b'{"type":"x","note":"%s"}' % hidden.encode())
        assert rows[1] == (Kind.FOREIGN, 0, 0, run_key(3, 2))
    mine = heard.ids[0].replace("p", "\\u0070", 1)
    assert len(heard.bytes(b'{"type":"a","run_id":"%s"}' % mine.encode())) == 1


def test_an_id_in_the_reason_of_a_close_is_told_behind_the_end():
    heard = Heard()
    reason = f"{heard.ids[0]} {heard.id_of(3, 2)}".encode()
    heard.client.ended(9, End(Outcome.CLOSED, Phase.READY, 4000, reason))
    assert heard.rows.of(Kind.FOREIGN) == [(0, 0, run_key(3, 2))]


def test_the_whole_token_of_another_is_foreign():
    heard = Heard()
    mine, theirs = (jwt.encode({"sub": f"probe-{n}"}, "k" * 32) for n in (7, 8))
    for index, token in ((7, mine), (8, theirs)):
        heard.site.everybody.add(identity(f"probe-{index}", token, index))
    assert len(heard.hear("x", note=mine)) == 1
    assert heard.hear("x", note=f"Bearer {theirs}")[1] == (Kind.FOREIGN, 2, 0, identity_mark(8))
    escaped = "".join(f"\\u{ord(sign):04x}" for sign in theirs).encode()
    assert heard.bytes(b'{"type":"x","note":"%s"}' % escaped)[1][:2] == (Kind.FOREIGN, 2)
    assert len(heard.hear("x", note=theirs[:-1])) == 1  # nobody could use it


@pytest.mark.parametrize("cut", [30, 60, -43, -30])
def test_the_end_of_anothers_token_is_masked_where_it_is_kept(cut):
    heard = Heard(contract=CONTRACT)
    token = jwt.encode({"sub": "probe-8", "jti": "0123456789abcdef"}, "k" * 32)
    heard.site.everybody.add(identity("probe-8", token, 8))
    heard.hear("other", note=f"{heard.id_of(8, 0)} {token[cut:]}")
    heard.hear(C, heard.ids[0], thread=f"{token[cut:]}")
    heard.hear(C, heard.ids[0], thread="another")
    said = b"".join(heard.rows.kept) + "".join(heard.rows.words).encode()
    assert heard.id_of(8, 0).encode() in said
    tail = token[cut:].encode()
    assert not any(tail[at : at + 11] in said for at in range(len(tail) - 10))


def test_a_run_id_of_any_size_and_none_at_all():
    heard = Heard()
    assert heard.hear(A, 2**80) == [(Kind.GOT, A, 0, -2)]
    assert heard.hear(A) == [(Kind.GOT, A, 0, -1)]


def test_a_name_that_nobody_has_may_be_the_services_own():
    heard = Heard(runs=3)
    first, second, third = heard.ids
    for run in (first, second):
        assert len(heard.hear(A, run, user="0b1c-uuid")) == 1
    heard.hear(B, first, user="0b1c-other")
    assert heard.rows.told() == [(Odd.IDS, B, "user: '0b1c-other', before '0b1c-uuid'")]
    # One that calls users as we do has no reason to call this one otherwise.
    heard.hear(HELLO, user="probe-7")
    heard.hear(A, third, user="0b1c-uuid")
    assert heard.rows.told()[1:] == [(Odd.IDS, A, "user: '0b1c-uuid', before 'probe-7'")]
    assert not heard.rows.of(Kind.FOREIGN)


def test_another_user_is_foreign_where_the_user_is_known():
    heard = Heard()
    heard.site.everybody.add(identity("probe-8", index=8))
    rows = heard.hear(A, heard.ids[0], user="probe-8")
    assert rows[1] == (Kind.FOREIGN, 1, A, identity_mark(8))
    assert identity_mark(identity_mark(8)) == 8
    assert heard.hear(HELLO, user="probe-7")[1:] == [(Kind.READY, 0, 0, 0)]
    nameless = Heard(user="")
    nameless.site.everybody.add(identity("anybody", index=8))
    assert len(nameless.hear(A, nameless.ids[0], user="anybody")) == 1


def test_ids_that_disagree_with_the_first_event_of_the_run():
    heard = Heard(runs=2)
    first, second = heard.ids
    assert len(heard.hear(A, first)) == 1  # says nothing of a thread
    assert len(heard.hear(B, first, thread="t1", user="probe-7")) == 1
    assert len(heard.hear(A, second, thread="t2")) == 1
    heard.hear(B, first, thread="t2")
    assert len(heard.hear(ERROR, second, thread="t9")) == 2  # no event of a run: REFUSED only
    assert heard.rows.told() == [(Odd.IDS, B, "thread: 't2', before 't1'")]


CONTRACT = {
    "every": {"required": ["run_id"]},
    "schemas": {"c": {"required": ["result"], "properties": {"result": {"type": "string"}}}},
    "shapes": {"flat": "", "nested": "payload", "data": "data"},
    "closed": True,
}


def test_what_breaks_the_contract_follows_and_then_the_message():
    heard = Heard(contract=CONTRACT)
    mine = heard.ids[0]
    assert heard.hear(A, mine) == [(Kind.GOT, A, 0, run_key(7, 0))]
    rows = heard.hear(C, mine)
    assert [row[:2] for row in rows] == [
        (Kind.GOT, C), (Kind.ODD, Odd.MISSING), (Kind.RUN, Run.ENDED), (Kind.KEPT, 1),
    ]  # fmt: skip
    heard.hear(C, mine, result=7)
    heard.hear("other")
    heard.bytes(b"no json")
    nested = {"type": "b", "payload": {"run_id": mine}}
    assert [row[0] for row in heard.bytes(json.dumps(nested).encode())][:2] == [Kind.GOT, Kind.ODD]
    assert [(flag, kind) for flag, kind, _ in heard.rows.told()] == [
        (Odd.MISSING, C), (Odd.TYPE, C), (Odd.UNKNOWN, 0), (Odd.MALFORMED, 0), (Odd.SHAPE, B),
    ]  # fmt: skip
    assert heard.rows.told()[-1][2] == "nested"


def test_the_first_of_each_kind_are_kept_and_masked():
    heard = Heard(contract=CONTRACT, keep=0)
    for _ in range(4):
        heard.hear("other", note="a-token-that-is-secret")
    for _ in range(4):
        heard.bytes(b'{"type":"b","payload":{}}')
    for _ in range(3):
        heard.bytes(b'{"type":"b","data":{}}')
    # The journal of these tests wants two of each; what is missing besides is the same kind.
    assert len(heard.rows.kept) == 6
    assert not any(b"secret" in kept for kept in heard.rows.kept)
    assert heard.rows.of(Kind.KEPT)[0][:2] == (1, TEXT)


def test_a_message_is_kept_once_though_all_are_kept():
    heard = Heard(contract=CONTRACT, keep=2)
    for _ in range(2):
        assert [row[0] for row in heard.hear("other")] == [Kind.GOT, Kind.ODD, Kind.KEPT]
    assert heard.site.keep_left == 0


def test_too_many_different_words_are_cut_to_the_place():
    site, rows = site_of()
    for number in range(700):
        site.odd_word(f"c.result: {number} is no text")
    assert len(rows.words) == 1 + 500 + 1
    assert rows.words[-1] == "c.result"


def test_an_error_or_a_limit_refuses_the_run_that_it_names():
    heard = Heard(runs=2)
    first, second = heard.ids
    heard.hear(LIMITED)  # which one?
    heard.hear(ERROR, "some other id")
    assert len(heard.runs.pending) == 2
    assert heard.hear(ERROR, second)[1:] == [(Kind.RUN, Run.REFUSED, 0, run_key(7, 1))]
    assert heard.hear(ERROR, second)[1:] == []
    assert heard.hear(ERROR, first)[1:] == [(Kind.RUN, Run.REFUSED, 0, run_key(7, 0))]
    assert heard.runs.refused == 2
    assert heard.hear(C, first)[1:] == []  # it came all the same: a row, and nothing else


@pytest.mark.parametrize("kind", [ERROR, LIMITED])
def test_an_error_that_names_no_run_means_the_only_one_if_silence_follows(kind):
    heard = Heard()
    (run,) = heard.runs.pending.values()
    hopeless = heard.runs.hopeless_ns()
    for named in (heard.id_of(3, 2), "some other id"):
        heard.hear(kind, named)
        assert not run.doubted_ns
    assert len(heard.hear(kind, t=7)) == 1
    rule = heard.site.dialect.run
    assert rule is not None
    assert heard.runs.hopeless_ns() == 7 + rule.quiet < hopeless
    # What goes on was not meant.
    heard.hear(A, heard.ids[0], t=8)
    assert heard.runs.hopeless_ns() == hopeless
    heard.hear(kind, t=9)
    heard.runs.give_up(10, 0)
    assert heard.rows.of(Kind.RUN) == [(Run.REFUSED, 1, run_key(7, 0))]
    assert (heard.runs.refused, heard.runs.hung) == (1, 0)


def test_the_answer_of_a_sentinel_that_was_sent():
    heard = Heard()
    heard.client._sentinel = 2
    heard.client._flood = {1_000_000_000, 1_000_000_001}
    for mark in (1, "2", "1000000001"):
        assert heard.hear(TOLD, n=mark)[1:] == [(Kind.SENTINEL, 1, 0, int(mark))]
    nothing: list[Any] = [0, 3, "x", -1, "1000000001", "1" * 30, "\u0661", None, [], True]
    for mark in nothing:
        assert heard.hear(TOLD, n=mark)[1:] == []
    assert heard.hear(ERROR, n=1)[1:] != [(Kind.SENTINEL, 1, 0, 1)]


def test_the_cursor_never_goes_back():
    heard = Heard()
    for cursor, kept in ((3, 3), (2, 3), (5, 5), ("x", "x"), (1, 1), (None, 1)):
        heard.hear(A, heard.ids[0], cursor=cursor)
        assert heard.client._cursor == kept


def test_the_ends_of_an_attempt_tell_its_traffic():
    heard = Heard()
    size = len(json.dumps({"type": "x"}))
    heard.hear("x")
    heard.hear("x", opcode=BINARY)
    heard.rows.clear()
    heard.client.ended(9, End(Outcome.NORMAL, Phase.READY))
    assert [row[3:] for row in heard.rows] == [
        (Kind.TRAFFIC, 0, 0, 0), (Kind.TRAFFIC, 1, 2, 2 * size),
    ]  # fmt: skip


@pytest.mark.parametrize(("size", "numbered"), [(64, True), (65, True), (5000, True)])
def test_a_large_message_has_the_size_that_was_asked_for(size, numbered):
    heard = Heard()
    payload, carries = heard.client._padded(size)
    assert (len(payload), carries) == (size, numbered)
    assert json.loads(payload)["ask"] == "1"
    bare = Heard(sentinel={"send": "?{n}", "event": "told"})
    assert bare.client._padded(size) == (b"x" * size, False)
    packet = Heard(sentinel={"send": '42["q",{"n":"{n}"}]', "event": "told"})
    assert json.loads(packet.client._padded(size)[0][2:])[1]["n"] == "1"
    assert len(packet.client._padded(size)[0]) == size


def test_where_no_message_says_ready_none_does():
    heard = Heard(ready={})
    assert heard.hear("anything") == [(Kind.GOT, 0, 0, -1)]
    assert heard.hear(HELLO) == [(Kind.GOT, 0, 0, -1)]
