"""The verbs beside `run`: list, validate, schema, token, connect, report, lab."""

import asyncio
import json
import re
import signal
import socket
import threading
import tomllib
from pathlib import Path

import jwt
import pytest
import trustme
from aiohttp import web
from websockets.sync.server import serve
from websockets.typing import Subprotocol

from tests.lab_process import run_async
from tests.servers import (
    Server,
    answer,
    close_frame,
    closes_at_once,
    echo,
    free_port,
    read_head,
    says,
    silent,
    switch,
    text,
    until,
)

KEY = "a-key-of-the-tests-that-is-long-enough"
MINT = f'[auth]\nsource = "mint"\nkey = "{KEY}"\nissuer = "me"\naudience = "you"\n'
PACKAGE = Path(__file__).parent.parent / "scenarios"


def ok(done):
    assert done.code == 0, done.told
    assert "\x1b" not in done.out
    return done.out


# --- list ---


def test_list_tells_what_there_is_and_where_it_is(probe):
    probe.scenario('[stages.a]\nactivity = "preflight"\n', name="mine")
    probe.write("scenarios/broken.toml", "this is = = not TOML\n")
    told = ok(probe.inside("list"))
    for name in ("cold_start", "smoke", "mine", "lab", "staging", "plain", "agent_events"):
        assert re.search(rf"^{name}\b", told, re.MULTILINE), told
    assert "scenarios/mine.toml" in told
    assert "this is not TOML" in told
    probe.write("scenarios/torn.py", "def (\n")
    listed = probe.inside("list", env={"COLUMNS": "200"}).out
    assert "Two runs on one connection, the second after a pause" in listed
    assert "this is not Python" in listed
    for line in told.splitlines():
        assert "…" not in line, "a path that is cut is no path"


def test_what_is_nearest_wins_and_is_told(probe):
    probe.write("scenarios/smoke.toml", 'title = "Ours"\n[stages.a]\nactivity = "preflight"\n')
    told = ok(probe.inside("list"))
    assert "Ours" in told
    assert "Ours" in ok(probe.inside("run", "smoke", "-t", "lab", "--dry-run"))


# --- validate ---


def test_validate_finds_every_mistake_at_once(probe):
    assert ok(probe.inside("validate")).count("ok ") >= 7
    probe.write(
        "scenarios/bad.toml",
        """
title = "Bad"
targett = "lab"
[stages.one]
activity = "lod"
budget = "soon"
[stages.two]
[stages.two.populations.p]
shape = { rate = "5/s", clients = 3 }
""",
    )
    probe.write("scenarios/targets/bad.toml", 'title = "Bad"\n[endpoints.main]\nurl = "http://a"\n')
    probe.write("scenarios/dialects/bad.toml", 'title = "Bad"\n')
    done = probe.inside("validate", "scenarios/bad.toml", "scenarios/targets/bad.toml",
                 "scenarios/dialects/bad.toml", "smoke")  # fmt: skip
    assert done.code == 2, done.told
    for part in ("targett", "lod", "load", "soon", "stages.two.populations.p.shape",
                 "endpoints.main.url", "dialect", "present"):  # fmt: skip
        assert part in done.err, part
    assert "smoke" in done.out
    assert probe.inside("validate").code == 2


@pytest.mark.parametrize(
    "auth",
    [
        'source = "mint"\nalgorithm = "RS256"\nkey = "${PROBE_KEY}"',
        pytest.param(
            'source = "mint"\nalgorithm = "HS512"\nkey = "${PROBE_KEY}"', marks=pytest.mark.long
        ),
        pytest.param('source = "env"\ntoken = "${PROBE_TOKEN}"', marks=pytest.mark.long),
        'source = "fetch"\nurl = "${PROBE_T_URL}"\nclient_id = "a"\nclient_secret = "${PROBE_B}"',
    ],
)
def test_validate_needs_no_variable(probe, auth):
    probe.target("${PROBE_WS_URL}", more=f"[auth]\n{auth}\n")
    assert "service" in ok(probe.inside("validate", "service"))


# --- schema ---


@pytest.mark.parametrize("which", ["scenario", "target", "dialect", "verdict"])
def test_schema_is_a_json_schema_that_knows_our_own_files(probe, which):
    schema = json.loads(ok(probe.inside("schema", which)))
    assert "properties" in schema or "$ref" in schema
    folder = {"scenario": PACKAGE, "target": PACKAGE / "targets", "dialect": PACKAGE / "dialects"}
    known = json.dumps(schema)
    for path in folder[which].glob("*.toml") if which in folder else ():
        for key in tomllib.loads(path.read_text()):
            assert f'"{key}"' in known
    assert probe.inside("schema", "nothing").code == 2


# --- token ---


def test_token_is_told_and_shown_only_when_asked(probe):
    target = probe.target("ws://127.0.0.1:9/", more=MINT)
    told = ok(probe.inside("token", "-t", target, "--index", "3"))
    assert "probe-3" in told
    assert "HS256" in told
    assert "eyJ" not in told
    assert KEY not in told
    shown = ok(probe.inside("token", "-t", target, "--index", "3", "--show")).strip()
    claims = jwt.decode(shown, KEY, ["HS256"], audience="you", issuer="me")
    assert claims["sub"] == "probe-3"


