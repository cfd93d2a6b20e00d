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
from probe.engine.gate import Call, Gate, compensate, synchrony
from probe.history.records import Kind, Outcome
from probe.wire import Connection, Held, encode
from probe.wire.frames import TEXT
from tests.wire_rig import SOON_NS, answer, ending, raw, run, upgrades

FRAME = encode(TEXT, b"go")
MS = 1_000_000
LATE_NS = 8_000 * MS


def tell(held, what=None):
    held.end = what
    if held.watch is not None:
        held.watch()


class Spot:
    """What a gate lets go, without a wire."""

    def __init__(self, *, armed=True, order=None):
        self.armed = armed
        self.end = None
        self.watch = None
        self.order = [] if order is None else order

    def release(self):
        if not self.armed:
            return 0
        self.armed = False
        self.order.append(self)
        return now_ns()


async def dialled(rig, url, count, **how):
    """A gate of upgrades: their Held, and the tasks that wait."""
    helds = [Held() for _ in range(count)]
    tasks = []
    for held in helds:
        tasks.append(asyncio.create_task(rig.dial(url, sending=held, **how)))
        await asyncio.sleep(0)
    return helds, tasks


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
            gate = Gate(helds)
            arming = await gate.armed(now_ns() + LATE_NS)
            assert arming == gate.state()
            assert (arming.armed, arming.fallen, arming.missing) == (tuple(range(count)), (), ())
            begun = now_ns()
            await gate.settle(SOON_NS // 5)
            assert now_ns() - begun >= 3 * SOON_NS // 5
            assert not heads, "nobody has got a whole request"
            release = await gate.release(random.Random(1))
            assert release.released == count
            assert min(release.stamps_ns) >= release.at_ns
            assert release.spread_ns == max(release.stamps_ns) - min(release.stamps_ns)
            stamps.extend(release.stamps_ns)
            for task in tasks:
                c = await task
                assert isinstance(c, Connection)
                c.abort()

    stamps: list[int] = []
    _, rows = run(body, tmp_path)
    sent = rows[rows["kind"] == Kind.SENT]
    by_session = dict(zip(sent["session"].tolist(), sent["t"].tolist(), strict=True))
    assert [by_session[i + 1] for i in range(count)] == stamps
    order = sorted(range(count), key=stamps.__getitem__)
    assert order != list(range(count)), "they go in random order"


def test_who_falls_out_is_told_and_passed_over(tmp_path):
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
            gate = Gate([*helds, never])
            arming = await gate.armed(now_ns() + SOON_NS)
            await gate.settle()
            arming = gate.state()
            assert len(arming.fallen) == 3
            assert len(arming.armed) == 6
            assert arming.missing == (9,)
            release = await gate.release(random.Random(1))
            assert [stamp > 0 for stamp in release.stamps_ns] == [
                i in arming.armed for i in range(10)
            ]
            assert release.released == 6
            for i, task in enumerate(tasks):
                got = await task
                if i in arming.fallen:
                    assert got.outcome is Outcome.EOF
                    assert helds[i].end is got
                else:
                    got.abort()

    run(body, tmp_path)


def test_armed_ends_with_the_last_and_may_wait_for_some_only():
    async def body():
        spots = [Spot(armed=False) for _ in range(3)]
        gate = Gate(spots)
        assert (await gate.armed(now_ns())).missing == (0, 1, 2)
        task = asyncio.create_task(gate.armed(now_ns() + LATE_NS, among=(0, 2)))
        await asyncio.sleep(0.01)
        spots[0].armed = True
        tell(spots[0])
        await asyncio.sleep(0.01)
        assert not task.done()
        tell(spots[2], "an end")
        arming = await task
        assert (arming.armed, arming.fallen, arming.missing) == ((0,), (2,), (1,))
        assert all(spot.watch is None for spot in spots)

    asyncio.run(body())


def test_offsets_are_kept_in_order_and_the_loop_runs_between_far_ones():
    async def body():
        order: list[Spot] = []
        spots = [Spot(order=order) for _ in range(6)]
        offsets = [30 * MS, 0, 500_000, 0, 60 * MS, -2 * MS]
        turns = 0

        async def count():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0.001)

        task = asyncio.create_task(count())
        at = now_ns() + 20 * MS
        assert gc.isenabled()
        release = await Gate(spots).release(random.Random(3), offsets, at)
        assert gc.isenabled()
        task.cancel()
        assert release.at_ns == at
        assert all(lag >= 0 for lag in release.lags_ns), "nothing goes before its instant"
        places = [spots.index(spot) for spot in order]
        assert places[0] == 5
        assert set(places[1:3]) == {1, 3}
        assert places[3:] == [2, 0, 4]
        assert turns > 20

    asyncio.run(body())


