"""`probe connect`: what the answer means, and what another client would do with it."""

import re

import pytest

from tests.servers import Server, close_frame, read_head, says, switch

USE = ("--for", "100ms", "--no-color")


def told(done):
    """The lines of the diagnosis, unwrapped."""
    lines = re.findall(r"^ += (.*)$", done.out, re.MULTILINE)
    assert lines, done.told
    return lines


def answering(subprotocol):
    def behave(server, sock):
        sock.sendall(switch(read_head(server, sock), subprotocol=subprotocol))
        sock.recv(1000)

    return behave


def connect(probe, behaviour, *words):
    with Server(behaviour) as server:
        return probe("connect", f"ws://127.0.0.1:{server.port}/", *words, *USE, within_s=30)


def test_a_right_answer_needs_no_more_than_what_it_is(probe):
    done = connect(probe, answering("a"), "-s", "a", "-s", "b", "--as", "browser")
    assert told(done) == [
        '101, subprotocol "a"',
        "browser (Chromium 156) opens, subprotocol a",
    ]


@pytest.mark.parametrize(
    ("client", "does"),
    [
        ("browser", "fails: of the offers none came back"),
        ("websockets", "opens, subprotocol none"),
        pytest.param("aiohttp", "opens, subprotocol none", marks=pytest.mark.long),
        pytest.param("ws", "fails: Server sent no subprotocol", marks=pytest.mark.long),
    ],
)
def test_none_of_the_offers_and_what_each_client_makes_of_it(probe, client, does):
    lines = told(connect(probe, answering(""), "-s", "a", "-s", "b", "--as", client))
    assert lines[0] == "101, no subprotocol"
    assert (
        'the server chose none though 2 were offered ("a", "b"): legal, but a browser' in lines[1]
    )
    assert "fails in browsers" in lines[1]
    assert does in lines[2]


def test_a_header_by_hand_is_an_offer_that_no_library_knows_of(probe):
    words = ("-H", "Sec-WebSocket-Protocol: a, b", "--as", "websockets")
    lines = told(connect(probe, answering("b"), *words))
    assert lines[0] == '101, subprotocol "b"'
    assert 'the server chose "b"; the client library was given none' in lines[1]
    assert "no subprotocols supported (the library was given none)" in lines[2]


def test_a_rejection_after_the_101(probe):
    done = connect(probe, says(close_frame(1003, b"no thanks")), "--as", "ws")
    assert done.code == 1
    lines = told(done)
    assert re.match(r'101, .*close 1003 \(unsupported data\) "no thanks" (after|at once)', lines[0])
    assert any("a browser sees an open socket first" in line for line in lines)


def test_an_answer_that_no_client_may_use(probe):
    done = connect(probe, answering("z"), "-s", "a", "--as", "aiohttp")
    assert done.code == 1
    lines = told(done)
    assert lines[0].startswith("101 that no client may use")
    assert 'the server chose "z", which was not offered; offered: "a"' in lines[1]
    assert "violates the RFC: RFC 6455 section 4.2.2" in lines[1]
    assert lines[2] == "aiohttp (3.14.5) opens, subprotocol none"


def test_a_token_in_what_was_chosen_stays_masked(probe):
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJlLW9mLXRlc3Q"
    with Server(answering(f"bearer.{token}")) as server:
        done = probe(
            "connect", f"ws://127.0.0.1:{server.port}/", "-s", "bearer.{token}", *USE,
            "--token-env", "PROBE_T", "--as", "browser", env={"PROBE_T": token}, within_s=30,
        )  # fmt: skip
    lines = told(done)
    assert lines[1].startswith("browser (Chromium 156) opens")
    for part in token.split("."):
        assert part not in done.out


def test_an_unknown_client_is_a_mistake_of_usage(probe):
    done = probe.inside("connect", "ws://127.0.0.1:9/", "--as", "netscape")
    assert done.code == 2
    assert "browser" in done.err


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("-H", "Authorization: Bearer abc"), "the header Authorization:"),
        (("-H", "X-One: 1", "-H", "X-Two: 2", "-H", "Origin: http://a"), "the headers X-One, X-"),
        (("-H", "Sec-WebSocket-Protocol: a"), "the header Sec-WebSocket-Protocol:"),
    ],
)
def test_what_a_browser_cannot_send_it_does_not_open(probe, words, names):
    lines = told(connect(probe, answering(""), *words, "--as", "browser"))
    assert f"a browser cannot send {names}" in "\n".join(lines)
    assert not any("opens" in line for line in lines)


def test_what_a_browser_cannot_send_and_what_fails_by_itself_are_both_said(probe):
    words = ("-s", "a", "-H", "X-One: 1", "--as", "browser")
    lines = told(connect(probe, answering(""), *words))
    assert lines[-2].startswith("a browser cannot send the header X-One")
    assert "fails: of the offers none came back" in lines[-1]


def test_cookie_and_origin_are_of_the_page(probe):
    words = ("-H", "Origin: http://a", "-H", "Cookie: a=b", "--as", "browser")
    lines = told(connect(probe, answering(""), *words))
    assert lines[-2] == "browser (Chromium 156) opens, subprotocol none"
    assert "a browser takes Cookie and Origin from the page" in lines[-1]


@pytest.mark.parametrize(
    ("offers", "client", "why"),
    [
        (
            ("a", "a"),
            "browser",
            "a browser cannot offer these subprotocols, number 2 is there twice: Syn",
        ),
        (("a", "b/c"), "browser", "number 2 is no token: SyntaxError, "),
        (("a", "a"), "ws", "ws cannot offer these subprotocols, number 2 is there twice"),
        (("b c",), "websockets", "number 1 is no token: ValueError, "),
    ],
)
def test_subprotocols_that_a_client_refuses(probe, offers, client, why):
    words = [word for offer in offers for word in ("-s", offer)]
    lines = told(connect(probe, answering(offers[0]), *words, "--as", client))
    assert why in "\n".join(lines)
    assert not any(f"{client} (" in line and "opens" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("-s", "token.{token}", "--token-env", "TT"), "--token-env TT: holds a line break; put"),
        (("-H", "X-A: secret\r\nX-B: b"), "--header X-A: holds a line break"),
        (("-H", "X-A: secret\0"), "--header X-A: holds a NUL"),
        (("-s", "secret\nb"), "--subprotocol: holds a line break"),
        (("--send", "secret\udcff"), "--send: is not UTF-8"),
    ],
)
def test_what_no_head_can_hold_is_told_at_its_source_and_not_shown(probe, words, says):
    done = probe.inside("connect", "ws://127.0.0.1:9/", *words, env={"TT": "secret\nsecret"})
    assert done.code == 2, done.told
    assert f"probe: {says}" in done.err
    assert "secret" not in done.told


def test_a_name_that_leads_nowhere_is_held_against_the_endpoints(probe):
    url = 'title = "t"\ndialect = "plain"\n[endpoints.main]\nurl = "ws://127.0.0.1:9/"\n'
    probe.write("scenarios/targets/mine.toml", url)
    done = probe.inside("connect", "mian", "-t", "mine")
    assert done.code == 2
    assert "endpoints: no such endpoint; found 'mian'; allowed: main; did you mean" in done.err
    done = probe.inside("connect", "main")
    assert done.code == 2
    assert "no ws:// or wss:// URL; found 'main'; " in done.err
    assert "--target" in done.err