def test_token_without_a_source_or_a_lab(probe):
    assert probe.inside("token", "-t", "lab").code == 2
    assert "(not told)" in ok(probe.inside("token", "-t", probe.target("ws://127.0.0.1:9/")))


def test_a_token_endpoint_that_refuses_is_an_error_in_one_line(probe):
    def refuses(server, sock):
        read_head(server, sock)
        sock.sendall(answer(403, b'{"error":"nope"}'))

    with Server(refuses) as server:
        auth = f"""
[auth]
source = "fetch"
url = "http://127.0.0.1:{server.port}/t"
client_id = "a"
client_secret = "secret-of-some-length"
"""
        done = probe.inside("token", "-t", probe.target("ws://127.0.0.1:9/", more=auth))
    assert done.code not in (0, 2), done.told
    assert "403" in done.err
    assert "Traceback" not in done.err
    assert "secret-of-some" not in done.err


# --- connect ---


@pytest.fixture
def chat():
    """`websockets` as a server: a subprotocol, an echo, a goodbye."""

    def handler(connection):
        for message in connection:
            if message == "bye":
                connection.close(4001, "as you wish")
                return
            connection.send(message)

    protocols = [Subprotocol("chat.v2")]
    with serve(handler, "127.0.0.1", 0, subprotocols=protocols, server_header="chat/9") as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.socket.getsockname()[1]
        server.shutdown()
        thread.join(10)


def test_connect_tells_phases_headers_subprotocol_and_messages(probe, chat):
    words = ("-s", "chat.v1", "-s", "chat.v2", "-H", "X-Room: 5", "--for", "300ms")
    url = f"ws://127.0.0.1:{chat}/room?a=b"
    done = probe("connect", url, *words, "--send", "héllo", "--send", "[red]x[/]")
    told = ok(done)
    for phase in ("dial", "resolved", "tcp", "upgrade sent", "answered"):
        assert re.search(rf"\d ms  \* {phase} ", told), (phase, told)
    assert "> GET /room?a=b HTTP/1.1" in told
    assert "> X-Room: 5" in told
    assert "< HTTP/1.1 101 Switching Protocols" in told
    assert "< Server: chat/9" in told
    assert "* subprotocol: chat.v2" in told
    assert told.count("héllo") == 2
    assert told.count("[red]x[/]") == 2
    assert "normal 1000" in told
    times = [float(each) for each in re.findall(r"^\s*(\d+\.\d\d) ms", told, re.MULTILINE)]
    assert times == sorted(times)


def test_connect_tells_who_closed_and_why(probe, chat):
    done = probe("connect", f"ws://127.0.0.1:{chat}/", "-s", "chat.v2", "--send", "bye")
    assert done.code == 1, done.told
    assert "4001" in done.out
    assert "as you wish" in done.out
    assert "by peer" in done.out


def test_connect_without_a_chosen_subprotocol_says_what_browsers_do(probe):
    def none(server, sock):
        sock.sendall(switch(read_head(server, sock), subprotocol=""))
        sock.recv(1000)

    with Server(none) as server:
        done = probe("connect", f"ws://127.0.0.1:{server.port}/", "-s", "x", "--for", "100ms",
                     within_s=30)  # fmt: skip
    assert "a browser fails this connection" in " ".join(done.out.split())


@pytest.mark.long
def test_connect_with_deflate_against_aiohttp(probe):
    async def main():
        async def handler(request):
            socket_ = web.WebSocketResponse(protocols=("v1",), compress=True)
            await socket_.prepare(request)
            async for message in socket_:
                await socket_.send_str(message.data * 20)
            return socket_

        app = web.Application()
        app.router.add_get("/ws", handler)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        started.set()
        while not over.is_set():  # noqa: ASYNC110 -- set by another thread
            await asyncio.sleep(0.01)
        await runner.cleanup()

    port, started, over = free_port(), threading.Event(), threading.Event()
    thread = threading.Thread(target=run_async, args=(main,))
    thread.start()
    try:
        assert started.wait(10)
        url = f"ws://127.0.0.1:{port}/ws"
        done = probe("connect", url, "-s", "v1", "--deflate", "--send", "abc", "--for", "300ms")
        refused = probe("connect", f"ws://127.0.0.1:{port}/other")
    finally:
        over.set()
        thread.join(10)
    told = ok(done)
    assert "permessage-deflate" in told
    assert "abc" * 20 in told
    assert refused.code == 1
    assert "404" in refused.out
    assert "failed in phase upgrade: status" in refused.out


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        pytest.param(silent, ("timeout",), marks=pytest.mark.long),
        pytest.param(closes_at_once, ("failed in phase upgrade: ",), marks=pytest.mark.long),
        (says(close_frame(1011, b"not today")), ("1011", "not today")),
        (says(b"\x81\x02\xff\xff"), ("protocol error",)),
        pytest.param(says(text("x" * 3000)), ("x" * 500,), marks=pytest.mark.long),
        (says(text("\x1b[31mred\x07")), ("red",)),
    ],
)
def test_connect_tells_each_kind_of_failure(probe, behaviour, words):
    with Server(behaviour) as server:
        url = f"ws://127.0.0.1:{server.port}/"
        done = probe("connect", url, "--within", "500ms", "--for", "300ms")
    assert done.code in (0, 1), done.told
    told = done.out.replace("\n", "")
    for word in words:
        assert word in told, done.told
    assert "\x1b" not in done.out
    assert "\x07" not in done.out
    assert "Traceback" not in done.err


