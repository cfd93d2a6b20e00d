"""What an answer means, from the bytes alone; and what a row of the matrix makes of it."""

import tomllib
from pathlib import Path

import pytest

from probe.check.entries_negotiation import NEGOTIATION
from probe.history.records import Violation
from probe.model.dialect import Dialect
from probe.model.handshakes import HANDSHAKES
from probe.negotiation.answer import Answer
from probe.negotiation.diagnosis import diagnose, outcome
from probe.negotiation.expectation import judge, wanted
from probe.negotiation.head import read_head
from probe.negotiation.repertoire import repertoire_of

MS = 1_000_000
AGENT = Path(__file__).parent.parent / "scenarios" / "dialects" / "agent_events.toml"
T = "xxx.xxx.xxx"
UPGRADED = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: a")
REQUEST = "GET / HTTP/1.1\r\nSec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n"


def dialect(**more):
    return Dialect.model_validate(tomllib.loads(AGENT.read_text()) | more)


def asked(*lines, version="13", key="k"):
    head = ["GET / HTTP/1.1", f"Sec-WebSocket-Key: {key}", f"Sec-WebSocket-Version: {version}"]
    return "\r\n".join([*head, *lines, "", ""]).encode()


def offering(*values):
    return asked(*(f"Sec-WebSocket-Protocol: {value}" for value in values))


def answered(*lines, way="accepted", status=101, base=UPGRADED, **more):
    head = "\r\n".join([f"HTTP/1.1 {status} so", *(base if status == 101 else ()), *lines, "", ""])
    return Answer(way, status, read_head(head.encode()), ready=True, kept=True, **more)


def chose(*values, **more):
    return answered(*(f"Sec-WebSocket-Protocol: {value}" for value in values), **more)


def told(request, answer, given=None):
    return [(each.code, each.grade) for each in diagnose(request, answer, given)]


# --- the answer by itself ---

RIGHT = [
    (offering("a, b"), chose("a")),
    (offering("a", "b"), chose("b")),
    (offering("a,\tb ,"), chose("b")),
    (asked(), answered()),
    (asked(), answered(base=("UPGRADE: WebSocket", "connection: keep-alive, upgrade", "sec-x: a"))),
    (asked("Sec-WebSocket-Extensions: permessage-deflate"),
     answered("Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=12")),
    # Of two offers of one extension the second was legal.
    (asked("Sec-WebSocket-Extensions: permessage-deflate; probe=1, permessage-deflate"),
     answered("Sec-WebSocket-Extensions: permessage-deflate")),
    (asked(), answered(way="status", status=400)),
    (asked(version="12"), answered("Sec-WebSocket-Version: 13", way="status", status=400)),
    (asked(), answered(way="status", status=501)),
    (asked(), Answer("silent")),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "answer"), RIGHT)
def test_what_is_right_needs_no_remark(request_, answer):
    assert told(request_, answer) == []


WRONG = [
    (offering("a, b"), chose("z"), "negotiation.unoffered", "rfc"),
    (asked(), chose("z"), "negotiation.unoffered", "rfc"),
    (offering("a, b"), chose(""), "negotiation.empty_value", "rfc"),
    (offering("a, b"), chose("a", "b"), "negotiation.several_values", "rfc"),
    (offering("a, b"), chose("a, b"), "negotiation.several_values", "rfc"),
    (offering("a, b"), chose("A"), "negotiation.case_folded", "rfc"),
    (offering("a, b"), chose("a b"), "negotiation.unoffered", "rfc"),
    (offering("a, b"), answered(), "negotiation.none_selected", "browsers"),
    (asked(), answered(violations=Violation.ACCEPT), "negotiation.wrong_accept", "rfc"),
    (asked(), answered(base=UPGRADED[1:]), "handshake.violates_rfc", "rfc"),
    (asked(), answered(base=UPGRADED[::2]), "handshake.violates_rfc", "rfc"),
    (asked(), answered("Sec-WebSocket-Extensions: x"), "negotiation.extension", "rfc"),
    (asked("Sec-WebSocket-Extensions: x-probe"), answered("Sec-WebSocket-Extensions: x-probe"),
     "negotiation.extension", "rfc"),
    (asked(version="12"), answered(way="status", status=400), "negotiation.no_version", "rfc"),
    (asked(), answered(way="status", status=500), "negotiation.server_fault", "informational"),
    (asked(), answered(way="closed", code=1003, after_ns=12 * MS),
     "negotiation.closed_after_accept", "informational"),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "answer", "code", "grade"), WRONG)
