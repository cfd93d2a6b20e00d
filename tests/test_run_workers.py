"""Several processes: the same plan, one history, one verdict; and none is lost or left behind."""

import json
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from probe.history.columns import History
from probe.history.records import Kind
from probe.stats.quantiles import quantile
from tests.servers import (
    Server,
    close_frame,
    deaf,
    echo,
    frame,
    header,
    read_frame,
    read_head,
    says,
    silent,
    switch,
    until,
)
from tests.test_run_secrets import KEY, check_clean

pytestmark = pytest.mark.alone

S = 1_000_000_000
LOAD = """
[stages.load]
patience = "10s"
expect = {{ {expect} }}
{more}
[stages.load.populations.clients]
{population}
"""
RUNS = """
[stages.preflight]
activity = "preflight"
gate = true
expect = { health = true, connects = true }
[stages.load]
patience = "20s"
gate = "80%"
expect = { success = { rate = "50%" }, isolation = true, contract = true, delivery = {} }
[stages.load.populations.users]
shape = { rate = "30/s", lasts = "2s" }
[stages.load.populations.holding]
shape = { clients = 5 }
script = [{ do = "connect" }, { do = "hold", lasts = "500ms" }, { do = "close" }]
[stages.after]
expect = { success = { rate = "50%" } }
[stages.after.populations.users]
shape = { clients = 3 }
"""
HOLDING = """
[stages.load]
patience = "60s"
expect.success = { rate = "50%" }
[stages.load.populations.clients]
shape = { clients = 12 }
script = [{ do = "connect" }, { do = "hold", lasts = "60s" }, { do = "close" }]
"""


def load(population, *, expect='success = { rate = "50%" }', more=""):
    return LOAD.format(population=population, expect=expect, more=more)


def workers_of(pid):
    """Processes of the workers that this driver has started and that still run."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            state = (folder / "stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
        except OSError:
            continue
        if b"probe.engine" in words and str(pid).encode() in words and state != "Z":
            found[int(words[words.index(b"probe.engine") + 1])] = int(folder.name)
    return [found[index] for index in sorted(found)]


STAGE_OF = np.array([0, 1, 1, 2])  # of the populations of RUNS


def same_for_all(history):
    """What is the same however many processes there are."""
    sessions = history.sessions
    zero = np.array([row["b"] for row in history.of(Kind.ANCHOR)])
    return {
        "plan": history.meta["plan"],
        "who": sessions[["session", "trial", "population", "endpoint", "identity"]].tolist(),
        "when": (sessions["intended"] - zero[STAGE_OF[sessions["population"]]]).tolist(),
        "fates": sessions["outcome"].tolist(),
        "dials": len(history.attempts),
        "runs": history.runs[["key", "size", "outcome"]].tolist(),
        "events": sorted(history.of(Kind.GOT)[["session", "op", "flag", "b"]].tolist()),
    }


@pytest.mark.long
def test_one_two_and_four_processes_play_the_same_plan_with_the_same_counts(probe):
    probe.scenario(RUNS)
    found = {}
    for count in (1, 2, 4):
        done = probe.run("small", "--seed", "8", "--workers", count, target="lab")
        assert done.code in (0, 3, 4), done.told  # a busy machine may veto; counts stand
        assert done.verdict["findings"] == []
        history = History.open(done.folder / "history")
        assert history.complete
        assert history.lost == 0
        assert done.code != 0 or done.verdict["complete"]
        folders = sorted(path.name for path in (done.folder / "history").glob("worker-*"))
        assert folders == [f"worker-{k + 1}" for k in range(count if count > 1 else 0)]
        found[count] = same_for_all(history)
        own = history.of(Kind.CPU)["op"]
        assert {*own.tolist()} <= {0, 1, *range(2, 2 + (count if count > 1 else 0))}
        again = probe.inside("check", done.folder, "--json")
        assert json.loads(again.out) == done.verdict
    assert found[1] == found[2] == found[4]
    assert ("2 workers play load, after" in done.told) == (count == 2)


@pytest.mark.long
def test_quantiles_of_one_two_and_four_processes_lie_within_their_intervals(probe):
    draw = random.Random(4)
    lock_free_delays = [draw.uniform(0.02, 0.4) for _ in range(10_000)]

    def late(server, sock):
        head = read_head(server, sock)
        time.sleep(lock_free_delays.pop())
        sock.sendall(switch(head) + close_frame(1000))

    intervals = {}
    for count in (1, 2, 4):
        with Server(late) as server:
            probe.scenario(load('shape = { rate = "100/s", lasts = "5s" }'))
            name = probe.target(f"ws://127.0.0.1:{server.port}/")
            done = probe.run("small", "--seed", "1", "--workers", count, target=name)
        attempts = History.open(done.folder / "history").attempts
        assert len(attempts) > 400
        took = attempts["head"] - attempts["intended"]
        for q in (0.5, 0.9):
            interval = quantile(took, q)
            intervals[count, q] = interval.low.ns, interval.high.ns  # type: ignore[union-attr]
    for q in (0.5, 0.9):
        lows, highs = zip(*(intervals[count, q] for count in (1, 2, 4)), strict=True)
        assert max(lows) <= min(highs), intervals


def held(probe, *words, script=HOLDING, workers=2):
    """A run with all its clients in, the server they are at, and its workers."""
    probe.scenario(script)
    server = Server(deaf)
    server.__enter__()
    name = probe.target(f"ws://127.0.0.1:{server.port}/")
    process = probe.start(
        "run", "small", "-t", name, "--out", probe.results, "--workers", workers, *words
    )
    try:
        until(lambda: server.open >= 12, within_s=40)
        pids = workers_of(process.pid)
        assert len(pids) == workers
    except BaseException:
        process.kill()
        server.stop()
        raise
    return process, server, pids


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGKILL, "worker 2 was killed (SIGKILL)"),
        (signal.SIGSTOP, "worker 2 gave no sign of life"),
    ],
)
def test_a_worker_that_dies_or_hangs_makes_the_run_invalid_and_its_rows_are_kept(
    probe, number, words
):
    process, server, pids = held(probe)
    with server:
        time.sleep(0.3)  # a flush of what it has recorded
        os.kill(pids[1], number)
        done = probe.finish(process)
    assert workers_of(process.pid) == []
    assert done.code == 4, done.told
    assert done.verdict["verdict"] == "INVALID"
    assert any(words in reason for reason in done.verdict["reasons"]), done.told
    history = History.open(done.folder / "history")
    assert not history.complete
    # The other one was stopped in order; of the dead one there is all but its end.
    assert len(history.attempts) == 12
    assert (history.attempts["ready"] > 0).all()
    ended = {*history.attempts["session"][history.attempts["outcome"] >= 0].tolist()}
    dead = {*history.sessions["session"].tolist()} - ended
    assert len(ended) == len(dead) == 6
    again = probe.inside("check", done.folder, "--json")
    assert again.code == 4
    assert json.loads(again.out) == done.verdict


def test_ctrl_c_ends_all_of_them_in_order(probe):
    process, server, pids = held(probe)
    with server:
        os.killpg(process.pid, signal.SIGINT)
        done = probe.finish(process)
    assert done.code == 130, done.told
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    history = History.open(done.folder / "history")
    assert history.complete
    assert history.meta["ended"] == "interrupted"
    assert (history.attempts["outcome"] >= 0).all()
    assert (history.sessions["outcome"] == 2).all()


def test_a_killed_driver_leaves_no_worker_and_a_readable_run(probe):
    process, server, pids = held(probe)
    with server:
        time.sleep(0.3)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        until(lambda: not any(workers_of(process.pid)), within_s=10)
    assert pids
    done = probe.inside("check", probe.newest(), "--json")
    assert done.code not in (0, 1, 5), done.told
    assert json.loads(done.out)["complete"] is False
    assert len(History.open(probe.newest() / "history").attempts) == 12


def test_a_leak_between_users_of_different_processes_is_seen(probe):
    population = """
