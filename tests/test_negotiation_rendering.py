"""The rows of the negotiation matrix as bytes: each differs from the plain request as written."""

import tomllib
from pathlib import Path

import pytest

from probe.model.dialect import Dialect
from probe.model.handshakes import HANDSHAKES
from probe.negotiation.head import is_token, read_head
from probe.negotiation.rendering import PAUSE_NS, other_token, render
from probe.negotiation.repertoire import PLACE, repertoire_of

DIALECTS = Path(__file__).parent.parent / "scenarios" / "dialects"
KEY = "AQIDBAUGBwgJCgsMDQ4PEA=="
HEAD = (
    "GET /ws?mode=a HTTP/1.1",
    "Host: 127.0.0.1:8080",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "User-Agent: probe",
    f"Sec-WebSocket-Key: {KEY}",
    "traceparent: 00-1",
)
T = "aaa.bbb.ccc"
PLAIN = "\r\n".join([*HEAD, "", ""]).encode()
USUAL = f"jwt-auth, jwt.{T}"
LONG = "x-probe-pad."
EXTENSION = "Sec-WebSocket-Extensions: "
# What is offered where it is not the usual value, a line each.
OFFERS = {
    "no_offer": [],
    "one": [f"bearer.{T}"],
    "several_reversed": [f"jwt.{T}, jwt-auth"],
    "every_supported": [f"jwt-auth, jwt.{T}, bearer.{T}"],
    "unsupported_only": ["x-probe-unknown"],
    "supported_last": [f"x-probe-unknown, {USUAL}"],
    "supported_first": [f"{USUAL}, x-probe-unknown"],
    "duplicate": [f"{USUAL}, {USUAL}"],
    "other_case": ["JWT-AUTH"],
    "empty_header": [""],
    "empty_element": [f"{USUAL}, , {USUAL}"],
    "blanks": [f" \t jwt-auth \t,\t jwt.{T} \t "],
    "two_lines": ["jwt-auth", f"jwt.{T}"],
    "two_lines_unknown_first": ["x-probe-unknown", USUAL],
    "equals_sign": [f"{USUAL}, token=probe"],
    "slash": [f"{USUAL}, probe/1"],
    "blank_within": [f"{USUAL}, probe one"],
    "non_ascii": [f"{USUAL}, pröbe"],
    "comma_in_token": ["jwt-auth, jwt.aaa.b,bb.ccc"],
    "value_300": [f"{USUAL}, {LONG}".ljust(300, "p")],
    "value_4000": [f"{USUAL}, {LONG}".ljust(4000, "p")],
    "value_16000": [f"{USUAL}, {LONG}".ljust(16000, "p")],
    "token_alone": [f"jwt.{T}"],
    "companion_alone": ["jwt-auth"],
    "two_tokens": [f"{USUAL}, jwt.aaa.bbb.ccA"],
}
# Lines by the place that they have in the plain request; None for behind all of them.
LINES: dict[str, dict[int | None, list[str]]] = {
    "version_missing": {4: []},
    "version_12": {4: ["Sec-WebSocket-Version: 12"]},
    "key_missing": {6: []},
    "key_short": {6: ["Sec-WebSocket-Key: cHJvYmVwcm9iZXByb2Jl"]},
    "key_no_base64": {6: ["Sec-WebSocket-Key: ?!?!?!?!?!?!?!?!?!?!?!=="]},
    "key_twice": {6: [f"Sec-WebSocket-Key: {KEY}"] * 2},
    "upgrade_missing": {2: []},
    "upgrade_wrong": {2: ["Upgrade: probe"]},
    "upgrade_other_case": {2: ["Upgrade: WebSocket"]},
    "connection_missing": {3: []},
    "connection_wrong": {3: ["Connection: keep-alive"]},
    "connection_list": {3: ["Connection: keep-alive, Upgrade"]},
    "host_missing": {1: []},
    "host_twice": {1: ["Host: 127.0.0.1:8080", "Host: probe.invalid"]},
    "host_foreign": {1: ["Host: probe.invalid"]},
    "method_post": {0: ["POST /ws?mode=a HTTP/1.1"], None: ["Content-Length: 0"]},
    "http_1_0": {0: ["GET /ws?mode=a HTTP/1.0"]},
    "absolute_uri": {0: ["GET http://127.0.0.1:8080/ws?mode=a HTTP/1.1"]},
    "origin_own": {None: ["Origin: http://127.0.0.1:8080"]},
    "origin_foreign": {None: ["Origin: https://probe.invalid"]},
    "origin_null": {None: ["Origin: null"]},
    "folded_header": {None: ["X-Probe: one\r\n two"]},
    "oversized_header": {None: ["X-Probe: " + "p" * 65_536]},
    "deflate": {None: [f"{EXTENSION}permessage-deflate; client_max_window_bits"]},
    "deflate_bad_value": {None: [f"{EXTENSION}permessage-deflate; server_max_window_bits=99"]},
    "deflate_bad_name": {None: [f"{EXTENSION}permessage-deflate; probe=1"]},
    "extension_unknown": {None: [f"{EXTENSION}x-probe"]},
    "body": {None: ["Content-Length: 5"]},
}
BEHIND = {"body": b"probe", "early_frame": b"\x89\x80\x37\xfa\x21\x3d"}


