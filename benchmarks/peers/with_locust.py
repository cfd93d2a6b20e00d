"""Locust: its own WebSocket support is what its users write, with websocket-client on gevent."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import install
from benchmarks.peers.work import IN_FLIGHT, Command, Kind, Reported, Work

SCRIPT = Path(__file__).parent / "locustfile.py"
RESULT = "stats"


@dataclass(frozen=True, slots=True)
class Locust:
    """Its figure is the response time of the event `connect`, which it rounds to two digits."""

    name: str = "locust"

    def prepare(self) -> str:
        """See `Tool`."""
        code = (
            "import importlib.metadata as m; "
            "print(', '.join(f'{n} {m.version(n)}' for n in ('locust', 'websocket-client')))"
        )
        told = install.run(str(install.python() / "python"), "-c", code).strip()
        return told.removeprefix("locust ")

    def cannot(self, kind: Kind) -> None:
        """See `Tool`."""

    def command(self, work: Work) -> Command:
        """See `Tool`."""
        users = {"connects": IN_FLIGHT, "burst": 1}.get(work.kind, work.n)
        argv = (
            str(install.python() / "locust"), "--headless", "--only-summary", "--loglevel=ERROR",
            "--locustfile", str(SCRIPT), "--users", str(users), "--spawn-rate", str(users),
            "--host", work.url, "--json-file", RESULT,
        )  # fmt: skip
        return Command(argv, work.env)

    def reported(self, work: Work, printed: str) -> Reported | None:
        """See `Tool`."""
        del printed
        (stats,) = json.loads((work.folder / f"{RESULT}.json").read_text(encoding="utf-8"))
        count: dict[float, int] = {float(ms): n for ms, n in stats["response_times"].items()}
        in_order = [ms for ms in sorted(count) for _ in range(count[ms])]
        last = len(in_order) - 1
        ms = {f"p{q}": in_order[round(last * q / 100)] for q in (50, 99)}
        ms["mean"] = stats["total_response_time"] / stats["num_requests"]
        return Reported("response time", {**ms, "max": stats["max_response_time"]})
