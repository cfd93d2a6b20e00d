"""Many let go at one instant, at offsets, and by two processes together."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import sys
import textwrap
from pathlib import Path

import pytest

from benchmarks import gate as benchmark
from probe.clock import now_ns
from probe.engine.gate import SETTLE_NS, Timeline, settle_ns, spread, uncollected
from probe.history.records import Kind, Outcome
from probe.wire import Connection, Held, encode
from probe.wire.frames import TEXT
from tests.wire_rig import answer, ending, raw, run, upgrades

FRAME = encode(TEXT, b"go")
MS = 1_000_000


async def dialled(rig, url, count, **how):
    """Upgrades at a gate: their Held, and the tasks that wait."""
    helds = [Held() for _ in range(count)]
    tasks = []
    for held in helds:
        tasks.append(asyncio.create_task(rig.dial(url, sending=held, **how)))
        await asyncio.sleep(0)
    return helds, tasks


async def until(all_true):
    """Polls; the test's own timeout is the deadline."""
    while not all_true():  # noqa: ASYNC110 -- for milliseconds
        await asyncio.sleep(0.001)


async def release(lets, offsets=(), *, seed=1, at_ns=0):
    """Let all go, by a timeline; it, the stamps by place, and the places as they were told."""
    timeline = Timeline(random.Random(seed))
    stamps: dict[int, int] = {}
    for place, let in enumerate(lets):
        let_go = let.let_go if isinstance(let, Held) else let
        offset = offsets[place] if offsets else 0

        def told(stamp, place=place, let=let):
            stamps[place] = stamp
            if isinstance(let, Held):
                let.follow()

        timeline.add(offset, let_go, told)
    running = asyncio.create_task(timeline.run())
    timeline.open(at_ns or now_ns() + 5 * MS)
    try:
        await asyncio.wait_for(until(lambda: len(stamps) == len(lets)), 8)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return timeline, [stamps[place] for place in range(len(lets))], list(stamps)


def test_upgrades_are_let_go_together_and_each_stamp_is_its_rows(tmp_path):
    count = 60

    async def body(rig):
        heads = []

        async def handler(reader, writer):
            head = await reader.readuntil(b"\r\n\r\n")
            heads.append(now_ns())
            writer.write(answer(head))
            await ending(reader, writer, "wait")

        async with raw(handler) as port:
            helds, tasks = await dialled(rig, f"ws://127.0.0.1:{port}/", count)
            await until(lambda: all(held.armed for held in helds))
            await asyncio.sleep(SETTLE_NS / 1e9)
            assert not heads, "nobody has got a whole request"
            timeline, found, _ = await release(helds)
            assert min(found) >= timeline.zero_ns
            assert sorted(timeline.lags_ns) == sorted(t - timeline.zero_ns for t in found)
            assert spread(timeline.lags_ns) == spread(found) == max(found) - min(found)
            stamps.extend(found)
            for task in tasks:
                c = await task
                assert isinstance(c, Connection)
                assert c.send_text(b"the connection is the owner's again")
                c.abort()

    stamps: list[int] = []
    _, rows = run(body, tmp_path)
    sent = rows[rows["kind"] == Kind.SENT]
    by_session = dict(zip(sent["session"].tolist(), sent["t"].tolist(), strict=True))
    assert [by_session[i + 1] for i in range(count)] == stamps
    order = sorted(range(count), key=stamps.__getitem__)
    assert order != list(range(count)), "they go in random order"


def test_who_falls_out_is_told_with_0_and_the_others_go(tmp_path):
    async def body(rig):
        seen = 0

        async def handler(reader, writer):
            nonlocal seen
            seen += 1
            if seen % 3 == 0:
                await reader.read(65536)
                return
            writer.write(answer(await reader.readuntil(b"\r\n\r\n")))
            await ending(reader, writer, "wait")

        async with raw(handler) as port:
            helds, tasks = await dialled(rig, f"ws://127.0.0.1:{port}/", 9)
            never = Held()  # whose dial does not begin in time
            await until(lambda: sum(held.end is not None for held in helds) == 3)
            await until(lambda: sum(held.armed for held in helds) == 6)
            fallen = [place for place, held in enumerate(helds) if held.end is not None]
            timeline, stamps, _ = await release([*helds, never])
            assert [place for place, stamp in enumerate(stamps) if not stamp] == [*fallen, 9]
            assert len(timeline.lags_ns) == 6
            for place, task in enumerate(tasks):
                got = await task
                if place in fallen:
                    assert got.outcome is Outcome.EOF
                    assert helds[place].end is got
                else:
                    got.abort()

    run(body, tmp_path)