shape = { rate = "20/s", lasts = "2s", arrivals = "even" }
script = [
  { do = "connect" }, { do = "hold", lasts = "700ms" }, { do = "run" },
  { do = "hold", lasts = "700ms" }, { do = "close" },
]
"""
    probe.scenario(load(population, expect="isolation = true"))
    words = ("--workers", "3", "--seed", "2", "--defect", "cross_user_leak=0.1")
    done = probe.run("small", *words, target="lab")
    assert done.code == 1, done.told
    assert "isolation.foreign" in done.codes
    leaks = [line for line in done.ledger() if line.get("defect") == "cross_user_leak"]
    (finding,) = [f for f in done.verdict["findings"] if f["code"] == "isolation.foreign"]
    assert 0 < finding["count"] <= len(leaks)


@pytest.mark.long
def test_a_token_of_a_client_of_another_process_is_known_and_masked(probe):
    shown = []

    def tells(server, sock):
        """Say to each client the token of the one before."""
        head = read_head(server, sock)
        shown.append(header(head, "Authorization").removeprefix("Bearer "))
        sock.sendall(switch(head))
        others = [each for each in shown if each != shown[-1]]
        for other in dict.fromkeys([*others[:1], *others[-3:]]):
            sock.sendall(frame(1, b"somebody: " + other.encode()))
        while True:
            opcode, payload = read_frame(sock)
            if opcode == 8:
                sock.sendall(frame(8, payload[:2]))
                return

    probe.write(
        "scenarios/dialects/bearer.toml",
        'title = "b"\n[present.default]\nheaders = { Authorization = "Bearer {token}" }\n'
        '[ready]\nwithin = "5s"\n',
    )
    first = '[stages.first]\nactivity = "preflight"\nexpect = { connects = true }\n'
    probe.scenario(first + load(
        'shape = { rate = "20/s", lasts = "1s", arrivals = "even" }\n'
        'script = [{ do = "connect" }, { do = "hold", lasts = "1s" }, { do = "close" }]',
        expect="isolation = true",
    ))  # fmt: skip
    with Server(tells) as server:
        name = probe.target(
            f"ws://127.0.0.1:{server.port}/", dialect="bearer",
            more='[auth]\nsource = "mint"\nalgorithm = "HS256"\nkey = "${PROBE_KEY}"\n',
        )  # fmt: skip
        done = probe.run("small", "--workers", "2", target=name, env={"PROBE_KEY": KEY})
    history = History.open(done.folder / "history")
    foreign = history.of(Kind.FOREIGN)
    mine = foreign[foreign["session"] >= 3]  # before them the preflight has three, of the driver
    whose = -2 - mine["b"]
    assert len({*mine["session"][whose < 3].tolist()}) == 20, done.told
    # Neighbours in time are of different processes, and the token came from those before.
    assert len({*mine["session"][whose >= 3].tolist()}) >= 15
    assert "isolation.foreign" in done.codes
    check_clean(done, [KEY, *shown])


@pytest.mark.long
def test_the_targets_ceiling_holds_over_all_processes(probe):
    with Server(echo) as server:
        name = probe.target(f"ws://127.0.0.1:{server.port}/", more="[safety]\nclients_max = 7\n")
        probe.scenario(load(
            'shape = { clients = 6 }\nscript = [{ do = "connect" }, '
            '{ do = "hold", lasts = "700ms" }, { do = "close" }]'
        ))  # fmt: skip
        done = probe.run("small", "--workers", "3", target=name)
        assert done.code in (0, 3, 4), done.told
        assert server.most == server.accepted == 6
        probe.scenario(
            load('shape = { rate = "3/s", lasts = "3s", arrivals = "even" }'), name="many"
        )
        done = probe.run("many", "--workers", "8", target=name)
        assert done.code == 2, done.told
        assert "than the target allows" in done.err
        assert server.accepted == 6


@pytest.mark.long
def test_a_stage_that_fails_is_stopped_early_in_every_process(probe):
    with Server(says(close_frame(1011, b"no"))) as server:
        probe.scenario(load(
            'shape = { rate = "20/s", lasts = "40s", arrivals = "even" }',
            expect="definite = true", more="abort_on_fail = true",
        ))  # fmt: skip
        name = probe.target(f"ws://127.0.0.1:{server.port}/")
        done = probe.run("small", "--workers", "2", target=name)
    assert done.code == 1, done.told
    assert "connect.accepted_then_closed" in done.codes
    assert server.accepted < 500
    (settled,) = History.open(done.folder / "history").of(Kind.SETTLED)
    assert settled["flag"] == 1


@pytest.mark.long
def test_connections_come_from_the_addresses_that_the_target_names(probe):
    peers = []

    def noted(server, sock):
        peers.append(sock.getpeername()[0])
        echo(server, sock)

    with Server(noted) as server:
        name = probe.target(
            f"ws://127.0.0.1:{server.port}/",
            more='[network]\nsources = ["127.0.0.7", "127.0.0.8", "127.0.0.9"]\n',
        )
        probe.scenario(load("shape = { clients = 12 }"))
        done = probe.run("small", target=name)
        assert len(History.open(done.folder / "history").attempts) == 12, done.told
        assert sorted(peers) == [f"127.0.0.{k}" for k in (7, 8, 9) for _ in range(4)]
        for wrong, words in (("192.0.2.7", "ip addr add"), ("here", "no IP address")):
            name = probe.target(
                f"ws://127.0.0.1:{server.port}/", more=f'[network]\nsources = ["{wrong}"]\n'
            )
            done = probe.run("small", target=name)
            assert done.code == 2, done.told
            assert words in done.err
        assert server.accepted == 12


def test_what_cannot_be_divided_is_refused_or_told(probe):
    probe.scenario('[stages.first]\nactivity = "preflight"\nexpect = { connects = true }\n')
    with Server(silent) as server:
        name = probe.target(f"ws://127.0.0.1:{server.port}/")
        done = probe.run("small", "--workers", "2", target=name)
        assert server.accepted == 0
    assert done.code == 2, done.told
    assert "first: a preflight is played by one process" in done.err
    assert not probe.runs()


@pytest.mark.long
def test_a_worker_that_cannot_begin_ends_the_run_with_its_reason(probe):
    # The journal's folder is there already: the worker fails on its own.
    probe.scenario(HOLDING)
    with Server(deaf) as server:
        name = probe.target(f"ws://127.0.0.1:{server.port}/")
        process = probe.start("run", "small", "-t", name, "--out", probe.results, "--workers", "2")
        found = until(lambda: list(probe.results.glob("*/history")), within_s=40)
        path = next(path for path in found if not path.parent.is_symlink())
        path.joinpath("worker-2").mkdir(exist_ok=True)
        done = probe.finish(process)
        assert server.accepted == 0
    assert done.code == 4, done.told
    assert any("worker 2" in reason for reason in done.verdict["reasons"]), done.told
