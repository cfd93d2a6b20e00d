"""Windows that the lab really has, looked for over real sockets: is each found, and held?

    python -m benchmarks.windows_lab [--repeats 10] [--cells 5ms,350ms] [--write docs/windows.md]

Each repeat is one `probe run` with a seed of its own, and one line in `results/windows_lab.jsonl`,
so that what was cut off goes on. With --write the table replaces what stands between the marks
of that page.

The rule: the truth is what the lab was set to, on its own clock; a run that told nothing, or was
not fit, is counted as what it is and never left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from benchmarks.foreign import ROOT, publish

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DEADLINE_S = 300
STORE = ROOT / "results" / "windows_lab.jsonl"


@dataclass(frozen=True, slots=True)
class Cell:
    """One defect with its true centre (a step: its edge) and width, ms."""

    name: str
    defect: str
    centre_ms: float
    width_ms: float | None
    place: tuple[str, str]
    sets: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        """What is run."""
        scenario, stage = self.place
        sets = [word for each in self.sets for word in ("--set", f"stages.{stage}.race.{each}")]
        return ["run", scenario, "--stage", stage, "--defect", self.defect, *sets]


WINDOW: Final = ('shape="window"', 'range=["0ms","500ms"]', "comb=20", "trials=600", "goal=3ms")
REFRESH: Final = ("session_races", "refresh")


def _window(width_ms: int, rate: str = "") -> Cell:
    name = f"{width_ms}ms{rate}"
    defect = f"refresh_race=100ms+{width_ms}ms~1ms{rate}"
    return Cell(name, defect, 100 + width_ms / 2, width_ms, REFRESH, WINDOW)


def _revocation(name: str, lag_ms: float) -> Cell:
    return Cell(name, f"revoked_lingers={name}", lag_ms, None, ("revocation", "connects"))


CELLS: Final = (
    *(_window(width) for width in (5, 20, 50, 200)),
    _window(50, "/0.3"),
    _revocation("350ms", 350),
    _revocation("1s", 1000),
)
Row = dict[str, Any]


def measured(cell: Cell, repeat: int) -> Row:
    """One run: what it said of the race, its verdict, and whether the machine was fit."""
    with tempfile.TemporaryDirectory(prefix="probe-") as folder:
        done = subprocess.run(
            [sys.executable, "-m", "probe", *cell.words, "--seed", str(repeat), "--out", folder],
            cwd=ROOT, check=False, timeout=DEADLINE_S, capture_output=True, text=True,
        )  # fmt: skip
        latest = Path(folder, "latest")
        row = {"cell": cell.name, "repeat": repeat, "exit": done.returncode}
        if not (latest / "verdict.json").exists():
            return row | {"error": (done.stdout + done.stderr)[-500:]}
        verdict = json.loads((latest / "verdict.json").read_text())
        races = json.loads((latest / "windows.json").read_text())
        race = races[cell.place[1]]
        kept = ("found", "localised", "centre", "centre_statistics", "width", "acting", "trials")
        return row | {
            "unfit": not verdict["fitness"]["fit"],
            "confirmed": race.get("confirmation", {}).get("confirmed", False),
            **{name: race.get(name) for name in kept},
        }


def table(rows: Sequence[Row]) -> str:
    """Markdown: a row a cell."""
    head = (
        "defect", "truth", "localised", "found (median)", "truth in the statistics", "to act",
        "truth in what is told", "width held", "confirmed", "trials", "unfit",
    )  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for cell in CELLS:
        mine = [row for row in rows if row["cell"] == cell.name]
        if mine:
            lines.append("| " + " | ".join(_cells(cell, mine)) + " |")
    return "\n".join(lines) + "\n"


def _cells(cell: Cell, rows: Sequence[Row]) -> Iterable[str]:
    there = [row for row in rows if row.get("localised")]
    n = len(there)
    yield f"`{cell.defect}`"
    yield f"{cell.centre_ms:g} ms"
    yield f"{n} of {len(rows)}"
    values = sorted(row["centre"]["value_s"] * 1e3 for row in there)
    yield f"{values[0]:.1f} to {values[-1]:.1f} ms ({median(values):.1f})" if n else ""
    yield _held(cell.centre_ms, [row["centre_statistics"] for row in there])
    yield f"{median(_to_act(row) for row in there):.1f} ms" if n else ""
    yield _held(cell.centre_ms, [row["centre"] for row in there])
    yield "-" if cell.width_ms is None else _held(cell.width_ms, [r["width"] for r in there])
    yield f"{sum(row['confirmed'] for row in there)} of {n}"
    yield f"{median(row['trials'] for row in there):.0f}" if n else ""
    count = Counter(bool(row.get("unfit", True)) for row in rows)
    yield f"{count[True]} of {len(rows)}"


def _held(truth_ms: float, spans: Iterable[dict[str, float] | None]) -> str:
    told = [span for span in spans if span is not None]
    held = sum(span["low_s"] * 1e3 <= truth_ms <= span["high_s"] * 1e3 for span in told)
    return f"{held} of {len(told)}"


def _to_act(row: Row) -> float:
    """What the interval allows for the time to act, below and above together, ms."""
    own, all_ = row["centre_statistics"], row["centre"]
    return float((all_["high_s"] - all_["low_s"] - own["high_s"] + own["low_s"]) * 1e3)


def main() -> None:
    """Measure what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--cells", default="", help="names, by commas")
    parser.add_argument("--write", type=Path, default=None, help="a page with marks")
    asked = parser.parse_args()
    names = set(asked.cells.split(",")) - {""}
    if unknown := names - {cell.name for cell in CELLS}:
        parser.error(f"no such cell: {', '.join(unknown)}; there are {[c.name for c in CELLS]}")
    STORE.touch()
    rows = [json.loads(line) for line in STORE.read_text().splitlines()]
    done = {(row["cell"], row["repeat"]) for row in rows}
    for repeat in range(1, asked.repeats + 1):
        for cell in CELLS:
            if (names and cell.name not in names) or (cell.name, repeat) in done:
                continue
            row = measured(cell, repeat)
            rows.append(row)
            with STORE.open("a") as stream:
                stream.write(json.dumps(row) + "\n")
            print(cell.name, repeat, row.get("centre"), row.get("error", ""), flush=True)
    publish(table(rows), asked.write)


if __name__ == "__main__":
    main()
