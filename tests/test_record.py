"""`probe record`: a draft of a dialect from a session, or from a HAR file that a browser saved."""

import base64
import json
import tomllib
from pathlib import Path

import pytest

from probe.contract.reading import reader_of
from probe.errors import ConfigError
from probe.model.dialect import Dialect
from probe.model.reading import build
from probe.redact import Redactor
from probe.start import har
from probe.start.secrets import looks_secret, of_headers, of_message, of_url
from tests.servers import (
    Server,
    close_frame,
    echo,
    free_port,
    read_frame,
    read_head,
    says,
    switch,
    text,
)

DATA = Path(__file__).parent / "data"
CHROME, FIREFOX = DATA / "session_chrome.har", DATA / "session_firefox.har"
# What stands in the archive and nobody may see: tokens, a password, a cookie, a query's value.
SECRETS = ("eyJhbGciOiJIUzI1NiIs", "hunter2-hunter2", "9f8e7d6c5b4a39281706", "Q7f92kLmZ0pX81")
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"


def dialect_of(text):
    """The draft, by the reader of every dialect."""
    found = build(Dialect, tomllib.loads(text), "the draft")
    reader_of(found)
    return found


def test_an_archive_of_chrome_gives_the_whole_dialect_and_no_secret(probe):
    done = probe.inside("record", CHROME)
    assert done.code == 0, done.told
    dialect = dialect_of(done.out)
    default = dialect.present["default"]
    assert default.subprotocols == ("chat.v2", "jwt.{token}")
    assert (default.selects, default.query) == ("chat.v2", {"access_token": "{token}"})
    assert default.first_message == '{"action":"login","token":"{token}","password":"LEFT-OUT"}'
    assert dialect.ready.event == "hello"
    assert dialect.run is not None
    assert dialect.run.start == '{"action":"ask","ref":"{run}","text":"how are you?"}'
    assert [(s.type, s.times) for s in dialect.run.steps] == [
        ("accepted", "1"), ("word", "1..*"), ("finished", "1"),
    ]  # fmt: skip
    assert (dialect.paths.type, dialect.paths.run) == ("event", "ref")
    assert dialect.paths.sequence == "seq"
    assert "in 6 of 6 runs" in done.out
    assert "a header Cookie" in done.out
    assert "2 sessions, 36 messages" in done.err
    for secret in SECRETS:
        assert secret not in done.out + done.err


def test_a_draft_is_written_once(probe):
    written = probe.cwd / "scenarios" / "dialects" / "chat.toml"
    assert probe.inside("record", CHROME, "--name", "chat").code == 0
    assert dialect_of(written.read_text()).title == "chat"
    assert probe.inside("validate", "chat").code == 0
    again = probe.inside("record", CHROME, "--name", "chat")
    assert (again.code, "is there already" in again.err) == (2, True)
    assert probe.inside("record", CHROME, "--name", "chat", "--force").code == 0


def test_an_archive_without_the_messages_says_so(probe):
    done = probe.inside("record", FIREFOX)
    assert done.code == 2
    assert "1 WebSocket connection without a message" in done.err
    assert "probe record URL" in done.err


def test_one_of_several_urls_is_chosen(probe):
    first = json.loads(CHROME.read_text())
    entry = json.loads(json.dumps(first["log"]["entries"][1]))
    entry["request"]["url"] = "wss://other.example.org/feed"
    entry["_webSocketMessages"] = [
        {"type": "receive", "opcode": 1, "data": '{"type":"tick"}', "time": 1}
    ]
    first["log"]["entries"].append(entry)
    path = probe.write("two.har", json.dumps(first))
    done = probe.inside("record", path)
    assert dialect_of(done.out).ready.event == "hello"
    assert "another one: --url wss://other.example.org/feed" in done.err
    assert dialect_of(probe.inside("record", path, "--url", "feed").out).ready.event == "tick"
    assert probe.inside("record", path, "--url", "nowhere").code == 2


def archive(*messages, url="wss://h/x", headers=()):
    entry = {
        "request": {"url": url, "headers": [{"name": n, "value": v} for n, v in headers]},
        "response": {"status": 101, "headers": []},
        "_webSocketMessages": list(messages),
    }
    return json.dumps({"log": {"entries": [entry]}}).encode()


def received(data, opcode=1):
    return {"type": "receive", "opcode": opcode, "data": data, "time": 0}


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b"null", b'{"log":{}}', b'{"log":{"entries":[{"request":3}]}}',
        b'{"log":{"entries":[]}}', b"[" * 200_000, b'{"log":' * 100_000, b"\xff\xfe\x00",
        b'{"log":{"entries":[{"_webSocketMessages":[{"type":1}]}]}}',
    ],
)  # fmt: skip
def test_what_is_no_archive_is_refused_without_its_content(data):
    with pytest.raises(ConfigError) as refused:
        har.read(data, "x.har", Redactor())
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    "data",
    [
        "[" * 100_000, '{"a":' * 50_000, "\u0000\u202e", "\ud800", "x" * (har.MESSAGE_MAX + 1),
        '{"type":"' + "t" * 100_000 + '"}', json.dumps({f"k{n}": "v" for n in range(50_000)}),
    ],
)  # fmt: skip
def test_hostile_messages_are_read_within_bounds(probe, data):
    body = archive(received(data), {"type": "send", "data": data}, received('{"type":"ok"}'))
    path = probe.write("hostile.har", "")
    path.write_bytes(body)
    done = probe.inside("record", path)
    assert done.code == 0, done.told
    assert len(done.out) < 10_000
    dialect_of(done.out)


