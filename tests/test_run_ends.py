"""Runs that do not end as planned: killed, interrupted, or without their lab."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.servers import Server, deaf, echo, until

pytestmark = pytest.mark.alone

LONG = """
[stages.load]
patience = "5s"
expect.success = { rate = "50%" }
expect.definite = true
[stages.load.populations.clients]
shape = { rate = "50/s", lasts = "30s", arrivals = "even" }
"""
HOLDING = """
[stages.load]
patience = "30s"
expect.success = { rate = "50%" }
[stages.load.populations.clients]
shape = { clients = 10 }
script = [{ do = "connect" }, { do = "hold", lasts = "30s" }, { do = "close" }]
"""


def lab_pid(folder):
    """The process of the newest life, from the lab's own ledger; 0 before it said so."""
    path = folder / "lab.ledger.ndjson"
    lines = path.read_text().splitlines() if path.exists() else []
    ups = [line for line in map(json.loads, lines) if line.get("phase") == "up"]
    return ups[-1]["pid"] if ups else 0


def is_running(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
        return stat.rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def started(probe, *words, target="lab"):
    before = set(probe.results.glob("*/history"))
    process = probe.start("run", "small", "-t", target, "--out", probe.results, *words)
    found = until(lambda: set(probe.results.glob("*/history")) - before)
    return process, found.pop().parent


def kill_and_check(probe, delay_s):
    process, folder = started(probe)
    time.sleep(delay_s)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    if pid := lab_pid(folder):
        until(lambda: not is_running(pid), within_s=10)
    done = probe.inside("check", folder, "--json")
    assert done.code not in (0, 5), done.told
    again = json.loads(done.out)
    assert again["complete"] is False
    assert again["verdict"] in ("INCONCLUSIVE", "FAIL", "INVALID")
    return folder


def test_a_killed_run_can_be_judged_and_leaves_no_lab(probe):
    probe.scenario(LONG)
    chance = random.Random(5)
    for _ in range(3):
        folder = kill_and_check(probe, chance.uniform(0, 1.2))
    done = probe.inside("check", folder)
    assert "incomplete" in done.out, done.told
    assert "PASS" not in done.out.split("\n")[0]


@pytest.mark.long
@pytest.mark.timeout(400)
def test_twenty_killed_runs(probe):
    probe.scenario(LONG)
    chance = random.Random()
    for _ in range(20):
        kill_and_check(probe, chance.uniform(0, 3))


def check_interrupted(probe, done):
    assert done.code == 130, done.told
    assert done.verdict["interrupted"] is True
    assert done.verdict["verdict"] in ("INCONCLUSIVE", "INVALID")
    assert "interrupted" in done.out
    assert "Traceback" not in done.err
    again = probe.inside("check", done.folder, "--json")
    assert again.code == 130
    assert again.out.encode() == (done.folder / "verdict.json").read_bytes()


def test_ctrl_c_ends_a_run_in_order(probe):
    probe.scenario(LONG)
    process, folder = started(probe)
    time.sleep(1.5)
    pid = lab_pid(folder)
    os.killpg(process.pid, signal.SIGINT)
    done = probe.finish(process, within_s=8)
    check_interrupted(probe, done)
    assert not is_running(pid)
    assert done.summary["counts"]["clients"] > 5


@pytest.mark.long
@pytest.mark.parametrize("later_s", [0.05, 0.6])
def test_a_second_ctrl_c_is_fine_too(probe, later_s):
    probe.scenario(HOLDING)
    process, folder = started(probe)
    until(lambda: lab_pid(folder))
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(later_s)
    os.killpg(process.pid, signal.SIGINT)
    done = probe.finish(process, within_s=8)
    check_interrupted(probe, done)
    assert not is_running(lab_pid(folder))


@pytest.mark.long
@pytest.mark.parametrize("when", [0.0, 0.2])
def test_ctrl_c_at_the_start(probe, when):
    probe.scenario(HOLDING)
    process, folder = started(probe)
    time.sleep(when)
    os.killpg(process.pid, signal.SIGINT)
    done = probe.finish(process, within_s=8)
    assert done.code == 130, done.told
    assert "Traceback" not in done.err
    if pid := lab_pid(folder):
        until(lambda: not is_running(pid), within_s=5)


def test_ctrl_c_does_not_wait_for_a_peer_that_never_answers_a_close(probe):
    probe.scenario(HOLDING)
    with Server(deaf) as server:
        process, _ = started(probe, target=probe.target(f"ws://127.0.0.1:{server.port}/"))
        until(lambda: len(server.heads) >= 10)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        done = probe.finish(process, within_s=8)
    check_interrupted(probe, done)


def test_ctrl_c_does_not_wait_for_a_token_endpoint(probe):
    probe.scenario(HOLDING)

    def hangs(server, sock):
        while sock.recv(65536):
            pass

    with Server(hangs) as tokens, Server(echo) as server:
        auth = f"""
[auth]
source = "fetch"
url = "http://127.0.0.1:{tokens.port}/token"
client_id = "a"
client_secret = "a-secret-of-some-length"
timeout = "60s"
"""
        target = probe.target(f"ws://127.0.0.1:{server.port}/", more=auth)
        process, _ = started(probe, target=target)
        until(lambda: tokens.accepted)
        process.send_signal(signal.SIGINT)
        done = probe.finish(process, within_s=8)
    check_interrupted(probe, done)


@pytest.mark.long
def test_sigterm_is_as_good_as_ctrl_c(probe):
    probe.scenario(LONG)
    process, _ = started(probe)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    check_interrupted(probe, probe.finish(process, within_s=8))


@pytest.mark.long
@pytest.mark.parametrize(
    "script",
    [
        pytest.param(LONG.replace("30s", "3s"), marks=pytest.mark.long),
        HOLDING.replace("30s", "3s"),
    ],
)
def test_a_lab_that_dies_is_an_error_and_never_a_pass(probe, script):
    probe.scenario(script)
    process, folder = started(probe)
    until(lambda: "ready" in (folder / "lab.ledger.ndjson").read_text()
          if (folder / "lab.ledger.ndjson").exists() else False)  # fmt: skip
    time.sleep(0.7)
    os.kill(lab_pid(folder), signal.SIGKILL)
    done = probe.finish(process, within_s=30)
    assert done.code in (1, 3, 5), done.told
    assert done.verdict["verdict"] != "PASS"
    assert "lab died" in done.out + done.err, done.told
    assert "Traceback" not in done.err
    again = probe.inside("check", folder, "--json")
    assert again.out.encode() == (folder / "verdict.json").read_bytes()


def test_a_lab_that_dies_between_restarts(probe):
    process = probe.start(
        "run", "cold_start", "-t", "lab", "--restarts", "3", "--out", probe.results
    )
    until(probe.runs)
    folder = probe.runs()[0].parent
    until(lambda: len({line["life"] for line in ledger(folder)}) == 2)
    os.kill(lab_pid(folder), signal.SIGKILL)
    done = probe.finish(process, within_s=40)
    assert done.code in (1, 5), done.told
    assert done.verdict["verdict"] in ("FAIL", "ERROR")
    assert "the embedded lab died" in done.out or "ended at its start" in done.out


def ledger(folder):
    path = folder / "lab.ledger.ndjson"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
