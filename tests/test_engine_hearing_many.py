"""What one read brought leaves the same rows heard at once as message by message."""

import json
from collections import Counter
from typing import Any

import jwt
from hypothesis import example, given, settings
from hypothesis import strategies as st

from probe.engine.client import Client
from probe.engine.hearing import Hearing
from probe.engine.runs import Runs
from probe.engine.waiting import DONE, ECHO, MESSAGE
from probe.history.records import Kind
from tests.engine_sites import identity, site_of, spoken

TEXT, BINARY = 1, 2
TOKEN = jwt.encode({"sub": "other"}, "a secret that is long enough to sign with", algorithm="HS256")
FRAMINGS = {"json": {}, "several": {"framing": "several"}, "opaque": {"framing": "opaque"}}
CONTRACT = {"schemas": {"a": {"required": ["text"], "properties": {"text": {"type": "string"}}}}}


class Waiter:
    """Who waits: how often it was told, and with what."""

    def __init__(self):
        self.told = []

    def done(self):
        return bool(self.told)

    def set_result(self, outcome):
        self.told.append(outcome)


class Closely(Client):
    """Searches every message, whatever a search over all of them says."""

    __slots__ = ()

    def _looks_odd(self, together):
        return True


def client_of(framing, keep, awaits, made=Client):
    more = {"contract": CONTRACT} if framing == "contract" else FRAMINGS[framing]
    site, rows = site_of(spoken(**more), keep=keep)
    nowhere: Any = None
    mine = identity("probe-7")
    client = made(site, 7, nowhere, mine)
    client.attempts = 1
    for each in (mine, identity("probe-8", TOKEN, index=8)):
        site.everybody.add(each)
    rule = site.dialect.run
    assert rule is not None
    client._runs = Runs(site, rule, 7)
    for _ in range(2):
        client._runs.begin(1, 0)
    client._waiter = waiter = Waiter()
    client._await_kind, client._echo = awaits
    rows.clear()
    return client, rows, waiter


def state(client):
    runs = client._runs
    return (
        client._received, client._received_bytes, client.is_ready, client._unread,
        client._cursor, client.oddities, client._site.live, client._site.keep_left,
        client._site.everybody.named,
        sorted(runs.pending), [vars_of(run) for run in runs.ids.values()],
    )  # fmt: skip


def vars_of(thing):
    return {name: getattr(thing, name) for name in thing.__slots__}


NONCE = client_of("json", 0, (0, None))[0]._site.nonce
run_ids = st.sampled_from([f"{NONCE}-{n}" for n in ("7-0", "7-1", "7-9", "3-2", "70-0")] + ["who"])
words = st.sampled_from(
    ["", "x", "J", "\\", "é", "eyJ", TOKEN, f"see {NONCE}-3-2", f"see {NONCE}-7-1", NONCE]
)
fields = {
    "run_id": run_ids,
    "thread": run_ids.map(lambda run: run + "-t"),
    "user": st.sampled_from(["probe-7", "probe-8", "stranger"]),
    "seq": st.integers(-1, 3),
    "cursor": st.integers(0, 9),
    "text": words,
    "n": st.sampled_from(["1", "2"]),
}
types = st.sampled_from(["hello", "a", "b", "b", "b", "c", "error", "limited", "told", "new"])
objects = st.builds(
    lambda kind, rest: {"type": kind} | rest, types, st.fixed_dictionaries({}, optional=fields)
)


def escaped(text):
    """As JSON may write it, too: letters by their numbers."""
    return text.replace("p", "\\u0070").replace("J", "\\u004a")


payloads = st.one_of(
    objects.map(json.dumps),
    objects.map(json.dumps),
    objects.map(json.dumps),
    objects.map(json.dumps).map(escaped),
    st.lists(objects, min_size=2, max_size=3).map(lambda some: "\n".join(map(json.dumps, some))),
    st.sampled_from(["", "{}", "[", "7", '{"type":', NONCE, "eyJ", "the same again"]),
).map(str.encode)
waits = st.sampled_from([(0, None), (MESSAGE, None), (ECHO, b"the same again"), (2, None)])


@settings(max_examples=500, deadline=None)
@given(
    st.lists(payloads, min_size=1, max_size=9),
    st.sampled_from([*FRAMINGS, "contract"]),
    st.sampled_from([0, 0, 2]),
    st.sampled_from([TEXT, TEXT, BINARY]),
    waits,
)
@example([b'{"type":"b"}', b"ey", b"J"], "json", 0, TEXT, (0, None))
@example([f"{NONCE}-7-1 {NONCE}-".encode(), b"3-2"], "json", 0, TEXT, (0, None))
@example([f"{NONCE}-7-0".encode(), f"{NONCE}-3-0".encode()], "opaque", 0, TEXT, (0, None))
@example([b'{"type":"b"}', b'{"t":"%b"}' % TOKEN.encode()], "json", 0, TEXT, (0, None))
@example([b'{"type":"b"}', b'{"t":"%b-3-2"}' % NONCE.encode()], "json", 0, TEXT, (0, None))
@example([b'{"type":"new"}\n{"type":"b"}', b"{}"], "several", 0, TEXT, (0, None))
@example([b"{}", b'{"type":"new"}', b'{"type":"b"}', b"7", b"{}"], "json", 0, TEXT, (0, None))
def test_many_at_once_are_heard_as_one_by_one_and_closely(messages, framing, keep, opcode, awaits):
    together, rows, waiter = client_of(framing, keep, awaits)
    together.messages(5, opcode, messages)
    alone, expected, told = client_of(framing, keep, awaits, Closely)
    for payload in messages:
        alone.message(5, opcode, payload)
    assert list(rows) == list(expected)
    assert (rows.words, rows.kept, rows.counts) == (expected.words, expected.kept, expected.counts)
    assert state(together) == state(alone)
    assert waiter.told == told.told


def test_each_message_is_one_row_at_least_and_is_counted_with_its_bytes():
    for framing in FRAMINGS:
        client, rows, _ = client_of(framing, 0, (0, None))
        client.messages(5, TEXT, [b'{"type":"b"}'] * 3 + [b""])
        assert Counter(row[3] for row in rows)[Kind.GOT] == 4
        assert (client._received, client._received_bytes) == (4, 36)
        assert client._site.live.messages == 4


def test_what_is_waited_for_is_told_once():
    client, _, waiter = client_of("opaque", 0, (ECHO, b"b"))
    client.messages(5, TEXT, [b"a", b"b", b"b"])
    assert waiter.told == [DONE]


def test_a_class_that_hears_each_message_itself_gets_each():
    heard: list[bytes] = []

    class Each(Client):
        __slots__ = ()

        def message(self, t_ns, opcode, payload):
            heard.append(payload)
            Hearing.message(self, t_ns, opcode, payload)

    site, rows = site_of()
    nowhere: Any = None
    client = Each(site, 7, nowhere, identity())
    client.attempts = 1
    client.messages(5, TEXT, [b"a", b"b"])
    assert heard == [b"a", b"b"]
    assert len(rows.of(Kind.GOT)) == 2
