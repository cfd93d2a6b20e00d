"""`probe init`: from a URL to files that run, against servers that were not written for it.

Strawberry on uvicorn (tests/graphql), the lab, and small servers that misbehave in one way each.
"""

import os
import pty
import re
import select
import selectors
import subprocess
import sys
import time
import tomllib

import pytest

from probe.cli.files import load_dialect
from tests.lab_process import SECRET
from tests.servers import (
    Server,
    answer,
    close_frame,
    echo,
    frame,
    free_port,
    header,
    read_frame,
    read_head,
    says,
    switch,
    text,
)
from tests.test_graphql import KEY, Service

SHORT = (
    "--set", "stages.users.populations.users.shape.rate=80/s",
    "--set", "stages.users.populations.users.shape.lasts=1s",
)  # fmt: skip
QUICK = ("--quiet", "200ms", "--no-color")
SUBSCRIBE = (
    '{"id":"{run}","type":"subscribe","payload":{"query":"subscription { ticks(count: {size}) }"}}'
)
INIT = '{"type":"connection_init","payload":{"token":"{token}"}}'
GO = (
    '{"type":"start_agent","run_id":"{run}","thread_id":"{thread}","message":"hi",'
    '"thoughts":{size},"pad":{pad}}'
)
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
DEADLINE_S = 60.0


def init(probe, url, *words, env=None, **more):
    return probe("init", url, "--name", "mine", *words, *QUICK, env=env, **more)


def file(probe, kind):
    return (probe.cwd / "scenarios" / kind / "mine.toml").read_text()


def files(probe):
    return sorted(str(path.relative_to(probe.cwd)) for path in probe.cwd.rglob("*.toml"))


def passes(probe, env=None):
    """The smoke scenario that was written, as it is."""
    done = probe.fit_run("mine", *SHORT, target="mine", env=env)
    assert (done.code, done.verdict["verdict"]) == (0, "PASS"), done.told
    return done


@pytest.fixture(scope="module")
def strawberry():
    with Service(sys.executable, "tests/graphql/server.py") as started:
        yield started


@pytest.mark.alone
def test_a_graphql_service_with_tokens_of_its_own(probe, strawberry):
    env = {"PROBE_JWT_KEY": KEY}
    done = init(
        probe, strawberry.url, "--key-env", "PROBE_JWT_KEY", "-s", "graphql-transport-ws",
        "--present", f"message:{INIT}", "--send", SUBSCRIBE, env=env,
    )  # fmt: skip
    assert done.code == 0, done.told
    assert "control  without a token it stays open, with 0 of 1 messages" in done.out
    dialect = tomllib.loads(file(probe, "dialects"))
    assert dialect["ready"]["event"] == "connection_ack"
    assert dialect["run"]["events"] == [{"type": "next", "times": "1..*"}, "complete"]
    assert dialect["paths"] == {"type": "type", "run": "id"}
    assert tomllib.loads(file(probe, "targets"))["auth"]["key"] == "${PROBE_JWT_KEY}"
    assert KEY not in "".join(map(str, (done.out, done.err, *map(_text, probe.cwd.rglob("*.*")))))
    ran = passes(probe, env)
    assert ran.check("users.runs")["verdict"] == "PASS"


def _text(path):
    return path.read_text() if path.is_file() else ""


@pytest.mark.alone
def test_the_lab_by_its_subprotocol_and_what_fits_it_besides(probe, lab):
    env = {"PROBE_JWT_KEY": SECRET}
    done = init(
        probe, f"ws://127.0.0.1:{lab.address[1]}/ws", "--key-env", "PROBE_JWT_KEY", "--issuer",
        "probe-lab", "--audience", "probe-lab", "-s", "jwt-auth", "--present",
        "subprotocol:jwt.{token}", "--send", GO, "--health", f"{lab.url}/health", env=env,
    )  # fmt: skip
    assert done.code == 0, done.told
    assert "control  without a token: " in done.out
    assert "401" in done.out
    fit = re.search(r"^fit too  (.*\bgolden_path\b.*\bsmoke\b.*)$", done.out, re.MULTILINE)
    assert fit is not None, done.told
    recalled = " ".join(file(probe, "targets").replace("\n# ", " ").split())
    assert f"fit it as this file was written: {fit[1]}" in recalled
    dialect = tomllib.loads(file(probe, "dialects"))
    assert dialect["present"]["default"]["selects"] == "jwt-auth"
    assert dialect["paths"]["thread"] == "thread_id"
    assert dialect["paths"]["sequence"] == "sequence"
    passes(probe, env)
    smoke = probe.fit_run("smoke", *SHORT, target="mine", env=env)
    assert smoke.code == 0, smoke.told