def test_each_deviation_has_a_code_and_a_grade(request_, answer, code, grade):
    assert told(request_, answer) == [(code, grade)]


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate; probe=1",
        "permessage-deflate; server_max_window_bits=99",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits; client_max_window_bits",
    ],
)
def test_an_offer_that_has_to_be_declined_is_not_agreed_to(offer):
    request = asked(f"Sec-WebSocket-Extensions: {offer}")
    agreed = answered("Sec-WebSocket-Extensions: permessage-deflate")
    assert told(request, agreed) == [("negotiation.extension", "rfc")]
    assert told(request, answered()) == []


def test_without_one_key_no_accept_value_can_be_right_and_the_server_is_not_blamed():
    wrong = answered(violations=Violation.ACCEPT)
    twice = asked("Sec-WebSocket-Key: k")
    assert told(twice, wrong) == []
    assert told(b"GET / HTTP/1.1\r\n\r\n", wrong) == []


def test_a_head_that_was_not_kept_is_not_judged():
    assert told(offering("a"), Answer("accepted", 101)) == []
    assert outcome(Answer("accepted", 101)) == "101, head not kept"


# --- the words: the model cases of docs/field.md ---


def words(request, answer, given=None):
    (remark,) = diagnose(request, answer, given)
    return remark.words


def test_a_header_written_by_hand_is_told_as_that():
    said = words(offering("jwt-auth"), chose("jwt-auth"), ())
    assert 'the server chose "jwt-auth"; the client library was given none' in said
    assert told(offering("jwt-auth"), chose("jwt-auth"), ("jwt-auth",)) == []


def test_none_of_three():
    said = words(offering("a, b, c"), answered())
    assert "the server chose none though 3 were offered" in said
    assert "legal, but a browser fails this connection" in said


def test_accepted_and_then_closed():
    said = words(asked(), answered(way="closed", code=1003, reason=b"no", after_ns=12 * MS))
    assert said.startswith('accepted, then 1003 (unsupported data) "no" after 12 ms')
    assert said.endswith("a browser sees an open socket first")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (chose("a"), '101, subprotocol "a"'),
        (answered(), "101, no subprotocol"),
        (chose("a", "b"), '101, subprotocol "a", "b"'),
        (answered(way="closed", code=1003, after_ns=12 * MS),
         "101, no subprotocol; close 1003 (unsupported data) after 12 ms"),
        (answered(way="closed", code=4406), "101, no subprotocol; close 4406 at once"),
        (answered(way="lost", detail="a reset", after_ns=MS),
         "101, no subprotocol; a reset after 1 ms"),
        (Answer("unusable", 101, detail="why"), "101 that no client may use: why"),
        (Answer("garbled", detail="why"), "no HTTP: why"),
        (Answer("unreached", detail="why"), "no connection: why"),
        (Answer("ours"), "not tried to the end by us: no end recorded"),
        (answered(way="lost", after_ns=2 * MS),
         "101, no subprotocol; TCP ended without a Close after 2 ms"),
        (answered(way="status", status=400, body=b"no\n"), '400 "no\\n"'),
        (Answer("dropped"), "TCP ended without an answer"),
        (Answer("silent"), "no answer until the deadline"),
    ],
)  # fmt: skip
def test_what_came_is_told_in_a_few_words(answer, said):
    assert outcome(answer) == said


# --- a row of the matrix ---


def row(case, request, answer, *, origins=True, tokens=True, **more):
    repertoire = repertoire_of(dialect(**more), tokens=tokens)
    found = judge(HANDSHAKES[case], repertoire, request, answer, origins=origins)
    return [(each.code, each.grade) for each in found]


def refused(status=400, **more):
    return answered(way="status", status=status, **more)


USUAL = offering(f"jwt-auth, jwt.{T}")
GOOD = [
    ("plain", USUAL, chose("jwt-auth")),
    ("several_reversed", offering(f"jwt.{T}, jwt-auth"), chose("jwt-auth")),
    ("no_offer", asked(), answered()),
    ("one", offering(f"bearer.{T}"), chose(f"bearer.{T}")),
    ("every_supported", offering(f"jwt-auth, jwt.{T}, bearer.{T}"), chose(f"bearer.{T}")),
    ("every_supported", USUAL, refused()),
    ("token_alone", offering(f"jwt.{T}"), chose(f"jwt.{T}")),
    ("token_alone", offering(f"jwt.{T}"), refused()),
    ("unsupported_only", offering("x-probe-unknown"), refused()),
    ("equals_sign", USUAL, refused()),
    ("key_missing", asked(), refused(426)),
    ("upgrade_missing", asked(), refused(200)),
    ("origin_foreign", USUAL, refused(403)),
    ("slow_client", USUAL, refused(408)),
]


