"""Go or no-go between stages, and what the services and token endpoint told meanwhile."""

import json
import threading

import pytest

from probe.history.columns import History
from probe.history.records import Kind
from tests.servers import (
    Server,
    answer,
    close_frame,
    echo,
    frame,
    header,
    read_frame,
    read_head,
    switch,
)

POPULATION = """
[stages.{name}]
patience = "3s"
{more}
expect.success = {{ rate = "1%", required = false }}
[stages.{name}.populations.clients]
shape = {{ rate = "20/s", lasts = "{lasts}", arrivals = "even" }}
script = [{{ do = "connect" }}, {{ do = "ping" }}, {{ do = "close" }}]
"""


def stage(name, more="", *, lasts="500ms"):
    return POPULATION.format(name=name, more=more, lasts=lasts)


def failing(*bad):
    """Closes the connections of these numbers, and is good to the others."""
    count = iter(range(10_000))
    lock = threading.Lock()

    def serve(server, sock):
        head = read_head(server, sock)
        with lock:
            number = next(count)
        sock.sendall(switch(head))
        if number in bad:
            sock.sendall(close_frame(1011))
        while True:
            opcode, payload = read_frame(sock)
            if opcode == 8:
                sock.sendall(frame(8, payload[:2]))
                return
            sock.sendall(frame({9: 10}.get(opcode, opcode), payload))

    return serve


def played(probe, gate, *bad):
    """(stages that were begun, why the second was not) of ten clients and then ten more."""
    probe.scenario(stage("safety", f"gate = {gate}") + stage("full"))
    with Server(failing(*bad)) as server:
        target = probe.target(f"ws://127.0.0.1:{server.port}/")
        done = probe.run("small", target=target)
    history = History.open(done.folder / "history")
    rows = history.of(Kind.STAGE)
    begun = rows["op"][rows["flag"] == 0].tolist()
    skipped = rows[rows["flag"] == 3]
    return begun, [history.text(row["b"]).decode() for row in skipped]


@pytest.mark.parametrize(("gate", "bad"), [('"80%"', (1, 4)), ("0.1", range(9)), ("false", (0, 1))])
def test_a_gate_lets_through_where_the_share_is_reached(probe, gate, bad):
    assert played(probe, gate, *bad) == ([0, 1], [])


@pytest.mark.parametrize(
    ("gate", "bad", "found", "wanted"),
    [
        ('"80%"', (1, 2, 3, 4), "6 of 10 (60 %)", "80 %"),
        ('"100%"', (5,), "9 of 10 (90 %)", "100 %"),
        ("0.905", (5,), "9 of 10 (90 %)", "90.5 %"),
    ],
)
def test_a_gate_closes_with_the_share_in_words(probe, gate, bad, found, wanted):
    begun, why = played(probe, gate, *bad)
    assert begun == [0]
    assert why == [f"safety passed {found}, the gate wants {wanted}"]


