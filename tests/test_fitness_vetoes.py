"""Every veto raised on purpose once, by real processes, and seen in the verdict."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from benchmarks import server as benched
from tests.servers import Server, echo

pytestmark = pytest.mark.alone

STAGE = """
[stages.load]
patience = "3s"
{more}
expect.success = {{ rate = "1%" }}
[stages.load.populations.clients]
{population}
"""
STEADY = 'shape = { rate = "20/s", lasts = "3s", arrivals = "even" }'
SCRIPTED = '''
"""A script that does to the probe what no script should."""

import {module}
import time

from probe.model.scenario import Scenario

kept = []


async def visit(session):
    await session.connect()
    {body}
    await session.close()


scenario = Scenario.model_validate({{
    "title": "Small",
    "stages": {{"load": {{
        "patience": "5s",
        "expect": {{"success": {{"rate": "1%"}}}},
        "populations": {{"clients": {{
            "shape": {{"rate": "20/s", "lasts": "{lasts}", "arrivals": "even"}},
            "script": visit,
        }}}},
    }}}},
}})
'''


def started(probe, server, words=(), *, wrapped=()):
    """A run of `small`, under way; `wrapped` are words before the interpreter's."""
    name = probe.target(f"ws://127.0.0.1:{server.port}/")
    process = subprocess.Popen(
        [*wrapped, sys.executable, "-m", "probe", "run", "small", "--target", name,
         "--workers", "1", "--out", probe.results, *words],
        cwd=probe.cwd, env=probe.environment(), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    probe.started.append(process)
    return process


def under_way(probe, process):
    """Wait until clients have been let go."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        logs = list(probe.results.glob("*/log.ndjson"))
        if any('"event": "trial"' in log.read_text() for log in logs):
            return
        time.sleep(0.05)
    pytest.fail("the run did not begin")


def scripted(probe, body, *, module="gc", lasts="1s"):
    probe.write("scenarios/small.py", SCRIPTED.format(body=body, module=module, lasts=lasts))


def veto(done):
    """Everything that makes it unfit; the check that hangs on load must not be judged then."""
    fitness = done.verdict["fitness"]
    assert not fitness["fit"], done.told
    assert done.check("load.success")["verdict"] == "INCONCLUSIVE", done.told
    assert done.code == (4 if fitness["invalid"] else 3), done.told
    return "; ".join(fitness["taints"] + fitness["invalid"])


def test_a_process_that_was_stopped(probe):
    probe.scenario(STAGE.format(more="", population=STEADY))
    with Server(echo) as server:
        process = started(probe, server)
        under_way(probe, process)
        time.sleep(0.5)
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        process.send_signal(signal.SIGCONT)
        done = probe.finish(process)
    told = veto(done)
    assert "the probe stood still for" in told
    assert "heartbeat lag p99" in told
    assert done.verdict["verdict"] == "INVALID"
    events = [json.loads(line) for line in (done.folder / "log.ndjson").read_text().splitlines()]
    assert any(each["event"] == "unfit" for each in events)  # it was told while the run went on


@pytest.mark.long
def test_a_garbage_collection(probe):
    scripted(probe, "kept.extend([] for _ in range(2_000_000)) if not kept else None; gc.collect()")
    with Server(echo) as server:
        done = probe.finish(started(probe, server))
    assert "a garbage collection paused the probe for" in veto(done)


def test_too_few_descriptors(probe):
    body = 'kept.extend(os.open("/dev/null", os.O_RDONLY) for _ in range(20))'
    scripted(probe, body, module="os", lasts="2s")
    wrapped = ("/bin/sh", "-c", 'ulimit -n 200; exec "$@"', "sh")
    with Server(echo) as server:
        done = probe.finish(started(probe, server, wrapped=wrapped))
    told = veto(done)
    assert "of 200 descriptors" in told or "Too many open files" in told
    assert "ulimit -n" in told


HOLDING = """
[stages.load]
patience = "10s"
expect.success = { rate = "1%" }
[stages.load.populations.clients]
shape = { rate = "19/s", lasts = "2s", arrivals = "even" }
script = [{ do = "connect" }, { do = "hold", lasts = "3s" }, { do = "close" }]
"""
NARROW = """
ip link set lo up && echo 50000 50039 > /proc/sys/net/ipv4/ip_local_port_range && exec "$@"
"""


def test_too_few_ports(probe):
    """In a network of its own, whose addresses have forty ports each."""
    alone = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--net"]
    tried = ["/bin/sh", "-c", NARROW, "sh", "true"]
    if not shutil.which("unshare") or subprocess.run([*alone, *tried], check=False).returncode:
        pytest.skip("no network of its own can be had here")
    probe.scenario(HOLDING)
    words = ["run", "small", "--target", "lab", "--workers", "1", "--out", str(probe.results)]
    process = subprocess.Popen(
        [*alone, *tried[:-1], sys.executable, "-m", "probe", *words],
        cwd=probe.cwd, env=probe.environment(), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    probe.started.append(process)
    told = veto(probe.finish(process))
    assert "of 40 local ports were in use" in told or "no local port left" in told
    assert "net.ipv4.ip_local_port_range" in told


@pytest.mark.long
def test_clients_that_are_dialled_too_late(probe):
    scripted(probe, "time.sleep(0.08)")  # at twenty a second, the loop is never there in time
    with Server(echo) as server:
        done = probe.finish(started(probe, server))
    assert "clients were dialled late" in veto(done)


@pytest.mark.long
def test_a_plan_that_was_not_carried_out(probe):
    shape = 'shape = { rate = "50/s", lasts = "4s", arrivals = "even" }'
    probe.scenario(STAGE.format(more='budget = "1s"', population=shape))
    with Server(echo) as server:
        done = probe.finish(started(probe, server))
    told = veto(done)
    assert "of 200 intended clients were launched" in told
    assert done.verdict["verdict"] == "INVALID"


def test_a_busy_core(probe):
    """Others want the same core, and it is theirs by weight."""
    probe.scenario(STAGE.format(more="", population=STEADY))
    core = str(max(os.sched_getaffinity(0)))
    with Server(echo) as server:
        process = started(probe, server, wrapped=("taskset", "-c", core, "nice", "-n", "19"))
        under_way(probe, process)
        with ExitStack() as stack:
            for _ in range(60):
                words = ["taskset", "-c", core, "/bin/sh", "-c", "while :; do :; done"]
                other = subprocess.Popen(words, start_new_session=True)  # a share of its own
                stack.callback(other.wait)
                stack.callback(other.kill)
            time.sleep(2)
        done = probe.finish(process)
    assert "heartbeat lag p99" in veto(done)


@pytest.mark.long
def test_a_probe_that_needs_all_of_its_core(probe):
    # Each takes 60 ms of twenty a second; in turns, so that the loop is never held for long.
    body = "until = time.thread_time() + 0.06\n    while time.thread_time() < until:\n"
    body += "        await session.hold(0)"
    scripted(probe, body, lasts="8s")
    for _ in range(3):  # it has to get a whole core for 5 s, which others may not leave it
        with Server(echo) as server:
            done = probe.finish(started(probe, server))
        told = veto(done)
        if "the probe used over" in told:
            break
        if done.verdict["fitness"]["figures"]["cpu_max_percent_of_core"] > 97:
            pytest.fail(told)
    else:
        pytest.skip("others want this machine: no process gets a whole core")
    assert "% of its core" in told


@pytest.mark.long
def test_a_probe_on_a_core_of_its_own_with_more_connects_than_it_carries(probe):
    """The load itself takes the core, and no script: connects as fast as they can be had."""
    shape = 'shape = { rate = "5000/s", lasts = "6s", arrivals = "even" }'
    more = 'script = [{ do = "connect" }, { do = "close" }]'
    probe.scenario(STAGE.format(more="", population=f"{shape}\n{more}"))
    core = str(max(os.sched_getaffinity(0)))
    with benched.running() as served:
        done = probe.finish(started(probe, served, wrapped=("taskset", "-c", core)), within_s=100)
    told = veto(done)
    if done.verdict["fitness"]["figures"]["cpu_max_percent_of_core"] < 90:
        pytest.skip("others want this machine: no process gets a whole core")
    assert "the probe used over" in told


@pytest.mark.timeout(600)
@pytest.mark.long
def test_twenty_clean_runs_raise_none(probe):
    """On a machine that nobody else uses; steal by others apart, which is theirs."""
    probe.scenario(STAGE.format(more="", population=STEADY))
    seen = []
    with Server(echo) as server:
        for _ in range(20):
            done = probe.finish(started(probe, server))
            fitness = done.verdict["fitness"]
            seen.append([w for w in fitness["taints"] + fitness["invalid"] if "(steal)" not in w])
    assert not any(seen), seen


@pytest.mark.long
def test_a_stage_of_many_clients_pauses_for_no_garbage(probe):
    shape = 'shape = { rate = "300/s", lasts = "3s", arrivals = "even" }'
    probe.scenario(STAGE.format(more="", population=shape))
    with Server(echo) as server:
        done = probe.finish(started(probe, server))
    figures = done.verdict["fitness"]["figures"]
    assert figures["clients_planned"] == 900
    assert figures["gc_pauses"] == 0
