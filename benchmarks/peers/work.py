"""The works that every tool is put to, and what a tool's driver must have.

The rule: the work is the same for all and told by the server, not by the tool: what counts is how
many connections the server has upgraded and how many bytes it has written.

- connects: n connects, 100 in flight where the tool can be told so, each ended the cheapest way
  the tool has (a drop, or a closing handshake where it knows no drop).
- hold: n connections opened and kept; nobody sends.
- burst: one connection asks for n text messages and gets them back to back, in large writes.
- single: as hold, and each message is handed to the tool's script. The measurement has the server
  send one to each connection, round after round.
- upgrade: n connects at once, as near as the tool comes to it; the server waits before its 101.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Kind = Literal["connects", "hold", "burst", "single", "upgrade"]
KINDS: tuple[Kind, ...] = ("connects", "hold", "burst", "single", "upgrade")
IN_FLIGHT = 100
SIZE = 64
HELD_S = 600


class MissingError(RuntimeError):
    """A tool cannot be had here; the message says why."""


@dataclass(frozen=True, slots=True)
class Work:
    """One work for one start of a tool.

    `n` is connections or messages, `size` the bytes of a message, `core` the one it is pinned to,
    `folder` an empty one for whatever the tool writes.
    """

    kind: Kind
    n: int
    port: int
    core: int
    folder: Path
    size: int = SIZE

    @property
    def url(self) -> str:
        """Where the server is."""
        return f"ws://127.0.0.1:{self.port}/"

    @property
    def env(self) -> dict[str, str]:
        """The work as a tool's script reads it."""
        return {
            "WORK": self.kind,
            "WORK_N": str(self.n),
            "WORK_URL": self.url,
            "WORK_SIZE": str(self.size),
            "WORK_IN_FLIGHT": str(IN_FLIGHT),
            "WORK_FOLDER": str(self.folder),
        }


@dataclass(frozen=True, slots=True)
class Command:
    """How a tool is started; but for `hold` and `single` it ends by itself."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


class Tool(Protocol):
    """A driver: one for each tool, in a module `with_<tool>` of its own."""

    @property
    def name(self) -> str:
        """How the tables call it."""

    def prepare(self) -> str:
        """Install what it needs and tell its version; raises MissingError."""

    def cannot(self, kind: Kind) -> str | None:
        """Why it cannot do a work, or None."""

    def command(self, work: Work) -> Command:
        """What to start for this work."""

    def reported(self, work: Work, printed: str) -> Reported | None:
        """What it says of connect latency after the work `upgrade`; None if nothing."""


@dataclass(frozen=True, slots=True)
class Reported:
    """Connect latency as a tool tells it, in ms, by "p50", "p99", "mean" or "max".

    `term` is the tool's own word for it. `is_error` is whether the true delay of each connection is
    already taken off. `phase` is the upgrade phase alone, where a tool tells it apart.
    """

    term: str
    ms: Mapping[str, float]
    is_error: bool = False
    phase: Mapping[str, float] | None = None


def last_json(printed: str) -> dict[str, Any]:
    """The last line that is a JSON object; raises ValueError if there is none."""
    for line in reversed(printed.splitlines()):
        if line.startswith("{"):
            found: dict[str, Any] = json.loads(line)
            return found
    raise ValueError("it printed no line of JSON")
