"""The watch on a real loop: its rows, and a collector that is off while something is measured."""

import asyncio
import gc
import json

import pytest
import uvloop

from probe.cli.progress import Log, now_of
from probe.engine import watch as watching
from probe.engine.site import Live
from probe.engine.watch import Watch
from probe.history.columns import History
from probe.history.journal import Journal
from probe.history.records import Kind, Memory
from probe.redact import Redactor

MIB = 2**20


@pytest.fixture
def watched(tmp_path):
    """Plays `script(watch)` under a watch and gives back what it wrote."""

    def played(script, **more):
        async def whole():
            journal = Journal(tmp_path / "history", Redactor(), {})
            watch = Watch(journal, Live(), lambda: (), **more)
            watch.start(asyncio.get_running_loop())
            try:
                await script(watch)
            finally:
                watch.stop()
                journal.close(ended="complete")

        uvloop.run(whole())
        return History.open(tmp_path / "history")

    return played


def test_it_writes_what_it_is_there_for_under_the_number_of_its_process(watched):
    async def wait(_):
        await asyncio.sleep(1.2)

    history = watched(wait, process=4)
    for kind in (Kind.LAG, Kind.CPU, Kind.LIMIT, Kind.MEMORY):
        rows = history.of(kind)
        assert len(rows), kind
        assert set(rows["op"].tolist()) == {4}, kind
    assert len(history.of(Kind.LAG)) > 10
    descriptors, ports = (history.of(Kind.LIMIT)["flag"] == flag for flag in (0, 1))
    assert descriptors.any()
    assert ports.any()
    left = history.of(Kind.MEMORY)
    left = left[left["flag"] == Memory.MACHINE]
    assert (left["b"] > 0).all()
    assert ((left["a"] > 0) & (left["a"] <= 1000)).all()


def test_nothing_is_collected_while_it_watches_and_a_pause_of_others_is_a_row(watched):
    assert gc.isenabled()
    made: list[object] = []

    async def litter(_):
        assert not gc.isenabled()
        made.extend([] for _ in range(200_000))
        await asyncio.sleep(0)
        made.append(gc.collect())

    history = watched(litter)
    assert gc.isenabled()
    (row,) = history.of(Kind.GC)
    assert row["op"] == 2
    assert row["b"] > 0


def test_between_trials_everything_is_collected_and_no_row_tells_of_it(watched):
    class Circle:
        def __init__(self):
            self.itself = self

    left: list[object] = []

    async def rest(watch):
        for _ in range(100):
            Circle()
        watch.rest()
        left.extend(each for each in gc.get_objects() if isinstance(each, Circle))

    assert len(watched(rest).of(Kind.GC)) == 0
    assert left == []


def test_where_memory_grows_all_the_same_it_is_looked_through_and_told(watched):
    async def grow(watch):
        watch._collect(100 * MIB)
        watch._collect(100 * MIB + watching._GROWN)
        watch._collect(100 * MIB + watching._GROWN + 1)
        watch._collect(2000 * MIB)  # where it begins anew
        watch._collect(2000 * MIB)

    assert len(watched(grow).of(Kind.GC)) == 1


def test_what_is_over_its_limit_is_told_while_the_run_goes_on(tmp_path):
    live = Live(stage="load", unfit={"steal": "steal 5.0 %"})
    log = Log(tmp_path / "log.ndjson", Redactor())
    log.changes(live)
    live.unfit["gc"] = "garbage collection 30 ms"
    for _ in range(3):
        log.changes(live)
    log.close()
    assert now_of(live, None, stopping=False).unfit == ("steal 5.0 %", "garbage collection 30 ms")
    lines = [json.loads(line) for line in (tmp_path / "log.ndjson").read_text().splitlines()]
    whys = [line["why"] for line in lines if line["event"] == "unfit"]
    assert whys == ["steal 5.0 %", "garbage collection 30 ms"]  # each once
