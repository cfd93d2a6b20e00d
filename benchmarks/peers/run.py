"""Puts every tool to every work, interleaved in random order, and prints the tables.

    python -m benchmarks.peers.run [--quick] [--repeats 5] [--works burst,hold] [--tools probe]
                                   [--write docs/benchmarks.md] [--stored]

Each measurement is a line of JSON in `results/peers.jsonl` as soon as it is there, under the
session it belongs to. `--stored` measures nothing and tells the latest session of that file.
The rule: within a repeat all tools do one work directly after one another, in random order, so
that a ratio compares neighbours in time. A tool that cannot be had is skipped by name, with the
reason; one that fails is told, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import sys
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from websockets.exceptions import WebSocketException

from benchmarks import server
from benchmarks.peers import table
from benchmarks.peers.measure import FULL, QUICK, Bench, FailedError
from benchmarks.peers.with_artillery import Artillery
from benchmarks.peers.with_k6 import K6
from benchmarks.peers.with_library import CLOSING, Library
from benchmarks.peers.with_locust import Locust
from benchmarks.peers.with_tsung import Tsung
from benchmarks.peers.work import KINDS, SIZE, Kind, MissingError, Tool
from benchmarks.run import listed, machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# A tool is added here and in its driver (`benchmarks/peers/work.py` says what that must have).
TOOLS: tuple[Tool, ...] = (
    Library("probe", "benchmarks.clients.probe_client", "probe"),
    Library("probe (closing)", CLOSING, "probe"),
    K6("ws"),
    K6("websockets"),
    Artillery(),
    Tsung(),
    Locust(),
    Library("websockets", "benchmarks.clients.websockets_asyncio", "websockets"),
    Library("aiohttp", "benchmarks.clients.aiohttp_client", "aiohttp"),
    Library("picows", "benchmarks.clients.picows_client", "picows"),
)
STORE = Path(__file__).parent.parent.parent / "results" / "peers.jsonl"
BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"
# Of a tool, of what it wrote, of the server, of the connection that asks for rounds.
FAILURES = (FailedError, ValueError, KeyError, OSError, WebSocketException)
OTHERS_SHARE_MAX = 0.05
SHARE_MAX = 0.8


def prepared(tools: Iterable[Tool]) -> tuple[dict[str, str], dict[str, str]]:
    """Versions of those that are there; why others are not, or cannot do a work."""
    versions: dict[str, str] = {}
    skipped: dict[str, str] = {}
    for tool in tools:
        try:
            versions[tool.name] = tool.prepare()
        except MissingError as error:
            skipped[tool.name] = str(error)
        else:
            whys: dict[str, list[str]] = defaultdict(list)
            for kind in KINDS:
                if (why := tool.cannot(kind)) is not None:
                    whys[why].append(kind)
            skipped |= {f"{tool.name}, {', '.join(kinds)}": why for why, kinds in whys.items()}
    for name, why in skipped.items():
        print(f"skipped {name}: {why}", file=sys.stderr)
    return versions, skipped


def measured(
    bench: Bench, tools: list[Tool], kinds: list[Kind], repeats: int, keep: Callable[..., None]
) -> None:
    """Every tool at every work; each result or failure is given to `keep`."""
    order = random.Random()
    for repeat in range(repeats):
        for kind in order.sample(kinds, len(kinds)):
            able = [tool for tool in tools if tool.cannot(kind) is None]
            for tool in order.sample(able, len(able)):
                print(f"repeat {repeat + 1} of {repeats}: {kind}, {tool.name}", file=sys.stderr)
                line: dict[str, Any]
                try:
                    line = bench.measure(tool, kind)
                except FAILURES as error:
                    line = {"failed": str(error) or type(error).__name__}
                    print(f"  failed: {line['failed']}", file=sys.stderr)
                keep(tool=tool.name, kind=kind, repeat=repeat, **line)


def warnings(measurements: list[dict[str, Any]]) -> list[str]:
    """What makes these numbers worth less, and what would help."""
    found = [
        f"failed: {m['tool']}, {m['kind']}, repeat {m['repeat'] + 1}: {m['failed']}"
        for m in measurements
        if "failed" in m
    ]
    good = [m for m in measurements if "failed" not in m]
    runs = [run for m in good for run in _timed(m)]
    shared = [run for run in runs if run["others_s"] > OTHERS_SHARE_MAX * run["wall_s"]]
    if shared:
        found.append(
            f"in {len(shared)} of {len(runs)} runs something else held the tool's core for over "
            f"{OTHERS_SHARE_MAX:.0%} of the time: run on a quiet machine"
        )
    busy = {
        f"{m['tool']} at {m['kind']}"
        for m in good
        if m["kind"] in {"connects", "burst"}
        and m["large"]["server"]["cpu_s"] > SHARE_MAX * m["large"]["wall_s"]
    }
    if busy:
        found.append(f"the server was busy over {SHARE_MAX:.0%}: {', '.join(sorted(busy))}")
    behind = {m["tool"] for m in good if m["kind"] == "single" and m["share"] > SHARE_MAX}
    if behind:
        found.append(
            f"over {SHARE_MAX:.0%} of its core at one per read, so that some reads may have held "
            f"several: {', '.join(sorted(behind))}"
        )
    return found


def _timed(m: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs of a measurement whose core was watched; `hold` has none."""
    parts = (m, m.get("small"), m.get("large"))
    return [part for part in parts if isinstance(part, dict) and "others_s" in part]