def dialect(name="agent_events"):
    return Dialect.model_validate(tomllib.loads((DIALECTS / f"{name}.toml").read_text()))


def rendered(case, *, secure=False, plain=PLAIN, **more):
    repertoire = repertoire_of(more.pop("dialect", dialect()), tokens=True)
    return render(HANDSHAKES[case], plain, repertoire, token=T, secure=secure, **more)


@pytest.mark.parametrize("case", HANDSHAKES)
def test_a_row_differs_from_the_plain_request_as_it_says_and_in_nothing_else(case):
    changed = LINES.get(case, {})
    lines = [new for k, line in enumerate(HEAD) for new in changed.get(k, [line])]
    lines += [f"Sec-WebSocket-Protocol: {value}" for value in OFFERS.get(case, [USUAL])]
    lines += changed.get(None, [])
    found = rendered(case)
    assert found.head == "\r\n".join([*lines, "", ""]).encode()
    assert b"".join(piece for piece, _ in found.parts) == found.head + BEHIND.get(case, b"")
    assert repr(T) not in repr(found)


def test_the_tables_of_this_test_name_rows_that_there_are():
    assert set(OFFERS) | set(LINES) | set(BEHIND) <= set(HANDSHAKES)


def test_pieces_and_pauses():
    single, slow, plain = rendered("single_bytes"), rendered("slow_client"), rendered("plain")
    assert len(single.parts) == len(single.head)
    assert {len(piece) for piece, _ in single.parts} == {1}
    assert single.parts[0][1] == 0
    assert single.lasts_ns == (len(single.head) - 1) * 1_000_000
    assert [pause for _, pause in slow.parts] == [0, PAUSE_NS]
    assert [pause for _, pause in plain.parts] == [0]


def test_what_a_server_reads_in_the_request_is_told_beside_it():
    plain = rendered("plain")
    assert plain.key == KEY.encode()
    assert plain.offered == ("jwt-auth", f"jwt.{T}")
    assert plain.extensions == ""
    assert rendered("key_missing").key == b""
    assert rendered("two_lines_unknown_first").offered[0] == "x-probe-unknown"
    assert rendered("empty_header").offered == ()
    assert rendered("comma_in_token").offered == ("jwt-auth", "jwt.aaa.b", "bb.ccc")
    assert rendered("deflate").extensions.startswith("permessage-deflate")


def test_over_tls_a_uri_and_an_origin_say_so():
    assert rendered("absolute_uri", secure=True).head.startswith(b"GET https://127.0.0.1:8080/ws")
    assert b"Origin: https://127.0.0.1:8080" in rendered("origin_own", secure=True).head


