"""The probe and three libraries, each as `benchmarks.clients` has it.

The probe is the engine as a run has it: a session and a script for each connection, every phase and
message a row of the journal. The libraries hand out messages and keep nothing: they are no load
tools, but what one would be built on.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from benchmarks.peers.work import Command, Kind, MissingError, Reported, Work, last_json

ROOT = Path(__file__).parent.parent.parent
CLOSING = "benchmarks.peers.closing"


@dataclass(frozen=True, slots=True)
class Library:
    """`module` is a client (see `benchmarks.clients`), `distribution` what it cannot do without."""

    name: str
    module: str
    distribution: str

    def prepare(self) -> str:
        """See `Tool`."""
        try:
            return metadata.version(self.distribution)
        except metadata.PackageNotFoundError:
            raise MissingError(f"{self.distribution} is not installed") from None

    def cannot(self, kind: Kind) -> str | None:
        """See `Tool`."""
        if self.module == CLOSING and kind != "connects":
            return "it differs from the probe in how a connect ends, and in nothing else"
        return None

    def command(self, work: Work) -> Command:
        """See `Tool`."""
        python = (sys.executable, "-m")
        client = self.module.rpartition(".")[2]
        # It runs in a folder of its own, and this one is what it imports from.
        env = {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]])}
        shared = ("--n", str(work.n), "--port", str(work.port))
        if work.kind in {"hold", "single"}:
            listen = ("--listen",) if work.kind == "single" else ()
            argv = (*python, "benchmarks.peers.hold", client, *shared, *listen)
            return Command(argv, env)
        job = ("--job", work.kind, "--size", str(work.size), "--core", str(work.core))
        return Command((*python, self.module, *job, *shared), env)

    def reported(self, work: Work, printed: str) -> Reported | None:
        """See `Tool`."""
        del work
        told = last_json(printed)
        return Reported(
            "whole connect", told["whole_error_ms"], is_error=True, phase=told["phase_error_ms"]
        )