def test_a_file_that_is_too_large_or_none_is_refused(probe):
    path = probe.cwd / "large.har"
    with path.open("wb") as file:
        file.truncate(har.FILE_MAX + 1)
    for name, told in (("large.har", "too large"), ("no.har", "is no file"), (".", "is no file")):
        done = probe.inside("record", name)
        assert (done.code, told in done.err) == (2, True), done.told


def test_binary_messages_are_base64_or_as_they_are():
    data = base64.b64encode(b"\x00\x01").decode()
    (found,) = har.read(archive(received(data, 2), received("\x01 no base64", 2)), "", Redactor())
    assert [m.payload for m in found.sessions[0].messages] == [b"\x00\x01", b"\x01 no base64"]


def test_more_messages_than_the_bound_are_cut():
    (found,) = har.read(archive(*[received("{}")] * (har.MESSAGES_MAX + 5)), "x.har", Redactor())
    assert found.sessions[0].cut
    assert len(found.sessions[0].messages) == har.MESSAGES_MAX


def test_what_is_a_secret_by_its_place():
    assert {*of_message({"a": [{"api_key": "123456"}], "user": "alice12", "token": "abc"})} == {
        "123456"
    }
    assert {*of_headers([("Cookie", "a=12345678; b"), ("Host", "example.org")])} >= {"12345678"}
    assert {*of_url("wss://u:password@h/?room=lobby&token=abcdef&x=a1b2c3d4")} == {
        "password", "abcdef", "a1b2c3d4",
    }  # fmt: skip
    assert looks_secret(f"x {JWT}")
    assert looks_secret("Authorization: Bearer abcdefgh")
    assert not looks_secret("Authorization=Bearer {token}")


def answering(server, sock):
    """Answers each question in two parts with its id, and says hello with a secret in it."""
    sock.sendall(switch(read_head(server, sock), subprotocol=""))
    sock.sendall(text({"type": "hello", "session_key": "a-key-of-the-session"}))
    while True:
        opcode, payload = read_frame(sock)
        if opcode == 8:
            sock.sendall(close_frame(1000))
            return
        if opcode == 9:
            sock.sendall(b"\x8a" + bytes([len(payload)]) + payload)
        else:
            ref = json.loads(payload)["ref"]
            sock.sendall(text({"type": "part", "ref": ref}) + text({"type": "end", "ref": ref}))


def listen(probe, server, *words, **more):
    url = f"ws://127.0.0.1:{server.port}/"
    process = probe.start("record", url, *words, **more)
    return probe.finish(process)


def test_a_session_with_lines_of_stdin_is_listened_to(probe):
    lines = probe.write("lines", '{"op":"ask","ref":"one-1"}\n\n{"op":"ask","ref":"two-2"}\n')
    with Server(answering) as server, lines.open("rb") as stdin:
        done = listen(probe, server, "--send", "-", "--for", "5s", stdin=stdin)
    assert done.code == 0, done.told
    dialect = dialect_of(done.out)
    assert dialect.run is not None
    assert dialect.run.start == '{"op":"ask","ref":"{run}"}'
    assert dialect.run.types == ("part", "end")
    assert dialect.ready.event == "hello"
    assert "a-key-of-the-session" not in done.out + done.err


def test_a_session_in_which_nothing_is_sent_ends_by_itself(probe):
    with Server(says(text({"type": "tick"}), text({"type": "tick"}))) as server:
        done = listen(probe, server, "--for", "300ms")
    assert done.code == 0, done.told
    assert "tick 2" in done.out
    dialect_of(done.out)


def flooding(server, sock):
    """Never falls silent, and reads nothing."""
    sock.sendall(switch(read_head(server, sock), subprotocol=""))
    while not server.over.is_set():
        sock.sendall(text({"type": "tick"}) * 100)


@pytest.mark.parametrize("words", [("--messages", "50"), ("--bytes", "2kB"), ("--for", "300ms")])
def test_who_never_falls_silent_is_cut_off(probe, words):
    with Server(flooding) as server:
        done = listen(probe, server, *words)
    assert done.code == 0, done.told
    assert "tick" in done.out


def test_an_echo_is_one_and_a_token_in_a_word_is_refused(probe):
    with Server(echo) as server:
        done = listen(probe, server, "--send", "hi", "--for", "1s")
        assert dialect_of(done.out).echo
        dials = server.accepted
        refused = listen(probe, server, "--send", f'{{"token":"{JWT}"}}')
        assert (refused.code, JWT in refused.err) == (2, False)
        assert server.accepted == dials


def test_where_nobody_answers_there_is_no_draft(probe):
    done = probe("record", f"ws://127.0.0.1:{free_port()}/")
    assert (done.code, done.out) == (1, "")
    assert "refused" in done.err
