"""What the run spends on being watched: a line into a pipe that never blocks it, and a log."""

import asyncio
import io
import json
import os
import signal
import time

import pytest
from rich.console import Console

from probe.cli.onlooking import Onlooker, mode_of
from probe.cli.progress import Log, now_of
from probe.clock import now_ns
from probe.dashboard.told import Facts, StageFacts
from probe.engine.site import Live
from probe.redact import Redactor
from tests.lab_process import until

STAGE = StageFacts("load", "load", "start", 1, 10, 10**10, 10**10, 10**9)


def facts(tmp_path, mode="lines", **more):
    told = {
        "title": "t", "target": "x", "run_id": "r", "seed": 1, "stages": (STAGE,), "every_s": 0.2,
        "history": str(tmp_path), "report": "r.html", "began_ns": now_ns(), "mode": mode,
    }  # fmt: skip
    return Facts(**{**told, **more})


def pid_of(onlooker):
    assert onlooker._process is not None
    return onlooker._process.pid


class Nobody:
    """A course of a run that climbs nothing."""

    def now(self):
        return None


@pytest.fixture
def log(tmp_path):
    made = Log(tmp_path / "log.ndjson", Redactor("hidden-secret"))
    yield made
    made.close()


@pytest.fixture
def screen(tmp_path):
    with (tmp_path / "screen.txt").open("w+", encoding="utf-8") as stream:
        yield Console(file=stream, force_terminal=False, width=100)


def feed(onlooker, live, log, seconds, then=None):
    async def moment():
        task = asyncio.ensure_future(onlooker.feed(live, Nobody(), log, lambda: False))
        if then is not None:
            await asyncio.to_thread(then)
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(moment(), 30))


def lines_of(log_path, event):
    told = [json.loads(line) for line in log_path.read_text().splitlines()]
    return [line for line in told if line["event"] == event]


def test_a_line_is_written_now_and_then_and_none_after_the_end(tmp_path, screen, log):
    path = tmp_path / "screen.txt"
    live = Live(stage="load", trial=1, launched=7, ready=5)
    with Onlooker(facts(tmp_path), screen, Redactor()) as onlooker:
        feed(onlooker, live, log, 0, then=lambda: until(lambda: path.read_text().count("\n") > 2))
        onlooker.over("complete")
        onlooker.judged("PASS", "PASS", ())
    told = path.read_text()
    time.sleep(0.5)
    assert path.read_text() == told
    assert "7 of 10 let go" in told
    assert "\x1b" not in told


def test_one_that_stands_still_costs_the_run_nothing(tmp_path, screen, log):
    with Onlooker(facts(tmp_path), screen, Redactor()) as onlooker:
        os.kill(pid_of(onlooker), signal.SIGSTOP)
        many = now_of(Live(unfit={str(k): "x" * 300 for k in range(12)}), None, stopping=False)
        for _ in range(2_000):  # far more than the pipe holds: one that blocked would stay here
            onlooker.tell(many)
        assert len(onlooker._rest) < 10_000  # latest only: nothing is queued
        os.kill(pid_of(onlooker), signal.SIGCONT)
    assert onlooker._process is None


def test_one_that_hangs_is_ended_with_the_run(tmp_path, screen, monkeypatch):
    monkeypatch.setattr("probe.cli.onlooking.END_WITHIN_S", 0.3)
    with Onlooker(facts(tmp_path), screen, Redactor()) as onlooker:
        pid = pid_of(onlooker)
        os.kill(pid, signal.SIGSTOP)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_one_that_dies_is_told_and_the_run_goes_on(tmp_path, screen, log):
    with Onlooker(facts(tmp_path), screen, Redactor()) as onlooker:
        pid = pid_of(onlooker)
        feed(onlooker, Live(), log, 0.8, then=lambda: os.kill(pid, signal.SIGKILL))
        onlooker.over("complete")
        onlooker.judged("PASS", "PASS", ())
    assert lines_of(tmp_path / "log.ndjson", "onlooker")[0]["ended"] == "exit code -9"
    assert "the run goes on" in (tmp_path / "screen.txt").read_text()


def test_the_log_tells_each_trial_and_each_limit_once_and_no_secret(tmp_path, log):
    live = Live(stage="load", trial=1)
    for _ in range(3):
        log.changes(live)
    live.trial = 2
    live.unfit["lag"] = "lag of hidden-secret"
    for _ in range(3):
        log.changes(live)
    path = tmp_path / "log.ndjson"
    assert [line["trial"] for line in lines_of(path, "trial")] == [1, 2]
    assert len(lines_of(path, "unfit")) == 1
    assert "hidden-secret" not in path.read_text()


def test_nobody_looks_on_where_nothing_is_to_be_shown(tmp_path, screen):
    assert mode_of(screen, quiet=True) == "none"
    assert mode_of(Console(file=io.StringIO()), quiet=False) == "none"
    with Onlooker(facts(tmp_path, "none"), screen, Redactor()) as onlooker:
        assert onlooker._process is None
        onlooker.tell(now_of(Live(), None, stopping=False))
        onlooker.over("complete")
        onlooker.judged("PASS", "PASS", ())


def test_a_terminal_gets_a_block_and_a_dumb_one_lines(monkeypatch, screen):
    monkeypatch.delenv("TERM", raising=False)
    terminal = Console(file=screen.file, force_terminal=True, legacy_windows=False)
    assert mode_of(terminal, quiet=False) == "block"
    monkeypatch.setenv("TERM", "dumb")
    dumb = Console(file=screen.file, force_terminal=True, legacy_windows=False)
    assert mode_of(dumb, quiet=False) == "lines"
