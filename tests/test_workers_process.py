"""One worker by itself: what it is told, what it counts, and how it ends."""

import asyncio
import os
import pickle
import struct
import subprocess
import sys
import time
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from probe.engine.counters import Counters
from probe.engine.job import Job
from probe.engine.link import packed
from probe.engine.site import Live
from probe.engine.workers import Workers
from probe.errors import WorkerError
from probe.history.columns import History
from probe.history.journal import Journal
from probe.model.dialect import Dialect
from probe.model.plan import make_plan
from probe.model.scenario import Scenario
from probe.model.target import Target
from probe.redact import Redactor

SECRET = "a-secret-that-no-file-may-hold-0123456789"
WITHIN_S = 30.0


@pytest.fixture
def job(tmp_path):
    def made(**changes):
        scenario = Scenario.model_validate(
            {"title": "s", "stages": {"load": {"populations": {"u": {"shape": {"clients": 2}}}}}}
        )
        dialect = Dialect.model_validate({"title": "d", "present": {"default": {}}, "ready": {}})
        target = Target.model_validate(
            {"title": "t", "endpoints": {"a": {"url": "ws://127.0.0.1:1/"}}}
        )
        told = {
            "run_id": "r", "history": tmp_path / "history", "target": target, "dialect": dialect,
            "scenario": scenario, "seed": 1, "lab": "", "keep": 0, "count": 1, "ceilings": None,
            "digest": make_plan(scenario, target, dialect, 1).digest,
            "secrets": (SECRET.encode(),),
        }  # fmt: skip
        return Job(**{**told, **changes})

    Journal(tmp_path / "history", Redactor(), {"workers": 1}).close()
    return made


@pytest.fixture
def started(request):
    counters = Counters(1)

    def start(driver=None):
        words = [sys.executable, "-m", "probe.engine", "0", "1", counters.fd, driver or os.getpid()]
        process = subprocess.Popen(
            list(map(str, words)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(counters.fd,),
        )
        request.addfinalizer(process.kill)
        return process, counters

    yield start
    counters.close()


def heard(process):
    (size,) = struct.unpack("<Q", process.stdout.read(8))
    return pickle.loads(process.stdout.read(size))


def test_a_worker_ends_when_its_driver_says_no_more(job, started, tmp_path):
    process, counters = started()
    process.stdin.write(packed("job", 0, job()))
    process.stdin.flush()
    assert heard(process) == ("ready", 0, None)
    assert counters.beat(0) > 0
    out, err = process.communicate(timeout=WITHIN_S)  # closes its input
    assert (process.returncode, out, err) == (1, b"", b"")
    history = History.open(tmp_path / "history")
    assert history.complete  # all that it had is there
    assert SECRET not in " ".join(map(str, process.args))


def test_a_worker_says_what_is_asked_and_leaves_in_order(job, started):
    process, _ = started()
    for number, word in enumerate(("job", "flush", "end")):
        process.stdin.write(packed(word, number, *([job()] if word == "job" else [])))
    process.stdin.flush()
    assert [heard(process)[0] for _ in range(3)] == ["ready", "flushed", "bye"]
    _, err = process.communicate(timeout=WITHIN_S)
    assert (process.returncode, err) == (0, b"")


def test_clients_that_no_plan_has_are_dealt_out_as_well(job, started, tmp_path):
    told = job()
    rows = make_plan(told.scenario, told.target, told.dialect, told.seed).stages[0].clients
    rows = np.repeat(rows, 3)
    rows["session"] = rows["identity"] = np.arange(100, 106)
    people = [(int(index), f"u{index}", "", None, ()) for index in rows["identity"]]
    process, _ = started()
    arm = ("arm", 1, "load", 0, people, (), rows)
    zero = time.perf_counter_ns()
    messages = (("job", 0, told), arm, ("go", 2, zero), ("finish", 3, 10**10), ("end", 4))
    said = []
    for message in messages:
        process.stdin.write(packed(*message))
        process.stdin.flush()
        awaited = {"job": "ready", "arm": "armed", "go": "idle", "finish": "finished"}
        while message[0] in awaited and awaited[message[0]] not in said:
            said.append(heard(process)[0])
    assert said == ["ready", "armed", "launched", "idle", "finished"]
    _, err = process.communicate(timeout=WITHIN_S)
    assert (process.returncode, err) == (0, b"")
    history = History.open(tmp_path / "history")
    assert history.sessions["session"].tolist() == list(range(100, 106))
    assert (history.sessions["outcome"] == 1).all()  # nothing listens there


def test_a_worker_of_a_driver_that_is_gone_does_not_begin(started):
    process, _ = started(driver=1)
    _, err = process.communicate(timeout=WITHIN_S)
    assert (process.returncode, err) == (1, b"")


def test_another_plan_than_the_drivers_is_an_error_that_tells_no_secret(job):
    live, stop = Live(), asyncio.Event()

    async def main():
        with pytest.raises(WorkerError, match=r"worker 1 failed: ConfigError.*another one"):
            async with Workers(job(digest=SECRET), Redactor(SECRET), live, stop):
                pytest.fail("it ought not to start")

    asyncio.run(main())
    assert stop.is_set()


def site(**counts):
    live = Live(outcomes=Counter(counts.pop("outcomes", {})), **counts)
    return SimpleNamespace(live=live, everybody=SimpleNamespace(named=False))


def test_counters_are_summed_as_they_grow():
    driver = Counters(2)
    workers = [Counters(2, driver.fd) for _ in range(2)]
    live = Live(launched=10, alive=1)
    one, two = site(launched=3, alive=2, lag_ns_max=5), site(launched=4, outcomes={"timeout": 2})
    workers[0].write(0, one)
    workers[1].write(1, two)
    driver.add_to(live)
    driver.add_to(live)  # nothing is counted twice
    assert (live.launched, live.alive, live.lag_ns_max) == (17, 3, 5)
    assert live.outcomes == {"timeout": 2}
    one.live.alive, one.live.completed = 0, 2
    workers[0].write(0, one)
    driver.add_to(live)
    assert (live.launched, live.alive, live.completed) == (17, 1, 2)
    driver.close()


def test_that_users_are_named_reaches_every_worker():
    driver = Counters(3)
    sites = [site() for _ in range(3)]
    for index in range(3):
        driver.write(index, sites[index])
    assert not any(each.everybody.named for each in sites)
    sites[1].everybody.named = True
    for index in (1, 0, 2):
        driver.write(index, sites[index])
    assert all(each.everybody.named for each in sites)
    driver.close()
