"""The ledger: what the lab did, one NDJSON line at the moment it did it.

Every line is one unbuffered `os.write` to a file opened for appending, so a lab that is
killed has written all that it did, and several lives can share the file. `t_ns` is
CLOCK_MONOTONIC (`time.perf_counter_ns`), comparable with other processes of the host.
The totals that are told over HTTP are raised by the same call that writes the line, and
only after it was written, so the two cannot differ. No line holds a token: fields are
the lab's own words, ids that `messages` has checked, names of users, and numbers.

Where several processes serve, all of them append to the one file, and each line says which
of them wrote it. Each has its own lines in order; over all of them the order is that of
`t_ns`, since one may be held up between its stamp and its write.

Answers of /health are counted and written as one line when the lab stops, since a
probe asks for them in a tight loop.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Phase = Literal["up", "listening", "healthy", "ready", "stopping", "stopped"]
Outcome = Literal["accepted", "closed_1003", "closed_1011", "hung", "dropped", "rejected", "left"]
Party = Literal["client", "server", "lost"]
Told = Literal["announced", "silent", "never"]
Service = Literal["served", "late", "full", "left"]

EXIT_LEDGER: Final = 4


class Ledger:
    """The open ledger of one life; without a path it only counts.

    Opening raises OSError. A write that fails ends the process with code 4: a lab that
    goes on without its ledger would prove nothing.
    """

    def __init__(self, path: Path | None, life: int) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._fd = None if path is None else os.open(path, flags, 0o644)
        self._life = life
        self._origin: dict[str, int] = {"life": life}
        self._lines = 0
        self._phases: dict[str, int] = {}
        self._events: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._events_sent = 0
        self._health: Counter[str] = Counter()
        self._encode = msgspec.json.Encoder().encode

    def of_process(self, number: int) -> None:
        """From here on the lines are those of this process of the lab."""
        self._origin["process"] = number

    def phase(self, phase: Phase, **more: object) -> int:
        """The lab entered a phase just now; returns the stamp of the line."""
        t_ns = self._write("phase", phase, {"phase": phase, **more})
        self._phases[phase] = t_ns
        return t_ns

    def handshake(
        self, endpoint: str, outcome: Outcome, status: int | None, **more: object
    ) -> None:
        """A handshake was answered; `status` is None when no answer was sent.

        "left" means that the client was gone before the lab could act.
        """
        fields = {"endpoint": endpoint, "outcome": outcome, "status": status, **more}
        self._write("handshake", outcome, fields)

    def run(self, run_id: str, sent: int, *, completed: bool, **more: object) -> None:
        """A run ended, or hangs for ever, with how many of its events went to the log."""
        fields = {"run_id": run_id, "sent": sent, "completed": completed, **more}
        self._write("run", "completed" if completed else "broken", fields)
        self._events_sent += sent

    def close(self, by: Party, code: int, sent: Mapping[str, int], **more: object) -> None:
        """A WebSocket ended; `sent` counts the messages it was given, by type."""
        self._write("close", by, {"by": by, "code": code, "sent": dict(sent), **more})

    def hit(self, defect: str, **fields: object) -> None:
        """A defect is done now."""
        self._write("hit", defect, {"defect": defect, **fields})

    def overflow(self, told: Told, dropped: int, **more: object) -> None:
        """An overflow of an outbound queue is over, and whether the client was told of it.

        "never" means that the connection ended before there was room again.
        """
        self._write("overflow", told, {"told": told, "dropped": dropped, **more})

    def service(self, outcome: Service, **fields: object) -> None:
        """One that had to pass the lab's capacity was served, or refused, or the lab stops.

        `late_ns` is how much later than planned it was told.
        """
        self._write("service", outcome, {"outcome": outcome, **fields})

    def revocation(self, kind: Literal["token", "user"], user_id: str) -> None:
        """A token of that user was revoked, or all of them."""
        self._write("revocation", kind, {"kind": kind, "user_id": user_id})

    def defects(self, active: Mapping[str, object]) -> None:
        """The defects were changed while running; these are on now."""
        self._write("defects", "changed", {"active": dict(active)})

    def fault(self, kind: str, **more: object) -> None:
        """The lab itself failed, or the peer's HTTP could not be read: `kind` says which."""
        self._write("fault", kind, {"kind": kind, **more})

    def count_health(self, status: int) -> None:
        """/health was answered with this status."""
        self._health[str(status)] += 1

    def end(self, hits: Mapping[str, int] | None = None) -> None:
        """Write the health counts and the last phase, with the hits of all processes."""
        self._write("health", "counts", {"counts": dict(self._health)})
        self.phase("stopped", hits=dict(self._events["hit"] if hits is None else hits))

    def totals(self) -> dict[str, Any]:
        """Sums over the lines of this life: counts per event and label, stamps of phases."""
        return {
            "life": self._life,
            "lines": self._lines,
            "phases": dict(self._phases),
            "events": {event: dict(labels) for event, labels in self._events.items() if labels},
            "events_sent": self._events_sent,
            "hits": dict(self._events["hit"]),
            "health": dict(self._health),
        }

    def _write(self, event: str, label: str, fields: Mapping[str, object]) -> int:
        t_ns = time.perf_counter_ns()
        if self._fd is not None:
            head = {"t_ns": t_ns, **self._origin, "event": event}
            line = self._encode({**head, **fields}) + b"\n"
            try:
                written = os.write(self._fd, line)
            except OSError as error:
                _give_up(str(error.strerror))
            if written != len(line):
                _give_up("a line was cut short")
        self._lines += 1
        self._events[event][label] += 1
        return t_ns


def _give_up(reason: str) -> None:
    sys.stderr.write(f"probe.lab: the ledger cannot be written ({reason}); the lab stops\n")
    sys.stderr.flush()
    os._exit(EXIT_LEDGER)
