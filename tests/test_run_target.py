"""What is wrong at a target: named, in bounded time, and never a PASS."""

import http.server
import itertools
import json
import ssl
import threading
import time

import pytest
import trustme

from tests.servers import (
    Server,
    answer,
    closes_at_once,
    deaf,
    echo,
    free_port,
    header,
    read_head,
    says,
    silent,
    switch,
)

# As the smoke scenario begins, and clients that each wait for one second.
SCENARIO = """
[stages.preflight]
activity = "preflight"
gate = true
expect = { connects = true }
[stages.users]
patience = "3s"
expect.success = { rate = "50%" }
expect.definite = true
[stages.users.populations.users]
shape = { clients = 5 }
"""
IMPATIENT = """
title = "Plain, within a second"
echo = true
[present.default]
[ready]
within = "1s"
"""
EVENTS = """
title = "With an event that says ready"
[present.default]
[ready]
event = "connection_ready"
within = "1s"
"""


def run(probe, url, *words, more="", gate=True):
    probe.scenario(SCENARIO if gate else SCENARIO.replace("gate = true", ""))
    probe.write("scenarios/dialects/impatient.toml", IMPATIENT)
    target = probe.target(url, dialect="impatient", more=more)
    return probe.run("small", *words, target=target, within_s=30)


def fails_with(done, code):
    assert done.code == 1, done.told
    assert done.verdict["verdict"] == "FAIL"
    assert code in done.codes, done.told
    assert "embedded" not in done.out
    found = next(each for each in done.verdict["findings"] if each["code"] == code)
    assert found["cause"]
    assert found["reproduce"].startswith("probe run small")


def test_nothing_listens(probe):
    done = run(probe, f"ws://127.0.0.1:{free_port()}/")
    fails_with(done, "target.refused")


@pytest.mark.parametrize("gate", [True, pytest.param(False, marks=pytest.mark.long)])
def test_silence_after_tcp(probe, gate):
    with Server(silent) as server:
        done = run(probe, f"ws://127.0.0.1:{server.port}/", gate=gate)
    fails_with(done, "target.silent")
    if not gate:
        assert "connect.no_answer" in done.codes


@pytest.mark.parametrize("gate", [True, pytest.param(False, marks=pytest.mark.long)])
def test_tcp_that_ends_at_once(probe, gate):
    with Server(closes_at_once) as server:
        done = run(probe, f"ws://127.0.0.1:{server.port}/", gate=gate)
    fails_with(done, "target.dropped")


def test_an_http_server_without_websocket(probe):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            done = run(probe, f"ws://127.0.0.1:{server.server_port}/nothing")
        finally:
            server.shutdown()
            thread.join()
    fails_with(done, "target.no_websocket")
    assert "404" in done.out


def test_a_wrong_port_that_speaks_something_else(probe):
    def smtp(server, sock):
        sock.sendall(b"220 mail.example.org ESMTP\r\n")
        silent(server, sock)

    with Server(smtp) as server:
        done = run(probe, f"ws://127.0.0.1:{server.port}/")
    fails_with(done, "target.not_http")


def contexts(name="127.0.0.1"):
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(name).configure_cert(context)
    return ca, context


def test_tls_of_an_unknown_authority(probe):
    _, context = contexts()
    with Server(echo, context) as server:
        done = run(probe, f"wss://127.0.0.1:{server.port}/")
    fails_with(done, "target.tls_unknown_ca")


def test_tls_of_a_known_authority_passes_and_of_another_name_does_not(probe):
    ca, context = contexts()
    ca.cert_pem.write_to_path(probe.cwd / "ca.pem")
    more = f'[tls]\nca_file = "{probe.cwd}/ca.pem"\n'
    with Server(echo, context) as server:
        done = run(probe, f"wss://127.0.0.1:{server.port}/", more=more)
        assert done.code in (0, 3), done.told
        assert done.codes == set()
        facts = json.dumps(done.verdict["authenticity"])
        assert "TLSv1." in facts
        assert "sha256" in facts
        done = run(probe, f"wss://127.0.0.1:{server.port}/", more=more + 'server_name = "other"\n')
    fails_with(done, "target.tls_failed")