def test_the_order_within_one_instant_is_the_seeds():
    async def body(seed):
        order: list[Spot] = []
        spots = [Spot(order=order) for _ in range(20)]
        await Gate(spots).release(random.Random(seed))
        return [spots.index(spot) for spot in order]

    first, again, other = (asyncio.run(body(seed)) for seed in (1, 1, 2))
    assert first == again != other


def test_one_that_raises_does_not_keep_the_others_back():
    async def body():
        def breaks():
            raise KeyError("a bug")

        called = []
        calls = [Call(breaks), Call(lambda: called.append(1)), Call(lambda: called.append(2))]
        assert Gate(calls).state().armed == (0, 1, 2)
        with pytest.raises(KeyError):
            await Gate(calls).release(random.Random(1))
        assert sorted(called) == [1, 2]
        assert gc.isenabled()
        assert calls[1].release() == 0, "called once"

    asyncio.run(body())


def test_frames_and_calls_share_a_gate(tmp_path):
    async def body(rig):
        async with raw(upgrades()) as port:
            one = await rig.connect(f"ws://127.0.0.1:{port}/")
            two = await rig.connect(f"ws://127.0.0.1:{port}/")
            held = one.hold(FRAME)
            call = Call(lambda: two.send_raw(FRAME))
            release = await Gate([held, call]).release(random.Random(1), (0, MS))
            assert release.stamps_ns[0] == held.sent_ns
            assert release.stamps_ns[1] - release.stamps_ns[0] > 0
            one.abort()
            two.abort()

    run(body, tmp_path)


def test_a_gate_has_a_bound():
    with pytest.raises(ValueError, match="1000"):
        Gate([Spot()] * 1001)


def test_compensation_is_half_the_smallest_of_at_least_ten_round_trips():
    near, far = [2 * MS, *[3 * MS] * 10], [10 * MS, *[14 * MS] * 9]
    told = compensate([near, far])
    assert told.offsets_ns == (4 * MS, 0)
    assert told.error_ns == 2 * MS
    assert told.asymmetry_ns == 5 * MS
    with pytest.raises(ValueError, match="10"):
        compensate([near, far[:9]])
    assert compensate([]).offsets_ns == ()


def test_synchrony_is_measured_and_counts_what_it_is_of():
    told = synchrony([5, 0, 9, 7], [0, 20, 0, 31])
    assert (told.release_spread_ns, told.released) == (4, 3)
    assert (told.first_response_spread_ns, told.answered) == (11, 2)
    assert synchrony([5], []).release_spread_ns == 0


ONE_PROCESS = """
    import asyncio, json, random, sys, tempfile
    from pathlib import Path
    import uvloop
    from probe.clock import now_ns
    from probe.engine.gate import Gate
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
        gate = Gate(helds)
        await gate.armed(now_ns() + 10_000_000_000)
        print(len(gate.state().armed), flush=True)
        at = int(sys.stdin.readline())
        release = await gate.release(random.Random(1), None, at)
        for task in tasks:
            (await task).abort()
        journal.close()
        print(json.dumps([release.at_ns, *release.stamps_ns]), flush=True)

    uvloop.run(main(*sys.argv[1:]))
"""


async def both(port, folder, at_after_ns, before):
    """Two processes with a gate each; the instant they were told, and what each tells."""
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


def test_the_benchmark_measures_every_way_over_tcp_and_tls(capsys):
    """Not how fast: that every request arrives, is stamped, and comes into the tables."""
    options = argparse.Namespace(rounds=1, sizes=[10])
    made = asyncio.run(benchmark.rounds(options, (0, min(1, (os.cpu_count() or 1) - 1))))
    assert len(made) == 6
    for cell in made:
        assert cell["arrival_ns"] > 0
        assert cell["read_ns"] > 0
        if cell["way"] == "gate":
            assert cell["armed"] == cell["released"] == 10
    shown = benchmark.tables(made, [10])
    assert shown.count("| gate") == shown.count("| websockets") == 2
    assert benchmark.verdicts(made, [10]) == []
