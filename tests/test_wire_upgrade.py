"""Heads that are alike: told by their bytes exactly as the full reading would."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from probe.history.records import Violation
from probe.wire.request import Facts, accept_for, new_key
from probe.wire.response import HEAD_BYTES_MAX, parse_head
from probe.wire.upgrade import FATAL, Alike, violations

OFFERS = st.lists(st.sampled_from(["a", "b", "jwt-auth", "JWT.2"]), unique=True, max_size=3).map(
    tuple
)
CHOSEN = st.sampled_from(["", "a", "b", " b ", "x", "a, b", "jwt-auth", "JWT.2", "\x80"])
ACCEPT = st.sampled_from(["right", "right", "right", "wrong", "none", "twice"])
EXTRA = st.sampled_from(
    [
        "",
        "Date: now\r\n",
        "Date: then\r\n",
        "Date:\r\n",
        "date: now\r\n",
        "Sec-WebSocket-Extensions: x\r\n",
        "Upgrade: h2c\r\n",
        "Upgrade: websocket\r\n",
    ]
)


def head_for(key: bytes, accept: str, chosen: str, extra: str) -> bytes:
    value = accept_for(key if accept != "wrong" else new_key())
    line = b"Sec-WebSocket-Accept: " + value + b"\r\n"
    lines = {"none": b"", "twice": line * 2}.get(accept, line)
    choice = f"Sec-WebSocket-Protocol: {chosen}\r\n".encode("latin-1") if chosen else b""
    start = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    return start + lines + choice + extra.encode("latin-1") + b"\r\n"


@given(st.lists(st.tuples(OFFERS, ACCEPT, CHOSEN, EXTRA), min_size=2, max_size=12))
def test_what_is_known_is_judged_as_the_full_reading_would(answers):
    alike = Alike()
    for offers, accept, chosen, extra in answers:
        facts = Facts(new_key(), offers)
        head = head_for(facts.key, accept, chosen, extra)
        bits, _ = violations(parse_head(head), facts)
        short = alike.judge(head, facts)
        assert short in {-1, bits}
        if not bits & FATAL:
            alike.remember(parse_head(head))
            assert alike.judge(head, facts) == bits


def test_a_head_that_was_right_once_is_known_for_another_key_and_no_other_accept():
    alike = Alike()
    first, second = Facts(new_key(), ("a",)), Facts(new_key(), ("a",))
    alike.remember(parse_head(head_for(first.key, "right", "a", "")))
    assert alike.judge(head_for(second.key, "right", "a", ""), second) == 0
    assert alike.judge(head_for(first.key, "right", "a", ""), second) == -1  # another's accept
    assert alike.judge(head_for(second.key, "right", "a", "X: y\r\n"), second) == -1
    assert alike.judge(head_for(second.key, "right", "a", ""), Facts(second.key, ("b",))) == -1


def test_none_chosen_is_legal_and_told_when_something_was_offered():
    alike = Alike()
    plain = Facts(new_key())
    alike.remember(parse_head(head_for(plain.key, "right", "", "")))
    offering = Facts(new_key(), ("a",))
    head = head_for(offering.key, "right", "", "")
    assert alike.judge(head, offering) == Violation.SUBPROTOCOL_NONE


def test_what_nobody_judges_may_differ_and_must_be_legal():
    alike = Alike()
    facts = Facts(new_key())
    alike.remember(parse_head(head_for(facts.key, "right", "", "Date: now\r\n")))
    for extra in ("Date: then\r\n", "Date:\r\n", "Date: \xff\t~\r\n"):
        head = head_for(facts.key, "right", "", extra)
        assert alike.judge(head, facts) == violations(parse_head(head), facts)[0] == 0
    for extra in ("Date: \x00\r\n", "Date: a\nb\r\n", "Date: a\r\nX: y\r\n", "Date : a\r\n", ""):
        assert alike.judge(head_for(facts.key, "right", "", extra), facts) == -1
    long = f"Date: {'x' * HEAD_BYTES_MAX}\r\n"
    assert alike.judge(head_for(facts.key, "right", "", long), facts) == -1


def test_no_more_heads_are_remembered_than_the_bound():
    alike = Alike()
    for number in range(400):
        facts = Facts(new_key())
        head = head_for(facts.key, "right", "", f"X{number}: y\r\n")
        alike.remember(parse_head(head))
    facts = Facts(new_key())
    assert alike.judge(head_for(facts.key, "right", "", "X1: y\r\n"), facts) == 0
    assert alike.judge(head_for(facts.key, "right", "", "X399: y\r\n"), facts) == -1
