"""A run on three nodes of Ray, here on one machine; one of them reads another clock.

Linux gives a process a monotonic clock of its own by a time namespace (time_namespaces(7)), so
that its stamps differ by an hour as those of another host do.
"""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from probe.history.columns import History
from probe.history.offset import CLOCK, Clock
from probe.history.records import Kind
from tests.servers import Server, deaf, until
from tests.test_run_secrets import KEY, check_clean
from tests.test_run_workers import HOLDING, RUNS, same_for_all

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason="Ray is not installed: make test-cluster"
    ),
]

S = 1_000_000_000
AHEAD_S = 3600
START_WITHIN_S = 60
TRIES = 3
RUN_WITHIN_S = 150
CLUSTER = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": str(START_WITHIN_S),
}
OTHER_CLOCK = ("unshare", "--time", "--monotonic", str(AHEAD_S), "--boottime", str(AHEAD_S))


class Nodes:
    """Nodes by name, each a group of processes that begins with its `ray start`."""

    def __init__(self, folder):
        self.folder = folder
        self.started = {}
        self.address = ""

    def start(self, name, *words, before=()):
        # A node gives up where its own agents take over 15 s to start, as on a busy machine.
        for _ in range(TRIES):
            self._begin(name, words, before)
            with contextlib.suppress(AssertionError):
                return until(lambda: self._up(name), within_s=START_WITHIN_S)
            self.kill(name)
        return pytest.skip(f"this machine is too busy: Ray's {name} node did not start")

    def _begin(self, name, words, before):
        ray = str(Path(sys.executable).with_name("ray"))
        kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        with self._log(name).open("wb") as file:
            self.started[name] = subprocess.Popen(
                [*before, ray, "start", *words, "--num-cpus", "1", "--block",
                 "--object-store-memory", "100000000", "--disable-usage-stats"],
                stdout=file, stderr=subprocess.STDOUT, start_new_session=True, env=kept | CLUSTER,
            )  # fmt: skip

    def _log(self, name):
        return self.folder / f"{name}.log"

    def _up(self, name):
        text = self._log(name).read_text(errors="replace")
        return "Ray runtime started" in text and text

    def kill(self, name):
        process = self.started.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self):
        for name in list(self.started):
            self.started[name].terminate()
        for name in list(self.started):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.started[name].wait(20)
            with contextlib.suppress(ProcessLookupError):
                self.kill(name)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    made = Nodes(tmp_path_factory.mktemp("nodes"))
    try:
        head = made.start("head", "--head", "--port", "0", "--include-dashboard", "false")
        made.address = head.partition("--address='")[2].partition("'")[0]
        made.start("second", "--address", made.address)
        before = OTHER_CLOCK if other_clock() else ()
        made.start("third", "--address", made.address, before=before)
        yield made
    finally:
        made.stop()


def other_clock():
    done = subprocess.run([*OTHER_CLOCK, "true"], check=False, capture_output=True)
    return done.returncode == 0