def test_what_the_services_told_of_their_parts(probe):
    asked = iter(range(10_000))
    secret = "a-key-of-the-tests-that-is-long-enough"

    def serve(server, sock):
        head = read_head(server, sock)
        if header(head, "Upgrade"):
            echo_after(server, sock, head)
            return
        number = next(asked)
        told = {
            "status": "degraded" if 1 <= number <= 10 else "ok",
            "dependencies": {"postgres": {"status": "slow", "ms": number}, "note": secret},
            "memory_bytes": number,
        }
        sock.sendall(answer(200, json.dumps(told).encode(), "X-Revision: r7"))

    def echo_after(server, sock, head):
        sock.sendall(switch(head))
        while True:
            opcode, payload = read_frame(sock)
            if opcode == 8:
                sock.sendall(frame(8, payload[:2]))
                return

    with Server(serve) as server:
        more = f"""
[services.api]
url = "http://127.0.0.1:{server.port}/health"
[auth]
source = "mint"
key = "{secret}"
"""
        probe.scenario(
            '[stages.pre]\nactivity = "preflight"\nexpect = { health = true }\n'
            + stage("load", 'health_every = "20ms"', lasts="2s").replace(', { do = "ping" }', "")
        )
        target = probe.target(f"ws://127.0.0.1:{server.port}/", more=more)
        done = probe.run("small", target=target)
    history = History.open(done.folder / "history")
    rows = history.of(Kind.TOLD)
    told = [json.loads(history.text(row["b"])) for row in rows]
    assert told[0] == {
        "status": "ok", "revision": "r7", "memory_bytes": 0,
        "parts": {"postgres": "slow", "note": told[0]["parts"]["note"]},
    }  # fmt: skip
    assert secret not in json.dumps(told)
    health = history.of(Kind.HEALTH)
    assert rows["flag"].tolist()[:2] == [1, 2]
    assert set(rows["a"].tolist()) == {200}
    assert set(rows["t"].tolist()) <= set(health["t"].tolist())
    words = [(each["status"], each["memory_bytes"]) for each in told]
    assert words[1] == ("degraded", 1)
    assert words[2] == ("ok", 11)
    # Only its memory changed from there on: at most once in a second.
    later = rows["t"][3:] - rows["t"][2:-1]
    assert len(health) > 30
    assert len(rows) <= 6
    assert (later >= 1_000_000_000).all()


def test_the_token_endpoint_is_timed(probe):
    count = iter(range(100))

    def serve(server, sock):
        head = read_head(server, sock)
        if header(head, "Upgrade"):
            sock.sendall(switch(head))
            while True:
                opcode, payload = read_frame(sock)
                if opcode == 8:
                    sock.sendall(frame(8, payload[:2]))
                    return
                sock.sendall(frame({9: 10}.get(opcode, opcode), payload))
        number = next(count)
        sock.sendall(answer(200, json.dumps({"access_token": f"token-number-{number}"}).encode()))

    with Server(serve) as server:
        more = f"""
[auth]
source = "fetch"
url = "http://127.0.0.1:{server.port}/token"
grant = "password"
username = "probe-{{n}}"
password = "${{PROBE_PASSWORD}}"
attempts = 1
"""
        probe.scenario(stage("load"))
        target = probe.target(f"ws://127.0.0.1:{server.port}/", more=more)
        done = probe.run("small", target=target, env={"PROBE_PASSWORD": "a-password-of-tests"})
    history = History.open(done.folder / "history")
    (row,) = history.of(Kind.TOKEN)
    assert (row["flag"], row["a"]) == (1, 10), done.told
    assert 0 < row["b"] < 60_000_000_000


def test_a_token_endpoint_that_refuses_is_told_too(probe):
    def serve(server, sock):
        read_head(server, sock)
        sock.sendall(answer(503))

    with Server(serve) as server:
        more = f"""
[auth]
source = "fetch"
url = "http://127.0.0.1:{server.port}/token"
grant = "password"
username = "probe-{{n}}"
password = "${{PROBE_PASSWORD}}"
attempts = 1
"""
        probe.scenario(stage("load"))
        target = probe.target(f"ws://127.0.0.1:{server.port}/", more=more)
        done = probe.run("small", target=target, env={"PROBE_PASSWORD": "a-password-of-tests"})
    assert done.code != 0
    (row,) = History.open(done.folder / "history").of(Kind.TOKEN)
    assert (row["flag"], row["a"]) == (0, 10)


def test_an_echo_breaks_no_contract(probe):
    with Server(echo) as server:
        probe.scenario(
            stage("load").replace('{ do = "ping" }', '{ do = "echo" }, { do = "settle" }')
        )
        target = probe.target(f"ws://127.0.0.1:{server.port}/")
        done = probe.run("small", target=target)
    history = History.open(done.folder / "history")
    assert (history.sessions["outcome"] == 0).all(), done.told
    assert len(history.of(Kind.GOT)) == 10
    assert not len(history.of(Kind.ODD))
