"""Artillery, one worker (`WORKERS=1`, as there is one core); arrivals are open, as it has them.

Connects come at a rate that it keeps up with on this kind of machine. It has no figure for a
connect and no way to begin many at once: functions of the script wait before a connect until all
have arrived, and tell its length as a metric of their own (`events.emit("histogram", …)`). A drop
is `terminate()` of its client, called by such a function.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import install
from benchmarks.peers.work import Command, Kind, MissingError, Reported, Work

SCRIPT = Path(__file__).parent / "artillery.yml"
RESULT = "report.json"
RATE = 2_000


def _phase(work: Work) -> dict[str, object]:
    match work.kind:
        case "burst":
            return {"arrivalCount": 1, "duration": 1}
        case "connects" | "hold" | "single" | "upgrade":
            return {"arrivalCount": work.n, "duration": max(1, work.n // RATE)}


@dataclass(frozen=True, slots=True)
class Artillery:
    """See the module."""

    name: str = "artillery"

    def prepare(self) -> str:
        """See `Tool`."""
        node = install.run("node", "--version").strip().lstrip("v")
        modules = install.artillery() / "node_modules"
        try:
            text = (modules / "artillery" / "package.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            raise MissingError(f"{modules} has no artillery") from None
        return f"{json.loads(text)['version']}, Node {node}"

    def cannot(self, kind: Kind) -> None:
        """See `Tool`."""

    def command(self, work: Work) -> Command:
        """See `Tool`."""
        argv = (
            str(install.artillery() / "node_modules" / ".bin" / "artillery"), "run", "--quiet",
            "--overrides", json.dumps({"config": {"phases": [_phase(work)]}}),
            "--scenario-name", work.kind, "--output", RESULT, str(SCRIPT),
        )  # fmt: skip
        quiet = {"WORKERS": "1", "ARTILLERY_DISABLE_TELEMETRY": "true"}
        return Command(argv, {**work.env, **quiet})

    def reported(self, work: Work, printed: str) -> Reported | None:
        """See `Tool`."""
        del printed
        told = json.loads((work.folder / RESULT).read_text(encoding="utf-8"))
        of = told["aggregate"]["summaries"]["connect"]
        ms = {"p50": of["p50"], "p99": of["p99"], "mean": of["mean"], "max": of["max"]}
        return Reported("a metric of the script's own", ms)