def test_an_echo_and_nothing_is_overwritten(probe):
    with Server(echo) as server:
        url = f"ws://127.0.0.1:{server.port}/"
        done = init(probe, url, "--send", "hello {n}", "--health", f"http{url[2:]}health")
        assert done.code == 0, done.told
        assert files(probe) == [
            "scenarios/dialects/mine.toml", "scenarios/mine.toml", "scenarios/targets/mine.toml",
        ]  # fmt: skip
        assert tomllib.loads(file(probe, "dialects"))["echo"] is True
        assert 'text = "hello {n}"' in file(probe, "")
        validated = probe.inside("validate", "mine")
        assert validated.code == 0, validated.told
        (probe.cwd / "scenarios" / "mine.toml").write_text("mine = 1\n")
        dials = server.accepted
        again = probe.inside("init", url, "--name", "mine")
        assert again.code == 2
        assert "is there already" in again.err
        assert server.accepted == dials
        assert file(probe, "") == "mine = 1\n"
        assert init(probe, url, "--send", "hello", "--force").code == 0
        assert "mine = 1" not in file(probe, "")


def by_token(server, sock):
    """Lets in who has the token in its query; answers a message without an id of it."""
    head = read_head(server, sock)
    if b"key=s3cret-t0ken-of-mine " not in head:
        sock.sendall(answer(401, b"no"))
        return
    sock.sendall(switch(head))
    while True:
        opcode, payload = read_frame(sock)
        if opcode == 1:
            sock.sendall(text({"event": "pong"}))
        elif opcode == 9:
            sock.sendall(b"\x8a" + bytes([len(payload)]) + payload)
        else:
            sock.sendall(close_frame(1000))
            return


@pytest.mark.parametrize("way", ["env", "stdin", "command"])
def test_a_token_that_was_given_is_used_and_never_written(probe, way):
    token = "s3cret-t0ken-of-mine"
    words, env = {
        "env": (("--token-env", "PROBE_MY"), {"PROBE_MY": token}),
        "stdin": (("--token-stdin",), {}),
        "command": (("--token-command", "cat token"), {}),
    }[way]
    probe.write("token", token + "\n")
    with Server(by_token) as server, (probe.cwd / "token").open("rb") as stdin:
        process = probe.start(
            "init", f"ws://127.0.0.1:{server.port}/", "--name", "mine", *words, "--present",
            "query:key", "--send", '{"event":"ping"}', *QUICK, env=env, stdin=stdin,
        )  # fmt: skip
        done = probe.finish(process)
    assert done.code == 0, done.told
    assert "control  without a token: " in done.out
    assert "every run needs  PROBE_" in done.out
    assert tomllib.loads(file(probe, "targets"))["auth"]["token"].startswith("${PROBE_")
    assert tomllib.loads(file(probe, "dialects"))["ready"]["event"] == "pong"
    for name in files(probe):
        assert token not in (probe.cwd / name).read_text()
    assert token not in done.out + done.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--token", "abc"), "no place on the command line"),
        (("--send", f'{{"token":"{JWT}"}}'), "no place on the command line"),
        (("--present", f"header:Authorization=Bearer {JWT}"), "no place on the command line"),
        (("--auth", "mint"), "--key-env: is missing"),
        (("--auth", "login"), "--username: is missing"),
        (("--key-env", "PROBE_NO", "--present", "header"), "PROBE_NO is not set"),
        (("--key-env", "HOME", "--present", "header"), "no such variable can be used"),
        (("--token-env", "PROBE_NO"), "--present: is missing"),
        (("--auth", "none", "--present", "header"), "shows a token, and there is none"),
        (("--auth", "magic"), "no such source"),
        (("--token-command", "false", "--present", "header"), "ended with exit code 1"),
        (("--token-command", "/no/such", "--present", "header"), "no such program"),
        (("--quiet", "soon"), "--quiet"),
        (("--auth", "none", "--health", "ftp://x"), "--health"),
    ],
)
def test_what_cannot_be_is_told_and_nothing_is_written(probe, words, told):
    done = probe.inside("init", "ws://127.0.0.1:1/", "--name", "mine", *words)
    assert done.code == 2, done.told
    assert told in done.err
    assert JWT not in done.err
    assert files(probe) == []


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", "URL: is missing"),
        ("http://127.0.0.1/", "use ws://"),
        ("ws://127.0.0.1/?token=abc", "a secret by its name"),
        ("wss://ws.example.org/", "--clients-max: is missing"),
        ("wss://ws.example.org/", "--rate-max: is missing"),
    ],
)
def test_a_url_that_cannot_be_is_told_before_anything_is_dialled(probe, url, told):
    done = probe.inside("init", *([url] if url else []), "--no-input")
    assert done.code == 2, done.told
    assert told in done.err


