"""Many open connections held for minutes, with pings and events: is anything lost, does it grow?

    python -m benchmarks.holding [--connections 15000] [--lasts 5min] [--workers 1] [--rate 250]
                                 [--every 2s] [--seed 1] [--write PAGE]

One `probe run` of a scenario that is written here: clients come evenly until all are there, each
begins a run of events and holds its connection with pings; all of them are open together for
`--lasts`. Several source addresses are named, since Linux gives out every other port of the range
first: once those are in use, each connect looks through all of them (1 to 2 ms instead of 20
microseconds). Beyond what one server has descriptors for, several of `server.c` share the port.

The rule: what is held against the probe is what the servers counted. *Nothing lost*: as many
events came as were sent, and every ping of either side was answered. *Flat*: see
`probe.check.fitness_held`. The exit code is 0 where the verdict is PASS and both hold, else 1.
Each run is one line in `results/holding.jsonl`, and its directory stays in `results/holding`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import server
from benchmarks.foreign import ROOT, publish
from probe.check.fitness_held import FLAT_PERCENT
from probe.engine import machine
from probe.history.columns import History
from probe.history.folder import HISTORY
from probe.history.records import Kind
from probe.units import duration_ns

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

STORE = ROOT / "results" / "holding.jsonl"
RUNS = ROOT / "results" / "holding"
PING_S: Final = 20.0
MORE_S: Final = 60.0
PORTS: Final = 0.45  # of those that one address has: half of them are found at once
SERVER_FILES: Final = 1_000  # the kernel deals connections out only nearly evenly
Row = dict[str, Any]

DIALECT = """
title = "Feed"
[present.default]
[run]
start = "feed {{run}} {{size}} {every_ms} {pings}"
events = [{{ type = "event", times = "1..*" }}, "end"]
within = "{within_s}s"
quiet = "{quiet_s}s"
[paths]
sequence = "sequence"
[promises]
numbered = true
"""
TARGET = """
title = "Feed"
dialect = "feed"
[endpoints.main]
url = "ws://127.0.0.1:{port}/"
[network]
sources = {sources}
"""
SCENARIO = """
title = "Holding"
[stages.held]
budget = "{budget_s}s"
patience = "{patience_s}s"
[stages.held.populations.clients]
shape.clients_curve = [["0s", 0], ["{ramp_s}s", {connections}], ["{over_s}s", {connections}]]
script = [
  {{ do = "connect" }},
  {{ do = "run", size = {size}, wait = false }},
  {{ do = "hold", lasts = "{hold_s}s", ping_every = "{ping_s}s" }},
  {{ do = "finish" }},
  {{ do = "settle" }},
  {{ do = "close" }},
]
[stages.held.expect]
success = {{ rate = "99%" }}
delivery = {{}}
contract = true
isolation = true
stays = true
pings = true
"""


def addresses(connections: int) -> list[str]:
    """Addresses of loopback to connect from, as many as it takes; none where one will do."""
    ports = machine.local_ports() or 28_232
    count = -(-connections // int(ports * PORTS))
    return [f"127.0.0.{k + 2}" for k in range(count)] if count > 1 else []


def servers_for(connections: int) -> int:
    """How many servers have descriptors for so many."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if files == resource.RLIM_INFINITY:
        return 1
    return -(-connections // max(files - SERVER_FILES, 1))


def _write(folder: Path, asked: argparse.Namespace, port: int) -> float:
    """The scenario with its files; how long it takes, s."""
    every_s = duration_ns(asked.every) / 1e9
    ramp_s: float = asked.connections / asked.rate
    hold_s = ramp_s + duration_ns(asked.lasts) / 1e9  # together, once the last has come
    files = {
        "scenarios/dialects/feed.toml": DIALECT.format(
            every_ms=round(every_s * 1000),
            pings=max(round(PING_S / every_s), 1),
            within_s=hold_s + MORE_S,
            quiet_s=max(5 * every_s, 10.0),
        ),
        "scenarios/targets/feed.toml": TARGET.format(
            port=port, sources=json.dumps(addresses(asked.connections))
        ),
        "scenarios/holding.toml": SCENARIO.format(
            connections=asked.connections,
            ramp_s=ramp_s,
            over_s=ramp_s + 1,
            hold_s=hold_s,
            ping_s=PING_S,
            size=max(int(hold_s / every_s), 1),
            budget_s=ramp_s + MORE_S,
            patience_s=hold_s + MORE_S,
        ),
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return ramp_s + hold_s + 2 * MORE_S


def measured(asked: argparse.Namespace) -> Row:
    """One run, and what the servers say of it."""
    with (
        tempfile.TemporaryDirectory(prefix="probe-") as name,
        server.sharing(servers_for(asked.connections)) as servers,
    ):
        lasts_s = _write(Path(name), asked, servers[0].port)
        before = (RUNS / "latest").resolve()
        done = subprocess.run(
            [
                sys.executable, "-m", "probe", "run", "holding", "--target", "feed",
                "--workers", str(asked.workers), "--seed", str(asked.seed), "--out", str(RUNS),
            ],
            cwd=name, check=False, timeout=2 * lasts_s + 300,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        counted: Counter[str] = Counter()
        for each in servers:
            told = each.stats()
            counted.update({word: told[word] for word in told if isinstance(told[word], int)})
    folder = (RUNS / "latest").resolve()
    if folder == before or not (folder / "verdict.json").exists():
        raise SystemExit(f"the run left no verdict; its exit code is {done.returncode}")
    made = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"
    row: Row = {"made": made, "run": folder.name, "asked": vars(asked) | {"write": None}}
    row |= {"exit": done.returncode, "servers": len(servers), "counted": counted}
    return row | _read(folder)


def _read(folder: Path) -> Row:
    verdict = json.loads((folder / "verdict.json").read_text())
    history = History.open(folder / HISTORY)
    got = history.of(Kind.GOT)
    complete = [c for c in verdict["checks"] if c["id"].endswith("delivery.complete")]
    return {
        "verdict": verdict["verdict"],
        "fitness": verdict["fitness"],
        "complete": complete[0]["message"] if complete else "",
        "events": int((got["flag"] == 1).sum()),
        "ends": int((got["flag"] == 2).sum()),
        "pings": len(history.of(Kind.PING)),
        "pongs": len(history.of(Kind.PONG)),
    }


def faults(row: Row) -> list[str]:
    """What is wrong with a run, by the rule; none: it held."""
    counted, figures = row["counted"], row["fitness"]["figures"]
    pairs = {
        "events": (counted["events_out"], row["events"]),
        "ends": (counted["ends_out"], row["ends"]),
        "pings of the probe": (row["pings"], row["pongs"]),
        "pings of the servers": (counted["pings_out"], counted["pongs"]),
        "connections": (row["asked"]["connections"], figures.get("held_connections", 0)),
    }
    found = [f"{name}: {sent:,}, and {got:,}" for name, (sent, got) in pairs.items() if sent != got]
    if row["verdict"] != "PASS":
        reasons = row["fitness"]["invalid"] + row["fitness"]["taints"]
        found.append(f"the verdict is {row['verdict']}: {'; '.join(reasons) or 'see its checks'}")
    grown = figures.get("held_memory_growth_percent")
    if grown is None or grown > FLAT_PERCENT:
        found.append(f"memory is not flat: {grown} % more in the last third")
    return found


def newest(rows: Iterable[Row]) -> list[Row]:
    """The last run of each size, the smallest first."""
    kept = {(row["asked"]["connections"], row["asked"]["workers"]): row for row in rows}
    return [kept[key] for key in sorted(kept)]


def table(rows: Sequence[Row]) -> str:
    """Markdown: a row a run."""
    head = (
        "open at one time", "processes", "source addresses", "held for", "events sent, received",
        "pings of the servers, answered", "of the probe, answered", "memory, first third, last",
        "CPU of a core", "heartbeat p99", "verdict",
    )  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> Iterable[str]:
    counted, figures = row["counted"], row["fitness"]["figures"]
    yield f"{figures.get('held_connections', 0):,}"
    yield str(row["asked"]["workers"])
    yield str(len(addresses(row["asked"]["connections"])) or 1)
    yield f"{figures.get('held_s', 0):.0f} s"
    yield f"{counted['events_out'] + counted['ends_out']:,}, {row['events'] + row['ends']:,}"
    yield f"{counted['pings_out']:,}, {counted['pongs']:,}"
    yield f"{row['pings']:,}, {row['pongs']:,}"
    sizes = [figures.get(f"held_memory_{each}_third_mib", 0) for each in ("first", "last")]
    grown = figures.get("held_memory_growth_percent", 0)
    yield f"{sizes[0]:.1f} MiB, {sizes[1]:.1f} MiB ({grown:+.2f} %)"
    yield f"{figures.get('cpu_max_percent_of_core', 0):.0f} % at most"
    yield f"{figures.get('heartbeat_lag_p99_ms', 0):.2f} ms"
    yield row["verdict"]


def main() -> None:
    """Run it once, tell what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--connections", type=int, default=15_000)
    parser.add_argument("--lasts", default="5min", help="how long all of them are open together")
    parser.add_argument("--workers", type=int, default=1, help="processes of the probe")
    parser.add_argument("--rate", type=float, default=250, help="how many come in a second")
    parser.add_argument("--every", default="2s", help="between two events of a connection")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", type=Path, default=None, help="a page with marks")
    asked = parser.parse_args()
    row = measured(asked)
    with STORE.open("a") as stream:
        stream.write(json.dumps(row) + "\n")
    publish(
        table(newest([json.loads(line) for line in STORE.read_text().splitlines()])), asked.write
    )
    wrong = faults(row)
    print("\n".join(wrong) if wrong else "held: nothing was lost, and memory is flat")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