def page(session: dict[str, Any], measurements: list[dict[str, Any]]) -> str:
    """The session as Markdown: what it ran on, the tables, what speaks against them."""
    told, tools = session["machine"], [*session["versions"]]
    versions = ", ".join(f"{name} {version}" for name, version in session["versions"].items())
    good = [m for m in measurements if "failed" not in m]
    skipped = [f"- skipped {name}: {why}" for name, why in session["skipped"].items()]
    notes = [*skipped, *(f"- {sentence}" for sentence in warnings(measurements))]
    first = (
        f"Measured on {session['session'][:10]}{' (--quick)' * session['quick']}: {told['cpu']}, "
        f"kernel {told['kernel']}, Python {told['python']}; {versions}; "
        f"{session['repeats']} repeats, {SIZE} bytes a message."
    )
    return "\n\n".join([first, table.tables(good, tools).strip(), "\n".join(notes)]).strip()


def stored() -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """The latest session of the file and its measurements."""
    if not STORE.exists():
        return None
    lines = [json.loads(line) for line in STORE.read_text(encoding="utf-8").splitlines()]
    sessions = [line for line in lines if "machine" in line]
    if not sessions:
        return None
    last = sessions[-1]
    mine = [line for line in lines if line["session"] == last["session"] and "tool" in line]
    return last, mine


def publish(text: str, to: Path | None) -> None:
    """Print it, and put it between the marks of a page, if one was named."""
    print(text)
    if to is not None:
        whole = to.read_text(encoding="utf-8")
        if BEGIN not in whole or END not in whole:
            raise ValueError(f"{to} has no {BEGIN} … {END}")
        before, _, rest = whole.partition(BEGIN)
        after = rest.partition(END)[2]
        to.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def _options() -> argparse.Namespace:
    names = [tool.name for tool in TOOLS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.run")
    parser.add_argument("--quick", action="store_true", help="smaller works, 1 repeat")
    parser.add_argument("--repeats", type=int, help="default: 5, or 1 with --quick")
    parser.add_argument("--works", type=listed(KINDS), default=list(KINDS))
    parser.add_argument("--tools", type=listed(names), default=names)
    parser.add_argument("--write", type=Path, help="the page that gets the tables")
    parser.add_argument("--stored", action="store_true", help="tell the latest, measure nothing")
    return parser.parse_args()


def _session(options: argparse.Namespace, tools: list[Tool]) -> dict[str, Any]:
    versions, skipped = prepared(tools)
    return {
        "session": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": options.quick,
        "repeats": options.repeats or (1 if options.quick else 5),
        "machine": machine(),
        "versions": versions,
        "skipped": skipped,
    }


def main() -> int:
    """The command; 0 if all went well, 1 if a tool failed, 2 if nothing could be done."""
    options = _options()
    if options.stored:
        latest = stored()
        if latest is None:
            print(f"{STORE} holds no session", file=sys.stderr)
            return 2
        publish(page(*latest), options.write)
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("two cores are needed: one for the tool, one for the server", file=sys.stderr)
        return 2
    try:
        server.build()
    except (server.CompilerMissingError, server.BuildError) as error:
        print(error, file=sys.stderr)
        return 2
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.sched_setaffinity(0, {cores[1]})
    asked = [tool for tool in TOOLS if tool.name in options.tools]
    session = _session(options, asked)
    measurements: list[dict[str, Any]] = []
    STORE.parent.mkdir(exist_ok=True)
    with STORE.open("a", encoding="utf-8") as out:

        def keep(**line: Any) -> None:
            measurements.append(line)
            print(json.dumps({"session": session["session"], **line}), file=out, flush=True)

        print(json.dumps(session), file=out, flush=True)
        tools = [tool for tool in asked if tool.name in session["versions"]]
        bench = Bench(QUICK if options.quick else FULL, (cores[0], cores[1]))
        try:
            measured(bench, tools, options.works, session["repeats"], keep)
        except KeyboardInterrupt:
            print(f"interrupted; what was measured is in {STORE}", file=sys.stderr)
            return 130
    publish(page(session, measurements), options.write)
    return 1 if any("failed" in m for m in measurements) else 0


if __name__ == "__main__":
    sys.exit(main())