@pytest.mark.parametrize("name", ["Mine", "../mine", "smoke"])
def test_a_name_that_cannot_be(probe, name):
    done = probe.inside("init", "ws://127.0.0.1:1/", "--name", name)
    assert done.code == 2
    assert "--name" in done.err


def test_a_login_is_tried_with_as_many_users_as_are_written(probe, lab):
    address = f"127.0.0.1:{lab.address[1]}"
    words = (
        "--token-url", f"http://{address}/auth/token", "--username", "probe-{n}",
        "--password-env", "PROBE_PASSWORD", "--present", "header",
    )  # fmt: skip
    refused = init(probe, f"ws://{address}/ws", *words, env={"PROBE_PASSWORD": "a-wrong-password"})
    assert (refused.code, files(probe)) == (2, [])
    assert "invalid_grant" in refused.err
    done = init(probe, f"ws://{address}/ws", *words, env={"PROBE_PASSWORD": SECRET})
    assert done.code == 0, done.told
    auth = tomllib.loads(file(probe, "targets"))["auth"]
    assert auth == {
        "source": "fetch", "url": f"http://{address}/auth/token", "grant": "password",
        "username": "probe-{n}", "password": "${PROBE_PASSWORD}", "identities": 3,
    }  # fmt: skip


def test_where_nothing_listens_nothing_is_written(probe):
    done = init(probe, f"ws://127.0.0.1:{free_port()}/")
    assert done.code == 1
    assert "Connection refused" in done.out
    assert files(probe) == []


def test_a_service_that_wants_a_token_is_asked_for_with_one(probe):
    with Server(by_token) as server:
        done = init(probe, f"ws://127.0.0.1:{server.port}/")
    assert done.code == 2
    assert "401" in done.out
    assert "--auth: is missing" in done.err


def test_who_is_let_in_and_closed_at_once_is_not_let_in(probe):
    with Server(says(close_frame(4400, b"\x1b[31mgo away"))) as server:
        done = init(probe, f"ws://127.0.0.1:{server.port}/", "--auth", "none")
    assert done.code == 1
    assert "4400" in done.out
    assert "\x1b" not in done.out
    assert files(probe) == []


def closes_later(code, *, greets=False, crossing=False):
    """Opens, answers pings, and closes if it is told nothing; or only as it reads our Close."""

    def serve(server, sock):
        sock.sendall(switch(read_head(server, sock)))
        if greets:
            sock.sendall(text({"type": "hello"}))
        until = time.monotonic() + 0.45
        while True:
            ready = crossing or select.select([sock], [], [], max(0, until - time.monotonic()))[0]
            if not ready:
                sock.sendall(close_frame(code, b"Connection initialisation timeout"))
                return
            opcode, payload = read_frame(sock)
            if opcode == 9:
                sock.sendall(frame(10, payload))
            if opcode == 8:
                sock.sendall(close_frame(code if crossing else 1000))
                return

    return serve


