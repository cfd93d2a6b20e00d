"""The server that feeds, and what `benchmarks.holding` makes of a run; little is held here."""

from __future__ import annotations

import argparse
import asyncio
import copy
import json
import shutil
from collections import Counter
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError

from benchmarks import holding, server
from probe.engine import machine

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))),
    reason="the benchmark's server is C and there is no C compiler (apt install build-essential)",
)


async def fed(port: int, run: str, count: int) -> list[int]:
    async with connect(f"ws://127.0.0.1:{port}/", proxy=None) as ws:
        await ws.send(f"feed {run} {count} 20 3")
        numbers = []
        while True:
            body = json.loads(await ws.recv())
            assert body["run_id"] == run
            numbers.append(body["sequence"])
            if body["type"] == "end":
                return numbers


def test_a_run_of_events_is_numbered_and_counted_by_servers_that_share_a_port() -> None:
    async def talk(port: int) -> None:
        async with asyncio.timeout(30):
            for numbers in await asyncio.gather(*(fed(port, f"run-{k}", 10) for k in range(40))):
                assert numbers == list(range(1, 12))

    counted: Counter[str] = Counter()
    with server.sharing(2) as servers:
        assert servers[0].port == servers[1].port
        asyncio.run(talk(servers[0].port))
        for each in servers:
            told = each.stats()
            assert told["upgraded"]  # each has its part
            counted.update({word: told[word] for word in ("events_out", "ends_out", "pings_out")})
            assert told["pongs"] == told["pings_out"]
    assert counted == {"events_out": 400, "ends_out": 40, "pings_out": 160}


@pytest.mark.parametrize(
    "text", ['feed a"b 1 20 0', "feed run 1 0 0", "feed run 1 40001 0"], ids=["name", "0", "late"]
)
def test_what_cannot_be_fed_is_refused(text: str) -> None:
    async def talk(port: int) -> None:
        async with asyncio.timeout(20), connect(f"ws://127.0.0.1:{port}/", proxy=None) as ws:
            await ws.send(text)
            with pytest.raises(ConnectionClosedError):
                await ws.recv()
            assert ws.close_code == 1008

    with server.running() as served:
        asyncio.run(talk(served.port))


def test_who_goes_in_the_midst_of_it_is_fed_no_more() -> None:
    async def talk(port: int) -> None:
        async with asyncio.timeout(20):
            async with connect(f"ws://127.0.0.1:{port}/", proxy=None) as ws:
                await ws.send("feed gone 1000 20 0")
                await ws.recv()
            assert await fed(port, "stays", 5) == [1, 2, 3, 4, 5, 6]

    with server.running() as served:
        asyncio.run(talk(served.port))
        told = served.stats()
    assert told["ends_out"] == 1
    assert told["events_out"] < 500


def test_a_small_run_is_held_against_what_the_server_counted(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(holding, "RUNS", tmp_path)
    asked = argparse.Namespace(
        connections=30, lasts="2s", workers=1, rate=60.0, every="100ms", seed=1, write=None
    )
    row = holding.measured(asked)
    assert row["counted"]["events_out"] == row["events"] == 30 * 25
    assert row["counted"]["ends_out"] == row["ends"] == 30
    assert row["counted"]["pings"] == row["pings"] == row["pongs"] > 0
    assert row["complete"].startswith("0 of 780 events were lost")
    assert "held_s" not in row["fitness"]["figures"]
    (*_, last) = holding.faults(row)
    assert last.startswith("memory is not flat")  # too short to be told
    assert "780, 780" in holding.table([row])


HELD: dict[str, Any] = {
    "asked": {"connections": 10, "workers": 1},
    "counted": {"events_out": 100, "ends_out": 10, "pings_out": 5, "pongs": 5},
    "events": 100,
    "ends": 10,
    "pings": 20,
    "pongs": 20,
    "verdict": "PASS",
    "fitness": {
        "taints": [],
        "invalid": [],
        "figures": {"held_connections": 10, "held_memory_growth_percent": 2.0},
    },
}


def test_a_run_that_held() -> None:
    assert holding.faults(HELD) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"events": 99}, "events: 100, and 99"),
        ({"ends": 9}, "ends: 10, and 9"),
        ({"pongs": 19}, "pings of the probe: 20, and 19"),
        ({"counted": {**HELD["counted"], "pongs": 4}}, "pings of the servers: 5, and 4"),
        ({"asked": {"connections": 11}}, "connections: 11, and 10"),
        ({"verdict": "INVALID"}, "the verdict is INVALID"),
    ],
)
def test_whatever_is_missing_is_named(change, words) -> None:
    (found,) = holding.faults(HELD | change)
    assert words in found


@pytest.mark.parametrize("grown", [2.1, None])
def test_memory_that_grew_or_is_not_known_is_not_flat(grown) -> None:
    row = copy.deepcopy(HELD)
    row["fitness"]["figures"]["held_memory_growth_percent"] = grown
    (found,) = holding.faults(row)
    assert "memory is not flat" in found


def test_as_many_source_addresses_as_it_takes(monkeypatch) -> None:
    monkeypatch.setattr(machine, "local_ports", lambda: 28_232)
    assert holding.addresses(12_000) == []
    assert holding.addresses(15_000) == ["127.0.0.2", "127.0.0.3"]
    assert holding.addresses(30_000) == ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
