"""What a cluster leaves on a node and what it deletes there; relays are real, without Ray."""

import asyncio
import os
import subprocess
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from probe.engine import cluster, relay
from probe.engine.cluster import Cluster, Seat, _Copy
from probe.engine.counters import Counters
from probe.engine.relay import Heard, Relay, here
from probe.errors import ConfigError
from probe.history.records import ROW

ROWS = bytes(3 * ROW.size)
WITHIN_S = 30


class Actor:
    """A relay as Ray gives it: `actor.method.remote(...)`; `stalled` after its first answer."""

    def __init__(self, index, count, *, stalled=False):
        self.relay = Relay(index, count)
        self._stalled = stalled
        self._heard = 0

    def __getattr__(self, name):
        method = self._hear if name == "hear" else getattr(self.relay, name)
        return SimpleNamespace(remote=method)

    async def _hear(self, named, hold_s):
        self._heard += 1
        if self._stalled and self._heard > 1:
            await asyncio.sleep(WITHIN_S)
        return replace(await self.relay.hear(named, hold_s), more=self._stalled)

    async def gone(self):
        """How its worker ended, with no pipe left open."""
        process: Any = self.relay._process
        writer: Any = self.relay._writer
        writer.close()
        pipes = process.stdout, process.stderr
        while process.poll() is None or not all(pipe.closed for pipe in pipes):  # noqa: ASYNC110 -- no event tells it
            await asyncio.sleep(0.01)
        self.relay._counters.close()
        return process.returncode


@pytest.fixture(autouse=True)
def nodes(tmp_path, monkeypatch):
    """Where folders of relays are made."""
    folder = tmp_path / "nodes"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def counters():
    made = Counters(1)
    yield made
    made.close()


def run(work):
    return asyncio.run(asyncio.wait_for(work, WITHIN_S))


@pytest.mark.parametrize("stalled", [False, True])
def test_only_what_was_fetched_is_deleted(stalled, nodes, tmp_path, counters, monkeypatch):
    monkeypatch.setattr(cluster, "_STUCK_S", 0.1)
    monkeypatch.setattr(cluster, "_LEAVE_WITHIN_S", 5.0 if not stalled else 0.2)

    async def work():
        actor = Actor(0, 1, stalled=stalled)
        seat = Seat(0, actor, counters)
        place = await seat.settle()
        (journal,) = (each / "worker-1" for each in nodes.iterdir())
        journal.mkdir()
        (journal / "rows.bin").write_bytes(ROWS)
        (journal / "texts.bin").write_bytes(b"")
        (journal / "meta.json").write_text("{}")
        nothing: Any = None
        seat.begin(nothing, tmp_path)
        told = await seat.close(at_once=True)
        assert (tmp_path / "worker-1" / "rows.bin").read_bytes() == ROWS
        assert await actor.gone() == -9
        return told, place, journal

    told, place, journal = run(work())
    if not stalled:
        assert told == ""
        assert not list(nodes.iterdir())
        return
    assert (journal / "rows.bin").read_bytes() == ROWS
    assert f"the rest is in {place.folder} on {place.host}" in told


def test_a_relay_that_is_forsaken_deletes_no_journal(nodes, monkeypatch):
    monkeypatch.setattr(relay, "FORSAKEN_NS", 0)
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    made = Relay(0, 1)
    made._journal.mkdir()
    (made._journal / "rows.bin").write_bytes(ROWS)
    empty = Relay(0, 1)
    run(made._end_forsaken())
    run(empty._end_forsaken())
    assert ended == [1, 1]
    assert list(nodes.iterdir()) == [made._folder]
    assert (made._journal / "rows.bin").read_bytes() == ROWS
    for each in (made, empty):
        each._counters.close()


def test_a_refused_start_leaves_nothing_on_any_node(nodes, counters, monkeypatch):
    actors = []

    def made(*args):
        actors.append(Actor(*args))
        return actors[-1]

    ray = SimpleNamespace(
        remote=lambda _: SimpleNamespace(options=lambda **_: SimpleNamespace(remote=made)),
        kill=lambda _: None,
        shutdown=lambda: None,
    )
    monkeypatch.setattr(cluster, "_joined", lambda *_: ray)
    monkeypatch.setattr(cluster, "here", lambda: replace(here(), probe="another"))
    job: Any = SimpleNamespace(count=2)

    async def work():
        with pytest.raises(ConfigError, match="another version"):
            await Cluster("", lab=False).start(job, counters)
        return [await each.gone() for each in actors]

    assert run(work()) == [-9, -9]
    assert not list(nodes.iterdir())


def heard(rows, meta=b"{}"):
    return Heard(0, 0, b"", b"", rows, b"", meta, None, False, b"", False)


def test_one_thread_at_a_time_writes_a_copy_and_none_after_its_end(tmp_path):
    folder = tmp_path / "worker-1"
    folder.mkdir()
    os.mkfifo(folder / "rows.bin")  # whoever writes waits until somebody reads
    copy = _Copy(folder, "there")
    taking = threading.Thread(target=copy.take, args=(heard(ROWS), {"from": "take"}), daemon=True)
    ending = threading.Thread(target=copy.end, args=({"from": "end"},), daemon=True)
    taking.start()
    while not copy._alone.locked():
        assert taking.is_alive()
    ending.start()
    ending.join(0.1)
    assert ending.is_alive()
    assert (folder / "rows.bin").read_bytes() == ROWS
    for each in (taking, ending):
        each.join(WITHIN_S)
        assert not each.is_alive()
    assert '"from": "end"' in (folder / "meta.json").read_text()
    (folder / "rows.bin").unlink()
    copy.take(heard(ROWS), {"from": "late"})
    assert sorted(each.name for each in folder.iterdir()) == ["meta.json", "texts.bin"]
    assert "late" not in (folder / "meta.json").read_text()


def test_a_worker_whose_words_pile_up_is_killed_with_the_reason(monkeypatch):
    monkeypatch.setattr(relay, "OUT_MAX", 100)

    async def work():
        made = Relay(0, 1)
        made._process = subprocess.Popen(["sleep", "60"])  # noqa: ASYNC220 -- it is to be killed
        reader = asyncio.StreamReader()
        reader.feed_data(bytes(101))
        await made._keep(reader, made._out, None)
        made._counters.close()
        return made

    made = run(work())
    assert made._process.wait(WITHIN_S) == -9
    assert b"more than 100 bytes" in made._stderr


def test_a_worker_that_takes_nothing_is_lost_with_the_reason(counters, monkeypatch):
    monkeypatch.setattr(cluster, "SAY_MAX", 2)

    async def work():
        actor = SimpleNamespace(hear=SimpleNamespace(remote=lambda *_: asyncio.sleep(WITHIN_S)))
        actor.say = SimpleNamespace(remote=lambda _: asyncio.sleep(WITHIN_S))
        seat = Seat(0, actor, counters)
        seat.place = here("/nowhere")
        seat._tasks = [asyncio.ensure_future(seat._hear()), asyncio.ensure_future(seat._say())]
        await asyncio.sleep(0.01)
        for _ in range(4):
            seat.cast(b"word")
        with pytest.raises(EOFError):
            await seat.receive()
        return await seat.ended()

    assert run(work())[0] == "has not taken 2 messages"