@pytest.mark.parametrize(
    ("code", "more"),
    [(4408, {}), (4408, {"greets": True}), (4408, {"crossing": True}), (1008, {}), (1011, {})],
)
def test_who_is_closed_for_saying_nothing_is_not_let_in(probe, code, more):
    """Behind the quiet of 200 ms, where it had long been taken for open; or as we close."""
    with Server(closes_later(code, **more)) as server:
        done = init(probe, f"ws://127.0.0.1:{server.port}/", "--no-input")
    assert done.code == 1, done.told
    assert str(code) in done.out
    for word in ("nobody is let in", "--auth", "--present", "--first"):
        assert word in done.out
    assert "next " not in done.out
    assert files(probe) == []


def test_an_idle_connection_that_is_closed_as_usual_was_let_in(probe):
    with Server(closes_later(1001)) as server:
        done = init(probe, f"ws://127.0.0.1:{server.port}/", "--no-input")
    assert done.code == 0, done.told
    assert "left to you: it closes a connection that says nothing (1001)" in done.out
    assert "closes a connection that says nothing (1001)" in file(probe, "dialects")


def test_how_it_was_closed_is_said_once(probe):
    with Server(says(close_frame(4406, b"Subprotocol not acceptable"))) as server:
        done = init(probe, f"ws://127.0.0.1:{server.port}/", "--no-input")
    look = next(line for line in done.out.splitlines() if line.startswith("look "))
    assert look.count("4406") == 1, look
    assert "a browser sees an open socket first" in look


@pytest.mark.alone
def test_a_graphql_service_that_was_shown_no_token_leaves_no_file(probe, strawberry):
    """It closes by 4408, one second after the 101: long after a connect, a ping and a close."""
    done = probe("init", strawberry.url, "--name", "mine", "--no-input", "--no-color")
    assert done.code == 1, done.told
    assert "4408" in done.out
    assert files(probe) == []


@pytest.mark.alone
def test_the_key_of_a_graphql_service_comes_from_the_environment(probe):
    """As docs/start.md starts it, with the key in no list of processes."""
    command = [sys.executable, "tests/graphql/server.py", "0", "--key-env", "KEY_OF_MINE"]
    unset = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert unset.returncode == 2
    assert "KEY_OF_MINE is not set" in unset.stderr
    environment = {**os.environ, "KEY_OF_MINE": KEY}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = f"ws://{process.stdout.readline().split()[-1]}/"
            words = ("--key-env", "PROBE_KEY", "-s", "graphql-transport-ws", "--present")
            wrong = init(probe, url, *words, f"message:{INIT}", env={"PROBE_KEY": KEY[::-1]})
            right = init(probe, url, *words, f"message:{INIT}", env={"PROBE_KEY": KEY})
        finally:
            process.kill()
    assert (wrong.code, right.code) == (1, 0), (wrong.told, right.told)


def picky(server, sock):
    """Takes mqtt and no other subprotocol, and sends nothing that can be read."""
    head = read_head(server, sock)
    offers = [offer.strip() for offer in header(head, "Sec-WebSocket-Protocol").split(",")]
    sock.sendall(switch(head, subprotocol="mqtt" if "mqtt" in offers else ""))
    while read_frame(sock)[0] != 8:
        pass
    sock.sendall(close_frame(1000))


def test_a_subprotocol_that_it_takes_is_found_and_pings_that_go_unanswered_are_no_promise(probe):
    with Server(picky) as server:
        done = init(probe, f"ws://127.0.0.1:{server.port}/", "--auth", "none")
    assert done.code == 0, done.told
    assert "it takes 'mqtt'" in done.out
    dialect = tomllib.loads(file(probe, "dialects"))
    assert dialect["present"]["default"]["subprotocols"] == ["mqtt"]
    assert dialect["promises"]["pings"] is False
    assert "ping" not in file(probe, "")
    assert "none was sent" in done.out