def test_a_token_is_never_read_as_a_template():
    repertoire = repertoire_of(dialect(), tokens=True)
    found = render(HANDSHAKES["value_300"], PLAIN, repertoire, token="{user}{key}{pad:9}", user="u")
    assert b"jwt-auth, jwt.{user}{key}{pad:9}, x-probe-pad.pp" in found.head


def test_a_value_that_is_long_enough_gets_no_padding():
    repertoire = repertoire_of(dialect(), tokens=True)
    found = render(HANDSHAKES["value_300"], PLAIN, repertoire, token="t" * 400)
    assert found.offered == ("jwt-auth", "jwt." + "t" * 400)


def test_another_token_differs_and_is_legal():
    for token in ("abc", "abA", "a"):
        other = other_token(token)
        assert other != token
        assert len(other) == len(token)
        assert is_token(other.encode())


def test_a_request_that_is_cut_is_no_plain_one():
    with pytest.raises(ValueError, match="whole head"):
        rendered("plain", plain=PLAIN[:-1])


# --- what a dialect has no material for ---


def lacking(name, *, tokens=True):
    repertoire = repertoire_of(dialect(name), tokens=tokens)
    return {case: why for case, row in HANDSHAKES.items() if (why := repertoire.lacking(row))}


def test_a_dialect_with_tokens_in_subprotocols_and_beside_them_can_say_everything():
    assert lacking("agent_events") == {}


def test_a_dialect_without_subprotocols_says_the_rest_of_the_handshake():
    missing = lacking("plain", tokens=False)
    assert "subprotocol" in missing["several"]
    assert {"one", "duplicate", "equals_sign", "token_alone", "value_4000"} <= set(missing)
    sent = set(HANDSHAKES) - set(missing)
    assert {"plain", "no_offer", "unsupported_only", "key_missing", "early_frame"} <= sent
    repertoire = repertoire_of(dialect("plain"), tokens=False)
    head = render(HANDSHAKES["key_missing"], PLAIN, repertoire).head
    assert b"Sec-WebSocket-Protocol" not in head


def test_one_subprotocol_and_a_token_in_the_first_message():
    missing = lacking("graphql_transport_ws")
    assert {"several", "several_reversed", "two_lines", "token_alone", "two_tokens"} <= set(missing)
    assert not {"one", "supported_last", "empty_header", "other_case"} & set(missing)
    found = rendered("other_case", dialect=dialect("graphql_transport_ws"))
    assert found.offered == ("GRAPHQL-TRANSPORT-WS",)


def test_a_token_in_subprotocols_alone_cannot_be_shown_beside_them():
    only = Dialect.model_validate(
        {"title": "d", "present": {"default": {"subprotocols": ["a", "t.{token}"]}}}
    )
    repertoire = repertoire_of(only, tokens=True)
    assert "subprotocols alone" in repertoire.lacking(HANDSHAKES["no_offer"])
    assert repertoire.lacking(HANDSHAKES["plain"]) == ""
    assert not repertoire.strict
    assert repertoire.companion == "a"


def test_every_place_of_a_row_is_known():
    known = repertoire_of(dialect(), tokens=True).places()
    for row in HANDSHAKES.values():
        assert {name for each in row.offers for name, _ in PLACE.findall(each)} <= set(known)
        assert row.section
        assert row.expect != "either" or row.grade == "informational", row.name


def test_a_head_is_read_leniently():
    head = read_head(
        b"GET / HTTP/1.1\r\nA: 1\r\n\t 2\r\nb:3\r\nnonsense\r\na: ,4,, 5 \r\n\r\nbody: x"
    )
    assert head.first == b"GET / HTTP/1.1"
    assert head.all(b"a") == (b"1 2", b",4,, 5")
    assert head.elements(b"a") == (b"1 2", b"4", b"5")
    assert head.all(b"body") == ()
    assert read_head(b"").lines == ()