def test_the_loop_runs_between_offsets_that_are_far_apart():
    async def body():
        turns = []

        async def count():
            while True:
                turns.append(now_ns())
                await asyncio.sleep(0.001)

        task = asyncio.create_task(count())
        _, stamps, order = await release([now_ns] * 3, [30 * MS, 60 * MS, 0])
        task.cancel()
        assert order == [2, 0, 1]
        assert sum(stamps[2] < turn < stamps[0] for turn in turns) > 5
        assert sum(stamps[0] < turn < stamps[1] for turn in turns) > 5

    asyncio.run(body())


def test_what_is_due_while_others_leave_leaves_before_any_is_told():
    """Of one instant there may be many: who is due among them does not wait for their rows."""

    async def body():
        order: list[str] = []

        def long():
            stamp = now_ns()
            order.append("first")
            while now_ns() < stamp + 3 * MS:
                pass
            return stamp

        def second():
            order.append("second")
            return now_ns()

        timeline = Timeline(random.Random(1))
        timeline.add(0, long, lambda _: order.append("told"))
        timeline.add(2 * MS, second, lambda _: order.append("told"))
        running = asyncio.create_task(timeline.run())
        timeline.open(now_ns() + 5 * MS)
        await asyncio.wait_for(until(lambda: len(order) == 4), 8)
        running.cancel()
        assert order == ["first", "second", "told", "told"]

    asyncio.run(body())


def test_the_order_within_one_instant_is_the_seeds():
    async def body(seed):
        _, stamps, _ = await release([now_ns] * 20, seed=seed)
        return sorted(range(20), key=stamps.__getitem__)

    first, again, other = (asyncio.run(body(seed)) for seed in (1, 1, 2))
    assert first == again != other


def test_one_that_raises_keeps_no_other_back_and_is_not_hidden():
    async def body():
        troubles: list[object] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: troubles.append(context["exception"]))

        def breaks(*_):
            raise KeyError("a bug")

        timeline, stamps, _ = await release([now_ns, breaks, now_ns], [0, 0, 20 * MS])
        assert [stamp > 0 for stamp in stamps] == [True, False, True]
        assert len(timeline.lags_ns) == 2
        told: list[int] = []
        timeline.add(0, now_ns, breaks)
        timeline.add(0, now_ns, told.append)
        running = asyncio.create_task(timeline.run())
        await asyncio.wait_for(until(lambda: told), 8)
        running.cancel()
        assert [type(each) for each in troubles] == [KeyError, KeyError]

    asyncio.run(body())


def test_held_frames_and_plain_calls_share_a_gate(tmp_path):
    async def body(rig):
        async with raw(upgrades()) as port:
            one = await rig.connect(f"ws://127.0.0.1:{port}/")
            two = await rig.connect(f"ws://127.0.0.1:{port}/")
            held = one.hold(FRAME)
            _, stamps, _ = await release([held, lambda: two.send_raw(FRAME)], (0, MS))
            assert stamps[0] == held.sent_ns
            assert stamps[1] - stamps[0] > 0
            one.abort()
            two.abort()

    run(body, tmp_path)


def test_garbage_is_collected_again_afterwards():
    seen = []

    def within():
        with uncollected():
            seen.append(gc.isenabled())
            raise KeyError

    assert gc.isenabled()
    with pytest.raises(KeyError):
        within()
    assert gc.isenabled()
    assert seen == [False]


def test_a_long_way_is_given_time_to_carry_what_was_sent():
    assert settle_ns([]) == settle_ns([0, 0]) == settle_ns([33_000_000]) == SETTLE_NS
    assert settle_ns([1_000_000, 150_000_000, 0]) == 450_000_000


def test_a_spread_is_from_the_first_to_the_last():
    assert spread([5, 9, 7]) == 4
    assert spread([5]) == spread([]) == 0


