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
