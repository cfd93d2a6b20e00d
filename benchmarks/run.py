"""Runs every client at every job, interleaved in random order, and prints the tables.

    python -m benchmarks.run [--quick] [--repeats 5] [--jobs burst,idle] [--clients floor]
                             [--json OUT]

The rule: within a repeat the clients of one job run directly after one another in random order,
each in a fresh process against a fresh server, so that a ratio compares neighbours in time. A
client that is not there is skipped by name; one that fails is told, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import random
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import server, table

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

ROOT = Path(__file__).parent.parent
DEADLINE_S = 75

# name: the module, and the distribution it cannot do without. A client is added here and in its
# module (`benchmarks/clients/job.py` says what that must have), nowhere else.
CLIENTS = {
    "floor": ("benchmarks.clients.floor", "uvloop"),
    "websockets_asyncio": ("benchmarks.clients.websockets_asyncio", "websockets"),
    "aiohttp_client": ("benchmarks.clients.aiohttp_client", "aiohttp"),
    "picows_client": ("benchmarks.clients.picows_client", "picows"),
    "probe": ("benchmarks.clients.probe_client", "probe"),
}
# job: n, n with --quick
JOBS = {
    "connects": (6_000, 1_500),
    "idle": (5_000, 2_000),
    "burst": (1_000_000, 200_000),
    "single": (100_000, 20_000),
    "upgrade": (1_000, 1_000),
}
DELAY_MS = {"upgrade": 100}
SIZE = 64
WAIT_SHARE_MAX = 0.02


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _missing(client: str) -> str | None:
    """Why this client cannot run, or None."""
    module, distribution = CLIENTS[client]
    if importlib.util.find_spec(module) is None:
        return f"there is no {module}"
    if _version(distribution) is None:
        return f"{distribution} is not installed"
    return None


def machine() -> dict[str, Any]:
    """What the numbers depend on besides the clients."""
    cpu = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    names = dict.fromkeys(distribution for _, distribution in CLIENTS.values())
    return {
        "cpu": cpu[0] if cpu else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in names},
    }


def measure(client: str, job: str, n: int, cores: tuple[int, int]) -> dict[str, Any]:
    """One client at one job in its own process, against its own server.

    Raises subprocess.SubprocessError if the client fails or is not done by the deadline.
    """
    delay_ms = DELAY_MS.get(job, 0)
    with server.running(delay_ms=delay_ms, core=cores[1]) as served:
        command = [sys.executable, "-m", CLIENTS[client][0], "--job", job, "--n", str(n)]
        command += ["--size", str(SIZE), "--port", str(served.port), "--core", str(cores[0])]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=True
        )
        line: dict[str, Any] = json.loads(done.stdout)
        return {**line, "client": client, "server": served.stats()}


def run(
    clients: list[str], sizes: dict[str, int], repeats: int, cores: tuple[int, int]
) -> tuple[list[dict[str, Any]], list[str]]:
    """The measurements, each with its `repeat`, and what failed, in words."""
    measurements: list[dict[str, Any]] = []
    failures: list[str] = []
    order = random.Random()
    for repeat in range(repeats):
        for job in order.sample(list(sizes), len(sizes)):
            for client in order.sample(clients, len(clients)):
                print(f"repeat {repeat + 1} of {repeats}: {job}, {client}", file=sys.stderr)
                try:
                    measured = measure(client, job, sizes[job], cores)
                except subprocess.CalledProcessError as error:
                    failures.append(f"{client}, {job}: {_last_line(error.stderr)}")
                except (subprocess.SubprocessError, TimeoutError) as error:
                    failures.append(f"{client}, {job}: {error}")
                else:
                    measurements.append({**measured, "repeat": repeat})
    return measurements, failures


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]


def warnings(measurements: list[dict[str, Any]], told: dict[str, Any]) -> list[str]:
    """What makes these numbers worth less, and what would help."""
    found = []
    if told["cores"] < 2:
        found.append("client and server shared one core: give this machine two")
    shared = [
        m
        for m in measurements
        if m["wait_s"] > WAIT_SHARE_MAX * m["wall_s"]
        or m["server"]["wait_s"] > WAIT_SHARE_MAX * m["server"]["life_s"]
    ]
    if shared:
        found.append(
            f"in {len(shared)} of {len(measurements)} measurements another process held a core for "
            f"over {WAIT_SHARE_MAX:.0%} of the time: run on a quiet machine"
        )
    busy = sorted(
        {
            f"{m['client']} at {m['job']}"
            for m in measurements
            if m["job"] in {"connects", "burst"} and m["server"]["cpu_s"] > 0.8 * m["wall_s"]
        }
    )
    if busy:
        found.append(f"the server was busy over 80 % of the time: {', '.join(busy)}")
    return found


def listed(known: Collection[str]) -> Callable[[str], list[str]]:
    """The type of an option that takes some of these names, with commas between."""

    def parse(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",")]
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return names

    return parse


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, 2 repeats")
    parser.add_argument("--repeats", type=int, help="default: 5, or 2 with --quick")
    parser.add_argument("--jobs", type=listed(JOBS), default=list(JOBS))
    parser.add_argument("--clients", type=listed(CLIENTS), default=list(CLIENTS))
    parser.add_argument("--json", type=Path, help="where to write all measurements")
    return parser.parse_args()


def main() -> int:
    """The command; 0 if all went well, 1 if a client failed, 2 without a compiler."""
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server.build()
    except (server.CompilerMissingError, server.BuildError) as error:
        print(error, file=sys.stderr)
        return 2
    clients = []
    for name in options.clients:
        why = _missing(name)
        if why is None:
            clients.append(name)
        else:
            print(f"skipped {name}: {why}")
    repeats = options.repeats or (2 if options.quick else 5)
    sizes = {job: JOBS[job][options.quick] for job in options.jobs}
    told = machine()
    usable = sorted(os.sched_getaffinity(0))
    cores = (usable[0], usable[min(1, len(usable) - 1)])
    try:
        measurements, failures = run(clients, sizes, repeats, cores)
    except KeyboardInterrupt:
        print("interrupted; nothing was kept", file=sys.stderr)
        return 130
    versions = ", ".join(f"{name} {v}" for name, v in told["versions"].items() if v)
    print(f"{told['cpu']}, kernel {told['kernel']}, Python {told['python']}, {versions}")
    print(f"client on core {cores[0]}, server on core {cores[1]}, {repeats} repeats, {SIZE} bytes")
    print()
    print(table.tables(measurements, clients))
    for sentence in (*warnings(measurements, told), *(f"failed: {f}" for f in failures)):
        print(sentence)
    if options.json is not None:
        whole = {"machine": told, "measurements": measurements, "failures": failures}
        options.json.write_text(json.dumps(whole, indent=1), encoding="utf-8")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
