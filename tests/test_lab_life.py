"""How a lab begins and ends: options, TLS, ports, signals, kills, its parent."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys

import aiohttp
import pytest
from aiohttp import WSMsgType

from tests.lab_process import (
    AT_ONCE,
    DEADLINE_S,
    NEVER_READY,
    SECRET,
    Lab,
    request,
    run_async,
    token,
    until,
    websocket,
)


def end_over_tls(lab, context, head=None):
    """What comes of a handshake over TLS: the bytes of the answer, b"" at an end, or "reset".

    By hand, since a socket of the ssl module shows a reset as an end.
    """
    with socket.create_connection(lab.address, DEADLINE_S) as sock:
        inward, outward = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(inward, outward, server_hostname="127.0.0.1")
        todo = [tls.do_handshake, lambda: tls.write(head or request()), lambda: tls.read(4096)]
        while True:
            try:
                done = todo[0]()
                del todo[0]
                if not todo:
                    return done
            except ssl.SSLWantReadError:
                try:
                    sock.sendall(outward.read())
                    chunk = sock.recv(65536)
                except ConnectionResetError:
                    return "reset"
                if not chunk:
                    return b""
                inward.write(chunk)


def greeted_over_tls(lab, context):
    good = request(headers={"Authorization": f"Bearer {token()}"})
    return end_over_tls(lab, context, good).startswith(b"HTTP/1.1 101 ")


def test_tls_with_the_authority_it_writes_in_every_life(tmp_path):
    ca = tmp_path / "ca.pem"
    context = None
    for life, defects in ((1, []), (2, ["--defect", "cold_start_drop"])):
        boot = NEVER_READY if defects else AT_ONCE
        options = ["--tls", str(ca), "--life", str(life), *defects]
        with Lab(tmp_path, *options, boot=boot) as lab:
            assert lab.hello["tls"] is True
            # The second life is trusted with the authority of the first.
            context = context or ssl.create_default_context(cafile=ca)
            if defects:
                assert end_over_tls(lab, context) == "reset"
                assert lab.outcomes()[-1] == ("dropped", None)
                continue
            until(lambda lab=lab: "ready" in lab.phases())
            assert greeted_over_tls(lab, context)
            with pytest.raises(ssl.SSLCertVerificationError):
                end_over_tls(lab, ssl.create_default_context())
    assert "PRIVATE" not in ca.read_text()
    assert {line["life"] for line in lab.lines()} == {1, 2}


def outcome_of(*options, secret=SECRET):
    environment = {k: v for k, v in os.environ.items() if k != "PROBE_LAB_SECRET"}
    if secret is not None:
        environment["PROBE_LAB_SECRET"] = secret
    done = subprocess.run(
        [sys.executable, "-m", "probe.lab", *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env=environment,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_taken_port_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = outcome_of("--port", str(port), "--boot", AT_ONCE)
    assert (code, out) == (3, "")
    assert err == (
        f"probe.lab: port {port} on 127.0.0.1 is taken; "
        "give another --port, or --port 0 for a free one\n"
    )


@pytest.mark.parametrize(
    ("options", "secret", "words"),
    [
        ([], None, "PROBE_LAB_SECRET is not set; set it to at least 32"),
        ([], "short", "PROBE_LAB_SECRET is too short"),
        (["--defect", "slow_boost"], SECRET, "nearest: slow_boot"),
        (["--defect", "slow_boot=6"], SECRET, "takes a duration like"),
        (["--port", "99999"], SECRET, "give 0 to 65535"),
        (["--boot", "ready=soon"], SECRET, "is no duration"),
        (["--ledger", "/nowhere/at/all"], SECRET, "name a file that can be written"),
        (["--host", "256.0.0.1"], SECRET, "mend --host"),
        (["--limit", "fast"], SECRET, "like 200/400"),
        (["--idle", "long"], SECRET, "is no duration"),
        (["--wrong"], SECRET, "--help"),
    ],
)
def test_a_wrong_option_is_one_clear_line(options, secret, words):
    code, out, err = outcome_of(*options, secret=secret)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err
    assert SECRET not in err


def test_the_table_of_defects_is_listed_without_a_secret():
    code, out, _ = outcome_of("--list-defects", secret=None)
    assert code == 0
    assert {row["name"] for row in json.loads(out)} >= {"health_lies", "cold_start_1011"}


def test_sigterm_closes_everything_with_1001(tmp_path):
    with Lab(tmp_path, "--pace", "1m") as lab:
        until(lambda: "ready" in lab.phases())

        async def main():
            async with aiohttp.ClientSession() as http, websocket(http, lab) as ws:
                await ws.receive_json()
                await ws.send_json({"type": "start_agent", "run_id": "under"})
                await ws.receive_json()
                os.kill(lab.hello["pid"], signal.SIGTERM)
                answer = await ws.receive()
                assert (answer.type, answer.data, answer.extra) == (
                    WSMsgType.CLOSE,
                    1001,
                    "going away",
                )

        # One that never answers the Close must not keep the lab.
        with socket.create_connection(lab.address, DEADLINE_S) as deaf:
            deaf.sendall(request(headers={"Authorization": f"Bearer {token()}"}))
            assert deaf.recv(4096).startswith(b"HTTP/1.1 101 ")
            run_async(main)
            assert lab.process.wait(DEADLINE_S) == 0
        assert [(line["by"], line["code"]) for line in lab.lines("close")] == [("server", 1001)] * 2
        (run,) = lab.lines("run")
        assert (run["sent"], run["completed"]) == (1, False)
        stopping, stopped = lab.lines("phase")[-2:]
        assert (stopping["phase"], stopped["phase"]) == ("stopping", "stopped")
        assert lab.lines()[-1] == stopped
        assert stopped["hits"] == {}


def test_sigterm_before_listening_ends_the_boot(tmp_path):
    lab = Lab(tmp_path, boot="listening=1h,healthy=1h,ready=1h")
    until(lambda: lab.ledger.exists() and "up" in lab.phases())
    # The signal is caught from the first turn of the loop on, some milliseconds after "up".
    assert lab.stop() in (0, -signal.SIGTERM)
    assert "listening" not in lab.phases()


def test_a_killed_life_leaves_its_ledger_and_its_port_to_the_next(tmp_path):
    with Lab(tmp_path, "--life", "1") as first:
        until(lambda: "ready" in first.phases())
        port = first.hello["port"]
        with socket.create_connection(first.address, DEADLINE_S) as client:
            client.sendall(request(headers={"Authorization": f"Bearer {token()}"}))
            assert client.recv(4096).startswith(b"HTTP/1.1 101 ")
            assert first.stop(signal.SIGKILL) == -signal.SIGKILL
            with Lab(tmp_path, "--life", "2", "--port", str(port)) as second:
                assert second.hello["port"] == port
                until(lambda: second.lines()[-1].get("phase") == "healthy")
                events = [(line["life"], line["event"]) for line in second.lines()]
                assert events == [(1, "phase")] * 4 + [(1, "handshake")] + [(2, "phase")] * 4


def test_the_lab_ends_with_its_parent(tmp_path):
    program = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'probe.lab', *sys.argv[1:]],"
        " stdin=subprocess.PIPE)\n"
        "time.sleep(600)\n"
    )
    ledger = tmp_path / "orphan"
    options = ["--exit-with-parent", "--boot", AT_ONCE, "--ledger", str(ledger)]
    with subprocess.Popen(
        [sys.executable, "-c", program, *options],
        stdout=subprocess.PIPE,
        env={**os.environ, "PROBE_LAB_SECRET": SECRET},
    ) as parent:
        assert parent.stdout is not None
        port = json.loads(parent.stdout.readline())["port"]
        parent.kill()
        parent.wait()
        until(lambda: '"stopped"' in ledger.read_text())
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), DEADLINE_S)
