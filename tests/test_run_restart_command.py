"""Restarts by the command of a target file: of a real process, and all that can go wrong."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.servers import free_port, until

SCENARIO = """
[stages.restarts]
anchor = "restart"
trials = 2
budget = "40s"
health_every = "20ms"
patience = "3s"
settle = { good = 5, linger = "50ms" }
[stages.restarts.expect]
definite = true
recovery = { within = "10s", rate = "10%" }
[stages.restarts.populations.arrivals]
shape = { rate = "20/s", lasts = "8s", arrivals = "even" }
[stages.restarts.populations.herd]
shape = { clients = 3 }
retry = true
"""
# Asked to restart, it ends the old process and leaves a new one behind, which keeps its
# standard output as daemons do that nobody told otherwise.
RESTART = """
import os, signal, subprocess, sys, time
folder, port = sys.argv[1:]
pid_file = os.path.join(folder, "pid")
print("restarting", flush=True)
if os.path.exists(pid_file):
    os.kill(int(open(pid_file).read()), signal.SIGTERM)
    time.sleep(0.1)
process = subprocess.Popen([sys.executable, os.path.join(folder, "service.py"), port])
with open(pid_file + ".part", "w") as file:
    file.write(str(process.pid))
os.replace(pid_file + ".part", pid_file)
"""
SERVICE = """
import asyncio, sys
from aiohttp import web

ready = False

async def health(request):
    return web.json_response({"status": "healthy" if ready else "starting"},
                             status=200 if ready else 503)

async def ws(request):
    if not ready:
        return web.json_response({"error": "starting"}, status=503)
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(message.data)
    return socket

async def boot(app):
    async def later():
        global ready
        await asyncio.sleep(0.3)
        ready = True
        print("ready", flush=True)
    app["task"] = asyncio.create_task(later())

app = web.Application()
app.router.add_get("/health", health)
app.router.add_get("/ws", ws)
app.on_startup.append(boot)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), reuse_address=True, print=None)
"""


@pytest.fixture
def service(probe):
    """Files of a service; its process, if any, ends with the test."""
    probe.write("service.py", SERVICE)
    probe.write("restart.py", RESTART)
    yield free_port()
    path = probe.cwd / "pid"
    if path.exists():
        try:
            os.kill(int(path.read_text()), signal.SIGKILL)
        except ProcessLookupError:
            return


def target(probe, port, command, within="15s"):
    words = ", ".join(f'"{word}"' for word in command)
    more = f"""
[services.backend]
url = "http://127.0.0.1:{port}/health"
[restart]
by = "command"
command = [{words}]
within = "{within}"
"""
    return probe.target(f"ws://127.0.0.1:{port}/ws", more=more)


def restart(probe, port, command, *, within="15s", within_s=60):
    probe.scenario(SCENARIO)
    began = time.monotonic()
    done = probe.run("small", target=target(probe, port, command, within), within_s=within_s)
    return done, time.monotonic() - began


def test_a_real_process_is_restarted(probe, service):
    words = [sys.executable, str(probe.cwd / "restart.py"), str(probe.cwd), str(service)]
    done, _ = restart(probe, service, words)
    assert done.code in (0, 3), done.told
    restarts = done.summary["restarts"]
    assert len(restarts) == 2
    for each in restarts:
        assert each["first_healthy_s"] > 0.3
        assert each["first_good_session_s"] > 0.3
    assert done.check("restarts.recovery")["n"] == 2
    assert done.codes == set()
    # The service that the command left behind is alive: nothing of ours ended it.
    os.kill(int((probe.cwd / "pid").read_text()), 0)


def broken(probe, port, command, *said, within="2s"):
    done, took = restart(probe, port, command, within=within)
    assert done.code == 1, done.told
    assert took < 25
    assert "target.no_restart" in done.codes
    for part in said:
        assert part in done.out, done.told
    assert "Traceback" not in done.err
    again = probe.inside("check", done.folder, "--json")
    assert again.out.encode() == (done.folder / "verdict.json").read_bytes()


@pytest.mark.long
def test_a_command_that_fails_is_quoted(probe, service):
    words = [sys.executable, "-c", "print('no such host: db'); raise SystemExit(7)"]
    broken(probe, service, words, "ended with 7", "no such host: db")


@pytest.mark.long
def test_a_command_that_hangs_is_killed_with_its_children(probe, service):
    script = (
        "import subprocess, sys, time; "
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        "open('child', 'w').write(str(p.pid)); time.sleep(60)"
    )
    broken(probe, service, [sys.executable, "-c", script], "did not end within")
    pid = int((probe.cwd / "child").read_text())

    def gone():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
            return stat.rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    until(gone, within_s=5)


def test_a_missing_program_is_named(probe, service):
    done, _ = restart(probe, service, ["./no-such-program"])
    assert done.code == 2, done.told
    assert "no-such-program" in done.err
    assert probe.runs() == []


def test_a_command_that_restarts_nothing_proves_nothing(probe, service):
    words = [sys.executable, str(probe.cwd / "restart.py"), str(probe.cwd), str(service)]
    subprocess.run(words, check=True, timeout=20)
    until(lambda: healthy(service), within_s=10)
    done, _ = restart(probe, service, ["true"])
    assert done.code == 3, done.told
    check = done.check("restarts.restarts_seen")
    assert check["verdict"] == "INCONCLUSIVE"
    assert "turned nobody away" in check["message"]


def healthy(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.mark.long
def test_a_service_that_does_not_come_back_is_told(probe, service):
    broken(probe, service, ["true"], "backend was not healthy within")


def test_a_missing_variable_of_the_command_is_named_where_it_is_needed(probe, service):
    probe.scenario(SCENARIO)
    name = target(probe, service, ["${PROBE_RESTART}"])
    done = probe.inside("run", "small", "-t", name)
    assert done.code == 2, done.told
    assert "PROBE_RESTART" in done.err
    # A scenario that restarts nothing does not need it.
    clients = 'populations.users = { shape = { clients = 1 }, script = [{ do = "connect" }] }'
    probe.scenario(f"[stages.load]\n{clients}\n", name="calm")
    done = probe.inside("run", "calm", "--dry-run", "-t", name)
    assert done.code == 0, done.told


@pytest.mark.long
def test_ctrl_c_during_a_restart(probe, service):
    probe.scenario(SCENARIO)
    name = target(probe, service, [sys.executable, "-c", "import time; time.sleep(60)"], "50s")
    process = probe.start("run", "small", "-t", name, "--out", probe.results)
    until(probe.runs)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    done = probe.finish(process, within_s=8)
    assert done.code == 130, done.told
    assert done.verdict["interrupted"] is True
