"""Does a probe that is fit say so? Runs on a machine that nobody else uses, which raise no veto.

    python -m benchmarks.clean_runs [--runs 20] [--again]

Each is a `probe run` of the scenario `smoke` on the lab and of a small load on an echo, by turns,
and one line in `results/clean_runs.jsonl`: what was cut off goes on, and `--again` begins anew.
The exit code is 0 where none of them raised a veto, else 1.

The rule: steal by others is no fault of the probe; it is told in a column of its own, and a run
with no other veto counts as clean. A run without a verdict is not clean.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import server
from benchmarks.foreign import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

STORE = ROOT / "results" / "clean_runs.jsonl"
DEADLINE_S: Final = 300
Row = dict[str, Any]

DIALECT = """
title = "Echo"
echo = true
[present.default]
"""
TARGET = """
title = "Echo"
dialect = "echo"
[endpoints.main]
url = "ws://127.0.0.1:{port}/"
"""
SCENARIO = """
title = "Clean"
[stages.load]
patience = "5s"
expect.success = { rate = "99%" }
[stages.load.populations.clients]
shape = { rate = "100/s", lasts = "8s" }
script = [
  { do = "connect" },
  { do = "echo" },
  { do = "hold", lasts = "1s", ping_every = "200ms" },
  { do = "close" },
]
"""


def vetoes(fitness: dict[str, Any]) -> tuple[list[str], list[str]]:
    """(what the probe or its machine is at fault for, what others took)."""
    told = [*fitness["invalid"], *fitness["taints"]]
    return [w for w in told if "(steal)" not in w], [w for w in told if "(steal)" in w]


def measured(number: int) -> Row:
    """One run: of even number a load on the echo, of odd `smoke` on the lab."""
    with tempfile.TemporaryDirectory(prefix="probe-") as name:
        if number % 2:
            return {"run": number, "scenario": "smoke"} | _run(Path(name), "smoke", "lab")
        with server.running() as echo:
            files = {"dialects/echo": DIALECT, "targets/echo": TARGET.format(port=echo.port)}
            for place, text in {**files, "clean": SCENARIO}.items():
                path = Path(name, "scenarios", f"{place}.toml")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return {"run": number, "scenario": "clean"} | _run(Path(name), "clean", "echo")


def _run(folder: Path, scenario: str, target: str) -> Row:
    words = ("run", scenario, "--target", target, "--seed", "1", "--quiet")
    done = subprocess.run(
        [sys.executable, "-m", "probe", *words, "--out", str(folder / "results")],
        cwd=folder, check=False, timeout=DEADLINE_S, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    told = folder / "results" / "latest" / "verdict.json"
    if not told.exists():
        return {
            "exit": done.returncode,
            "raised": [(done.stdout + done.stderr)[-500:]],
            "steal": [],
        }
    verdict = json.loads(told.read_text())
    raised, steal = vetoes(verdict["fitness"])
    return {
        "exit": done.returncode,
        "verdict": verdict["verdict"],
        "raised": raised,
        "steal": steal,
        "figures": verdict["fitness"]["figures"],
    }


def summary(rows: Sequence[Row]) -> str:
    """In lines: how many raised what."""
    lines = [f"run {row['run']} ({row['scenario']}): {'; '.join(row['raised'])}"
             for row in rows if row["raised"]]  # fmt: skip
    stolen = sum(bool(row["steal"]) for row in rows)
    lines.append(
        f"{len(rows) - len(lines)} of {len(rows)} runs raised no veto; "
        f"in {stolen} the host took more than 2 % (steal), which is recorded"
    )
    return "\n".join(lines)


def main() -> None:
    """Measure what is missing, print the sum."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--again", action="store_true", help="forget what is stored")
    asked = parser.parse_args()
    if asked.again:
        STORE.unlink(missing_ok=True)
    STORE.touch()
    rows = [json.loads(line) for line in STORE.read_text().splitlines()]
    rows = rows[: asked.runs]
    for number in range(len(rows), asked.runs):
        rows.append(measured(number))
        with STORE.open("a") as stream:
            stream.write(json.dumps(rows[-1]) + "\n")
        print(number, rows[-1].get("verdict", "no verdict"), *rows[-1]["raised"], flush=True)
    print(summary(rows))
    raise SystemExit(any(row["raised"] for row in rows))


if __name__ == "__main__":
    main()