@pytest.mark.parametrize(("case", "request_", "answer"), GOOD)
def test_a_right_answer_to_a_row(case, request_, answer):
    assert row(case, request_, answer) == []


BAD = [
    ("plain", USUAL, refused(401), "negotiation.rejected_supported", "policy"),
    ("plain", USUAL, answered(), "negotiation.none_selected", "browsers"),
    ("plain", USUAL, chose(f"jwt.{T}"), "negotiation.wrong_selection", "policy"),
    ("plain", USUAL, Answer("dropped"), "negotiation.no_answer", "policy"),
    ("plain", USUAL, chose("jwt-auth", way="closed", code=1011), "negotiation.closed_after_accept",
     "policy"),
    ("plain", USUAL, Answer("accepted", 101), "connect.accepted_then_silent", "policy"),
    ("supported_last", offering(f"x-probe-unknown, jwt-auth, jwt.{T}"), chose("x-probe-unknown"),
     "negotiation.wrong_selection", "policy"),
    ("unsupported_only", offering("x-probe-unknown"), chose("x-probe-unknown"),
     "negotiation.accepted_unsupported", "policy"),
    ("unsupported_only", offering("x-probe-unknown"), answered(),
     "negotiation.accepted_unsupported", "policy"),
    ("unsupported_only", offering("x-probe-unknown"), answered(way="closed", code=1003),
     "negotiation.closed_after_accept", "policy"),
    ("other_case", offering("JWT-AUTH"), chose("jwt-auth"), "negotiation.case_folded", "rfc"),
    ("equals_sign", USUAL, chose("jwt-auth"), "negotiation.illegal_accepted", "rfc"),
    ("equals_sign", USUAL, chose("jwt-auth", way="closed", code=1002),
     "negotiation.closed_after_accept", "rfc"),
    ("origin_foreign", USUAL, chose("jwt-auth"), "negotiation.origin_ignored", "policy"),
    ("companion_alone", offering("jwt-auth"), chose("jwt-auth"), "negotiation.token_ignored",
     "policy"),
    ("connection_list", USUAL, refused(), "negotiation.rejected_supported", "browsers"),
    ("two_tokens", USUAL, chose("z"), "negotiation.unoffered", "rfc"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "request_", "answer", "code", "grade"), BAD)
def test_a_wrong_answer_to_a_row(case, request_, answer, code, grade):
    assert row(case, request_, answer) == [(code, grade)]


@pytest.mark.parametrize("way", ["dropped", "silent", "garbled"])
def test_that_an_illegal_request_gets_no_answer_is_told_and_not_blamed(way):
    assert row("key_missing", asked(), Answer(way)) == [("negotiation.no_answer", "informational")]
    assert row("body", USUAL, Answer(way)) == [("negotiation.no_answer", "informational")]


def test_every_code_of_the_table_is_made_by_a_test_of_this_module():
    made = {case[2] for case in WRONG} | {case[3] for case in BAD}
    assert set(NEGOTIATION) - made == {"negotiation.by_hand"}


@pytest.mark.parametrize("way", ["ours", "unreached"])
def test_what_was_never_asked_is_no_answer(way):
    assert row("plain", USUAL, Answer(way)) == []


def test_a_part_of_what_is_supported_may_be_left_unchosen():
    assert row("token_alone", offering(f"jwt.{T}"), answered()) == [
        ("negotiation.none_selected", "informational")
    ]


def test_only_what_the_dialect_promises_is_wanted():
    lenient = {"present": {"default": {"subprotocols": ["a", "b.{token}"]}}}
    offered = offering("x-probe-unknown")
    assert row("unsupported_only", offered, answered(), **lenient) == [
        ("negotiation.none_selected", "informational")
    ]
    assert row("unsupported_only", offered, refused(), **lenient) == []
    assert row("origin_foreign", USUAL, chose("jwt-auth"), origins=False) == []
    repertoire = repertoire_of(dialect(**lenient), tokens=True)
    wants = {name: wanted(case, repertoire, origins=False) for name, case in HANDSHAKES.items()}
    assert wants["unsupported_only"] == wants["origin_null"] == wants["no_offer"] == "either"
    assert wants["plain"] == "accepted"
    assert wants["key_missing"] == "rejected"