@pytest.mark.long
def test_connect_to_nothing_and_to_nonsense(probe):
    done = probe("connect", f"ws://127.0.0.1:{free_port()}/")
    assert done.code == 1, done.told
    assert "failed in phase tcp: refused" in done.out
    for url in ("http://127.0.0.1/", "ws://", "nonsense", "ws://127.0.0.1:99999/"):
        done = probe("connect", url)
        assert done.code == 2, done.told
        assert "Traceback" not in done.err
    for words in (("--within", "soon"), ("-H", "no colon"), ("--token-env", "PROBE_NONE")):
        assert probe("connect", "ws://127.0.0.1:9/", *words).code == 2


@pytest.mark.long
def test_connect_over_tls_tells_version_and_certificate(probe, tmp_path):
    ca = trustme.CA()
    import ssl  # noqa: PLC0415 -- for this test alone

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    with Server(echo, context) as server:
        url = f"wss://127.0.0.1:{server.port}/"
        told = ok(probe("connect", url, "--ca", tmp_path / "ca.pem", "--for", "100ms"))
        assert "TLSv1.3" in told
        assert re.search(r"certificate sha256 [0-9a-f]{64}", told)
        assert "tls " in told
        ok(probe("connect", url, "--insecure", "--for", "100ms"))
        done = probe("connect", url)
        assert done.code == 1
        assert "failed in phase tls: certificate" in done.out
        assert probe("connect", url, "--ca", tmp_path / "none.pem").code == 2


@pytest.mark.long
def test_connect_by_the_name_of_an_endpoint(probe, chat):
    target = probe.target(f"ws://127.0.0.1:{chat}/here", dialect="agent_events", more=MINT)
    done = probe("connect", "main", "-t", target, "--present", "bearer", "--for", "100ms")
    assert "GET /here" in done.out
    assert "eyJ" not in done.out
    assert probe("connect", "main", "-t", target, "--present", "barer").code == 2
    assert probe("connect", "mian", "-t", target).code == 2


def test_ctrl_c_ends_a_connect(probe, chat):
    process = probe.start("connect", f"ws://127.0.0.1:{chat}/", "-s", "chat.v2", "--for", "60s")
    line = b""
    while b"subprotocol" not in line:
        line = process.stdout.readline()
        assert line
    process.send_signal(signal.SIGINT)
    done = probe.finish(process, within_s=8)
    assert done.code == 0, done.told
    assert "normal 1000" in done.out


# --- lab ---


@pytest.mark.long
def test_the_lab_by_hand_is_spoken_to_as_it_says(probe):
    listed = json.loads(ok(probe("lab", "--list-defects")))
    assert {"cold_start_1011", "health_lies", "slow_boot"} <= {row["name"] for row in listed}
    port = free_port()
    process = probe.start("lab", "--port", port)
    try:
        advice = process.stderr.readline() + process.stderr.readline()
        pairs = dict(re.findall(r"(PROBE_[A-Z_]+)=(\S+)", advice.decode()))
        assert set(pairs) == {"PROBE_WS_URL", "PROBE_HEALTH_URL", "PROBE_JWT_KEY"}

        def listens():
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", port)) == 0

        until(listens)
        done = probe("connect", "main", "-t", "local", "--for", "200ms", env=pairs)
        if "503" in done.out:  # it takes its time to boot, and says so
            done = probe("connect", "main", "-t", "local", "--for", "200ms", env=pairs)
        assert "connection_ready" in ok(done)
        words = ("--set", "stages.users.populations.users.shape.lasts=1s")
        done = probe.run("smoke", *words, target="local", env=pairs)
        assert done.code in (0, 3), done.told
        assert "embedded" not in done.out
        assert done.verdict["embedded"] is False
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
    assert process.returncode == 0


def test_a_taken_port_and_an_unknown_defect_are_told(probe):
    with Server(silent) as server:
        done = probe("lab", "--port", server.port)
    assert done.code == 2, done.told
    assert "taken" in done.err
    assert "PROBE_WS_URL" not in done.told, "what listens there is no lab of ours"
    done = probe("lab", "--defect", "health_lie")
    assert done.code == 2, done.told
    assert "health_lies" in done.err


# --- help ---


@pytest.mark.parametrize(
    "verb",
    [
        "run",
        *(
            pytest.param(each, marks=pytest.mark.long)
            for each in ["check", "report", "list", "validate", "schema", "token", "connect", "lab"]
        ),
    ],
)
def test_every_verb_has_its_help(probe, verb):
    told = ok(probe.inside(verb, "--help"))
    assert "Usage:" in told
    assert verb in told