@pytest.mark.long
def test_plain_text_at_a_tls_port_and_tls_at_a_plain_one(probe):
    _, context = contexts()
    with Server(echo, context) as server:
        done = run(probe, f"ws://127.0.0.1:{server.port}/")
        assert done.code == 1, done.told
        assert any(code.startswith("target.") for code in done.codes)
    with Server(echo) as server:
        done = run(probe, f"wss://127.0.0.1:{server.port}/")
        assert done.code == 1, done.told
        assert any(code.startswith("target.") for code in done.codes)


def test_a_101_and_then_nothing(probe):
    probe.write("scenarios/dialects/events.toml", EVENTS)
    probe.scenario(SCENARIO)
    with Server(deaf) as server:
        target = probe.target(f"ws://127.0.0.1:{server.port}/", dialect="events")
        began = time.monotonic()
        done = probe.run("small", target=target, within_s=30)
        assert time.monotonic() - began < 25
    fails_with(done, "target.never_ready")


@pytest.mark.long
def test_a_handshake_that_breaks_the_rfc(probe):
    def wrong(server, sock):
        head = read_head(server, sock)
        sock.sendall(switch(head).replace(b"Sec-WebSocket-Accept: ", b"Sec-WebSocket-Accept: A"))
        silent(server, sock)

    with Server(wrong) as server:
        done = run(probe, f"ws://127.0.0.1:{server.port}/")
    fails_with(done, "target.bad_upgrade")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        pytest.param(401, "target.unauthorized", marks=pytest.mark.long),
        (503, "target.unavailable"),
    ],
)
def test_a_refusal_by_status(probe, status, code):
    def refuses(server, sock):
        read_head(server, sock)
        sock.sendall(answer(status, b'{"error":"no"}'))

    with Server(refuses) as server:
        done = run(probe, f"ws://127.0.0.1:{server.port}/")
    fails_with(done, code)


def test_a_service_that_dies_in_the_middle_is_never_a_pass(probe):
    probe.scenario("""
[stages.load]
patience = "2s"
expect.success = { rate = "50%" }
expect.definite = true
[stages.load.populations.clients]
shape = { rate = "40/s", lasts = "1500ms", arrivals = "even" }
script = [{ do = "connect" }, { do = "hold", lasts = "500ms" }, { do = "close" }]
""")
    with Server(echo) as server:
        target = probe.target(f"ws://127.0.0.1:{server.port}/")
        process = probe.start("run", "small", "-t", target, "--out", probe.results)
        deadline = time.monotonic() + 20
        while server.accepted < 15:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        server.stop()
        done = probe.finish(process, within_s=30)
    assert done.code in (1, 3), done.told
    assert done.verdict["verdict"] in ("FAIL", "INCONCLUSIVE")
    ways = done.summary["counts"]["ways"]
    assert sum(ways.values()) == 60
    assert ways["refused in tcp"] > 0


def test_an_endpoint_that_is_half_broken_is_flaky(probe):
    turns = itertools.count()

    def every_other(server, sock):
        if next(turns) % 2:
            echo(server, sock)
        else:
            read_head(server, sock)
            sock.sendall(answer(503))

    with Server(every_other) as server:
        done = run(probe, f"ws://127.0.0.1:{server.port}/")
    assert done.code == 1, done.told
    assert "connect.flaky" in done.codes


def test_an_odd_pong_is_not_ours_and_harms_nobody(probe):
    # A pong nobody asked for, of more digits than a row's field holds.
    with Server(says(b"\x8a\x28" + b"9" * 40)) as server:
        done = run(probe, f"ws://127.0.0.1:{server.port}/")
    assert done.code in (0, 3), done.told
    assert done.summary["counts"]["ways"] == {"good": 8}


def test_who_answered_is_told(probe):
    def signed(server, sock):
        head = read_head(server, sock)
        assert header(head, "User-Agent").startswith("probe/")
        sock.sendall(switch(head).replace(b"\r\n\r\n", b"\r\nServer: acme/2\r\n\r\n"))
        sock.recv(1000)

    with Server(signed) as server:
        done = run(probe, f"ws://127.0.0.1:{server.port}/")
    assert server.errors == []
    assert "acme/2" in json.dumps(done.verdict["authenticity"])
    assert str(server.port) in json.dumps(done.verdict["authenticity"])