def test_who_takes_the_first_offer_whatever_it_is_needs_none(probe):
    with Server(echo) as server:
        done = init(probe, f"ws://127.0.0.1:{server.port}/", "--auth", "none", "--send", "x")
    assert "it takes whatever subprotocol is offered first" in done.out
    assert "subprotocols" not in tomllib.loads(file(probe, "dialects"))["present"]["default"]


HOSTILE = '"]\n[run]\nstart = "owned"\x1b[2J\u202e'


def hostile(server, sock):
    """Every text of it tries to leave the place where it is put."""
    sock.sendall(switch(read_head(server, sock), subprotocol=""))
    sock.sendall(text({"type": HOSTILE, HOSTILE: "x", "id": "i"}))
    while True:
        opcode, payload = read_frame(sock)
        if opcode == 8:
            sock.sendall(close_frame(1000))
            return
        if opcode == 1:
            sock.sendall(text({"type": f"{HOSTILE}2", "id": "i", "you": payload.decode()}))


def test_what_a_hostile_server_says_stays_in_its_place(probe):
    with Server(hostile) as server:
        done = init(
            probe, f"ws://127.0.0.1:{server.port}/", "--auth", "none", "--send", '{"type":"q"}',
            "--answer", "never",
        )  # fmt: skip
    assert done.code == 0, done.told
    written = file(probe, "dialects")
    assert "run" not in tomllib.loads(written)
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", written + done.out)
    assert "the answer 'never' did not come" in done.out


def test_a_person_at_a_terminal_is_asked_and_told(probe, tmp_path):
    """The whole dialogue through a terminal, with an answer to each question."""
    with Server(by_token) as server:
        answers = [
            ("URL", f"ws://127.0.0.1:{server.port}/"), ("Name of the files [mine]", ""),
            ("How do tokens come", "magic"), ("How do tokens come", "env"),
            ("Variable with the token", ""), ("The token", "wrong-token-at-first"),
            ("Subprotocols to offer", ""), ("How is the token shown", "query"),
            ("Name of the query parameter", "key"), ("Say again", "y"),
            ("How do tokens come", "command"), ("Command that prints a token", "false"),
            ("Say again", "y"),
            ("How do tokens come", "env"), ("Variable with the token", ""),
            ("The token", "s3cret-t0ken-of-mine"),
            ("How is the token shown", "query"), ("Name of the query parameter", "key"),
            ("A message to send", '{"event":"ping"}'), ("URL of its health", ""),
            ("Run it now", "n"),
        ]  # fmt: skip
        code, shown = dialogue(probe, answers)
    assert code == 0, shown
    assert "one of: none, mint, env" in shown
    assert "s3cret-t0ken-of-mine" not in shown
    assert "wrong-token-at-first" not in shown
    lines = shown.replace("\r", "").split("\n")
    assert max(len(line) for line in lines if not line.startswith("? ")) <= 80
    dialect, _ = load_dialect(str(tmp_path / "scenarios" / "dialects" / "mine.toml"))
    assert dialect.present["default"].query == {"key": "{token}"}
    assert dialect.ready.event == "pong"


def dialogue(probe, answers):
    """Run `probe init` on a terminal of its own; each answer is typed when its question stands."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    environment = {**probe.environment(), "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    process = subprocess.Popen(
        [sys.executable, "-m", "probe", "init", "--quiet", "200ms"],
        cwd=probe.cwd, env=environment, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    shown, answered, deadline = "", 0, time.monotonic() + DEADLINE_S
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(ours, selectors.EVENT_READ)
            for question, typed in answers:
                while f"? {question}" not in shown[answered:]:
                    assert time.monotonic() < deadline, (question, shown)
                    assert process.poll() is None or selector.select(0), (question, shown)
                    if selector.select(0.2):
                        shown += os.read(ours, 65536).decode("utf-8", "replace")
                answered = len(shown)
                os.write(ours, f"{typed}\n".encode())
            while process.poll() is None or selector.select(0):
                assert time.monotonic() < deadline, shown
                try:
                    if selector.select(0.2):
                        shown += os.read(ours, 65536).decode("utf-8", "replace")
                except OSError:  # the other side is gone
                    break
        return process.wait(DEADLINE_S), shown
    finally:
        process.kill()
        process.wait()
        os.close(ours)
