"""Services of a known capacity over real sockets: does the probe's knee hold the truth?

    python -m benchmarks.knee_lab [--of connects,messages] [--repeats 5] [--cells 4x20-150,...]
                                  [--jobs N] [--write docs/capacity.md]

A cell is a lab that answers a connect, or a message, with so many servers of exponential service
times, and a limit on the p99: `4x20-150` is 4 servers of 20 ms and 150 ms. The truth is where
M/M/c crosses the limit. Each repeat is one `probe run capacity` (or `capacity_messages`) with a
seed of its own, and one line in `results/knee_lab.jsonl`, so that what was cut off goes on. With
--write the table replaces what stands between the marks of that page.

The rule: a run that told no knee, or was not fit, is counted as what it is and never left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from benchmarks.foreign import ROOT, publish
from benchmarks.knee import Cell

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DEADLINE_S = 1200
STORE = ROOT / "results" / "knee_lab.jsonl"
CELLS: Final = ("4x20-150", "1x5-60", "2x10-100", "8x50-300")
SCENARIOS: Final = {"connects": "capacity", "messages": "capacity_messages"}
SETS: Final = ("begin=40/s", "closeness=1.2", "repeats=2", "lasts=8s")
Row = dict[str, Any]


def measured(of: str, cell: Cell, repeat: int) -> Row:
    """One run: the knee that it told, its verdict, and whether the machine was fit."""
    servers, limit_ms = cell.station.servers, cell.limit_ns // 1_000_000
    service_ms = cell.station.service_ns // 1_000_000
    sets = [
        f"target.lab.capacity={servers}/{service_ms}ms",
        f"target.lab.capacity_of=['{of}']",
        f"stages.climb.capacity.until=p99<{limit_ms}ms",
        *(f"stages.climb.capacity.{each}" for each in SETS),
    ]
    words = [word for each in sets for word in ("--set", each)]
    with tempfile.TemporaryDirectory(prefix="probe-") as folder:
        done = subprocess.run(
            [
                sys.executable, "-m", "probe", "run", SCENARIOS[of], *words,
                "--seed", str(repeat), "--out", folder,
            ],
            cwd=ROOT, check=False, timeout=DEADLINE_S, capture_output=True, text=True,
        )  # fmt: skip
        told = Path(folder, "latest", "verdict.json")
        row = {"of": of, "cell": cell.name, "repeat": repeat, "exit": done.returncode}
        if not told.exists():
            return row | {"error": (done.stdout + done.stderr)[-500:]}
        verdict = json.loads(told.read_text())
        knee = next(check for check in verdict["checks"] if check["id"] == "climb.capacity")
        return row | {
            "verdict": verdict["verdict"],
            "unfit": not verdict["fitness"]["fit"],
            "interval": knee["interval"],
            "message": knee["message"],
            "duration_s": verdict["duration_s"],
            "clients": knee["n"],
        }


def table(rows: Sequence[Row], cells: Iterable[str]) -> str:
    """Markdown: a row a cell."""
    head = (
        "of", "servers x service - limit", "truth", "both ends told", "holds the truth",
        "from", "to", "high / low (median)", "lasted (median)", "unfit",
    )  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for of, name in product(SCENARIOS, cells):
        mine = [row for row in rows if (row["of"], row["cell"]) == (of, name)]
        if mine:
            lines.append("| " + " | ".join((of, *_cells(Cell.parse(name), mine))) + " |")
    return "\n".join(lines) + "\n"


def _cells(cell: Cell, rows: Sequence[Row]) -> Iterable[str]:
    truth = cell.truth_per_s
    there = [row["interval"] for row in rows if None not in (row.get("interval") or [None])]
    service_ms, limit_ms = (ns // 1_000_000 for ns in (cell.station.service_ns, cell.limit_ns))
    yield f"{cell.station.servers} x {service_ms} ms - {limit_ms} ms"
    yield f"{truth:.1f}/s"
    yield f"{len(there)} of {len(rows)}"
    yield f"{sum(low <= truth <= high for low, high in there)} of {len(rows)}"
    for end in (0, 1):
        found = sorted(interval[end] for interval in there)
        yield f"{found[0]:.0f} to {found[-1]:.0f}/s" if found else ""
    yield f"{median(high / low for low, high in there):.2f}" if there else ""
    lasted = [row["duration_s"] for row in rows if "duration_s" in row]
    yield f"{median(lasted):.0f} s" if lasted else ""
    yield f"{sum(bool(row.get('unfit', True)) for row in rows)} of {len(rows)}"


def main() -> None:
    """Measure what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--of", default=",".join(SCENARIOS), help="what is offered, by commas")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cells", default=",".join(CELLS), help="names, by commas")
    parser.add_argument("--jobs", type=int, default=1, help="so many runs at a time")
    parser.add_argument("--write", type=Path, default=None, help="a page with marks")
    asked = parser.parse_args()
    cells = [Cell.parse(name) for name in asked.cells.split(",")]
    STORE.touch()
    rows = [json.loads(line) for line in STORE.read_text().splitlines()]
    done = {(row["of"], row["cell"], row["repeat"]) for row in rows}
    wanted = [
        (of, cell, repeat)
        for repeat, of, cell in product(range(1, asked.repeats + 1), asked.of.split(","), cells)
        if (of, cell.name, repeat) not in done
    ]
    with ThreadPoolExecutor(asked.jobs) as pool:
        for row in pool.map(lambda each: measured(*each), wanted):
            rows.append(row)
            with STORE.open("a") as stream:
                stream.write(json.dumps(row) + "\n")
            print(
                row["of"],
                row["cell"],
                row["repeat"],
                row.get("message") or row.get("error"),
                flush=True,
            )
    publish(table(rows, [cell.name for cell in cells]), asked.write)


if __name__ == "__main__":
    main()
