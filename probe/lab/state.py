"""What one life of the lab shares: keys, ledger, defects, phase flags, open WebSockets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

    from aiohttp import web

    from probe.lab.defects import Defects
    from probe.lab.ledger import Ledger
    from probe.lab.tokens import Keys

VERSION: Final = "1"
REVISION: Final = "lab-1"
SERVER: Final = "probe-lab/1"
SESSIONS_MAX: Final = 5_000
MESSAGE_BYTES_MAX: Final = 64 * 1024


@dataclass(slots=True)
class State:
    """The flags are raised by the boot and lowered by nobody; `stopping` overrules them."""

    keys: Keys
    ledger: Ledger
    defects: Defects
    pace_ns: int
    up_ns: int
    healthy: bool = False
    ready: bool = False
    stopping: bool = False
    # Each open WebSocket, with the task that closes it once the lab stops.
    sessions: dict[web.WebSocketResponse, asyncio.Task[bool] | None] = field(default_factory=dict)

    def enter_healthy(self) -> None:
        """From here on /health answers 200."""
        self.healthy = True
        self.ledger.phase("healthy")

    def enter_ready(self) -> None:
        """From here on WebSockets work."""
        self.ready = True
        self.ledger.phase("ready")

    def enter_stopping(self) -> None:
        """From here on nothing new is served."""
        self.stopping = True
        self.ledger.phase("stopping")