ONE_PROCESS = """
    import asyncio, json, random, sys, tempfile
    from pathlib import Path
    import uvloop
    from probe.clock import now_ns
    from probe.engine.gate import Timeline
    from probe.history.journal import Journal
    from probe.redact import Redactor
    from probe.wire import Facts, Held, Prepared, dial, make_route, new_key

    class Deaf:
        def message(self, *_): pass
        pong = pinged = ended = message

    async def main(port, name, folder):
        loop = asyncio.get_running_loop()
        redactor = Redactor()
        journal = Journal(Path(folder), redactor)
        route = make_route(f"ws://127.0.0.1:{port}/{name}")
        helds, tasks = [Held() for _ in range(20)], []
        for i, held in enumerate(helds):
            key = new_key()
            tasks.append(asyncio.create_task(dial(
                loop, route, Prepared(route).build(key), Facts(key), Deaf(), journal, i, 0,
                redactor=redactor, deadline_ns=now_ns() + 20_000_000_000, sending=held)))
        while not all(held.armed for held in helds):
            await asyncio.sleep(0.001)
        timeline, stamps = Timeline(random.Random(1)), []
        for held in helds:
            timeline.add(0, held.release, stamps.append)
        running = asyncio.create_task(timeline.run())
        print(sum(held.armed for held in helds), flush=True)
        timeline.open(int(sys.stdin.readline()))
        while len(stamps) < 20:
            await asyncio.sleep(0.001)
        running.cancel()
        for task in tasks:
            (await task).abort()
        journal.close()
        print(json.dumps([timeline.zero_ns, *stamps]), flush=True)

    uvloop.run(main(*sys.argv[1:]))
"""


async def both(port, folder, at_after_ns, before):
    """Two processes with a release each; the instant they were told, and what each tells."""
    pipe = asyncio.subprocess.PIPE
    root = Path(__file__).parent.parent
    processes = []
    try:
        for name in "ab":
            words = (textwrap.dedent(ONE_PROCESS), str(port), name, str(folder / name))
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", *words, stdin=pipe, stdout=pipe, cwd=root
            )
            assert process.stdin is not None
            assert process.stdout is not None
            processes.append((process, process.stdin, process.stdout))
        for _, _, out in processes:
            assert await out.readline() == b"20\n"
        before()
        at = now_ns() + at_after_ns
        for _, into, _ in processes:
            into.write(b"%d\n" % at)
        return at, [json.loads(await out.readline()) for _, _, out in processes]
    finally:
        for process, _, _ in processes:
            if process.returncode is None:
                process.kill()
            await process.communicate()


def test_two_processes_let_go_at_one_instant(tmp_path):
    """The instant is absolute: nothing is signalled between them, and the server sees both."""
    arrivals: dict[str, list[int]] = {"a": [], "b": []}
    tries = []

    async def handler(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        arrivals[head[5:6].decode()].append(now_ns())
        writer.write(answer(head))
        await ending(reader, writer, "wait")

    def nothing_yet():
        assert arrivals == {"a": [], "b": []}

    async def body(rig):
        for attempt in range(5):
            for stamps in arrivals.values():
                stamps.clear()
            async with raw(handler) as port:
                folder = tmp_path / str(attempt)
                folder.mkdir()
                at, told = await both(port, folder, 200 * MS, nothing_yet)
            for aimed, *stamps in told:
                assert aimed == at
                assert len(stamps) == 20
                assert min(stamps) >= at
            assert [len(stamps) for stamps in arrivals.values()] == [20, 20]
            first = min(min(stamps) for stamps in arrivals.values())
            assert first >= at, "the clock is one for all processes of a host"
            (_, *one), (_, *two) = told
            tries.append((min(one), max(one), min(two), max(two)))
            if min(one) <= max(two) and min(two) <= max(one):
                return
        pytest.fail(f"one process had let all go before the other began: {tries}")

    run(body, tmp_path)


@pytest.mark.long
def test_the_benchmark_measures_every_way_over_tcp_and_tls(capsys):
    """Not how fast: that every request arrives, is stamped, and comes into the tables."""
    options = argparse.Namespace(rounds=1, sizes=[10])
    made = asyncio.run(benchmark.rounds(options, (0, min(1, (os.cpu_count() or 1) - 1))))
    assert len(made) == 6
    for cell in made:
        assert cell["arrival_ns"] > 0
        assert cell["read_ns"] > 0
        if cell["way"] == "gate":
            assert cell["released"] == 10
            assert cell["cpu_ns"] > 0
    shown = benchmark.tables(made, [10])
    assert shown.count("| gate") == shown.count("| websockets") == 2
    assert benchmark.verdicts(made, [10]) == []