def on_nodes():
    """Workers' processes that relays have started."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if b"probe.engine" in words:
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                if Path(f"/proc/{parent}/cmdline").read_bytes().startswith(b"ray::"):
                    found.append(int(folder.name))
        except OSError:
            continue
    return found


def on(nodes, count=3):
    return ("--engine", "ray", "--address", nodes.address, "--workers", count)


def clocks(folder):
    metas = [json.loads(p.read_text()) for p in sorted(folder.glob("history/worker-*/meta.json"))]
    return [Clock.of(meta[CLOCK]) for meta in metas]


def test_three_nodes_play_the_same_plan_with_the_same_counts(probe, nodes):
    probe.scenario(RUNS)
    found: dict[int, dict[str, Any]] = {}
    for words in (("--workers", "1"), on(nodes)):
        done = probe.run("small", "--seed", "8", *words, target="lab", within_s=RUN_WITHIN_S)
        assert done.code in (0, 3, 4), done.told  # a busy machine may veto; counts stand
        assert done.verdict["findings"] == []
        history = History.open(done.folder / "history")
        assert history.complete
        assert history.lost == 0
        found[len(found)] = same_for_all(history)
        again = probe.inside("check", done.folder, "--json")
        assert json.loads(again.out) == done.verdict
    there, bound = history, history.clock_bound_ns
    when = [np.array(each.pop("when")) for each in found.values()]
    assert np.abs(when[0] - when[1]).max() <= bound
    assert found[0] == found[1]
    assert 0 < bound < 60 * S
    assert "have no order" in done.told
    assert "clocks" in done.verdict["authenticity"]
    # All is within the run by the driver's clock, also of whoever reads another one.
    begun, ended = there.of(Kind.STAGE)["t"].min(), there.of(Kind.STAGE)["t"].max()
    got = there.of(Kind.GOT)["t"]
    assert begun - bound < got.min() <= got.max() < ended + bound
    offsets = sorted(abs(each.readings[0].offset_ns) for each in clocks(done.folder))
    assert len(offsets) == 3
    if not other_clock():
        pytest.skip("no time namespace may be made here: the clocks were all the same")
    assert offsets[1] < S
    assert abs(offsets[2] - AHEAD_S * S) < S


def held(probe, nodes, **options):
    """A run with all its clients in, and the server they are at."""
    probe.scenario(HOLDING)
    server = Server(deaf)
    server.__enter__()
    name = probe.target(f"ws://127.0.0.1:{server.port}/", **options)
    words = ("run", "small", "-t", name, "--out", probe.results, *on(nodes))
    process = probe.start(*words, env={"PROBE_KEY": KEY})
    try:
        until(lambda: server.open >= 12 or process.poll() is not None, within_s=RUN_WITHIN_S)
        if process.poll() is not None:
            pytest.fail(probe.finish(process).told)
        time.sleep(0.7)  # what was recorded until now has left the node
    except BaseException:
        process.kill()
        server.stop()
        raise
    return process, server


def left(pids):
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_ctrl_c_ends_all_of_them_in_order(probe, nodes):
    process, server = held(probe, nodes)
    pids = on_nodes()
    assert len(pids) == 3
    with server:
        os.killpg(process.pid, signal.SIGINT)
        done = probe.finish(process, within_s=RUN_WITHIN_S)
    assert done.code == 130, done.told
    assert not left(pids)
    history = History.open(done.folder / "history")
    assert history.complete, done.told
    assert (history.sessions["outcome"] == 2).all()


def test_a_killed_driver_leaves_nobody_and_a_readable_run(probe, nodes):
    process, server = held(probe, nodes)
    pids = on_nodes()
    with server:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        until(lambda: not left(pids), within_s=60)
    done = probe.inside("check", probe.newest(), "--json")
    assert done.code not in (0, 1, 5), done.told
    assert json.loads(done.out)["complete"] is False
    assert len(History.open(probe.newest() / "history").attempts) == 12


def test_a_cluster_without_room_is_refused(probe, nodes):
    probe.scenario(HOLDING)
    with Server(deaf) as server:
        name = probe.target(f"ws://127.0.0.1:{server.port}/")
        done = probe.run("small", *on(nodes, 9), target=name, within_s=RUN_WITHIN_S)
        assert server.accepted == 0
    assert done.code == 2, done.told
    assert "free cores" in done.err


def test_a_node_that_is_lost_makes_the_run_invalid_and_what_it_sent_is_kept(probe, nodes):
    # The last test here: the node is not started again.
    process, server = held(
        probe, nodes,
        more='[auth]\nsource = "mint"\nalgorithm = "HS256"\nkey = "${PROBE_KEY}"\n',
    )  # fmt: skip
    with server:
        nodes.kill("second")
        done = probe.finish(process, within_s=RUN_WITHIN_S)
    assert done.code == 4, done.told
    assert done.verdict["verdict"] == "INVALID"
    (why,) = {reason for reason in done.verdict["reasons"] if "worker" in reason}
    assert "gave no sign of life" in why or "is out of reach" in why, done.told
    history = History.open(done.folder / "history")
    assert not history.complete
    assert len(history.attempts) == 12
    assert (history.attempts["ready"] > 0).all()
    ended = {*history.attempts["session"][history.attempts["outcome"] >= 0].tolist()}
    assert len(ended) == 8
    again = probe.inside("check", done.folder, "--json")
    assert json.loads(again.out) == done.verdict
    check_clean(done, [KEY])
    logs = Path("/tmp/ray/session_latest").resolve()
    files = [each for each in logs.rglob("*") if each.is_file()]
    assert files
    assert not [each for each in files if KEY.encode() in each.read_bytes()]
